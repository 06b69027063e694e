//! What a log says that it has and does not give back.
//!
//! Damage is found when a log is opened (`storage/recovery.rs`), and when somebody reads what no
//! opening has looked at: a consumer, a follower's feeder, compaction.
//!
//! Why what a reader finds is kept in memory only: it is found again, by the next one who reads
//! there. A file that says so would have to be safe before anything else happens, and what counts
//! is safe elsewhere: the controller has taken the replica out of the in-sync set, and a new
//! process of the broker is out of it anyway. What a restart may forget is that the replica needs
//! to be mended; then it is as it was before anybody had read.

use super::PartitionLog;
use crate::model::ids::Offset;
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::segment::parse_name;
use std::path::PathBuf;

/// Offsets whose batches are on disk no longer as they were written, as an opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub first: Offset,
    /// Offset behind the last one.
    pub end: Offset,
    pub file: PathBuf,
    /// Where in the file it begins, in bytes.
    pub position: u64,
    /// Where in the file intact batches go on, in bytes.
    pub end_position: u64,
}

/// Segments in which a reader found damage: it is somewhere between these offsets. Reads are tried
/// all the same, as most of what they hold may be intact.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rot {
    first: Offset,
    end: Offset,
}

impl<D: Disk> PartitionLog<D> {
    /// Ranges that were found damaged at the opening; reads of them are refused, everything else is
    /// served.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Takes over what an opening before this one has found, since when nothing was cut.
    pub fn remember_damage(&mut self, found: Vec<Damage>) {
        for damage in found {
            let is_known = self.damage.iter().any(|known| known.first == damage.first);
            if !is_known && damage.end > self.log_start {
                self.damage.push(damage);
            }
        }
        self.damage.sort_unstable_by_key(|damage| damage.first);
    }

    /// True when another replica should take this one's place, as far as there is one.
    pub fn is_damaged(&self) -> bool {
        self.damaged_from().is_some()
    }

    /// From where on the log is to be fetched anew from a replica that is not damaged.
    pub fn damaged_from(&self) -> Option<Offset> {
        let rot = self.rot.filter(|rot| rot.end > self.log_start).map(|rot| rot.first);
        let first = self.damage.iter().map(|damage| damage.first).chain(rot).min()?;
        Some(first.max(self.log_start))
    }

    /// A read that was planned when the log had been cut `cuts` times has failed. True when that
    /// is damage, and the first that is known of.
    pub fn note_damage(&mut self, cuts: u32, error: &StorageError) -> bool {
        let Some(file) = error.damaged_file() else { return false };
        // What a cut takes away under a reader is not damaged.
        if cuts != self.cuts || self.is_being_cut() || !file.starts_with(&self.dir) {
            return false;
        }
        let name = file.file_name().and_then(|name| name.to_str());
        let base = name.and_then(parse_name).map(|(base, _)| base);
        let segment = self.segments.iter().find(|segment| Some(segment.base_offset) == base);
        let Some(segment) = segment else { return false };
        let first = match error {
            StorageError::Corrupt { .. } => segment.base_offset,
            // No part of the file can be relied upon, not even to be looked at by a cut.
            StorageError::Senseless { .. } | StorageError::Disk(_) => self.log_start,
        };
        let found = Rot { first, end: segment.end_offset.max(first.advance(1)) };
        let was_damaged = self.is_damaged();
        self.rot = Some(self.rot.map_or(found, |known| Rot {
            first: known.first.min(found.first),
            end: known.end.max(found.end),
        }));
        !was_damaged && self.is_damaged()
    }
}
