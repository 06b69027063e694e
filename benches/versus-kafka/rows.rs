//! The workloads: one table, from which everything is derived.

use crate::failure::Failure;
use crate::server::Broker;

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

/// All rows that this program can run. Bars and goals are those that the project has set itself.
pub(crate) const ROWS: [Row; 11] = [
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
            Work::Produce(_) | Work::Start => self.id,
        }
    }

    /// Topic config for that broker.
    pub(crate) fn config_for(&self, broker: Broker) -> Option<&'static str> {
        match broker {
            Broker::Kafka => None,
            Broker::Highwater => self.highwater_config,
        }
    }
}

/// The rows that `--rows` names; P9 names both of its parts.
pub(crate) fn select(asked: &[String]) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for id in asked {
        let is_asked =
            |row: &&Row| id == "all" || row.id == id || row.id.trim_end_matches(['a', 'b']) == id;
        let found: Vec<Row> = ROWS.iter().filter(is_asked).copied().collect();
        if found.is_empty() {
            return Err(Failure::UnknownRow { asked: id.clone(), known: crate::known_rows() });
        }
        rows.extend(found);
    }
    Ok(rows)
}
