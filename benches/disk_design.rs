//! The disk figures behind docs/decisions/001: what one durable commit costs, and why a journal.
//!
//! Each table alternates its rows round by round on the same disk, so a slow minute hits all rows
//! alike. Times are per operation as named in the row; p99 needs more than a few hundred samples to
//! mean something, so the sample count stands beside it.
//!
//! `cargo bench --bench disk_design -- [--dir DIR] [--quick] [table letters]`, for example
//! `-- --dir /data ab`. DIR must lie on the disk in question, not on tmpfs (default: target/tmp).
//!
//! A good figure on a 2-core VM, ext4 on virtio: a commit of 1000 partitions x 4 KiB through the
//! journal below 5 ms at p50; a 4 KiB commit below 0.3 ms.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const BLOCK: usize = 4 * KIB;
/// Big enough that recycling does not meet its own write-back, small enough to stay in memory.
const JOURNAL_BYTES: usize = 128 * MIB;
/// A growing file starts anew here: rarely enough to stay out of the medians.
const SEGMENT_BYTES: usize = 512 * MIB;
/// Commits issued per row before the next row has its turn.
const OPERATIONS_PER_ROUND: usize = 20;
const SYNC_THREADS: usize = 16;

/// A letter for the command line, and what it measures.
type Table = (char, fn(&Bench) -> io::Result<()>);

fn main() -> io::Result<()> {
    let options = Options::parse();
    std::fs::create_dir_all(&options.directory)?;
    let directory = options.directory.join(format!("disk-design-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    println!("directory {}, {} rounds", directory.display(), options.rounds);
    let bench = Bench { directory: directory.clone(), rounds: options.rounds };
    let tables: [Table; 7] = [
        ('a', group_commit),
        ('b', one_commit),
        ('c', large_appends),
        ('e', extending),
        ('k', kernel_durability),
        ('t', throughput),
        ('d', warm_reads),
    ];
    let outcome = tables
        .iter()
        .filter(|(letter, _)| options.wants(*letter))
        .try_for_each(|(_, table)| table(&bench));
    std::fs::remove_dir_all(&directory)?;
    outcome
}

struct Options {
    directory: PathBuf,
    rounds: usize,
    letters: String,
}

impl Options {
    fn parse() -> Options {
        let mut options = Options {
            directory: PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
            rounds: 10,
            letters: String::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--dir" => {
                    options.directory = arguments.next().map(PathBuf::from).expect("--dir DIR")
                }
                "--quick" => options.rounds = 2,
                "--bench" => {}
                letters => options.letters.push_str(letters),
            }
        }
        options
    }

    fn wants(&self, letter: char) -> bool {
        self.letters.is_empty() || self.letters.contains(letter)
    }
}

struct Bench {
    directory: PathBuf,
    rounds: usize,
}

/// One row of a table: an operation and what it took each time.
struct Row<'a> {
    name: String,
    bytes: usize,
    operation: Box<dyn FnMut() -> io::Result<()> + 'a>,
    samples: Vec<Duration>,
}

fn row<'a>(
    name: impl Into<String>,
    bytes: usize,
    operation: impl FnMut() -> io::Result<()> + 'a,
) -> Row<'a> {
    Row { name: name.into(), bytes, operation: Box::new(operation), samples: Vec::new() }
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Runs the rows in turn, `operations` at a time, and prints their percentiles.
    fn table(&self, title: &str, operations: usize, mut rows: Vec<Row<'_>>) -> io::Result<()> {
        for round in 0..self.rounds {
            let first = round % rows.len();
            for position in 0..rows.len() {
                let turn = (first + position) % rows.len();
                let row = &mut rows[turn];
                (row.operation)()?;
                for _ in 0..operations {
                    let start = Instant::now();
                    (row.operation)()?;
                    row.samples.push(start.elapsed());
                }
            }
        }
        println!("\n{title}");
        println!("{:<58} {:>9} {:>9} {:>9} {:>6}", "", "p50 us", "p99 us", "p50 MB/s", "n");
        for row in &mut rows {
            row.samples.sort();
            println!(
                "{:<58} {:>9.1} {:>9.1} {:>9.1} {:>6}",
                row.name,
                percentile(&row.samples, 50),
                percentile(&row.samples, 99),
                row.bytes as f64 / percentile(&row.samples, 50),
                row.samples.len()
            );
        }
        Ok(())
    }
}

