//! Taking back the end of a log, where its leader has other records (KIP-101).
//!
//! Rare, and at no hot place, so the steps are few and each is safe to die in:
//! 0. What stays and will be read again is looked at (`plan_look`). A bit that has rotted there
//!    would be taken for a torn tail, and the replica would lose what lies behind it while it may
//!    be elected: that is damage, which costs membership before the cut (`shard/damage.rs`).
//! 1. Everything is drained and synced, and nothing of the log is under way.
//! 2. A cut entry is written to the journal and synced: from here on no replay brings back what
//!    earlier entries have above it.
//! 3. The recovery point moves below the cut and is made durable: nothing above it was promised.
//! 4. The files are cut as a recovery cuts a torn tail, and what was read that way is the log from
//!    here on.
//!
//! A crash before the end leaves a log that has lost nothing below the cut, and any part of what
//! lay above it: the follower finds that out anew when it opens.
//!
//! Invariants
//! - The journal file with the newest cut entry is given back only when the segments are synced to
//!   where the log had ended before: until then an older file, given back or not, may hold entries
//!   that only this one keeps from coming back.

use super::PartitionLog;
use super::read::FileRead;
use crate::model::clock::Now;
use crate::model::ids::{LeaderEpoch, Offset};
use crate::storage::checkpoint::RecoveryPoint;
use crate::storage::disk::Disk;
use crate::storage::epoch_cache::EPOCH_FILE;
use crate::storage::error::StorageError;
use crate::storage::journal::JournalEntry;
use crate::storage::recovery::{OpenLog, RecoveryReport};
use crate::storage::retention::remove_segment;
use crate::storage::segment::{parse_name, segment_path};

/// Bytes that are looked at in one read, before a cut.
const LOOK_BYTES: usize = 1024 * 1024;

/// What of a log shall be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Everything from this offset on, and the whole batch that holds it.
    From(Offset),
    /// All of it; the log begins anew, empty, at this offset.
    Anew(Offset),
}

/// Where a log stands with its cut entry.
#[derive(Debug, Default)]
pub(super) struct CutState {
    /// The entry to journal next: where it cuts, and where the log ended before.
    wanted: Option<(Offset, Offset)>,
    /// True while a journal write that has the entry is being made.
    is_planned: bool,
    /// The cut under way, and the recovery point that goes with it.
    under_way: Option<(Cut, RecoveryPoint)>,
}

/// The order to cut a log's files and to open it again.
pub struct CutPlan {
    cut: Cut,
    open: OpenLog,
}

impl CutPlan {
    /// Cuts; what comes back takes the place of the log that this was planned for.
    ///
    /// # Errors
    /// The disk's. It must be tried again, or the log directory go offline.
    pub async fn execute<D: Disk>(
        &self,
        disk: &D,
    ) -> Result<(PartitionLog<D>, RecoveryReport), StorageError> {
        match self.cut {
            Cut::From(to) => PartitionLog::open_cut(disk, self.open.clone(), Some(to)).await,
            Cut::Anew(_) => {
                let mut bases = Vec::new();
                for entry in disk.list(&self.open.dir).await? {
                    match parse_name(&entry.name) {
                        Some((base, "log")) => bases.push(base),
                        Some((offset, "snapshot")) => {
                            let path = segment_path(&self.open.dir, offset, "snapshot");
                            disk.remove(&path).await?;
                        }
                        _ => {}
                    }
                }
                // The last ones first: what a crash leaves is no log with a hole.
                bases.sort_unstable();
                for base in bases.into_iter().rev() {
                    remove_segment(disk, &self.open.dir, base).await?;
                    disk.sync_dir(&self.open.dir).await?;
                }
                disk.remove(&self.open.dir.join(EPOCH_FILE)).await?;
                disk.sync_dir(&self.open.dir).await?;
                PartitionLog::open(disk, self.open.clone()).await
            }
        }
    }
}

impl<D: Disk> PartitionLog<D> {
    /// True when everything is synced in segments and nothing of the log is under way, so that a
    /// cut may begin.
    pub fn is_at_rest(&self) -> bool {
        !self.is_draining
            && !self.is_syncing
            && !self.is_compacting()
            && self.synced_end == self.log_end()
    }

    /// The next read of what a cut leaves and will read again, `from` where the one before ended;
    /// `None` when there is no more of it. The log is at rest.
    pub fn plan_look(&self, cut: Cut, from: Option<Offset>) -> Option<FileRead<D>> {
        assert!(!self.is_being_cut());
        let Cut::From(to) = cut else { return None };
        let to = to.min(self.log_end());
        let from = from.unwrap_or_else(|| {
            // Producers are read again from further back.
            let point = self.point_below(to);
            point.recovery_offset.min(point.producers_from).max(self.log_start)
        });
        (from < to).then(|| self.plan_file_read(from, LOOK_BYTES, to, true))
    }

