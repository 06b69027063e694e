//! P1 to P8 and P11: what producers can do. Bars and goals are those the project has set itself.

use crate::figure::Figure::{MegabyteRate, P50, P99, RecordRate, RequestRate};
use crate::figure::{bar, shown, times};
use crate::rows::{FLUSH, Length, ROW, Row, Work};

const FLUSHED: &str =
    "acks=all, fsync before each acknowledgement (Kafka: flush.messages=1; `flush` here)";
const KAFKA_FLUSH: &[&str] = &["flush.messages=1"];
const ALL: &str = "acks=all from the page cache (Kafka's default, `kernel` here)";
const LEADER: &str = "acks=1 from the page cache (`kernel` here)";

pub(crate) const ONE_RECORD: &str =
    "produce --closed --partitions 64 --connections 64 --in-flight 5 --acks 1";
pub(crate) const BATCHES: &str = "produce --closed --partitions 16 --connections 16 --in-flight 5 \
                                  --acks all --records-per-batch 150";

pub(crate) const ROWS: [Row; 12] = [
    Row {
        id: "P1",
        title: "1 record of 100 B, 64 connections, 64 partitions, 5 in flight",
        work: Work::Load(ONE_RECORD),
        judged: &[times(RequestRate, 5.0, 10.0), bar(P99, 0.2)],
        durability: LEADER,
        ..ROW
    },
    Row {
        id: "P2",
        title: "1 record of 100 B, 1 connection, 1 in flight (the client spins)",
        work: Work::Load(
            "produce --closed --partitions 1 --connections 1 --in-flight 1 --acks 1 --spin",
        ),
        judged: &[times(P50, 0.5, 0.3), shown(P99)],
        durability: LEADER,
        ..ROW
    },
    Row {
        id: "P3",
        title: "1 record of 100 B, 1 connection, acks=0; counted when sent",
        work: Work::Load("produce --closed --partitions 1 --connections 1 --in-flight 5 --acks 0"),
        judged: &[times(RequestRate, 5.0, 20.0)],
        durability: "acks=0: none",
        ..ROW
    },
    Row {
        id: "P4",
        title: "64 one-record partitions per request, 4 connections, 5 in flight",
        work: Work::Load(
            "produce --closed --partitions 64 --partitions-per-request 64 --connections 4 \
             --in-flight 5 --acks 1",
        ),
        judged: &[times(RecordRate, 5.0, 10.0)],
        durability: LEADER,
        ..ROW
    },
    Row {
        id: "P5",
        title: "16 KB batches (150 x 100 B), 16 connections, 16 partitions, 5 in flight",
        work: Work::Load(BATCHES),
        judged: &[times(MegabyteRate, 3.0, 6.0)],
        durability: ALL,
        ..ROW
    },
    Row {
        id: "P6",
        title: "128 KB batches of 1 KiB records, 16 connections, 16 partitions, 5 in flight",
        work: Work::Load(
            "produce --closed --partitions 16 --connections 16 --in-flight 5 --acks all \
             --records-per-batch 125 --record-bytes 1KiB",
        ),
        length: Length::Short,
        judged: &[times(MegabyteRate, 4.0, 6.0)],
        durability: ALL,
        ..ROW
    },
    Row {
        id: "P7",
        title: "1 MB batches of 1 KiB records, 16 connections, 16 partitions, 2 in flight",
        work: Work::Load(
            "produce --closed --partitions 16 --connections 16 --in-flight 2 --acks all \
             --records-per-batch 980 --record-bytes 1KiB",
        ),
        length: Length::Short,
        judged: &[times(MegabyteRate, 4.0, 6.0)],
        durability: ALL,
        ..ROW
    },
    Row {
        id: "P8a",
        title: "lz4 batches (400 x 100 B, half of each random), 16 connections, 16 partitions; \
                only Kafka looks into them",
        work: Work::Load(LZ4),
        judged: &[times(MegabyteRate, 3.0, 6.0), shown(RecordRate)],
        durability: ALL,
        ..ROW
    },
    Row {
        id: "P8b",
        title: "the same, both look through the records (highwater.records.check=all)",
        work: Work::Load(LZ4),
        judged: &[times(MegabyteRate, 3.0, 6.0), shown(RecordRate)],
        durability: ALL,
        own: &["highwater.durability=kernel", "highwater.records.check=all"],
        ..ROW
    },
    Row {
        id: "P11a",
        title: "1 record of 100 B, 64 connections, 64 partitions, 5 in flight",
        work: Work::Load(
            "produce --closed --partitions 64 --connections 64 --in-flight 5 --acks all",
        ),
        judged: &[times(RequestRate, 10.0, 30.0), bar(P99, 0.05)],
        durability: FLUSHED,
        kafka: KAFKA_FLUSH,
        own: FLUSH,
        ..ROW
    },
    Row {
        id: "P11b",
        title: "16 KB batches (150 x 100 B), 16 connections, 16 partitions, 5 in flight",
        work: Work::Load(BATCHES),
        judged: &[times(MegabyteRate, 8.0, 15.0)],
        durability: FLUSHED,
        kafka: KAFKA_FLUSH,
        own: FLUSH,
        ..ROW
    },
    Row {
        id: "P11c",
        title: "1 record of 100 B, 1 connection, 1 in flight (the client spins)",
        work: Work::Load(
            "produce --closed --partitions 1 --connections 1 --in-flight 1 --acks all --spin",
        ),
        judged: &[times(P50, 0.7, 0.4), shown(P99)],
        durability: FLUSHED,
        kafka: KAFKA_FLUSH,
        own: FLUSH,
        ..ROW
    },
];

const LZ4: &str = "produce --closed --partitions 16 --connections 16 --in-flight 5 --acks all \
                   --records-per-batch 400 --compression lz4";
