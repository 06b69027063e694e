//! One partition's log: what is in memory, in the journal and in segment files, and which of it is
//! safe.
//!
//! The durability contract
//! ```text
//!   log start          segment-synced end     drained end        written end        log end
//!   |------ segments, synced ---|-- in segments, --|-- in the journal, --|-- in memory --|
//!                                  not synced         maybe synced
//! ```
//! - Appended: in memory, lost with the process. `log_end`.
//! - Written: handed to the kernel, in the journal or a segment; survives `kill -9`. `written_end`.
//! - Durable: on stable storage; survives a power cut. `durable_end` is the segment-synced end, or
//!   the end of a synced journal run that is contiguous with it. A journal entry behind segment
//!   bytes that no sync has covered is not durable, because recovery would find a hole before it.
//!
//! Nothing here does I/O: `plan_*` says what is to be done, the plan's `execute` does it without
//! the log, and the log is told when that is complete. A failed write leaves the plan to be made
//! again, at the same positions with the same bytes; after a failed sync nothing may be.
//!
//! Invariants
//! - segment-synced end <= drained end <= written end <= log end, and
//!   segment-synced end <= durable end <= written end. None of them ever moves back.
//! - Everything from the drained end on is in the tail.
//! - The last segment is the active one; every other one is closed and full to its end offset, but
//!   for the holes that compaction leaves.

use crate::model::clock::Now;
use crate::model::ids::{LeaderEpoch, Offset, TopicPartition};
use crate::model::topic_config::TopicConfig;
use crate::protocol::record_batch::{BatchHeader, CheckedBatch};
use crate::storage::append_check::{self, AppendContext, AppendError};
use crate::storage::checkpoint::RecoveryPoint;
use crate::storage::compaction::CompactionState;
use crate::storage::disk::Disk;
use crate::storage::epoch_cache::EpochCache;
use crate::storage::journal::JournalEntry;
use crate::storage::producer_state::ProducerState;
use crate::storage::segment::{Segment, SegmentBatch, index_timestamp};
use crate::storage::tail_cache::{StoredBytes, Tail, TailArena, TailBatch};
use crate::storage::transactions::Transactions;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

mod cut;
mod damage;
mod drain;
mod held;
mod producers;
mod read;
mod replicated;
mod timestamps;

pub use crate::storage::recovery::{OpenLog, RecoveryReport};
pub use cut::{Cut, CutPlan};
pub use damage::Damage;
pub use drain::{DrainDone, DrainPlan, SyncDone, SyncPlan};
pub(super) use drain::{write_aborts, write_snapshot};
pub use read::{FileRead, ReadPlan};
pub use timestamps::{FoundTimestamp, TimestampLookup, TimestampSearch};

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// -1 unless the topic stamps append time.
    pub log_append_time_ms: i64,
    /// True when the batch was stored before; the offsets are those of that time.
    pub is_duplicate: bool,
}

/// Offsets journaled in one piece.
#[derive(Debug, Clone, Copy)]
struct JournalRun {
    start: Offset,
    end: Offset,
}

/// The log of one partition. One per partition, on the core that owns it.
pub struct PartitionLog<D: Disk> {
    pub(super) dir: PathBuf,
    pub(super) partition: TopicPartition,
    pub(super) config: Arc<TopicConfig>,
    /// Oldest first; never empty.
    pub(super) segments: VecDeque<Segment<D>>,
    pub(super) tail: Tail,
    pub(super) log_start: Offset,
    pub(super) drained_end: Offset,
    pub(super) synced_end: Offset,
    written_end: Offset,
    durable_end: Offset,
    /// Journal runs that matter still, oldest first; nearly always none or one.
    runs: VecDeque<JournalRun>,
    /// Where the entry begins that was last given to the journal.
    journal_start: Offset,
    journal_synced_end: Offset,
    pub(super) epochs: EpochCache,
    pub(super) is_epoch_file_due: bool,
    pub(super) producers: ProducerState,
    pub(super) transactions: Transactions,
    pub(super) snapshots: drain::Snapshots,
    /// The recovery point that a crash would find.
    pub(super) durable_point: RecoveryPoint,
    pub(super) damage: Vec<Damage>,
    rot: Option<damage::Rot>,
    unsynced_bytes: u64,
    is_draining: bool,
    is_syncing: bool,
    pub(super) hints: read::ReadHints<D>,
    pub(super) opened_at: Now,
    pub(super) deletions: super::retention::Deletions,
    pub(super) compaction: CompactionState,
    /// The high watermark, as far as it was told.
    committed: Offset,
    /// How often the log was cut.
    cuts: u32,
    cut: cut::CutState,
}

