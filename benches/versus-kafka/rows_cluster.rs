//! R1 to R3: three nodes a side, each partition on all of them, all nodes on the brokers' core.

use crate::figure::Figure::{Failover, Handover, MegabyteRate, Noticed, P50, P99, P999};
use crate::figure::{bar, own, shown};
use crate::rows::{FLUSH, Length, ROW, Row, Work};
use crate::server::Purpose;

pub(crate) const REPLICATED: &str = "produce --closed --partitions 12 --replication-factor 3 \
                                     --connections 16 --in-flight 5 --acks all \
                                     --records-per-batch 150";
const OPEN: &str = "produce --partitions 12 --replication-factor 3 --connections 16 --acks all \
                    --records-per-batch 150 --spin";

const IN_SYNC: &[&str] = &["min.insync.replicas=2"];

/// Three nodes; an acknowledgement means that each replica in sync has the batch.
const CLUSTER: Row = Row {
    purpose: Purpose::Cluster,
    durability: "acks=all: page cache of three nodes (Kafka's default, `kernel` here), \
                 min.insync.replicas=2",
    both: IN_SYNC,
    ..ROW
};

pub(crate) const ROWS: [Row; 5] = [
    Row {
        id: "R1a",
        title: "16 KB batches (150 x 100 B) to 12 partitions of 3 replicas, 16 connections, 5 in \
                flight",
        work: Work::Load(REPLICATED),
        judged: &[bar(MegabyteRate, 3.0), shown(P99)],
        ..CLUSTER
    },
    Row {
        id: "R1b",
        title: "the same batches in an open loop at half of the load that the slower cluster takes",
        work: Work::Half { closed: REPLICATED, open: OPEN },
        length: Length::Tail,
        judged: &[bar(P99, 0.5), shown(P50), shown(P999)],
        ..CLUSTER
    },
    Row {
        id: "R1c",
        title: "R1a with an fsync on every replica before an acknowledgement",
        work: Work::Load(REPLICATED),
        judged: &[bar(MegabyteRate, 3.0), shown(P99)],
        durability: "acks=all: fsync on three nodes (Kafka: flush.messages=1; `flush` here), \
                     min.insync.replicas=2",
        kafka: &["flush.messages=1"],
        own: FLUSH,
        ..CLUSTER
    },
    Row {
        id: "R2",
        title: "kill -9 of the node that leads 12 partitions of 3 replicas, each node in turn; \
                Kafka's default timeouts on both sides",
        work: Work::Failover { partitions: 12 },
        purpose: Purpose::Failover,
        judged: &[own(Failover, 1000.0, None), bar(Failover, 0.3), shown(Noticed)],
        ..CLUSTER
    },
    Row {
        id: "R3",
        title: "the same with 1,000 partitions: once their leader's death is known, until each \
                takes records",
        work: Work::Failover { partitions: 1000 },
        purpose: Purpose::Failover,
        judged: &[own(Handover, 1000.0, None), shown(Noticed), shown(Failover)],
        ..CLUSTER
    },
];
