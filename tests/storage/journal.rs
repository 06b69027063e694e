//! What the journal gives back after it was cut off, damaged, cleared or used again.

use bytes::Bytes;
use highwater::model::ids::{LeaderEpoch, Offset, PartitionId, TopicPartition};
use highwater::sim::disk::SimDisk;
use highwater::sim::executor::SimExecutor;
use highwater::sim::random::Random;
use highwater::storage::disk::Disk;
use highwater::storage::journal::{
    ENTRY_HEADER_BYTES, Held, JOURNAL_BLOCK_BYTES, Journal, JournalEntry, JournalSizes,
};
use std::path::{Path, PathBuf};

const DIR: &str = "/journal";
const SIZES: JournalSizes = JournalSizes { file_bytes: 32 * 1024, files_max: 3 };

struct Bench {
    executor: SimExecutor,
    disk: SimDisk,
    journal: Journal<SimDisk>,
}

fn entry(partition: i32, base: u64, size: usize) -> JournalEntry {
    let fill = u8::try_from(base % 251).unwrap();
    JournalEntry {
        partition: TopicPartition {
            partition: PartitionId(partition),
            ..TopicPartition::default()
        },
        leader_epoch: LeaderEpoch(4),
        base_offset: Offset::new(base),
        end_offset: Offset::new(base + 2),
        parts: vec![Bytes::from(vec![fill; size])],
    }
}

fn open(executor: &mut SimExecutor, disk: &SimDisk) -> (Journal<SimDisk>, Vec<JournalEntry>) {
    let disk = disk.clone();
    let opened = async move { Journal::open_sized(&disk, Path::new(DIR), SIZES).await };
    executor.run_until(opened).unwrap()
}

impl Bench {
    fn new() -> Bench {
        let mut executor = SimExecutor::new(1);
        let disk = SimDisk::new(executor.handle());
        let (journal, entries) = open(&mut executor, &disk);
        assert!(entries.is_empty());
        let mut bench = Bench { executor, disk, journal };
        bench.clear();
        bench
    }

    fn clear(&mut self) {
        let (write, disk) = (self.journal.clear(), self.disk.clone());
        self.executor.run_until(async move {
            disk.write_at(&write.file, write.position, write.parts).await.unwrap();
            disk.sync(&write.file).await.unwrap();
        });
    }

    fn write(&mut self, entries: Vec<JournalEntry>) -> bool {
        let Some(write) = self.journal.reserve(entries) else { return false };
        let disk = self.disk.clone();
        self.executor.run_until(async move {
            disk.write_at(&write.file, write.position, write.parts).await.unwrap();
        });
        true
    }

    fn replayed(&mut self) -> Vec<JournalEntry> {
        open(&mut self.executor, &self.disk).1
    }

    /// What the oldest full file waits for.
    fn oldest_end(&self) -> Offset {
        let oldest = self.journal.oldest().expect("more than one file holds entries");
        assert_eq!(oldest.len(), 1);
        oldest.values().next().unwrap().end
    }

    /// The oldest file with entries.
    fn file(&self) -> PathBuf {
        let generation = |path: &PathBuf| {
            let content = self.disk.content(path).unwrap();
            let is_begun = content.starts_with(b"HWJFILE1");
            is_begun.then(|| u64::from_le_bytes(*content[16..].first_chunk().unwrap()))
        };
        let begun = self.disk.paths().into_iter().filter(|path| generation(path).is_some());
        begun.min_by_key(generation).unwrap()
    }
}

#[test]
fn entries_come_back_in_order_with_all_they_were_given() {
    let mut bench = Bench::new();
    let writes = [vec![entry(0, 0, 100), entry(1, 0, 5000)], vec![entry(0, 2, 4032)]];
    for write in &writes {
        assert!(bench.write(write.clone()));
    }
    assert_eq!(bench.replayed(), writes.concat());
}

#[test]
fn one_damaged_byte_ends_the_replay_before_its_entry() {
    let entries = [entry(0, 0, 70), entry(1, 0, 33), entry(0, 2, 90)];
    let sizes: Vec<usize> = entries.iter().map(|e| ENTRY_HEADER_BYTES + e.size()).collect();
    let mut bench = Bench::new();
    assert!(bench.write(entries[..2].to_vec()));
    assert!(bench.write(entries[2..].to_vec()));
    let path = bench.file();
    let content = bench.disk.content(&path).unwrap();
    let first = JOURNAL_BLOCK_BYTES;
    let starts = [first, first + sizes[0], 2 * JOURNAL_BLOCK_BYTES];
    for (index, start) in starts.iter().enumerate() {
        for byte in *start..start + sizes[index] {
            let mut damaged = content.clone();
            damaged[byte] ^= 0x10;
            bench.disk.put(&path, damaged);
            assert_eq!(bench.replayed(), entries[..index], "byte {byte}");
        }
    }
    bench.disk.put(&path, content);
    assert_eq!(bench.replayed(), entries);
}

