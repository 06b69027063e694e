//! One round of compaction, in steps that each do a bounded bite of work.

use crate::model::clock::Now;
use crate::model::ids::Offset;
use crate::model::limits::CLEANER_BITE_BYTES;
use crate::model::topic_config::TopicConfig;
use crate::protocol::compression::Compression;
use crate::protocol::record_batch::{BatchHeader, CheckedBatch};
use crate::storage::compaction::filter::{Filter, Kept, LastBatch, LastBatches, TransactionWalk};
use crate::storage::compaction::key_map::KeyMap;
use crate::storage::compaction::output::Output;
use crate::storage::compaction::segment_reader::SegmentReader;
use crate::storage::compaction::swap::{SwapPlan, cleaned_path};
use crate::storage::compaction::{Checkpoint, write_checkpoint};
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::partition_log::PartitionLog;
use crate::storage::segment::{RELATIVE_OFFSET_MAX, segment_path};
use crate::storage::transactions::AbortedTransaction;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// How much larger records are taken to be than the compressed batch they are in.
const COMPRESSED_COST: usize = 8;

/// What a step of a round came to.
pub enum Step<D: Disk> {
    /// Bytes read and written; there is more to do.
    Worked { bytes: u64 },
    /// A group is ready: carry the plan out, then go on.
    Swap(Box<SwapPlan<D>>),
    /// The round is complete and its checkpoint durable.
    Done(RoundDone),
}

/// A round that is complete.
#[derive(Debug, Clone, Copy)]
pub struct RoundDone {
    pub(super) clean_end: Offset,
    /// Bytes of the segments before and after.
    pub bytes_before: u64,
    pub bytes_after: u64,
}

/// A segment to be read.
struct Source {
    base_offset: Offset,
    end_offset: Offset,
    size: u64,
}

/// A group of sources being written into one segment.
struct Group<D: Disk> {
    sources: Range<usize>,
    /// The one being read.
    at: usize,
    output: Output<D>,
    /// Of the sources read so far.
    files: Vec<(Offset, D::File)>,
    /// Base offsets of markers that are left out, in rising order.
    markers_gone: Vec<Offset>,
    is_changed: bool,
}

enum Phase<D: Disk> {
    /// The map is being filled from the source of this number.
    Mapping(usize),
    /// Sources below this number are done.
    Between(usize),
    Writing(Box<Group<D>>),
}

/// One round over the closed segments of one log. Holds the key map; drop it to give up.
pub struct Round<D: Disk> {
    dir: PathBuf,
    config: Arc<TopicConfig>,
    sources: Vec<Source>,
    first_dirty: Offset,
    end: Offset,
    filter: Filter,
    phase: Phase<D>,
    reader: Option<SegmentReader<D>>,
    /// In the order of their markers, which lie in the sources or behind.
    aborted: Vec<AbortedTransaction>,
    /// Below this the log may have holes, by what is known and what the round may make.
    holes_end: Offset,
    is_checkpoint_written: bool,
    bytes_after: u64,
}

impl<D: Disk> Round<D> {
    /// A round over everything below `end`, which is where a segment ends.
    pub(super) fn new(
        log: &PartitionLog<D>,
        end: Offset,
        now: Now,
        key_map_bytes: usize,
    ) -> Round<D> {
        let closed = log.segments.iter().take_while(|segment| segment.end_offset <= end);
        let sources: Vec<Source> = closed
            .map(|segment| Source {
                base_offset: segment.base_offset,
                end_offset: segment.end_offset,
                size: segment.size,
            })
            .collect();
        let first_dirty = log.first_dirty();
        assert!(first_dirty < end);
        let aborted = log.transactions.aborted_between(log.log_start, end);
        let filter = Filter {
            keys: KeyMap::new(end.since(first_dirty), key_map_bytes),
            mapped_end: first_dirty,
            last_batches: last_batches(log),
            now_ms: now.wall_ms,
            delete_retention_ms: log.config.delete_retention_ms,
            transactions: TransactionWalk::new(&aborted),
        };
        let clean = sources.partition_point(|source| source.end_offset <= first_dirty);
        Round {
            dir: log.dir.clone(),
            config: Arc::clone(&log.config),
            sources,
            first_dirty,
            end,
            filter,
            phase: Phase::Mapping(clean),
            reader: None,
            aborted,
            holes_end: log.compaction.holes_end,
            is_checkpoint_written: false,
            bytes_after: 0,
        }
    }