/// In microseconds.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)].as_secs_f64() * 1e6
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Buffered,
    Direct,
}

fn open(path: &Path, mode: Mode) -> io::Result<File> {
    let flags = match mode {
        Mode::Buffered => 0,
        Mode::Direct => rustix::fs::OFlags::DIRECT.bits().cast_signed(),
    };
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(flags)
        .open(path)
}

/// A file of real, written blocks: neither holes nor unwritten extents are left to convert.
fn filled(path: &Path, bytes: usize, mode: Mode) -> io::Result<File> {
    let file = open(path, Mode::Buffered)?;
    let zeroes = vec![0; MIB.min(bytes)];
    for position in (0..bytes).step_by(zeroes.len()) {
        file.write_all_at(&zeroes, position as u64)?;
    }
    file.sync_all()?;
    if mode == Mode::Direct {
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    open(path, mode)
}

/// Bytes at an address that O_DIRECT accepts, touched once so that no first-touch is measured.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    size: usize,
}

impl Aligned {
    fn new(size: usize) -> Aligned {
        let size = size.next_multiple_of(BLOCK);
        let memory: Vec<u8> =
            (0..size + BLOCK).map(|index| u8::try_from(index % 251).unwrap_or(0)).collect();
        let start = memory.as_ptr().align_offset(BLOCK);
        Aligned { memory, start, size }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.size]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.size]
    }
}

/// A preallocated file written in a circle.
struct Journal {
    file: File,
    position: usize,
}

impl Journal {
    fn new(path: &Path, mode: Mode) -> io::Result<Journal> {
        Ok(Journal { file: filled(path, JOURNAL_BYTES, mode)?, position: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.position + bytes.len() > JOURNAL_BYTES {
            self.position = 0;
        }
        self.file.write_all_at(bytes, self.position as u64)?;
        self.position += bytes.len();
        Ok(())
    }

    fn commit(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes)?;
        self.file.sync_data()
    }
}

/// A file that grows at its end, started anew when it reaches `SEGMENT_BYTES`.
struct Segment {
    path: PathBuf,
    mode: Mode,
    preallocate: bool,
    file: File,
    size: usize,
}

impl Segment {
    fn new(path: PathBuf, mode: Mode, preallocate: bool) -> io::Result<Segment> {
        let file = Segment::start(&path, mode, preallocate)?;
        Ok(Segment { path, mode, preallocate, file, size: 0 })
    }

    fn start(path: &Path, mode: Mode, preallocate: bool) -> io::Result<File> {
        if path.exists() {
            std::fs::remove_file(path)?;
        }
        let file = open(path, mode)?;
        if preallocate {
            let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&file, flags, 0, SEGMENT_BYTES as u64)?;
        }
        file.sync_all()?;
        Ok(file)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size + bytes.len() > SEGMENT_BYTES {
            self.file = Segment::start(&self.path, self.mode, self.preallocate)?;
            self.size = 0;
        }
        self.file.write_all_at(bytes, self.size as u64)?;
        self.size += bytes.len();
        Ok(())
    }

    fn commit(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.append(bytes)?;
        self.file.sync_data()
    }
}

fn segments(bench: &Bench, prefix: &str, count: usize, mode: Mode) -> io::Result<Vec<Segment>> {
    (0..count)
        .map(|index| Segment::new(bench.path(&format!("{prefix}-{index}")), mode, false))
        .collect()
}

/// Threads that each write and sync their share of the files when told: what io_uring's worker
/// threads do with many fdatasync requests at once.
struct SyncPool {
    start: Arc<Barrier>,
    end: Arc<Barrier>,
}

