//! What is done to the files of a broker that does not run.
//!
//! Records that other replicas have are lost or damaged on this one. So it is done while every
//! replica is in sync, to one broker, and nothing else happens before the wound has healed.

use crate::faults::Operation;
use harness::{Random, batches_in, files_below, flip_bit, segments_below};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

/// Bytes of a batch that no checksum covers and nothing else tells: its leader epoch.
const UNCHECKED: std::ops::Range<usize> = 12..16;
/// Where in a batch everything is checked in a compacted log, too, where offsets may be missing.
const CHECKED_FROM: usize = 16;
/// Of a journal, see `src/storage/journal.rs`.
const JOURNAL_BLOCK: usize = 4096;
const ENTRY_MAGIC: &[u8] = b"HWJE";
const ENTRY_HEADER: usize = 64;

/// What was done.
pub(crate) struct Wound {
    pub(crate) told: String,
    /// A segment that does not hold what it held. Nobody may know before it is read.
    pub(crate) segment: Option<PathBuf>,
}

/// Does it to a file of a data directory; `None` when there is none of that kind yet. Offsets may
/// be missing in what `is_compacted` takes.
pub(crate) fn operate(
    data: &Path,
    operation: Operation,
    chance: u64,
    is_compacted: impl Fn(&Path) -> bool,
) -> Option<Wound> {
    let random = &mut Random::new(chance);
    let topics = data.join("topics");
    match operation {
        Operation::LoseIndex => lose_index(&topics, random),
        Operation::ShortenSegment => shorten_segment(&topics, random),
        Operation::ShortenJournal => shorten_journal(&data.join("journal"), random),
        Operation::FlipBit => flip_in_segment(&topics, random, is_compacted),
    }
}

fn choose<T>(mut all: Vec<T>, random: &mut Random) -> Option<T> {
    (!all.is_empty()).then(|| all.swap_remove(random.index(all.len())))
}

fn lose_index(topics: &Path, random: &mut Random) -> Option<Wound> {
    let mut files = files_below(topics);
    files.retain(|(path, size)| path.extension().is_some_and(|is| is == "index") && *size > 0);
    let (path, size) = choose(files, random)?;
    fs::remove_file(&path).expect("the file is ours");
    let told = format!("{} of {size} bytes is gone", path.display());
    Some(Wound { told, segment: None })
}

fn shorten(path: &Path, size: u64) -> String {
    let file = OpenOptions::new().write(true).open(path).expect("the file is ours");
    let before = file.metadata().expect("the file is ours").len();
    file.set_len(size).expect("the file is ours");
    format!("{} of {before} bytes has {size}", path.display())
}

fn shorten_segment(topics: &Path, random: &mut Random) -> Option<Wound> {
    let path = choose(segments_below(topics), random)?;
    let size = fs::metadata(&path).expect("the file is ours").len();
    let told = shorten(&path, random.below(size));
    Some(Wound { told, segment: Some(path) })
}

fn flip_in_segment(
    topics: &Path,
    random: &mut Random,
    is_compacted: impl Fn(&Path) -> bool,
) -> Option<Wound> {
    let path = choose(segments_below(topics), random)?;
    // What is written last may be no more than a torn tail.
    let mut batches = batches_in(&path);
    batches.truncate(batches.len().div_ceil(2));
    let batch = choose(batches, random)?;
    let from = if is_compacted(&path) { CHECKED_FROM } else { 0 };
    let places = (from..batch.len()).filter(|place| !UNCHECKED.contains(place)).collect();
    let place = choose(places, random)?;
    let bit = u32::try_from(random.below(8)).expect("below 8");
    flip_bit(&path, batch.start + place, bit);
    let (path_told, start) = (path.display(), batch.start);
    let told = format!("{path_told}: bit {bit} of byte {place} of the batch at {start} is flipped");
    Some(Wound { told, segment: Some(path) })
}

/// The number at `at`, little-endian.
fn number(content: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*content.get(at..)?.first_chunk()?))
}

/// Where a journal file's entries end. Old ones of another use may follow.
fn entries_end(content: &[u8]) -> Option<usize> {
    let generation = number(content, 16)?;
    let entry_end = |at: usize| {
        let is_it = content.get(at..)?.starts_with(ENTRY_MAGIC)
            && number(content, at + 8) == Some(generation);
        let size = content.get(at + 56..)?.first_chunk().filter(|_| is_it)?;
        at.checked_add(ENTRY_HEADER + usize::try_from(u32::from_le_bytes(*size)).ok()?)
    };
    let mut end = JOURNAL_BLOCK;
    let next =
        |end: usize| entry_end(end).or_else(|| entry_end(end.next_multiple_of(JOURNAL_BLOCK)));
    while let Some(behind) = next(end) {
        end = behind;
    }
    (end > JOURNAL_BLOCK && end <= content.len()).then_some(end)
}

fn shorten_journal(journals: &Path, random: &mut Random) -> Option<Wound> {
    let generation = |(path, _): &(PathBuf, u64)| {
        let content = fs::read(path).expect("the file is ours");
        number(&content, 16).unwrap_or_default()
    };
    let mut files = files_below(journals);
    files.retain(|(path, _)| path.extension().is_some_and(|is| is == "journal"));
    let (path, _) = files.into_iter().max_by_key(generation)?;
    let end = entries_end(&fs::read(&path).expect("the file is ours"))?;
    let size = JOURNAL_BLOCK + random.index(end - JOURNAL_BLOCK);
    let told = shorten(&path, u64::try_from(size).expect("usize fits u64"));
    Some(Wound { told: format!("{told}, and entries to {end}"), segment: None })
}
