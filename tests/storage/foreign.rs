//! Whole batches of another log, which a disk has written to a wrong place: nothing in them says
//! whose they are. Wherever one lands, nobody is given it for what was there.

use crate::bench::{Bench, batch, name, small_segments};
use bytes::Bytes;
use highwater::model::ids::{LeaderEpoch, Offset};
use highwater::protocol::record_batch::{BatchHeader, CheckedBatch};
use highwater::storage::checkpoint::RecoveryPoint;
use std::collections::BTreeMap;

const BATCHES: u64 = 26;
/// Batches in each segment.
const SEGMENT_BATCHES: u64 = 13;
/// Bytes that are no batch, on both sides of the foreign one: a sector has more than one batch.
const MARGIN: usize = 20;

/// A log of two segments, the batches of one record each in both, and what its batches are.
struct Written {
    bench: Bench,
    point: RecoveryPoint,
    content: Vec<u8>,
    own: BTreeMap<u64, Vec<u8>>,
}

fn written() -> Written {
    let mut bench = Bench::new(small_segments());
    for index in 0..BATCHES {
        bench.append(batch(&[i64::try_from(index).unwrap()])).unwrap();
    }
    bench.sync();
    let point = bench.log.recovery_point();
    let content = bench.disk.content(&name(0, "log")).unwrap();
    assert!(bench.disk.content(&name(SEGMENT_BATCHES, "log")).is_some());
    let own = (0..BATCHES).map(|offset| (offset, bench.read(offset, 1).unwrap())).collect();
    Written { bench, point, content, own }
}

/// A batch of `records` as another log has it, in a later epoch.
fn foreign(base: u64, records: usize) -> Vec<u8> {
    let mut bench = Bench::new(small_segments());
    bench.append(batch(&vec![1_000_000; records])).unwrap();
    let mut bytes = bench.read(0, 1).unwrap();
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    bytes[12..16].copy_from_slice(&9i32.to_be_bytes());
    bytes
}

/// What a write to a wrong place leaves: the end of one batch, a whole one, the front of another.
fn sector(foreign: &[u8]) -> Vec<u8> {
    let (front, end) = (&foreign[..MARGIN], &foreign[foreign.len() - MARGIN..]);
    [end, foreign, front].concat()
}

/// Whether the foreign batch takes the place of one with the same first offset, or of one with the
/// same last offset that an index may speak of. Nothing tells it from that.
fn is_fitting(content: &[u8], position: usize, foreign: &[u8]) -> bool {
    let foreign = BatchHeader::read(foreign).unwrap();
    let mut start = 0;
    while start < position {
        start += BatchHeader::read(&content[start..]).unwrap().size();
    }
    start == position && {
        let own = BatchHeader::read(&content[start..]).unwrap();
        own.base_offset() == foreign.base_offset() || own.last_offset() == foreign.last_offset()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Opening {
    /// Reads nothing of the first segment.
    Trusting,
    /// Reads it, and has its index.
    Reading,
    /// Reads it, and has no index.
    Blind,
}

/// Each offset gives what was appended there, or an error.
fn assert_own(bench: &mut Bench, own: &BTreeMap<u64, Vec<u8>>, what: &str) {
    let mut refused = 0;
    for (offset, bytes) in own {
        match bench.read(*offset, 1) {
            Ok(read) => assert!(read == *bytes, "{what}: offset {offset} is another batch"),
            Err(error) => {
                assert_eq!(error.kafka_code().number(), 2, "{what}: {error}");
                refused += 1;
            }
        }
        assert_eq!(bench.log.epoch_at(Offset::new(*offset)), Some(LeaderEpoch(7)), "{what}");
    }
    assert!(refused > 0, "{what}: nothing is found");
}

#[test]
fn a_foreign_batch_is_given_to_nobody_wherever_it_lands() {
    let Written { content, .. } = written();
    let mut places = 0;
    for (opening, records) in [
        (Opening::Trusting, 1),
        (Opening::Trusting, 3),
        (Opening::Reading, 1),
        (Opening::Reading, 3),
        (Opening::Blind, 1),
        (Opening::Blind, 3),
    ] {
        for base in [0, 1, 4, 5, 6, 8, 9, 12, 300] {
            let foreign = foreign(base, records);
            let sector = sector(&foreign);
            for start in (0..content.len() - sector.len()).step_by(13) {
                if is_fitting(&content, start + MARGIN, &foreign) {
                    continue;
                }
                places += 1;
                let Written { mut bench, point, content, own } = written();
                let mut harmed = content.clone();
                harmed[start..start + sector.len()].copy_from_slice(&sector);
                bench.disk.put(&name(0, "log"), harmed);
                if opening != Opening::Trusting {
                    bench.disk.put(&name(0, "timeindex"), vec![1]);
                }
                if opening == Opening::Blind {
                    bench.disk.put(&name(0, "index"), vec![1]);
                }
                bench.reopen(point);
                let what = format!("{opening:?}, {records} from {base} at {start}");
                assert_eq!(bench.log.log_end().get(), BATCHES, "{what}");
                assert_own(&mut bench, &own, &what);
            }
        }
    }
    assert!(places > 1000, "{places}");
}

/// Simulation seed 3168: an opening took a foreign batch behind damage for its own, with its epoch.
/// As a leader it had others cut what they had of the epoch before, and fed them the batch.
#[test]
fn a_foreign_batch_in_the_active_segment_says_nothing_of_epochs() {
    for (at, base) in [(2, 5), (3, 6), (3, 9), (1, 7)] {
        let Written { mut bench, point, content, .. } = written();
        let active = bench.disk.content(&name(SEGMENT_BATCHES, "log")).unwrap();
        let size = content.len() / usize::try_from(SEGMENT_BATCHES).unwrap();
        let sector = sector(&foreign(SEGMENT_BATCHES + base, 1));
        let mut harmed = active.clone();
        let start = at * size + size / 2;
        harmed[start..start + sector.len()].copy_from_slice(&sector);
        bench.disk.put(&name(SEGMENT_BATCHES, "log"), harmed);
        // Made safe, and read again all the same, as an opening does where its index ends.
        bench.disk.put(&name(SEGMENT_BATCHES, "index"), vec![1]);
        bench.reopen(point);
        assert_eq!(bench.report.damage.len(), 1, "{:?}", bench.report.damage);
        assert_eq!(bench.log.log_end().get(), BATCHES);
        for offset in SEGMENT_BATCHES..BATCHES {
            assert_eq!(bench.log.epoch_at(Offset::new(offset)), Some(LeaderEpoch(7)));
        }
        let found = bench.readable();
        assert!(found.contains(&(BATCHES - 1)), "what lies behind it is served: {found:?}");
    }
}

/// Two bits that rot in one segment cost their batches, and what lies between them is served.
#[test]
fn batches_between_two_damaged_ones_are_known_by_the_header_before_them() {
    let Written { mut bench, point, content, .. } = written();
    let size = content.len() / usize::try_from(SEGMENT_BATCHES).unwrap();
    for (batch, byte) in [(3, 70), (6, 18)] {
        bench.disk.flip(&name(0, "log"), batch * size + byte, 1);
    }
    bench.disk.put(&name(0, "index"), vec![1]);
    bench.reopen(point);
    let expected: Vec<u64> = (0..BATCHES).filter(|offset| ![3, 6].contains(offset)).collect();
    assert_eq!(bench.readable(), expected);
    let mut bytes = Bytes::from(bench.read(4, 1).unwrap());
    assert_eq!(CheckedBatch::check_first(&mut bytes).unwrap().header().base_offset(), 4);
}
