//! What a verification has read, held against what producers say they wrote. Pure: no sockets.
//!
//! Each record carries who wrote it and where it belongs:
//!
//! ```text
//! offset  size  big endian
//!      0     8  run
//!      8     4  producer
//!     12     4  partition
//!     16     8  sequence: 0, 1, 2, ... per (producer, partition)
//!     24     4  CRC-32C of everything else in the value
//!     28     -  filler
//! ```
//!
//! Invariants
//! - A sequence is seen or not seen, one bit each; nothing is inferred from counts.
//! - A record that is read twice is a duplicate, never reordered: what a producer sends again after
//!   a lost connection is no fault of the order.

use highwater::protocol::crc32c;
use std::collections::BTreeMap;

const CRC_AT: usize = 24;
const STAMP_END: usize = 28;

/// Bytes of a value that the stamp takes, with some filler to damage.
pub(crate) const RECORD_BYTES_MIN: usize = 32;

/// Sequences that one producer may write to one partition: bounds the memory of the bits.
pub(crate) const SEQUENCE_MAX: u64 = 1 << 33;

/// What is written on a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamped {
    pub(crate) run: u64,
    pub(crate) producer: u32,
    pub(crate) partition: i32,
    pub(crate) sequence: u64,
}

impl Stamped {
    /// Writes the stamp over the front of `value`, which is at least `RECORD_BYTES_MIN` long.
    pub(crate) fn write(&self, value: &mut [u8]) {
        value[..8].copy_from_slice(&self.run.to_be_bytes());
        value[8..12].copy_from_slice(&self.producer.to_be_bytes());
        value[12..16].copy_from_slice(&self.partition.to_be_bytes());
        value[16..CRC_AT].copy_from_slice(&self.sequence.to_be_bytes());
        let crc = checksum(value);
        value[CRC_AT..STAMP_END].copy_from_slice(&crc.to_be_bytes());
    }

    /// Reads it back; `None` when the value is damaged or was never stamped.
    pub(crate) fn read(value: &[u8]) -> Option<Stamped> {
        if value.len() < RECORD_BYTES_MIN {
            return None;
        }
        let stated = u32::from_be_bytes(*value[CRC_AT..].first_chunk()?);
        (stated == checksum(value)).then_some(())?;
        Some(Stamped {
            run: u64::from_be_bytes(*value.first_chunk()?),
            producer: u32::from_be_bytes(*value[8..].first_chunk()?),
            partition: i32::from_be_bytes(*value[12..].first_chunk()?),
            sequence: u64::from_be_bytes(*value[16..].first_chunk()?),
        })
    }
}

fn checksum(value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&value[..CRC_AT]), &value[STAMP_END..])
}

/// What one producer says of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) producer: u32,
    pub(crate) partition: i32,
    /// Every sequence below was acknowledged.
    pub(crate) acked: u64,
    /// No sequence from here on was ever sent.
    pub(crate) sent: u64,
}

/// What was read of one (producer, partition).
#[derive(Debug, Clone, Default)]
struct Track {
    seen: Vec<u64>,
    /// The sequence after the highest seen.
    next: u64,
}

impl Track {
    fn has(&self, sequence: u64) -> bool {
        let (word, bit) = place(sequence);
        self.seen.get(word).is_some_and(|bits| bits & bit != 0)
    }
}

fn place(sequence: u64) -> (usize, u64) {
    let word = usize::try_from(sequence / 64).expect("below SEQUENCE_MAX");
    (word, 1 << (sequence % 64))
}

/// Everything that one reader has seen of one run.
#[derive(Debug)]
pub(crate) struct Ledger {
    run: u64,
    tracks: BTreeMap<(u32, i32), Track>,
    pub(crate) records: u64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupt: u64,
    /// Records of other runs, whole and right.
    pub(crate) foreign: u64,
}

impl Ledger {
    /// Has seen nothing yet of `run`.
    pub(crate) fn new(run: u64) -> Ledger {
        Ledger {
            run,
            tracks: BTreeMap::new(),
            records: 0,
            duplicates: 0,
            reordered: 0,
            corrupt: 0,
            foreign: 0,
        }
    }

    /// Enters one record, in the order of offsets.
    pub(crate) fn see(&mut self, partition: i32, value: Option<&[u8]>) {
        self.records += 1;
        let Some(stamped) = value.and_then(Stamped::read) else {
            self.corrupt += 1;
            return;
        };
        if stamped.run != self.run {
            self.foreign += 1;
            return;
        }
        // A record in another partition than its own is as wrong as a damaged one.
        if stamped.partition != partition || stamped.sequence >= SEQUENCE_MAX {
            self.corrupt += 1;
            return;
        }
        let track = self.tracks.entry((stamped.producer, partition)).or_default();
        if track.has(stamped.sequence) {
            self.duplicates += 1;
            return;
        }
        self.reordered += u64::from(stamped.sequence < track.next);
        track.next = track.next.max(stamped.sequence + 1);
        let (word, bit) = place(stamped.sequence);
        if track.seen.len() <= word {
            track.seen.resize(word + 1, 0);
        }
        track.seen[word] |= bit;
    }