impl<D: Disk> PartitionLog<D> {
    /// A log without segments, ending at `log_start`. Recovery fills it.
    pub(super) fn empty(open: &OpenLog, log_start: Offset) -> PartitionLog<D> {
        PartitionLog {
            dir: open.dir.clone(),
            partition: open.partition,
            config: Arc::clone(&open.config),
            segments: VecDeque::from([Segment::new(log_start)]),
            tail: Tail::default(),
            log_start,
            drained_end: log_start,
            synced_end: log_start,
            written_end: log_start,
            durable_end: log_start,
            runs: VecDeque::new(),
            journal_start: log_start,
            journal_synced_end: Offset::ZERO,
            epochs: EpochCache::default(),
            is_epoch_file_due: false,
            producers: ProducerState::default(),
            transactions: Transactions::default(),
            snapshots: drain::Snapshots::default(),
            durable_point: open.point,
            damage: Vec::new(),
            rot: None,
            unsynced_bytes: 0,
            is_draining: false,
            is_syncing: false,
            hints: read::ReadHints::default(),
            opened_at: open.now,
            deletions: super::retention::Deletions::default(),
            compaction: CompactionState::default(),
            committed: open.point.high_watermark,
            cuts: open.point.cuts,
            cut: cut::CutState::default(),
        }
    }

    /// Declares everything in the segments as drained, synced and safe: the end of a recovery.
    pub(super) fn settle(&mut self) {
        let end = self.log_end();
        assert!(self.tail.start().is_none());
        for segment in &self.segments {
            segment.checked.found(segment.written);
        }
        self.drained_end = end;
        self.synced_end = end;
        self.written_end = end;
        self.durable_end = end;
        self.journal_start = end;
        self.check_invariants();
    }

    /// Appends a batch in memory: assigns offsets, rolls the segment when due, indexes.
    ///
    /// Nothing is safe yet. A duplicate changes nothing and answers the offsets of the first time.
    /// Allocates only when a tail, an index or a chunk of the arena grows.
    ///
    /// # Errors
    /// The batch breaks a rule of the topic or of its producer; the log is unchanged.
    pub fn append(
        &mut self,
        batch: CheckedBatch,
        context: AppendContext,
        arena: &mut TailArena,
    ) -> Result<Appended, AppendError> {
        assert!(self.cut_point().is_none(), "nothing is appended while a log is being cut");
        let batch = append_check::check(batch, &self.config, &context)?;
        if let Some(stored) = self.check_producer(&batch, context.origin)? {
            return Ok(stored);
        }
        self.reach_log_start();
        let base_offset = self.base_for(&batch, context.origin)?;
        self.fill_hole(base_offset, &batch, context.now);
        let (header, stamped_ms) = append_check::stamp(&batch, base_offset, &self.config, &context);
        let bytes = arena.store(&header, &batch.payload());
        let last_offset = self.push(&header, base_offset, bytes, context.now);
        self.note_in_state(&header, &batch, context.now.wall_ms);
        self.tail.trim(self.drained_end, arena);
        self.check_invariants();
        Ok(Appended {
            base_offset,
            last_offset,
            log_append_time_ms: stamped_ms.unwrap_or(-1),
            is_duplicate: false,
        })
    }

    /// Offsets below a durable log start are never given out again, whatever a crash took.
    fn reach_log_start(&mut self) {
        if self.log_end() >= self.log_start {
            return;
        }
        assert!(self.synced_end == self.log_end());
        self.tail.drop_below(self.drained_end, self.log_start);
        self.segments.push_back(Segment::new(self.log_start));
        self.settle();
    }

    /// Takes a stamped batch that the journal gave back; it must begin at the log end.
    pub(super) fn append_replayed(&mut self, batch: &CheckedBatch, now: Now) {
        let header = *batch.header();
        let base_offset = Offset::from_wire(header.base_offset()).expect("checked by the replay");
        assert!(base_offset >= self.log_end());
        let bytes = StoredBytes::whole(batch.bytes().clone());
        self.push(&header, base_offset, bytes, now);
        self.note_in_state(&header, batch, now.wall_ms);
    }