impl SyncPool {
    fn new(mut files: Vec<Segment>) -> SyncPool {
        let threads = SYNC_THREADS.min(files.len());
        let start = Arc::new(Barrier::new(threads + 1));
        let end = Arc::new(Barrier::new(threads + 1));
        for thread in (1..=threads).rev() {
            let mut share = files.split_off(files.len() - files.len() / thread);
            let (start, end) = (start.clone(), end.clone());
            // Ends with the process: a bench has nothing to clean up after.
            std::thread::spawn(move || {
                let bytes = Aligned::new(BLOCK);
                loop {
                    start.wait();
                    for file in &mut share {
                        file.commit(bytes.bytes()).expect("the bench's disk works");
                    }
                    end.wait();
                }
            });
        }
        SyncPool { start, end }
    }

    fn commit_all(&self) {
        self.start.wait();
        self.end.wait();
    }
}

/// (a) N partitions x 4 KiB made durable: file by file against one journal.
fn group_commit(bench: &Bench) -> io::Result<()> {
    for partitions in [1, 10, 100, 1000] {
        let bytes = Aligned::new(partitions * BLOCK);
        let prefix = format!("a{partitions}");
        let mut one_by_one =
            segments(bench, &format!("{prefix}-serial"), partitions, Mode::Buffered)?;
        let pooled = segments(bench, &format!("{prefix}-pool"), partitions, Mode::Buffered)?;
        let pool = SyncPool::new(pooled);
        let mut buffered = Journal::new(&bench.path(&format!("{prefix}-journal")), Mode::Buffered)?;
        let mut direct = Journal::new(&bench.path(&format!("{prefix}-direct")), Mode::Direct)?;
        let size = partitions * BLOCK;
        bench.table(
            &format!("(a) commit of {partitions} partitions x 4 KiB"),
            (OPERATIONS_PER_ROUND * 10 / partitions).clamp(3, OPERATIONS_PER_ROUND),
            vec![
                row("per file: pwrite + fdatasync, one after another", size, || {
                    one_by_one.iter_mut().try_for_each(|file| file.commit(&bytes.bytes()[..BLOCK]))
                }),
                row("per file: pwrite + fdatasync, 16 threads", size, || {
                    pool.commit_all();
                    Ok(())
                }),
                row("journal: one buffered write + one fdatasync", size, || {
                    buffered.commit(bytes.bytes())
                }),
                row("journal: one O_DIRECT write + one fdatasync", size, || {
                    direct.commit(bytes.bytes())
                }),
            ],
        )?;
    }
    Ok(())
}

/// (b) One journal commit by size, through the page cache and around it.
fn one_commit(bench: &Bench) -> io::Result<()> {
    for size in [512, 4 * KIB, 64 * KIB, MIB] {
        let bytes = Aligned::new(size);
        let mut buffered = Journal::new(&bench.path("b-buffered"), Mode::Buffered)?;
        let mut padded = Journal::new(&bench.path("b-padded"), Mode::Buffered)?;
        let mut direct = Journal::new(&bench.path("b-direct"), Mode::Direct)?;
        bench.table(
            &format!("(b) one commit of {size} B to a recycled journal"),
            OPERATIONS_PER_ROUND * 2,
            vec![
                row("buffered write + fdatasync", size, || buffered.commit(&bytes.bytes()[..size])),
                row("buffered write, padded to 4 KiB, + fdatasync", size, || {
                    padded.commit(bytes.bytes())
                }),
                row("O_DIRECT write, padded to 4 KiB, + fdatasync", size, || {
                    direct.commit(bytes.bytes())
                }),
            ],
        )?;
    }
    for size in [256, 4 * KIB, 64 * KIB] {
        let bytes = Aligned::new(size);
        let mut idle = Journal::new(&bench.path("b-idle"), Mode::Buffered)?;
        let mut direct = Journal::new(&bench.path("b-direct-idle"), Mode::Direct)?;
        let mut busy = Journal::new(&bench.path("b-busy"), Mode::Buffered)?;
        sync_for_ever(busy.file.try_clone()?);
        bench.table(
            &format!("(b) write alone of {size} B to a recycled journal, nothing synced (acks=1)"),
            OPERATIONS_PER_ROUND * 20,
            vec![
                row("buffered pwrite", size, || idle.write(&bytes.bytes()[..size])),
                row("buffered pwrite, another thread in fdatasync of the file", size, || {
                    busy.write(&bytes.bytes()[..size])
                }),
                row("O_DIRECT pwrite, padded to 4 KiB", size, || direct.write(bytes.bytes())),
            ],
        )?;
        finish(&bench.path("b-busy"))?;
    }
    Ok(())
}