    /// Does the next bite.
    ///
    /// # Errors
    /// The disk's, or damage: the round must be given up. The log is as it was, but for the swaps
    /// that were carried out.
    pub async fn step(&mut self, disk: &D) -> Result<Step<D>, StorageError> {
        match &mut self.phase {
            Phase::Mapping(index) => {
                let index = *index;
                self.map(disk, index).await
            }
            Phase::Between(index) => {
                let index = *index;
                self.begin_group(disk, index).await
            }
            Phase::Writing(_) => self.write(disk).await,
        }
    }

    /// Removes what a round that is given up has written of its next group.
    ///
    /// # Errors
    /// The disk's; a recovery removes the rest.
    pub async fn abandon(self, disk: &D) -> Result<(), StorageError> {
        let Phase::Writing(group) = &self.phase else { return Ok(()) };
        let base_offset = self.sources[group.sources.start].base_offset;
        for kind in ["index", "timeindex", "log"] {
            disk.remove(&cleaned_path(&self.dir, base_offset, kind)).await?;
        }
        Ok(())
    }

    async fn map(&mut self, disk: &D, index: usize) -> Result<Step<D>, StorageError> {
        let Some(source) = self.sources.get(index) else {
            self.filter.mapped_end = self.end;
            return Ok(self.end_mapping());
        };
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                let path = segment_path(&self.dir, source.base_offset, "log");
                let offsets = source.base_offset..source.end_offset;
                none.insert(SegmentReader::open(disk, path, source.size, offsets).await?)
            }
        };
        if reader.is_at_end() {
            self.reader = None;
            self.phase = Phase::Mapping(index + 1);
            return Ok(Step::Worked { bytes: 0 });
        }
        let bytes = reader.fill(disk).await?;
        let mut cost = 0;
        while cost < CLEANER_BITE_BYTES {
            let Some(batch) = reader.next()? else { break };
            cost += cost_of(batch.header());
            match map_batch(&mut self.filter, &batch, self.first_dirty) {
                Some(true) => {}
                Some(false) => return Ok(self.end_mapping()),
                None => return Err(reader.senseless("records are not readable")),
            }
        }
        Ok(Step::Worked { bytes })
    }

    fn end_mapping(&mut self) -> Step<D> {
        assert!(self.filter.mapped_end > self.first_dirty);
        self.reader = None;
        self.phase = Phase::Between(0);
        Step::Worked { bytes: 0 }
    }

    /// Sources from `start` on that fit into one segment; none when the rest is not mapped.
    fn next_group(&self, start: usize) -> Option<Range<usize>> {
        let first = self.sources.get(start)?;
        let mut size = 0;
        let fits = |source: &&Source| {
            size += source.size;
            source.base_offset < self.filter.mapped_end
                && (size <= u64::from(self.config.segment_bytes)
                    || source.base_offset == first.base_offset)
                && source.end_offset.since(first.base_offset) <= RELATIVE_OFFSET_MAX
        };
        let count = self.sources[start..].iter().take_while(fits).count();
        (count > 0).then_some(start..start + count)
    }

    async fn begin_group(&mut self, disk: &D, start: usize) -> Result<Step<D>, StorageError> {
        let clean_end = self.filter.mapped_end;
        let Some(sources) = self.next_group(start) else {
            self.write_checkpoint(disk, clean_end).await?;
            let bytes_before = self.sources[..start].iter().map(|source| source.size).sum();
            let bytes_after = self.bytes_after;
            return Ok(Step::Done(RoundDone { clean_end, bytes_before, bytes_after }));
        };
        if !self.is_checkpoint_written {
            self.write_checkpoint(disk, self.first_dirty).await?;
            self.is_checkpoint_written = true;
        }
        let base_offset = self.sources[sources.start].base_offset;
        let interval = self.config.index_interval_bytes;
        let output = Output::create(disk, &self.dir, base_offset, interval).await?;
        let is_changed = sources.len() > 1;
        let at = sources.start;
        let (files, markers_gone) = (Vec::new(), Vec::new());
        let group = Group { sources, at, output, files, markers_gone, is_changed };
        self.phase = Phase::Writing(Box::new(group));
        Ok(Step::Worked { bytes: 0 })
    }

    /// Says where holes may be before there are any.
    async fn write_checkpoint(&self, disk: &D, first_dirty: Offset) -> Result<(), StorageError> {
        let holes_end = self.holes_end.max(self.filter.mapped_end);
        let checkpoint = Checkpoint { first_dirty, holes_end };
        Ok(write_checkpoint(disk, &self.dir, checkpoint).await?)
    }

    async fn write(&mut self, disk: &D) -> Result<Step<D>, StorageError> {
        let Phase::Writing(group) = &mut self.phase else {
            unreachable!("called while a group is written")
        };
        if group.at == group.sources.end {
            return self.end_group(disk).await;
        }
        let source = &self.sources[group.at];
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                let path = segment_path(&self.dir, source.base_offset, "log");
                let offsets = source.base_offset..source.end_offset;
                none.insert(SegmentReader::open(disk, path, source.size, offsets).await?)
            }
        };
        if reader.is_at_end() {
            group.files.push((source.base_offset, reader.file().clone()));
            group.at += 1;
            self.reader = None;
            return Ok(Step::Worked { bytes: 0 });
        }
        let mut bytes = reader.fill(disk).await?;
        let mut cost = 0;
        while cost < CLEANER_BITE_BYTES {
            let Some(batch) = reader.next()? else { break };
            cost += cost_of(batch.header());
            let Ok(kept) = self.filter.apply(&batch) else {
                return Err(reader.senseless("records are not readable"));
            };
            group.is_changed |= kept != Kept::Whole;
            let kept = match kept {
                Kept::Whole => batch.into_bytes(),
                Kept::Rewritten(bytes) => bytes,
                Kept::Nothing => {
                    group.note_gone(batch.header());
                    continue;
                }
            };
            let header = *BatchHeader::read(&kept).expect("a whole batch");
            if !group.output.push(&header, kept) {
                return Err(reader.senseless("records compress to more than a segment holds"));
            }
        }
        bytes += group.output.flush_if_due(disk).await?;
        Ok(Step::Worked { bytes })
    }

    async fn end_group(&mut self, disk: &D) -> Result<Step<D>, StorageError> {
        let next = match &self.phase {
            Phase::Writing(group) => Phase::Between(group.sources.end),
            Phase::Mapping(_) | Phase::Between(_) => unreachable!("a group is being written"),
        };
        let Phase::Writing(group) = std::mem::replace(&mut self.phase, next) else {
            unreachable!("matched above")
        };
        let end = self.sources[group.sources.end - 1].end_offset;
        let written = group.output.finish(disk, end).await?;
        let segment = written.segment;
        self.bytes_after += segment.size;
        if !group.is_changed {
            for kind in ["index", "timeindex", "log"] {
                disk.remove(&cleaned_path(&self.dir, segment.base_offset, kind)).await?;
            }
            return Ok(Step::Worked { bytes: 0 });
        }
        let in_group = |one: &&AbortedTransaction| {
            let is_gone = group.markers_gone.binary_search(&one.marker).is_ok();
            one.marker >= segment.base_offset && one.marker < end && !is_gone
        };
        let aborted = self.aborted.iter().filter(in_group).copied().collect();
        let (dir, crc) = (self.dir.clone(), written.crc);
        let plan = SwapPlan { dir, group: group.files, segment, crc, aborted };
        Ok(Step::Swap(Box::new(plan)))
    }
}

