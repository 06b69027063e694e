//! Finding the way behind damage.
//!
//! Nothing in a batch says whose it is: an intact one behind damage may be of another log, which a
//! disk has written to a wrong place. It would be shown to readers, and worse, its leader epoch
//! and its producers would be believed. So batches behind damage count only if something else knows
//! them by their place and offsets: the batch before them, whose header may be intact where its
//! records are not, the index file, or the end of the segment.

use super::{Offset, OffsetEntry, READ_BYTES, Rc, Scan};
use crate::protocol::record_batch::{BATCH_HEADER_SIZE, BatchHeader};
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::index::decode_offsets;
use crate::storage::recovery::{Bytes, Recovery, read_all, segment_path};

/// Intact batches behind damage, each right behind the other.
struct Run {
    start: u64,
    first: Offset,
    /// Where they end in the file.
    end: u64,
    /// Whether something else than the batches knows that they belong here.
    is_known: bool,
}

impl<D: Disk> Recovery<'_, D> {
    /// Entries of a segment's index file; none if it is missing or senseless.
    pub(super) async fn index_entries(
        &self,
        base: Offset,
    ) -> Result<Rc<[OffsetEntry]>, StorageError> {
        let path = segment_path(&self.open.dir, base, "index");
        let names = self.disk.list(&self.open.dir).await?;
        if !names.iter().any(|name| path.file_name().is_some_and(|file| file == &*name.name)) {
            return Ok(Rc::default());
        }
        let bytes = read_all(self.disk, &path).await?;
        Ok(decode_offsets(&bytes).unwrap_or_default().into())
    }

    /// Looks for batches of this log behind damage that begins at the position, where `expected`
    /// should be. Moves the position there and returns the first one's base offset.
    pub(super) async fn find_behind(
        &mut self,
        scan: &mut Scan<D>,
        expected: Offset,
    ) -> Result<Option<Offset>, StorageError> {
        if let Some((position, next)) = self.behind_header(scan, expected).await? {
            scan.position = position;
            return Ok(Some(next));
        }
        let mut position = scan.position + 1;
        while let Some(run) = self.next_run(scan, position, expected).await? {
            assert!(run.first > expected);
            if run.is_known {
                scan.position = run.start;
                return Ok(Some(run.first));
            }
            assert!(run.end > position);
            position = run.end;
        }
        Ok(None)
    }

    /// Where the damaged batch ends by its own header, and the next offset, if what is there fits.
    async fn behind_header(
        &mut self,
        scan: &Scan<D>,
        expected: Offset,
    ) -> Result<Option<(u64, Offset)>, StorageError> {
        let head = self.disk.read_at(&scan.file, scan.position, BATCH_HEADER_SIZE).await?;
        let Ok(header) = BatchHeader::read(&head) else { return Ok(None) };
        let Some(last) = Offset::from_wire(header.last_offset()) else { return Ok(None) };
        if header.base_offset() != expected.to_wire() || last < expected {
            return Ok(None);
        }
        let (position, next) = (scan.position + header.size() as u64, last.advance(1));
        if position > scan.size {
            return Ok(None);
        }
        let is_end = position == scan.size && self.may_end_segment(scan, next);
        let is_it = is_end || {
            let mut behind = scan.at(position, Some(next));
            let batch = self.next_batch(&mut behind).await?;
            batch.is_some_and(|batch| batch.header().base_offset() == next.to_wire())
        };
        Ok(is_it.then_some((position, next)))
    }

    /// Whether a segment may end with the batch before `next`, as far as is known.
    fn may_end_segment(&self, scan: &Scan<D>, next: Offset) -> bool {
        match scan.next {
            Some(end) => next == end || (next < end && self.may_end_hole(end)),
            None => next >= self.trusted,
        }
    }

    /// The next run of intact batches from a position on, found byte by byte.
    async fn next_run(
        &mut self,
        scan: &Scan<D>,
        mut position: u64,
        expected: Offset,
    ) -> Result<Option<Run>, StorageError> {
        while position + BATCH_HEADER_SIZE as u64 <= scan.size {
            let window = self.disk.read_at(&scan.file, position, READ_BYTES).await?;
            if window.len() < BATCH_HEADER_SIZE {
                return Ok(None);
            }
            let starts = window.len() - BATCH_HEADER_SIZE + 1;
            for at in 0..starts {
                let Ok(header) = BatchHeader::read(&window[at..]) else { continue };
                let here = position + at as u64;
                let is_possible = header.base_offset() > expected.to_wire()
                    && here + header.size() as u64 <= scan.size;
                if is_possible && let Some(run) = self.run_from(scan.at(here, None)).await? {
                    return Ok(Some(run));
                }
            }
            position += starts as u64;
        }
        Ok(None)
    }

    /// The run of batches that begins at a scan's position, if there is any.
    async fn run_from(&mut self, mut scan: Scan<D>) -> Result<Option<Run>, StorageError> {
        let (start, mut begin) = (scan.position, None);
        let mut is_known = false;
        while let Some(batch) = self.next_batch(&mut scan).await? {
            let first = Offset::from_wire(batch.header().base_offset());
            let last = Offset::from_wire(batch.header().last_offset());
            let (first, last) = first.zip(last).expect("checked by follows");
            begin.get_or_insert(first);
            is_known |= scan.is_indexed(last);
            scan.position += batch.bytes().len() as u64;
            scan.expected = Some(last.advance(1));
        }
        Ok(begin.zip(scan.expected).map(|(first, next)| {
            let is_here = scan.next.is_some() || first <= self.trusted;
            let is_end = scan.position == scan.size && self.may_end_segment(&scan, next);
            Run { start, first, end: scan.position, is_known: is_known || (is_end && is_here) }
        }))
    }
}

impl<D: Disk> Scan<D> {
    /// The same file elsewhere.
    fn at(&self, position: u64, expected: Option<Offset>) -> Scan<D> {
        assert!(position <= self.size);
        Scan {
            file: self.file.clone(),
            base: self.base,
            size: self.size,
            next: self.next,
            position,
            expected,
            buffer: Bytes::new(),
            index: Rc::clone(&self.index),
        }
    }

    /// Whether the index file has the batch at the position, which ends with `last`.
    fn is_indexed(&self, last: Offset) -> bool {
        let found = self.index.binary_search_by_key(&self.position, |it| u64::from(it.position));
        let relative = last.since(self.base);
        found.is_ok_and(|found| u64::from(self.index[found].relative) == relative)
    }
}
