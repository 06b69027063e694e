//! The files of a broker that are harmed from outside: segments, and where their batches are.

use std::fs::{self, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use highwater::protocol::record_batch::BatchHeader;

/// Every file below a folder with its size in bytes, by name.
pub fn files_below(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => found.extend(files_below(&path)),
            Ok(metadata) => found.push((path, metadata.len())),
            Err(_) => {}
        }
    }
    found.sort();
    found
}

/// Every segment below a folder that holds something; those of a partition oldest first.
pub fn segments_below(folder: &Path) -> Vec<PathBuf> {
    let is_segment =
        |(path, size): &(PathBuf, u64)| *size > 0 && path.extension().is_some_and(|is| is == "log");
    files_below(folder).into_iter().filter(is_segment).map(|(path, _)| path).collect()
}

/// Where in a segment its batches are, in bytes.
pub fn batches_in(segment: &Path) -> Vec<Range<usize>> {
    let content = fs::read(segment).expect("the file is ours");
    let mut batches = Vec::new();
    let mut position = 0;
    while let Ok(header) = BatchHeader::read(&content[position..]) {
        let end = position + header.size();
        if end > content.len() {
            break;
        }
        batches.push(position..end);
        position = end;
    }
    batches
}

/// Flips one bit, 0 to 7, of the byte at `position`.
pub fn flip_bit(path: &Path, position: usize, bit: u32) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the file is ours");
    let position = u64::try_from(position).expect("usize fits u64");
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).expect("a position in the file");
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, position).expect("a position in the file");
}