impl<D: Disk> Group<D> {
    fn note_gone(&mut self, header: &BatchHeader) {
        let base_offset = Offset::from_wire(header.base_offset());
        if header.attributes().is_control() {
            self.markers_gone.extend(base_offset);
        }
    }
}

fn last_batches<D: Disk>(log: &PartitionLog<D>) -> LastBatches {
    let known = log.producers.last_batches();
    known.map(|(id, epoch, last_offset)| (id, LastBatch { epoch, last_offset })).collect()
}

fn cost_of(header: &BatchHeader) -> usize {
    match header.attributes().compression() {
        Ok(Compression::None) => header.size(),
        _ => header.size() * COMPRESSED_COST,
    }
}

/// Notes the keys of a batch. False when the map is full; `None` when the batch is unreadable.
fn map_batch(filter: &mut Filter, batch: &CheckedBatch, first_dirty: Offset) -> Option<bool> {
    let header = batch.header();
    let last_offset = Offset::from_wire(header.last_offset())?;
    if last_offset < first_dirty {
        return Some(true);
    }
    if !header.attributes().is_control() && !filter.transactions.is_aborted(header) {
        for record in batch.decode_records().ok()?.iter() {
            let record = record.ok()?;
            let offset = Offset::from_wire(record.offset)?;
            if offset < first_dirty {
                continue;
            }
            if let Some(key) = record.key
                && !filter.keys.put(key, offset)
            {
                filter.mapped_end = offset;
                return Some(false);
            }
        }
    }
    filter.mapped_end = last_offset.advance(1);
    Some(true)
}
