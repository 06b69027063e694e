//! Where a read goes on when compaction has left nothing between its offset and the segment's end.

use super::{FileRead, PartitionLog, SegmentFile};
use crate::model::ids::Offset;
use crate::storage::disk::Disk;
use crate::storage::segment::Segment;
use bytes::Bytes;

/// The next batches behind a segment.
pub(super) enum Following<D: Disk> {
    Segment(SegmentFile<D>),
    /// No file has them yet.
    Memory(Vec<Bytes>),
}

impl<D: Disk> PartitionLog<D> {
    /// The next segment that has a batch, or its batches where they are in memory only.
    pub(super) fn plan_following(&self, segment: &Segment<D>, plan: &mut FileRead<D>) {
        let Some(next) = self.following(segment) else { return };
        let following = if next.written > 0 {
            Following::Segment(self.segment_file(next))
        } else {
            let (max_bytes, is_forced) = (plan.max_bytes, plan.at_least_one_batch);
            let up_to = plan.up_to.min(next.end_offset);
            let parts = self.read_memory(next.base_offset, max_bytes, up_to, is_forced);
            Following::Memory(parts)
        };
        plan.following = Some(Box::new(following));
    }

    /// The first segment behind one that has a batch.
    fn following(&self, segment: &Segment<D>) -> Option<&Segment<D>> {
        let after = self.segments.partition_point(|next| next.base_offset <= segment.base_offset);
        self.segments.range(after..).find(|next| !next.is_empty())
    }

    /// No read of files that begins at `offset` goes beyond: the end of the segment that holds it,
    /// or, where compaction may have taken the rest of that, of the next one with a batch.
    pub fn read_end(&self, offset: Offset) -> Offset {
        let segment = self.segment_of(offset);
        match self.following(segment) {
            Some(next) if self.may_have_holes() => next.end_offset,
            _ => segment.end_offset,
        }
    }
}
