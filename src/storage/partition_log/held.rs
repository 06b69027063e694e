//! What of a log a journal file must still hold.
//!
//! A file is given back once nobody needs its copy. Where an acknowledgement may have promised that
//! records survive a power cut, that is when the segments are synced and the recovery point says
//! so. In a topic of Kafka's durability (`highwater.durability=kernel`) the kernel's memory is all
//! that was promised, and the segment files are as good a place in it as the journal: producers
//! never wait for a sync there.

use super::PartitionLog;
use crate::model::ids::Offset;
use crate::model::topic_config::Durability;
use crate::storage::disk::Disk;
use crate::storage::journal::Held;

impl<D: Disk> PartitionLog<D> {
    /// True when the segments have what a journal file holds as safely as it was promised.
    pub fn has_in_segments(&self, held: Held) -> bool {
        held.end <= if self.is_written_enough(held) { self.drained_end } else { self.synced_end }
    }

    /// True when a start after a crash needs nothing of what a journal file holds.
    pub fn is_free_of(&self, held: Held) -> bool {
        if self.is_written_enough(held) {
            return held.end <= self.drained_end;
        }
        // The recovery point of a cut lies below what is synced, and the cut's own entry may wait
        // for the file.
        let is_point_low = self.is_being_cut() && held.cut.is_none();
        let pointed_end = self.durable_point.recovery_offset.min(self.synced_end);
        held.end <= if is_point_low { self.synced_end } else { pointed_end }
    }

    /// True when a journal file waits for a sync of the segments: for its own sake, or because a
    /// shorter log must come to rest before its cut entry is renewed.
    pub fn is_sync_awaited_by(&self, held: Held) -> bool {
        let is_unsafe = !self.is_written_enough(held) && self.synced_end < held.end;
        is_unsafe || self.log_end() < held.end
    }

    /// True when nobody was promised more of the log than that the kernel has it. A cut entry keeps
    /// older entries from coming back until the segments are synced to where the log had ended.
    fn is_written_enough(&self, held: Held) -> bool {
        let is_kernel = self.config.durability == Durability::Kernel;
        let is_promised = self.durable_end > self.synced_end;
        is_kernel && !is_promised && held.cut.is_none() && !self.is_being_cut()
    }

    /// The journal has nothing of this log below `end` any more: what is synced there later does
    /// not follow on what is durable.
    pub fn on_journal_released(&mut self, end: Offset) {
        assert!(end <= self.drained_end);
        while let Some(run) = self.runs.front_mut().filter(|run| run.start < end) {
            if run.end > end {
                run.start = end;
                break;
            }
            self.runs.pop_front();
        }
    }

    /// True when acknowledgements will wait for a sync of what lies in segments already: the
    /// topic's durability was raised.
    pub fn is_sync_owed(&self) -> bool {
        self.config.durability == Durability::Flush && self.durable_end < self.drained_end
    }
}