    /// Puts a stamped batch behind the last one; returns its last offset.
    fn push(
        &mut self,
        header: &BatchHeader,
        base_offset: Offset,
        bytes: StoredBytes,
        now: Now,
    ) -> Offset {
        assert!(header.base_offset() == base_offset.to_wire());
        assert!(header.size() == bytes.size());
        let offsets = u64::from(header.last_offset_delta().unsigned_abs());
        let last_offset = base_offset.advance(offsets);
        let batch = SegmentBatch {
            base_offset,
            last_offset,
            size: bytes.size() as u64,
            max_timestamp_ms: index_timestamp(header),
            now_ms: now.wall_ms,
        };
        if self.active().should_roll(&batch, &self.config) {
            self.roll();
        }
        let index_interval_bytes = self.config.index_interval_bytes;
        let segment = self.active_mut();
        let position = segment.size;
        segment.push(&batch, index_interval_bytes);
        self.tail.push(TailBatch {
            base_offset,
            end_offset: last_offset.advance(1),
            position,
            appended_before: self.tail.appended_bytes(),
            max_timestamp_ms: header.max_timestamp(),
            bytes,
        });
        assert!(self.log_end() == last_offset.advance(1));
        last_offset
    }

    /// Closes the active segment, if it has anything, and begins another.
    pub(super) fn roll(&mut self) {
        if self.active().is_empty() {
            return;
        }
        let end = self.log_end();
        self.active_mut().close();
        self.segments.push_back(Segment::new(end));
    }

    /// Closes the active segment when it is older than `segment.ms`.
    pub fn roll_if_old(&mut self, now: Now) {
        if self.active().is_expired(now.wall_ms, &self.config) {
            self.roll();
        }
    }

    /// Forgets producers that were silent too long.
    pub fn expire_producers(&mut self, now: Now, expiration_ms: i64) {
        self.producers.expire(now.wall_ms, expiration_ms);
    }

    pub(super) fn active(&self) -> &Segment<D> {
        self.segments.back().expect("a log has a segment")
    }

    pub(super) fn active_mut(&mut self) -> &mut Segment<D> {
        self.segments.back_mut().expect("a log has a segment")
    }

    /// The partition this is the log of.
    pub fn partition(&self) -> TopicPartition {
        self.partition
    }

    pub fn config(&self) -> &TopicConfig {
        &self.config
    }

    /// Works with another configuration from now on.
    pub fn set_config(&mut self, config: Arc<TopicConfig>) {
        self.config = config;
    }

    /// First readable offset.
    pub fn log_start(&self) -> Offset {
        // Right after a crash the records below a durable log start may be gone with their tail.
        self.log_start.min(self.log_end())
    }

    /// Offset of the next record.
    pub fn log_end(&self) -> Offset {
        self.active().end_offset
    }

    /// Everything below survives the death of the process.
    pub fn written_end(&self) -> Offset {
        self.written_end
    }

    /// Everything below survives a power cut.
    pub fn durable_end(&self) -> Offset {
        self.durable_end
    }

    /// Everything below is synced in segments.
    pub fn segment_synced_end(&self) -> Offset {
        self.synced_end
    }

    /// End of what the segment files have, synced or not.
    pub fn drained_end(&self) -> Offset {
        self.drained_end
    }

    /// Bytes appended that nothing has written anywhere.
    pub fn pending_bytes(&self) -> usize {
        self.appended_since(self.written_end)
    }

    /// Bytes appended since the log was opened; the difference around an append is its size.
    pub fn appended_bytes(&self) -> u64 {
        self.tail.appended_bytes()
    }

    /// Bytes appended that are not in segment files.
    pub fn undrained_bytes(&self) -> usize {
        self.appended_since(self.drained_end)
    }

    /// True while a sync of the segment files is under way.
    pub fn is_syncing(&self) -> bool {
        self.is_syncing
    }

