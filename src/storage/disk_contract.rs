//! What every `Disk` must do, as one list of checks that both drivers run over their own.
//!
//! Without it the simulator could promise what the kernel does not, and tests on it would prove
//! nothing about the product.
#![allow(clippy::unwrap_used, reason = "a check stops at the first surprise")]

use crate::storage::disk::{Disk, OpenMode};
use bytes::Bytes;
use std::path::Path;

/// Runs every check below `dir`, which must exist and be empty.
pub async fn check_disk<D: Disk>(disk: &D, dir: &Path) {
    open_modes_create_keep_and_refuse(disk, &dir.join("modes")).await;
    parts_land_one_behind_the_other(disk, &dir.join("parts")).await;
    reads_stop_at_the_end_of_the_file(disk, &dir.join("short")).await;
    large_writes_at_odd_positions_read_back(disk, &dir.join("large")).await;
    later_writes_win_where_writes_overlap(disk, &dir.join("overlap")).await;
    filled_files_are_zeros_of_the_asked_size(disk, &dir.join("zeros")).await;
    truncation_cuts_and_extends_with_zeros(disk, &dir.join("cut")).await;
    names_follow_rename_and_remove(disk, dir).await;
    assert!(disk.space().await.unwrap().free_bytes <= disk.space().await.unwrap().total_bytes);
}

/// `len` bytes that differ from place to place.
fn pattern(len: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    Bytes::from(bytes)
}

async fn open_modes_create_keep_and_refuse<D: Disk>(disk: &D, path: &Path) {
    let missing = disk.open(path, OpenMode::Read).await.err().expect("nothing is there yet");
    assert_eq!(missing.source.kind(), std::io::ErrorKind::NotFound);
    assert_eq!(missing.path, path);
    let file = disk.open(path, OpenMode::CreateNew).await.unwrap();
    disk.write_at(&file, 0, vec![pattern(10, 1)]).await.unwrap();
    let twice = disk.open(path, OpenMode::CreateNew).await.err().expect("it is there now");
    assert_eq!(twice.source.kind(), std::io::ErrorKind::AlreadyExists);
    let kept = disk.open(path, OpenMode::ReadWrite).await.unwrap();
    assert_eq!(disk.size(&kept).await.unwrap(), 10);
    let reader = disk.open(path, OpenMode::Read).await.unwrap();
    assert_eq!(disk.read_at(&reader, 0, 10).await.unwrap(), pattern(10, 1));
}

async fn parts_land_one_behind_the_other<D: Disk>(disk: &D, path: &Path) {
    let file = disk.open(path, OpenMode::ReadWrite).await.unwrap();
    // More parts than one vectored system call takes (1024), some of them empty.
    let parts: Vec<Bytes> = (0..1500).map(|index| pattern(index % 7, index as u64)).collect();
    let expected = parts.concat();
    disk.write_at(&file, 3, parts).await.unwrap();
    disk.sync(&file).await.unwrap();
    assert_eq!(disk.size(&file).await.unwrap(), 3 + expected.len() as u64);
    let read = disk.read_at(&file, 0, expected.len() + 3).await.unwrap();
    assert_eq!(&read[..3], &[0, 0, 0], "a gap reads as zeros");
    assert_eq!(&read[3..], &expected[..]);
    disk.write_at(&file, 0, Vec::new()).await.unwrap();
    assert_eq!(disk.size(&file).await.unwrap(), 3 + expected.len() as u64);
}

async fn reads_stop_at_the_end_of_the_file<D: Disk>(disk: &D, path: &Path) {
    let file = disk.open(path, OpenMode::ReadWrite).await.unwrap();
    assert!(disk.read_at(&file, 0, 100).await.unwrap().is_empty());
    disk.write_at(&file, 0, vec![pattern(5000, 2)]).await.unwrap();
    assert_eq!(disk.read_at(&file, 4990, 100).await.unwrap(), pattern(5000, 2).slice(4990..));
    assert!(disk.read_at(&file, 5000, 1).await.unwrap().is_empty());
    assert!(disk.read_at(&file, 1 << 40, 1).await.unwrap().is_empty());
    assert!(disk.read_at(&file, 0, 0).await.unwrap().is_empty());
}