    /// Begins a cut. From here on the log takes no batches, its recovery point lies below the cut,
    /// and its next journal entry is the cut's.
    pub fn begin_cut(&mut self, cut: Cut) {
        assert!(self.is_at_rest());
        assert!(self.cut.under_way.is_none());
        let point = match cut {
            Cut::From(to) => self.point_below(to),
            Cut::Anew(at) => RecoveryPoint {
                recovery_offset: at,
                log_start: at,
                producers_from: at,
                has_snapshot: false,
                high_watermark: at,
                cuts: self.cuts + 1,
            },
        };
        let from = match cut {
            Cut::From(to) => to.min(self.log_end()),
            Cut::Anew(_) => Offset::ZERO,
        };
        self.cut.wanted = Some((from, self.log_end()));
        self.cut.under_way = Some((cut, point));
    }

    /// True while the next journal write should take an entry of this log, whether it has pending
    /// batches or not.
    pub fn wants_cut_entry(&self) -> bool {
        self.cut.wanted.is_some()
    }

    /// Has the journal take another cut entry, because the file of the last one is wanted back
    /// while the log is still shorter than it was: `end` is what that file waits for. False when
    /// the log must come to rest before, or is no longer shorter.
    pub fn renew_cut_entry(&mut self, end: Offset) -> bool {
        let is_free = self.is_at_rest() && self.cut.wanted.is_none() && !self.is_being_cut();
        if is_free && end > self.log_end() {
            self.cut.wanted = Some((self.log_end(), end));
            return true;
        }
        false
    }

    /// True from `begin_cut` on, until the log is another or the cut is given up.
    pub fn is_being_cut(&self) -> bool {
        self.cut.under_way.is_some()
    }

    /// Gives a cut up that has not touched the files; nothing happens where there is none. The cut
    /// entry may be in the journal: it takes nothing back that is in segments.
    pub fn abandon_cut(&mut self) {
        self.cut = CutState::default();
    }

    /// The files are cut by what this gives, once the journal has the cut entry and the recovery
    /// point is durable. `None` when something of the log is under way again: a clean stop.
    pub fn plan_cut(&self, now: Now) -> Option<CutPlan> {
        let (cut, point) = self.cut.under_way?;
        if self.cut.wanted.is_some() || !self.is_at_rest() {
            return None;
        }
        let (dir, partition) = (self.dir.clone(), self.partition);
        let config = std::sync::Arc::clone(&self.config);
        Some(CutPlan { cut, open: OpenLog { dir, partition, config, point, now } })
    }

    /// How often the log was cut; what was planned before a cut does not fit the log after it.
    pub fn cuts(&self) -> u32 {
        self.cuts
    }

    /// Begins an epoch at the log end: the broker leads from here on (KIP-101).
    pub fn begin_epoch(&mut self, epoch: LeaderEpoch) {
        let end = self.log_end();
        self.is_epoch_file_due |= self.epochs.assign(epoch, end);
    }

    /// Forgets an epoch under which nothing was written here: what another leader has at the log
    /// end may be of an earlier one. To be said before following.
    pub fn forget_empty_epoch(&mut self) {
        let end = self.log_end();
        self.is_epoch_file_due |= self.epochs.truncate_from(end);
    }

    /// Epoch of the last record; `None` for a log without any.
    pub fn last_epoch(&self) -> Option<LeaderEpoch> {
        let last = self.log_end().get().checked_sub(1).map(Offset::new)?;
        (self.log_start() < self.log_end()).then(|| self.epochs.epoch_at(last))?
    }

    /// The cut's recovery point, while there is one.
    pub(super) fn cut_point(&self) -> Option<RecoveryPoint> {
        self.cut.under_way.map(|(_, point)| point)
    }

    /// The cut entry, for a journal write being made.
    pub(super) fn cut_entry(&mut self) -> Option<JournalEntry> {
        let (from, end) = self.cut.wanted?;
        self.cut.is_planned = true;
        let epoch = self.epochs.latest().unwrap_or_default();
        Some(JournalEntry::cut(self.partition, epoch, from, end))
    }

    /// A journal write is complete, which may have had the cut entry.
    pub(super) fn note_cut_journaled(&mut self) {
        if std::mem::take(&mut self.cut.is_planned) {
            self.cut.wanted = None;
        }
    }

    /// A recovery point for the log as it is below `to`: at the end of a batch, or at the base of a
    /// segment, and with a state of the producers from before.
    fn point_below(&self, to: Offset) -> RecoveryPoint {
        let to = to.min(self.log_end()).max(self.log_start);
        let segment = self.segment_of(to);
        let boundary = segment.index.as_ref().and_then(|index| {
            let relative = u32::try_from(to.since(segment.base_offset)).ok()?.checked_sub(1)?;
            let entry = index.lookup(relative)?;
            Some(segment.base_offset.advance(u64::from(entry.relative) + 1))
        });
        let recovery_offset = boundary.unwrap_or(segment.base_offset).min(to);
        let (producers_from, has_snapshot) = self.snapshots.start_below(recovery_offset);
        RecoveryPoint {
            recovery_offset,
            log_start: self.log_start,
            producers_from,
            has_snapshot,
            high_watermark: self.committed.min(to),
            cuts: self.cuts + 1,
        }
    }
}