/// Keeps a sync of the file in flight until the file is unlinked.
fn sync_for_ever(file: File) {
    use std::os::unix::fs::MetadataExt;
    std::thread::spawn(move || {
        while file.metadata().is_ok_and(|metadata| metadata.nlink() > 0) {
            file.sync_data().expect("the bench's disk works");
        }
    });
}

fn finish(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)
}

/// (c) Large appends: twice the bytes through the journal, or straight to each segment.
fn large_appends(bench: &Bench) -> io::Result<()> {
    for partitions in [1, 4, 16] {
        for size in [16 * KIB, 32 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, 512 * KIB, MIB] {
            let bytes = Aligned::new(size * partitions);
            let part = &bytes.bytes()[..size];
            let mut acknowledged = Journal::new(&bench.path("c-ack"), Mode::Direct)?;
            let mut journal = Journal::new(&bench.path("c-journal"), Mode::Direct)?;
            let mut behind = segments(bench, "c-behind", partitions, Mode::Direct)?;
            let mut direct = segments(bench, "c-direct", partitions, Mode::Direct)?;
            let mut buffered = segments(bench, "c-buffered", partitions, Mode::Buffered)?;
            let total = size * partitions;
            bench.table(
                &format!("(c) {partitions} partitions x {} KiB made durable", size / KIB),
                (OPERATIONS_PER_ROUND / partitions).max(4),
                vec![
                    row("journal O_DIRECT + fdatasync (to the acknowledgement)", total, || {
                        acknowledged.commit(bytes.bytes())
                    }),
                    row("the same + segment writes behind it (all the work)", total, || {
                        journal.commit(bytes.bytes())?;
                        behind.iter_mut().try_for_each(|segment| segment.append(part))
                    }),
                    row("straight to the segments: O_DIRECT + fdatasync each", total, || {
                        direct.iter_mut().try_for_each(|segment| segment.commit(part))
                    }),
                    row("straight to the segments: buffered + fdatasync each", total, || {
                        buffered.iter_mut().try_for_each(|segment| segment.commit(part))
                    }),
                ],
            )?;
        }
    }
    Ok(())
}

/// (k) The same sizes without a sync: what `highwater.durability=kernel` waits for.
fn kernel_durability(bench: &Bench) -> io::Result<()> {
    for size in [4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB] {
        let bytes = Aligned::new(size);
        let mut journal = Journal::new(&bench.path("k-journal"), Mode::Buffered)?;
        let mut both = Journal::new(&bench.path("k-both"), Mode::Buffered)?;
        let mut behind = Segment::new(bench.path("k-behind"), Mode::Direct, false)?;
        let mut direct = Segment::new(bench.path("k-direct"), Mode::Direct, false)?;
        let mut buffered = Segment::new(bench.path("k-buffered"), Mode::Buffered, false)?;
        bench.table(
            &format!("(k) {} KiB handed to the kernel, no sync", size / KIB),
            OPERATIONS_PER_ROUND * 2,
            vec![
                row("journal, pages resident", size, || journal.write(bytes.bytes())),
                row("journal + segment O_DIRECT behind it (all the work)", size, || {
                    both.write(bytes.bytes())?;
                    behind.append(bytes.bytes())
                }),
                row("segment O_DIRECT", size, || direct.append(bytes.bytes())),
                row("segment buffered (new pages)", size, || buffered.append(bytes.bytes())),
            ],
        )?;
    }
    Ok(())
}