async fn large_writes_at_odd_positions_read_back<D: Disk>(disk: &D, path: &Path) {
    let file = disk.open(path, OpenMode::ReadWrite).await.unwrap();
    let mut expected = Vec::new();
    for (index, len) in [100, 3_000_001, 1, 4096, 65_536, 70_000, 262_144, 8191].iter().enumerate()
    {
        let bytes = pattern(*len, index as u64);
        let middle = len / 3;
        let parts = vec![bytes.slice(..middle), bytes.slice(middle..)];
        disk.write_at(&file, expected.len() as u64, parts).await.unwrap();
        expected.extend_from_slice(&bytes);
        if index % 3 == 1 {
            disk.sync(&file).await.unwrap();
        }
        assert_eq!(disk.size(&file).await.unwrap(), expected.len() as u64);
    }
    let again = disk.open(path, OpenMode::Read).await.unwrap();
    let read = disk.read_at(&again, 0, expected.len()).await.unwrap();
    assert!(read[..] == expected[..], "what was written in pieces reads back whole");
    assert_eq!(disk.read_at(&again, 99, 70_000).await.unwrap()[..], expected[99..70_099]);
}

async fn later_writes_win_where_writes_overlap<D: Disk>(disk: &D, path: &Path) {
    let file = disk.open(path, OpenMode::ReadWrite).await.unwrap();
    let mut expected = pattern(400_000, 1).to_vec();
    disk.write_at(&file, 0, vec![Bytes::from(expected.clone())]).await.unwrap();
    for (seed, (position, len)) in
        [(5, 10), (4000, 200_000), (100_003, 90_000), (0, 65_536), (65_530, 12)].iter().enumerate()
    {
        let bytes = pattern(*len, 100 + seed as u64);
        disk.write_at(&file, *position as u64, vec![bytes.clone()]).await.unwrap();
        expected[*position..*position + *len].copy_from_slice(&bytes);
        let read = disk.read_at(&file, 0, expected.len()).await.unwrap();
        assert!(read[..] == expected[..], "write {seed} at {position} of {len} bytes");
    }
}

async fn filled_files_are_zeros_of_the_asked_size<D: Disk>(disk: &D, path: &Path) {
    let file = disk.open(path, OpenMode::ReadWrite).await.unwrap();
    disk.write_at(&file, 0, vec![pattern(300_000, 9)]).await.unwrap();
    disk.fill_zeros(&file, 200_001).await.unwrap();
    assert_eq!(disk.size(&file).await.unwrap(), 200_001);
    let read = disk.read_at(&file, 0, 200_001).await.unwrap();
    assert!(read.len() == 200_001 && read.iter().all(|byte| *byte == 0));
    disk.write_at(&file, 1000, vec![pattern(100_000, 4)]).await.unwrap();
    assert_eq!(disk.size(&file).await.unwrap(), 200_001, "in place");
    assert_eq!(disk.read_at(&file, 1000, 100_000).await.unwrap(), pattern(100_000, 4));
}

async fn truncation_cuts_and_extends_with_zeros<D: Disk>(disk: &D, path: &Path) {
    let file = disk.open(path, OpenMode::ReadWrite).await.unwrap();
    disk.write_at(&file, 0, vec![pattern(100_000, 3)]).await.unwrap();
    disk.truncate(&file, 70_001).await.unwrap();
    assert_eq!(disk.size(&file).await.unwrap(), 70_001);
    disk.truncate(&file, 70_010).await.unwrap();
    let read = disk.read_at(&file, 0, 100_000).await.unwrap();
    assert_eq!(&read[..70_001], &pattern(100_000, 3)[..70_001]);
    assert_eq!(&read[70_001..], &[0; 9]);
}

async fn names_follow_rename_and_remove<D: Disk>(disk: &D, dir: &Path) {
    assert!(disk.list(&dir.join("nowhere")).await.unwrap().is_empty());
    let deep = dir.join("a").join("b");
    disk.create_dir(&deep).await.unwrap();
    disk.create_dir(&deep).await.unwrap();
    let file = disk.open(&deep.join("x.tmp"), OpenMode::CreateNew).await.unwrap();
    disk.write_at(&file, 0, vec![pattern(77, 5)]).await.unwrap();
    disk.sync(&file).await.unwrap();
    disk.rename(&deep.join("x.tmp"), &deep.join("x")).await.unwrap();
    disk.sync_dir(&deep).await.unwrap();
    disk.write_at(&file, 77, vec![pattern(3, 6)]).await.unwrap();
    let mut names = disk.list(&deep).await.unwrap();
    names.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(names.len(), 1);
    assert_eq!((names[0].name.as_str(), names[0].is_dir, names[0].size), ("x", false, 80));
    assert!(disk.list(dir).await.unwrap().iter().any(|entry| entry.name == "a" && entry.is_dir));
    disk.remove(&deep.join("x")).await.unwrap();
    disk.remove(&deep.join("x")).await.unwrap();
    assert!(disk.open(&deep.join("x"), OpenMode::Read).await.is_err());
    disk.create_dir(&deep.join("c")).await.unwrap();
    disk.remove(&dir.join("a")).await.unwrap();
    assert!(disk.list(&dir.join("a")).await.unwrap().is_empty());
}
