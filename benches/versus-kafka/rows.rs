//! The workloads: one table, from which everything is derived.

use crate::failure::Failure;
use crate::server::{Broker, Purpose};

/// What a row compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Requests per second; more is better.
    RequestRate,
    /// Megabytes of batches per second; more is better.
    MegabyteRate,
    /// Median latency; less is better.
    MedianLatency,
}

/// What is run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// `loadgen produce` with these flags.
    Produce(&'static str),
    /// `loadgen consume` with these flags, of a topic that was filled with the same records on
    /// both brokers.
    Consume(&'static str),
    /// `loadgen commit` with these flags.
    Commit(&'static str),
    /// `loadgen transact` with these flags.
    Transact(&'static str),
    /// `loadgen rebalance` with these flags.
    Rebalance(&'static str),
    /// From the start of the process on a directory with many groups to their committed offsets.
    Restart,
    /// From an empty directory to the first accepted record, and memory.
    Start,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) work: Work,
    pub(crate) figure: Figure,
    /// Bar and goal as a ratio to Kafka.
    pub(crate) bar: f64,
    pub(crate) goal: f64,
    /// What an acknowledgement means in this row, on both sides.
    pub(crate) durability: &'static str,
    /// Topic config that only Highwater gets, for that.
    pub(crate) highwater_config: Option<&'static str>,
}

const PAGE_CACHE_ALL: &str = "acks=all from the page cache (Kafka's default, `kernel` here)";
const KERNEL: Option<&str> = Some("highwater.durability=kernel");
const LEADER: &str = "acks=1 from the page cache (`kernel` here)";

const PAGE_CACHE_INTERNAL: &str = "page cache (Kafka's default, `kernel` here)";

/// Groups of the restart row, and how they commit.
pub(crate) const RESTART_GROUPS: &str = "10000";
pub(crate) const RESTART_FILL: &str =
    "--partitions 16 --partitions-per-commit 4 --connections 16 --in-flight 5 --once";

/// All rows that this program can run. Bars and goals are those that the project has set itself.
pub(crate) const ROWS: [Row; 19] = [
    Row {
        id: "P1",
        title: "1 record of 100 B, 64 connections, 64 partitions, 5 in flight",
        work: Work::Produce("--partitions 64 --connections 64 --in-flight 5 --acks 1"),
        figure: Figure::RequestRate,
        bar: 5.0,
        goal: 10.0,
        durability: LEADER,
        highwater_config: KERNEL,
    },
    Row {
        id: "P2",
        title: "1 record of 100 B, 1 connection, 1 in flight: p50",
        work: Work::Produce("--partitions 1 --connections 1 --in-flight 1 --acks 1 --spin"),
        figure: Figure::MedianLatency,
        bar: 0.5,
        goal: 0.3,
        durability: LEADER,
        highwater_config: KERNEL,
    },
    Row {
        id: "P3",
        title: "1 record of 100 B, 1 connection, acks=0",
        work: Work::Produce("--partitions 1 --connections 1 --in-flight 5 --acks 0"),
        figure: Figure::RequestRate,
        bar: 5.0,
        goal: 20.0,
        durability: "acks=0: none",
        highwater_config: None,
    },
    Row {
        id: "P4",
        title: "64 one-record partitions per request, 4 connections",
        work: Work::Produce(
            "--partitions 64 --partitions-per-request 64 --connections 4 --in-flight 5 --acks 1",
        ),
        figure: Figure::RequestRate,
        bar: 5.0,
        goal: 10.0,
        durability: LEADER,
        highwater_config: KERNEL,
    },
    Row {
        id: "P5",
        title: "16 KB batches (150 x 100 B), 16 connections, 16 partitions, 5 in flight",
        work: Work::Produce(
            "--partitions 16 --connections 16 --in-flight 5 --acks all --records-per-batch 150",
        ),
        figure: Figure::MegabyteRate,
        bar: 3.0,
        goal: 6.0,
        durability: PAGE_CACHE_ALL,
        highwater_config: KERNEL,
    },
    Row {
        id: "P6",
        title: "128 KB batches of 1 KiB records, 16 connections, 16 partitions, 5 in flight",
        work: Work::Produce(
            "--partitions 16 --connections 16 --in-flight 5 --acks all --records-per-batch 125 \
             --record-bytes 1KiB",
        ),
        figure: Figure::MegabyteRate,
        bar: 4.0,
        goal: 6.0,
        durability: PAGE_CACHE_ALL,
        highwater_config: KERNEL,
    },
    Row {
        id: "P7",
        title: "1 MB batches of 1 KiB records, 16 connections, 16 partitions, 2 in flight",
        work: Work::Produce(
            "--partitions 16 --connections 16 --in-flight 2 --acks all --records-per-batch 980 \
             --record-bytes 1KiB",
        ),
        figure: Figure::MegabyteRate,
        bar: 4.0,
        goal: 6.0,
        durability: PAGE_CACHE_ALL,
        highwater_config: KERNEL,
    },
    Row {
        id: "P8",
        title: "lz4 batches (400 x 100 B, half of each random), 16 connections, 16 partitions",
        work: Work::Produce(
            "--partitions 16 --connections 16 --in-flight 5 --acks all --records-per-batch 400 \
             --compression lz4",
        ),
        figure: Figure::MegabyteRate,
        bar: 3.0,
        goal: 6.0,
        durability: PAGE_CACHE_ALL,
        highwater_config: KERNEL,
    },
    Row {
        id: "P9a",
        title: "warm fetch of 1 MiB, 1 connection",
        work: Work::Consume("--connections 1"),
        figure: Figure::MegabyteRate,
        bar: 0.8,
        goal: 1.2,
        durability: "-",
        highwater_config: KERNEL,
    },
    Row {
        id: "P9b",
        title: "warm fetch of 1 MiB, 16 connections",
        work: Work::Consume("--connections 16"),
        figure: Figure::MegabyteRate,
        bar: 0.8,
        goal: 1.2,
        durability: "-",
        highwater_config: KERNEL,
    },
    Row {
        id: "G1a",
        title: "offset commits of 1 partition, 1,000 groups, 64 connections, 5 in flight (p99 bar \
                0.5x)",
        work: Work::Commit("--partitions 16 --groups 1000 --connections 64 --in-flight 5"),
        figure: Figure::RequestRate,
        bar: 3.0,
        goal: 6.0,
        durability: PAGE_CACHE_INTERNAL,
        highwater_config: None,
    },
    Row {
        id: "G1b",
        title: "offset commits of 10 partitions by joined members, 1,000 groups, 64 connections, \
                1 in flight (p99 bar 0.5x)",
        work: Work::Commit(
            "--partitions 16 --groups 1000 --connections 64 --in-flight 1 --joined \
             --partitions-per-commit 10 --group-prefix joined",
        ),
        figure: Figure::RequestRate,
        bar: 3.0,
        goal: 6.0,
        durability: PAGE_CACHE_INTERNAL,
        highwater_config: None,
    },
    Row {
        id: "G2a",
        title: "transactions of 1 record in 1 partition, 64 producers and connections (p99 bar \
                0.5x)",
        work: Work::Transact("--partitions 64 --producers 64 --connections 64"),
        figure: Figure::RequestRate,
        bar: 3.0,
        goal: 6.0,
        durability: PAGE_CACHE_INTERNAL,
        highwater_config: None,
    },
    Row {
        id: "G2b",
        title: "transactions of 10 records in 10 partitions and committed offsets, 64 producers \
                and connections (p99 bar 0.5x)",
        work: Work::Transact(
            "--partitions 64 --producers 64 --connections 64 --partitions-per-transaction 10 \
             --offsets --id-prefix wide",
        ),
        figure: Figure::RequestRate,
        bar: 3.0,
        goal: 6.0,
        durability: PAGE_CACHE_INTERNAL,
        highwater_config: None,
    },
    Row {
        id: "G3a",
        title: "rebalance of 100 classic members over 1,000 partitions when one leaves or joins, \
                heartbeats every 100 ms: p50 (bar under 2 s)",
        work: Work::Rebalance("--protocol classic --change one --heartbeat 100ms"),
        figure: Figure::MedianLatency,
        bar: 1.0,
        goal: 0.5,
        durability: PAGE_CACHE_INTERNAL,
        highwater_config: None,
    },
    Row {
        id: "G3b",
        title: "the same with members of the consumer protocol (KIP-848): p50 (bar under 2 s)",
        work: Work::Rebalance("--protocol consumer --change one --heartbeat 100ms"),
        figure: Figure::MedianLatency,
        bar: 1.0,
        goal: 0.5,
        durability: PAGE_CACHE_INTERNAL,
        highwater_config: None,
    },
    Row {
        id: "G3c",
        title: "100 members of the consumer protocol join an empty group over 1,000 partitions: \
                p50 (bar under 2 s)",
        work: Work::Rebalance("--protocol consumer --change all --heartbeat 100ms"),
        figure: Figure::MedianLatency,
        bar: 1.0,
        goal: 0.5,
        durability: PAGE_CACHE_INTERNAL,
        highwater_config: None,
    },
    Row {
        id: "G4",
        title: "restart with 10,000 groups of 4 committed offsets, to the last group's answer",
        work: Work::Restart,
        figure: Figure::MedianLatency,
        bar: 0.5,
        goal: 0.1,
        durability: PAGE_CACHE_INTERNAL,
        highwater_config: None,
    },
    Row {
        id: "P17",
        title: "start to first accepted record, and memory",
        work: Work::Start,
        figure: Figure::MedianLatency,
        bar: 0.1,
        goal: 0.02,
        durability: "acks=all",
        highwater_config: None,
    },
];

/// How the topic of a fetch row is filled: 16 partitions, 1 GB in batches of 16 KB, at a rate that
/// both brokers hold, so that both hold the same.
pub(crate) const FETCH_FILL: &str = "--partitions 16 --connections 16 --acks all --records-per-batch 150 \
                              --rate 900k/s --arrivals constant --duration 10s --warmup 0s";

impl Row {
    /// The topic that the row uses; rows of the same data share one.
    pub(crate) fn topic(&self) -> &'static str {
        match self.work {
            Work::Consume(_) => "versus-fetch",
            Work::Rebalance(_) => "versus-rebalance",
            _ => self.id,
        }
    }

    /// What the brokers of this row are configured for.
    pub(crate) fn purpose(&self) -> Purpose {
        match self.work {
            Work::Produce(_) | Work::Consume(_) | Work::Start => Purpose::Records,
            Work::Commit(_) | Work::Transact(_) | Work::Rebalance(_) => Purpose::Groups,
            Work::Restart => Purpose::Restarts,
        }
    }

    /// Whether it is measured by starting brokers rather than by loading them.
    pub(crate) fn is_of_starts(&self) -> bool {
        matches!(self.work, Work::Start | Work::Restart)
    }

    /// Topic config for that broker.
    pub(crate) fn config_for(&self, broker: Broker) -> Option<&'static str> {
        match broker {
            Broker::Kafka => None,
            Broker::Highwater => self.highwater_config,
        }
    }
}

/// The rows that `--rows` names; P9 names all of its parts, G all rows of groups.
pub(crate) fn select(asked: &[String]) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for id in asked {
        let is_asked = |row: &&Row| {
            let family = row.id.trim_end_matches(['a', 'b', 'c']);
            id == "all" || row.id == id || family == id || (id == "G" && row.id.starts_with('G'))
        };
        let found: Vec<Row> = ROWS.iter().filter(is_asked).copied().collect();
        if found.is_empty() {
            return Err(Failure::UnknownRow { asked: id.clone(), known: crate::known_rows() });
        }
        rows.extend(found);
    }
    Ok(rows)
}
