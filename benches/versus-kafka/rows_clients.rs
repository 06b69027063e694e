//! C1 and C2: what one client of those that people have sees.

use crate::figure::Figure::{CpuPerRecord, RecordRate};
use crate::figure::shown;
use crate::rows::{ROW, Row, Way, Work};

pub(crate) const ROWS: [Row; 2] = [
    Row {
        id: "C1",
        title: "librdkafka (kcat -P, its defaults): lines of 100 B to 16 partitions",
        work: Work::Kcat(Way::Produce),
        judged: &[shown(RecordRate), shown(CpuPerRecord)],
        durability: "acks=all from the page cache (Kafka's default, `kernel` here)",
        ..ROW
    },
    Row {
        id: "C2",
        title: "librdkafka (kcat -C, its defaults): the same records read",
        work: Work::Kcat(Way::Consume),
        judged: &[shown(RecordRate), shown(CpuPerRecord)],
        durability: "-",
        ..ROW
    },
];
