//! G1 to G3: offset commits, transactions and rebalances.

use crate::figure::Figure::{P50, P99, RequestRate};
use crate::figure::{Judged, bar, below, times};
use crate::rows::{ROW, Row, Work};
use crate::server::Purpose;

const RATES: &[Judged] = &[times(RequestRate, 3.0, 6.0), bar(P99, 0.5)];

/// "Under two seconds", in microseconds, and a goal beside Kafka.
const STABLE: &[Judged] = &[below(P50, 2_000_000.0, 0.5)];

const GROUPS: Row = Row { purpose: Purpose::Groups, own: &[], ..ROW };

pub(crate) const ROWS: [Row; 7] = [
    Row {
        id: "G1a",
        title: "offset commits of 1 partition, 1,000 groups, 64 connections, 5 in flight",
        work: Work::Load("commit --partitions 16 --groups 1000 --connections 64 --in-flight 5"),
        judged: RATES,
        ..GROUPS
    },
    Row {
        id: "G1b",
        title: "offset commits of 10 partitions by joined members, 1,000 groups, 64 connections, \
                1 in flight",
        work: Work::Load(
            "commit --partitions 16 --groups 1000 --connections 64 --in-flight 1 --joined \
             --partitions-per-commit 10 --group-prefix joined",
        ),
        judged: RATES,
        ..GROUPS
    },
    Row {
        id: "G2a",
        title: "transactions of 1 record in 1 partition, 64 producers and connections",
        work: Work::Load("transact --partitions 64 --producers 64 --connections 64"),
        judged: RATES,
        ..GROUPS
    },
    Row {
        id: "G2b",
        title: "transactions of 10 records in 10 partitions and committed offsets, 64 producers \
                and connections",
        work: Work::Load(
            "transact --partitions 64 --producers 64 --connections 64 \
             --partitions-per-transaction 10 --offsets --id-prefix wide",
        ),
        judged: RATES,
        ..GROUPS
    },
    Row {
        id: "G3a",
        title: "rebalance of 100 classic members over 1,000 partitions when one leaves or joins, \
                heartbeats every 100 ms",
        work: Work::Rebalance("--protocol classic --change one --heartbeat 100ms"),
        judged: STABLE,
        ..GROUPS
    },
    Row {
        id: "G3b",
        title: "the same with members of the consumer protocol (KIP-848)",
        work: Work::Rebalance("--protocol consumer --change one --heartbeat 100ms"),
        judged: STABLE,
        ..GROUPS
    },
    Row {
        id: "G3c",
        title: "100 members of the consumer protocol join an empty group over 1,000 partitions",
        work: Work::Rebalance("--protocol consumer --change all --heartbeat 100ms"),
        judged: STABLE,
        ..GROUPS
    },
];
