//! P9, P10 and P12 to P15: readers, fixed rates, and what goes on for long.

use crate::figure::Figure::{Held, MegabyteRate, P50, P99, P999, RecordRate, Resident, TailGrowth};
use crate::figure::{Judged, own, shown, times};
use crate::rows::{Beside, FLUSH, KERNEL, Length, ROW, Read, Row, Work};
use crate::server::Purpose;

const FLUSHED: &str = "acks=all; fsync here, the page cache at Kafka";
const ALL: &str = "acks=all from the page cache (Kafka's default, `kernel` here)";

const fn warm(connections: u16) -> Work {
    Work::Read(Read { connections, is_cold: false, beside: Beside::Nothing })
}

const fn cold(connections: u16, beside: Beside) -> Work {
    Work::Read(Read { connections, is_cold: true, beside })
}

// The generator spins on its own core: its wake-ups are not the broker's latency.
const RATE_1K: &str = "produce --rate 1k/s --partitions 16 --connections 16 --acks all --spin";
const RATE_10K: &str = "produce --rate 10k/s --partitions 16 --connections 16 --acks all --spin";
const RATE_20K: &str = "produce --rate 20k/s --partitions 16 --connections 16 --acks all --spin";

const HALF: &[Judged] = &[times(P99, 0.5, 0.2), shown(P50), shown(P999)];
const KERNEL_RATES: &[Judged] = &[times(P99, 0.3, 0.2), shown(P50), shown(P999)];

/// A row of an open loop: latency counts from the intended send time.
const fn rate(
    (id, title): (&'static str, &'static str),
    work: &'static str,
    (durability, own): (&'static str, &'static [&'static str]),
    judged: &'static [Judged],
) -> Row {
    Row { id, title, work: Work::Load(work), length: Length::Tail, judged, durability, own, ..ROW }
}

pub(crate) const ROWS: [Row; 15] = [
    Row {
        id: "P9a",
        title: "warm fetch of 1 MiB, 1 connection",
        work: warm(1),
        judged: &[times(MegabyteRate, 0.8, 1.2)],
        ..ROW
    },
    Row {
        id: "P9b",
        title: "warm fetch of 1 MiB, 16 connections",
        work: warm(16),
        judged: &[times(MegabyteRate, 0.8, 1.2)],
        ..ROW
    },
    Row {
        id: "P10a",
        title: "cold catch-up of 16 partitions, 1 connection (page cache of the broker's files \
                dropped before each pass)",
        work: cold(1, Beside::Nothing),
        judged: &[times(MegabyteRate, 1.5, 3.0)],
        ..ROW
    },
    Row {
        id: "P10b",
        title: "the same, 16 connections",
        work: cold(16, Beside::Nothing),
        judged: &[times(MegabyteRate, 1.5, 3.0)],
        ..ROW
    },
    Row {
        id: "P10c",
        title: "the same, 1 connection, while another topic gets half of the load that the slower \
                broker takes",
        work: cold(1, Beside::OtherTopic),
        judged: &[times(MegabyteRate, 1.5, 3.0), own(TailGrowth, 1.5, None), shown(P99)],
        ..ROW
    },
    rate(
        ("P12a", "open loop, 1 k records/s, 16 partitions and connections"),
        RATE_1K,
        (FLUSHED, FLUSH),
        &[times(P99, 1.0, 0.2), shown(P50), shown(P999)],
    ),
    rate(("P12b", "the same, 10 k records/s"), RATE_10K, (FLUSHED, FLUSH), HALF),
    rate(("P12c", "the same, 20 k records/s"), RATE_20K, (FLUSHED, FLUSH), HALF),
    rate(("P12d", "open loop, 1 k records/s"), RATE_1K, (ALL, KERNEL), KERNEL_RATES),
    rate(("P12e", "the same, 10 k records/s"), RATE_10K, (ALL, KERNEL), KERNEL_RATES),
    rate(("P12f", "the same, 20 k records/s"), RATE_20K, (ALL, KERNEL), KERNEL_RATES),
    rate(
        ("P13a", "end to end, producer to consumer, 1 k records/s, 16 partitions"),
        "e2e --rate 1k/s --partitions 16 --connections 16 --acks all --spin",
        (ALL, KERNEL),
        &[times(P50, 0.6, 0.4), times(P99, 0.3, 0.1), shown(P999)],
    ),
    rate(
        ("P13b", "the same, 10 k records/s"),
        "e2e --rate 10k/s --partitions 16 --connections 16 --acks all --spin",
        (ALL, KERNEL),
        &[times(P50, 0.6, 0.4), times(P99, 0.05, 0.05), shown(P999)],
    ),
    Row {
        id: "P14",
        title: "10 keyed records a batch, 100,000 keys, 100 partitions, 50 producers; compaction \
                and retention at work (segments of 2 MiB, 8 MiB kept, looked at each second)",
        work: Work::Load(
            "produce --closed --partitions 100 --connections 50 --in-flight 5 --acks all \
             --records-per-batch 10 --keys uniform(100000)",
        ),
        purpose: Purpose::Housekeeping,
        length: Length::Long,
        judged: &[times(RecordRate, 2.0, 4.0), own(Held, 0.9, Some(1.0)), shown(Resident)],
        durability: ALL,
        both: &[
            "cleanup.policy=compact,delete",
            "segment.bytes=2097152",
            "retention.bytes=8388608",
            "min.cleanable.dirty.ratio=0.1",
        ],
        ..ROW
    },
    Row {
        id: "P15",
        title: "backlog of 16 partitions drained over 4 connections, while they get half of the \
                load that the slower broker takes",
        work: Work::Read(Read { connections: 4, is_cold: false, beside: Beside::SameTopic }),
        judged: &[times(MegabyteRate, 1.5, 3.0), own(TailGrowth, 1.5, Some(1.2)), shown(P99)],
        durability: ALL,
        ..ROW
    },
];