    /// Enters something between records that cannot be read.
    pub(crate) fn see_damage(&mut self) {
        self.corrupt += 1;
    }

    /// Sequences that `earlier` has seen and this has not: they were shown and then taken back.
    pub(crate) fn vanished_since(&self, earlier: &Ledger) -> u64 {
        let missing = earlier.tracks.iter().map(|(key, track)| {
            let now = self.tracks.get(key);
            let bits = track.seen.iter().enumerate().map(|(word, bits)| {
                let kept = now.and_then(|now| now.seen.get(word)).copied().unwrap_or(0);
                u64::from((bits & !kept).count_ones())
            });
            bits.sum::<u64>()
        });
        missing.sum()
    }

    /// Acknowledged sequences that are not there, and sequences that are there without having been
    /// acknowledged, and sequences that nobody sent.
    pub(crate) fn settle(&self, claims: &[Claim]) -> Settled {
        let empty = Track::default();
        let mut settled = Settled { acked: 0, acked_lost: 0, unacked_present: 0, never_sent: 0 };
        for claim in claims {
            let track = self.tracks.get(&(claim.producer, claim.partition)).unwrap_or(&empty);
            let count =
                |from: u64, to: u64| (from..to).filter(|sequence| track.has(*sequence)).count();
            let present = u64::try_from(count(0, claim.acked)).expect("usize fits in 64 bits");
            settled.acked += claim.acked;
            settled.acked_lost += claim.acked - present;
            let unacked = count(claim.acked, claim.sent);
            settled.unacked_present += u64::try_from(unacked).expect("usize fits in 64 bits");
            settled.never_sent += u64::from(track.next > claim.sent);
        }
        settled
    }
}

/// The ledger against the claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) acked: u64,
    pub(crate) acked_lost: u64,
    pub(crate) unacked_present: u64,
    /// Pairs of producer and partition with a sequence that was never sent.
    pub(crate) never_sent: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(sequence: u64) -> Vec<u8> {
        let mut value = vec![7; 40];
        Stamped { run: 1, producer: 2, partition: 3, sequence }.write(&mut value);
        value
    }

    fn read(sequences: &[u64]) -> Ledger {
        let mut ledger = Ledger::new(1);
        for sequence in sequences {
            ledger.see(3, Some(&value(*sequence)));
        }
        ledger
    }

    fn claim(acked: u64, sent: u64) -> [Claim; 1] {
        [Claim { producer: 2, partition: 3, acked, sent }]
    }

    #[test]
    fn a_record_that_was_acknowledged_and_is_not_there_is_lost() {
        let settled = read(&[0, 1, 3]).settle(&claim(4, 4));
        assert_eq!((settled.acked, settled.acked_lost), (4, 1));
        assert_eq!(read(&[0, 1, 2, 3]).settle(&claim(4, 4)).acked_lost, 0);
        assert_eq!(Ledger::new(1).settle(&claim(4, 4)).acked_lost, 4);
    }

    #[test]
    fn a_record_that_was_not_acknowledged_may_be_there() {
        let settled = read(&[0, 1, 2]).settle(&claim(2, 5));
        assert_eq!((settled.acked_lost, settled.unacked_present, settled.never_sent), (0, 1, 0));
        assert_eq!(read(&[0, 1, 6]).settle(&claim(2, 5)).never_sent, 1);
    }

    #[test]
    fn what_is_sent_again_is_a_duplicate_and_not_reordered() {
        let ledger = read(&[0, 1, 2, 1, 2, 3]);
        assert_eq!((ledger.duplicates, ledger.reordered), (2, 0));
        let ledger = read(&[0, 2, 1]);
        assert_eq!((ledger.duplicates, ledger.reordered), (0, 1));
    }

    #[test]
    fn every_flipped_bit_of_a_value_is_corruption() {
        let good = value(9);
        for bit in 0..good.len() * 8 {
            let mut damaged = good.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let mut ledger = Ledger::new(1);
            ledger.see(3, Some(&damaged));
            assert_eq!((ledger.corrupt, ledger.foreign), (1, 0), "bit {bit}");
        }
        let mut ledger = Ledger::new(1);
        ledger.see(4, Some(&good));
        ledger.see(3, None);
        assert_eq!(ledger.corrupt, 2);
    }

    #[test]
    fn records_of_another_run_do_not_count() {
        let mut ledger = Ledger::new(99);
        ledger.see(3, Some(&value(0)));
        assert_eq!(
            (ledger.foreign, ledger.corrupt, ledger.settle(&claim(1, 1)).acked_lost),
            (1, 0, 1)
        );
    }

    #[test]
    fn what_was_shown_and_is_gone_has_vanished() {
        assert_eq!(read(&[0, 1, 70]).vanished_since(&read(&[0, 1, 2, 70, 140])), 2);
        assert_eq!(read(&[0, 1]).vanished_since(&read(&[1])), 0);
    }
}