/// (e) What extending a file costs against writing over blocks that exist.
fn extending(bench: &Bench) -> io::Result<()> {
    for size in [4 * KIB, 64 * KIB, MIB] {
        let bytes = Aligned::new(size);
        let mut plain = Segment::new(bench.path("e-plain"), Mode::Direct, false)?;
        let mut kept = Segment::new(bench.path("e-kept"), Mode::Direct, true)?;
        let mut plain_buffered =
            Segment::new(bench.path("e-plain-buffered"), Mode::Buffered, false)?;
        let mut kept_buffered = Segment::new(bench.path("e-kept-buffered"), Mode::Buffered, true)?;
        let mut written = Journal::new(&bench.path("e-written"), Mode::Direct)?;
        bench.table(
            &format!("(e) append of {} KiB + fdatasync", size / KIB),
            OPERATIONS_PER_ROUND,
            vec![
                row("O_DIRECT, extending", size, || plain.commit(bytes.bytes())),
                row("O_DIRECT, extending into fallocate(KEEP_SIZE)", size, || {
                    kept.commit(bytes.bytes())
                }),
                row("buffered, extending", size, || plain_buffered.commit(bytes.bytes())),
                row("buffered, extending into fallocate(KEEP_SIZE)", size, || {
                    kept_buffered.commit(bytes.bytes())
                }),
                row("O_DIRECT, over written blocks", size, || written.commit(bytes.bytes())),
            ],
        )?;
    }
    Ok(())
}

/// (t) Bytes per second of 1 MiB writes with one fdatasync per 128 MiB.
fn throughput(bench: &Bench) -> io::Result<()> {
    let bytes = Aligned::new(MIB);
    let mut over_direct = Journal::new(&bench.path("t-over-direct"), Mode::Direct)?;
    let mut over_buffered = Journal::new(&bench.path("t-over-buffered"), Mode::Buffered)?;
    let mut new_direct = Segment::new(bench.path("t-new-direct"), Mode::Direct, false)?;
    let mut kept_direct = Segment::new(bench.path("t-kept-direct"), Mode::Direct, true)?;
    let mut new_buffered = Segment::new(bench.path("t-new-buffered"), Mode::Buffered, false)?;
    let mut new_synced = Segment::new(bench.path("t-new-synced"), Mode::Buffered, false)?;
    let run = |write: &mut dyn FnMut(&[u8]) -> io::Result<()>| {
        (0..JOURNAL_BYTES / MIB).try_for_each(|_| write(bytes.bytes()))
    };
    bench.table(
        "(t) 128 MiB in 1 MiB writes, without and with a final fdatasync",
        1,
        vec![
            row("O_DIRECT over written blocks", JOURNAL_BYTES, || {
                run(&mut |bytes| over_direct.write(bytes))
            }),
            row("O_DIRECT extending", JOURNAL_BYTES, || run(&mut |bytes| new_direct.append(bytes))),
            row("O_DIRECT extending into fallocate(KEEP_SIZE) + fdatasync", JOURNAL_BYTES, || {
                run(&mut |bytes| kept_direct.append(bytes))?;
                kept_direct.file.sync_data()
            }),
            row("buffered over resident pages", JOURNAL_BYTES, || {
                run(&mut |bytes| over_buffered.write(bytes))
            }),
            row("buffered extending, new pages", JOURNAL_BYTES, || {
                run(&mut |bytes| new_buffered.append(bytes))
            }),
            row("buffered extending, new pages + fdatasync", JOURNAL_BYTES, || {
                run(&mut |bytes| new_synced.append(bytes))?;
                new_synced.file.sync_data()
            }),
        ],
    )
}

/// (d) Reads of bytes the page cache holds against reads that go to the device.
fn warm_reads(bench: &Bench) -> io::Result<()> {
    let warm = filled(&bench.path("d-warm"), JOURNAL_BYTES, Mode::Buffered)?;
    let cold = filled(&bench.path("d-cold"), JOURNAL_BYTES, Mode::Direct)?;
    for size in [64 * KIB, MIB] {
        let (mut into, mut into_direct) = (Aligned::new(size), Aligned::new(size));
        let (mut position, mut position_direct) = (0, 0);
        bench.table(
            &format!("(d) sequential pread of {} KiB into a recycled buffer", size / KIB),
            OPERATIONS_PER_ROUND * 2,
            vec![
                row("page cache", size, || {
                    position = (position + size) % JOURNAL_BYTES;
                    warm.read_exact_at(into.bytes_mut(), position as u64)
                }),
                row("O_DIRECT", size, || {
                    position_direct = (position_direct + size) % JOURNAL_BYTES;
                    cold.read_exact_at(into_direct.bytes_mut(), position_direct as u64)
                }),
            ],
        )?;
    }
    Ok(())
}