#[test]
fn what_lies_behind_a_torn_entry_of_its_file_never_counts() {
    let mut bench = Bench::new();
    for base in 0..20 {
        assert!(bench.write(vec![entry(0, base * 2, 3000)]));
        if bench.journal.is_crowded() {
            break;
        }
    }
    let whole = bench.replayed();
    let second_write = 2 * JOURNAL_BLOCK_BYTES + 100;
    bench.disk.flip(&bench.file(), second_write, 0);
    assert!(whole.len() > 6, "entries lie in two files");
    let last = whole.len() - 1;
    assert!(bench.replayed() == [&whole[..1], &whole[last..]].concat());
}

#[test]
fn a_file_caught_on_its_way_into_its_next_use_hides_nothing_behind_it() {
    let mut bench = Bench::new();
    let mut base = 0;
    while bench.write(vec![entry(0, base, 6000)]) {
        base += 2;
    }
    let end = bench.oldest_end();
    let files = bench.journal.releasable(|_, held| held.end <= end);
    bench.journal.release(&files);
    let (path, before) = (bench.file(), bench.disk.content(&bench.file()).unwrap());
    let behind: Vec<JournalEntry> =
        bench.replayed().into_iter().filter(|entry| entry.base_offset >= end).collect();
    assert!(behind.len() > 2);
    // The power goes during the first write of the next use: of its sectors only the second block
    // comes to the disk, the new header does not.
    assert!(bench.write(vec![entry(0, base, 6000)]));
    let after = bench.disk.content(&path).unwrap();
    let mut torn = before;
    let second = JOURNAL_BLOCK_BYTES..2 * JOURNAL_BLOCK_BYTES;
    torn[second.clone()].copy_from_slice(&after[second]);
    bench.disk.put(&path, torn);
    assert_eq!(bench.replayed(), behind);
}

#[test]
fn a_cleared_journal_gives_nothing_back_and_old_bytes_stay_dead() {
    let mut bench = Bench::new();
    assert!(bench.write((0..5).map(|base| entry(0, base * 2, 600)).collect()));
    let (journal, entries) = open(&mut bench.executor, &bench.disk);
    assert_eq!(entries.len(), 5);
    bench.journal = journal;
    bench.clear();
    assert_eq!(bench.replayed(), []);
    let (journal, _) = open(&mut bench.executor, &bench.disk);
    bench.journal = journal;
    bench.clear();
    let new = entry(0, 90, 600);
    assert!(bench.write(vec![new.clone()]));
    assert_eq!(bench.replayed(), [new]);
}

#[test]
fn a_full_journal_has_room_again_once_its_oldest_file_is_released() {
    let mut bench = Bench::new();
    let mut base = 0;
    while bench.write(vec![entry(0, base, 6000)]) {
        base += 2;
    }
    assert!(bench.journal.is_crowded());
    let end = bench.oldest_end();
    assert!(bench.journal.releasable(|_, held| held.end < end).is_empty());
    let files = bench.journal.releasable(|_, held| held.end <= end);
    assert_eq!(files.len(), 1);
    let all = bench.journal.releasable(|_, _| true);
    assert_eq!(all.len(), 1, "the last file is being written");
    let held = bench.journal.release(&files);
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].values().collect::<Vec<_>>(), [&Held { end, cut: None }]);
    assert!(bench.write(vec![entry(0, base, 6000)]));
    let replayed = bench.replayed();
    assert_eq!(replayed[0].base_offset, end);
    assert_eq!(replayed.last().unwrap().base_offset, Offset::new(base));
}

#[test]
fn a_released_file_that_no_sync_covered_takes_nothing_with_it_in_a_power_cut() {
    for seed in 0..50 {
        let mut bench = Bench::new();
        let disk = bench.disk.clone();
        bench.executor.run_until(async move { disk.sync_dir(Path::new("/")).await.unwrap() });
        let mut base = 0;
        while !bench.journal.is_crowded() {
            assert!(bench.write(vec![entry(0, base, 6000)]));
            base += 2;
        }
        // The segments have it all; nobody waits for a sync of the first file.
        let files = bench.journal.releasable(|_, held| held.end <= Offset::new(base));
        assert_eq!(files.len(), 1);
        bench.journal.release(&files);
        let promised = entry(1, 0, 600);
        assert!(bench.write(vec![promised.clone()]));
        let (files, disk) = (bench.journal.unsynced_files(), bench.disk.clone());
        bench.executor.run_until(async move {
            for file in &files {
                disk.sync(file).await.unwrap();
            }
        });
        bench.disk.crash(&mut Random::new(seed));
        assert_eq!(bench.replayed().last(), Some(&promised), "seed {seed}");
    }
}