    /// Bytes in segment files that no sync covers.
    pub fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes
    }

    fn appended_since(&self, offset: Offset) -> usize {
        let bytes = self.tail.appended_bytes() - self.tail.appended_before(offset);
        usize::try_from(bytes).expect("held in memory")
    }

    /// Bytes of the log, whether written or not (`DescribeLogDirs`).
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// Segments, the active one included.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Epoch of the record at `offset`, where the log knows it.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.epochs.epoch_at(offset)
    }

    /// Largest epoch at or below `epoch` and the offset where it ends (OffsetForLeaderEpoch).
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.epochs.end_offset(epoch, self.log_end())
    }

    /// Producers whose sequences are known.
    pub fn producers(&self) -> &ProducerState {
        &self.producers
    }

    /// Where a recovery may begin, by what is synced now.
    pub fn recovery_point(&self) -> RecoveryPoint {
        if let Some(point) = self.cut_point() {
            return point;
        }
        let (producers_from, has_snapshot) = self.snapshots.start(self.synced_end);
        RecoveryPoint {
            recovery_offset: self.synced_end,
            log_start: self.log_start,
            producers_from,
            has_snapshot,
            high_watermark: self.committed.min(self.synced_end),
            cuts: self.cuts,
        }
    }

    /// What is known to be committed: as the recovery point had it, or as it was told since.
    pub fn high_watermark(&self) -> Offset {
        self.committed.min(self.log_end()).max(self.log_start())
    }

    /// The recovery point was written and synced: files that only older ones need may go. The
    /// caller writes recovery points one after the other, each taken after the last was written.
    pub fn on_recovery_point_durable(&mut self, point: RecoveryPoint) {
        let is_of_cut = point.cuts != self.cuts;
        assert!(is_of_cut || point.log_start <= self.log_start);
        assert!(is_of_cut || point.recovery_offset <= self.synced_end);
        let is_later = point.recovery_offset >= self.durable_point.recovery_offset;
        assert!(point.cuts != self.durable_point.cuts || is_later);
        self.durable_point = point;
    }

    /// Adds everything that nothing has written yet to a journal write being made, as one entry.
    /// May be called again when the write does not come about.
    pub fn pending_journal(&mut self, entries: &mut Vec<JournalEntry>) {
        entries.extend(self.cut_entry());
        let base_offset = self.written_end;
        if base_offset == self.log_end() {
            return;
        }
        let mut parts = Vec::new();
        for batch in self.tail.from(base_offset) {
            parts.push(batch.bytes.head.clone());
            if !batch.bytes.rest.is_empty() {
                parts.push(batch.bytes.rest.clone());
            }
        }
        self.journal_start = base_offset;
        entries.push(JournalEntry {
            partition: self.partition,
            leader_epoch: self.epochs.latest().unwrap_or_default(),
            base_offset,
            end_offset: self.log_end(),
            parts,
        });
    }

    /// The journal write with the last pending entry, up to `end`, is complete: its bytes are in
    /// the kernel. Returns how many pending bytes that settled.
    pub fn on_journaled(&mut self, end: Offset) -> usize {
        assert!(end <= self.log_end());
        assert!(end >= self.journal_start);
        self.note_cut_journaled();
        let before = self.pending_bytes();
        match self.runs.back_mut() {
            Some(last) if last.end >= self.journal_start => last.end = last.end.max(end),
            _ => self.runs.push_back(JournalRun { start: self.journal_start, end }),
        }
        self.written_end = self.written_end.max(end);
        self.check_invariants();
        before - self.pending_bytes()
    }

    /// A sync of the journal that began after the write up to `end` is complete.
    pub fn on_journal_synced(&mut self, end: Offset) {
        assert!(end <= self.written_end);
        self.journal_synced_end = self.journal_synced_end.max(end);
        self.advance_durable();
    }

    fn advance_durable(&mut self) {
        let mut durable = self.durable_end.max(self.synced_end);
        for run in &self.runs {
            let run_end = run.end.min(self.journal_synced_end);
            if run.start <= durable && run_end > durable {
                durable = run_end;
            }
        }
        assert!(durable >= self.durable_end);
        self.durable_end = durable;
        while self.runs.front().is_some_and(|run| run.end <= self.synced_end) {
            self.runs.pop_front();
        }
        self.check_invariants();
    }

    /// Drops from memory what this shard has no room for; call now and then for idle partitions.
    pub fn trim_tail(&mut self, arena: &TailArena) {
        self.tail.trim(self.drained_end, arena);
    }

    fn check_invariants(&self) {
        assert!(self.synced_end <= self.drained_end);
        assert!(self.drained_end <= self.written_end);
        assert!(self.written_end <= self.log_end());
        assert!(self.synced_end <= self.durable_end);
        assert!(self.durable_end <= self.written_end);
    }
}
