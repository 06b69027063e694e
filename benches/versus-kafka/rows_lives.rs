//! P16 to P19 and G4: cores, starts, memory, crowds and crashes.

use crate::figure::Figure::{
    CpuGrowth, CpuPerRequest, CpuPerRequestOfTwo, P99, RequestRate, Resident, Start,
};
use crate::figure::{below, own, shown, times};
use crate::rows::{Down, FLUSH, ROW, Row, Work};
use crate::rows_produce::{BATCHES, ONE_RECORD};
use crate::server::Purpose;

pub(crate) const ROWS: [Row; 9] = [
    Row {
        id: "P16a",
        title: "P1 on brokers with 1 and with 2 cores; the second is the client's",
        work: Work::Cores(ONE_RECORD),
        judged: &[own(CpuGrowth, 1.3, Some(1.1)), shown(CpuPerRequest), shown(CpuPerRequestOfTwo)],
        durability: "acks=1 from the page cache",
        ..ROW
    },
    Row {
        id: "P16b",
        title: "P5 on brokers with 1 and with 2 cores; the second is the client's",
        work: Work::Cores(BATCHES),
        judged: &[own(CpuGrowth, 1.3, Some(1.1)), shown(CpuPerRequest), shown(CpuPerRequestOfTwo)],
        durability: "acks=all from the page cache",
        ..ROW
    },
    Row {
        id: "P17a",
        title: "start on an empty directory to the first accepted record; then idle for 3 s",
        work: Work::Start,
        judged: &[times(Start, 0.1, 0.02), times(Resident, 0.2, 0.1)],
        durability: "acks=all",
        ..ROW
    },
    Row {
        id: "P17b",
        title: "memory after the rows of records before it",
        work: Work::Memory,
        judged: &[times(Resident, 0.2, 0.1)],
        durability: "-",
        ..ROW
    },
    Row {
        id: "P18",
        title: "idle connections and partitions on one broker, P1 beside them; a clean restart to \
                a record accepted by each of 1,000 partitions",
        work: Work::Crowd,
        purpose: Purpose::Restarts,
        judged: &[times(Resident, 0.3, 0.1), shown(Start), shown(RequestRate), shown(P99)],
        durability: "acks=1 from the page cache (`kernel` here)",
        ..ROW
    },
    Row {
        id: "P19a",
        title: "kill -9 under load with data on 16 partitions, to a record accepted by each",
        work: Work::Crash { partitions: 16 },
        purpose: Purpose::Restarts,
        judged: &[times(Start, 0.1, 0.03)],
        durability: "acks=all; fsync here, the page cache at Kafka",
        own: FLUSH,
        ..ROW
    },
    Row {
        id: "P19b",
        title: "the same with 1,000 partitions",
        work: Work::Crash { partitions: 1000 },
        purpose: Purpose::Restarts,
        judged: &[times(Start, 0.1, 0.03)],
        durability: "acks=all; fsync here, the page cache at Kafka",
        own: FLUSH,
        ..ROW
    },
    Row {
        id: "G4a",
        title: "kill -9 with 10,000 groups of 4 committed offsets, to the last group's answer",
        work: Work::Groups(Down::Killed),
        purpose: Purpose::Restarts,
        judged: &[below(Start, 2_000.0, 0.1)],
        own: &[],
        ..ROW
    },
    Row {
        id: "G4b",
        title: "the same after a clean stop",
        work: Work::Groups(Down::Stopped),
        purpose: Purpose::Restarts,
        judged: &[below(Start, 2_000.0, 0.1)],
        own: &[],
        ..ROW
    },
];
