//! Batches that a leader has stamped: where they go, and what stands for offsets that its
//! compaction has taken.
//!
//! Why holes are filled: a start takes any hole that this log's own compaction did not make for
//! something that a crash took, and cuts there. An empty batch says that nothing is missing.

use super::PartitionLog;
use crate::model::clock::Now;
use crate::model::ids::{LeaderEpoch, Offset};
use crate::protocol::record;
use crate::protocol::record_batch::{BatchHeader, CheckedBatch};
use crate::storage::append_check::{AppendError, AppendOrigin};
use crate::storage::disk::Disk;
use crate::storage::tail_cache::StoredBytes;

/// Offsets that one empty batch stands for at most.
const FILLER_OFFSETS_MAX: u64 = 1 << 30;
/// Offsets that may be missing before a batch: more is a mistake, not compaction.
const HOLE_OFFSETS_MAX: u64 = 64 * FILLER_OFFSETS_MAX;

impl<D: Disk> PartitionLog<D> {
    /// The offset that a batch gets, or has from its leader.
    pub(super) fn base_for(
        &self,
        batch: &CheckedBatch,
        origin: AppendOrigin,
    ) -> Result<Offset, AppendError> {
        let log_end = self.log_end();
        if origin != AppendOrigin::Replication {
            return Ok(log_end);
        }
        let header = batch.header();
        let base_offset = header.base_offset();
        let epoch = header.leader_epoch();
        if self.epochs.latest().is_some_and(|latest| epoch < latest.0) {
            return Err(AppendError::EpochFalls { epoch, latest: self.epochs.latest() });
        }
        match Offset::from_wire(base_offset) {
            Some(base) if base >= log_end && base.since(log_end) <= HOLE_OFFSETS_MAX => Ok(base),
            _ => Err(AppendError::OffsetMismatch { base_offset, log_end }),
        }
    }

    /// Puts empty batches from the log end up to where a leader's batch begins, in its epoch.
    pub(super) fn fill_hole(&mut self, base: Offset, batch: &CheckedBatch, now: Now) {
        while self.log_end() < base {
            let from = self.log_end();
            let offsets = base.since(from).min(FILLER_OFFSETS_MAX);
            let epoch = LeaderEpoch(batch.header().leader_epoch());
            let bytes = record::without_records(from, offsets, epoch).expect("a header is small");
            let header = *BatchHeader::read(&bytes).expect("just made");
            self.note_epoch(&header, from);
            self.push(&header, from, StoredBytes::whole(bytes), now);
        }
    }
}
