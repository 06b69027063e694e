//! A disk in memory that forgets what was not synced, as the seed decides.
//!
//! Why sectors: a power cut leaves any subset of the sectors written since the last sync on the
//! disk, old ones beside new ones, and a name that no `sync_dir` covered may be there or not.
//! Whatever the log promises must hold for each such subset.
//!
//! Invariants
//! - Bytes that a completed `sync` covered never change but by later writes, or by `flip`.
//! - A name that a completed `sync_dir` covered stays until it is renamed or removed.

use crate::protocol::part::FileRange;
use crate::shard::signal::yield_now;
use crate::sim::executor::SimHandle;
use crate::sim::random::Random;
use crate::storage::disk::{DirEntry, Disk, DiskError, EIO, OpenMode, Space};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What a disk writes as one piece, in bytes.
const SECTOR_BYTES: usize = 512;

/// Where a disk is slow.
#[derive(Debug, Clone)]
pub struct Slow {
    /// Files below this folder.
    pub dir: PathBuf,
    /// What each write takes more, in microseconds.
    pub write_us: u64,
    /// What each sync takes more, in microseconds.
    pub sync_us: u64,
}

/// One file's content: as programs see it, and as a power cut would leave it at least.
#[derive(Debug, Default)]
struct FileState {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// Sectors written since the last sync.
    dirty: BTreeSet<usize>,
    /// True when the size changed since the last sync.
    is_resized: bool,
    /// Bytes that the medium does not give back any more.
    unreadable: Option<Range<usize>>,
}

/// An open file.
#[derive(Clone)]
pub struct SimFile {
    path: Rc<PathBuf>,
    state: Rc<RefCell<FileState>>,
}

/// What goes wrong from now on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Writes in a thousand that fail with an I/O error.
    pub write_errors: u64,
    /// Syncs in a thousand that fail with an I/O error; what they covered may or may not be there.
    pub sync_errors: u64,
    /// Bytes that may still be written before the disk is full; `None` is no bound.
    pub room_bytes: Option<u64>,
    /// Below this folder the disk says that it has synced, and has not: no promise holds on it.
    pub forgets_syncs_below: Option<&'static str>,
}

impl Faults {
    /// Whether anything can fail.
    pub fn is_any(&self) -> bool {
        self.write_errors > 0 || self.sync_errors > 0 || self.room_bytes.is_some()
    }
}

type Names = BTreeMap<PathBuf, Rc<RefCell<FileState>>>;

struct State {
    names: Names,
    /// Names that a `sync_dir` covers.
    synced_names: Names,
    dirs: BTreeSet<PathBuf>,
    synced_dirs: BTreeSet<PathBuf>,
    faults: Faults,
    slow: Option<Slow>,
    has_failed: bool,
    syncs: u64,
    bytes_written: u64,
}

/// A simulated disk; clones share it. Survives the crash of what runs on it.
#[derive(Clone)]
pub struct SimDisk {
    state: Rc<RefCell<State>>,
    handle: SimHandle,
}

impl SimDisk {
    /// An empty disk whose latency and faults the executor's numbers decide.
    pub fn new(handle: SimHandle) -> SimDisk {
        let root: BTreeSet<PathBuf> = [PathBuf::from("/")].into();
        let state = State {
            names: Names::new(),
            synced_names: Names::new(),
            dirs: root.clone(),
            synced_dirs: root,
            faults: Faults::default(),
            slow: None,
            has_failed: false,
            syncs: 0,
            bytes_written: 0,
        };
        SimDisk { state: Rc::new(RefCell::new(state)), handle }
    }

    /// The same disk under the executor of the next life.
    #[must_use]
    pub fn moved_to(&self, handle: SimHandle) -> SimDisk {
        SimDisk { state: Rc::clone(&self.state), handle }
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state.borrow_mut();
        state.faults = faults;
        state.has_failed |= faults.is_any();
    }

    /// Says where the disk is slow from now on, if anywhere.
    pub fn slow_down(&self, slow: Option<Slow>) {
        self.state.borrow_mut().slow = slow;
    }

    /// Whether anything fails now.
    pub fn is_failing(&self) -> bool {
        self.state.borrow().faults.is_any()
    }

    /// Whether it was ever told to fail, or lost bytes that it had.
    pub fn has_failed(&self) -> bool {
        self.state.borrow().has_failed
    }

    /// Syncs carried out so far.
    pub fn sync_count(&self) -> u64 {
        self.state.borrow().syncs
    }

    /// Bytes written so far.
    pub fn bytes_written(&self) -> u64 {
        self.state.borrow().bytes_written
    }

    /// Cuts the power: of what was not synced, a random part is there afterwards.
    pub fn crash(&self, random: &mut Random) {
        let mut state = self.state.borrow_mut();
        state.faults =
            Faults { forgets_syncs_below: state.faults.forgets_syncs_below, ..Faults::default() };
        let dirs = std::mem::take(&mut state.dirs);
        let mut kept = state.synced_dirs.clone();
        for dir in dirs {
            let has_parent = dir.parent().is_none_or(|parent| kept.contains(parent));
            if has_parent && (kept.contains(&dir) || random.chance(50)) {
                kept.insert(dir);
            }
        }
        state.synced_dirs.clone_from(&kept);
        state.dirs = kept;
        let mut names = Names::new();
        let now = std::mem::take(&mut state.names);
        let paths: BTreeSet<&PathBuf> = now.keys().chain(state.synced_names.keys()).collect();
        for path in paths {
            let (before, after) = (state.synced_names.get(path), now.get(path));
            let is_unchanged = match (before, after) {
                (Some(before), Some(after)) => Rc::ptr_eq(before, after),
                _ => false,
            };
            let takes_after = is_unchanged || random.chance(50);
            let chosen = if takes_after { after } else { before };
            let has_dir = path.parent().is_some_and(|parent| state.dirs.contains(parent));
            if let Some(file) = chosen.filter(|_| has_dir) {
                names.insert(path.clone(), Rc::clone(file));
            }
        }
        for file in names.values() {
            file.borrow_mut().lose(random);
        }
        // A handle of the process that died must not reach the file of the next one.
        let names: Names = names
            .into_iter()
            .map(|(path, file)| {
                let unreadable = file.borrow().unreadable.clone();
                let (bytes, synced) = (file.borrow().bytes.clone(), file.borrow().bytes.clone());
                let copy = FileState { synced, bytes, unreadable, ..FileState::default() };
                (path, Rc::new(RefCell::new(copy)))
            })
            .collect();
        state.synced_names.clone_from(&names);
        state.names = names;
    }

    /// Kills the process only: the page cache stays, handles do not.
    pub fn kill(&self) {
        let mut state = self.state.borrow_mut();
        state.faults = Faults::default();
        type Shared = Rc<RefCell<FileState>>;
        let mut copies: Vec<(Shared, Shared)> = Vec::new();
        let mut copy = |file: &Rc<RefCell<FileState>>| {
            if let Some((_, copy)) = copies.iter().find(|(old, _)| Rc::ptr_eq(old, file)) {
                return Rc::clone(copy);
            }
            let new = Rc::new(RefCell::new(file.take()));
            copies.push((Rc::clone(file), Rc::clone(&new)));
            new
        };
        let names = state.names.iter().map(|(path, file)| (path.clone(), copy(file))).collect();
        let synced: Names =
            state.synced_names.iter().map(|(path, file)| (path.clone(), copy(file))).collect();
        state.names = names;
        state.synced_names = synced;
    }

    /// Flips one bit of a file, on the disk and in the cache.
    pub fn flip(&self, path: &Path, byte: usize, bit: u8) {
        self.state.borrow_mut().has_failed = true;
        let state = self.state.borrow();
        let mut file = state.names[path].borrow_mut();
        file.bytes[byte] ^= 1 << (bit % 8);
        if let Some(synced) = file.synced.get_mut(byte) {
            *synced ^= 1 << (bit % 8);
        }
    }

    /// Has every read of a file fail with an I/O error, until it is removed.
    pub fn spoil(&self, path: &Path) {
        self.spoil_range(path, 0..usize::MAX);
    }

    /// Has every read that touches these bytes of a file fail with an I/O error, until it is
    /// removed, as sectors do that have gone bad.
    pub fn spoil_range(&self, path: &Path, bytes: Range<usize>) {
        let mut state = self.state.borrow_mut();
        state.has_failed = true;
        state.names[path].borrow_mut().unreadable = Some(bytes);
    }

    /// Notes that it has lost what it had, so that a start on it may come to nothing.
    pub fn note_loss(&self) {
        self.state.borrow_mut().has_failed = true;
    }

    /// Whether reads of a file fail with an I/O error.
    pub fn is_spoilt(&self, path: &Path) -> bool {
        let state = self.state.borrow();
        state.names.get(path).is_some_and(|file| file.borrow().unreadable.is_some())
    }

    /// A file's content as programs see it.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        self.state.borrow().names.get(path).map(|file| file.borrow().bytes.clone())
    }

    /// Replaces a file's content, as if it had been synced.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let file = FileState { synced: bytes.clone(), bytes, ..FileState::default() };
        let file = Rc::new(RefCell::new(file));
        let mut state = self.state.borrow_mut();
        state.names.insert(path.to_owned(), Rc::clone(&file));
        state.synced_names.insert(path.to_owned(), file);
    }

    /// Every file's path, in order.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state.borrow().names.keys().cloned().collect()
    }

    async fn latency(&self) {
        let turns = self.handle.random(|random| random.below(3));
        self.handle.advance(turns * 20);
        for _ in 0..turns {
            yield_now().await;
        }
    }

    async fn be_slow(&self, path: &Path, of: impl Fn(&Slow) -> u64) {
        let slow = self.state.borrow().slow.clone();
        if let Some(slow) = slow.filter(|slow| path.starts_with(&slow.dir)) {
            self.handle.sleep_us(of(&slow)).await;
        }
    }

    fn draw_error(&self, per_thousand: u64) -> bool {
        per_thousand > 0 && self.handle.random(|random| random.below(1000) < per_thousand)
    }

    fn take_room(&self, bytes: usize) -> bool {
        let mut state = self.state.borrow_mut();
        match &mut state.faults.room_bytes {
            Some(room) if *room < bytes as u64 => false,
            Some(room) => {
                *room -= bytes as u64;
                true
            }
            None => true,
        }
    }
}

impl FileState {
    /// Keeps a random part of what was not synced.
    fn lose(&mut self, random: &mut Random) {
        if self.dirty.is_empty() && !self.is_resized {
            return;
        }
        let mut left = self.synced.clone();
        if self.is_resized && random.chance(70) {
            left.resize(self.bytes.len(), 0);
        }
        let keeps = random.below(101);
        for sector in &self.dirty {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(self.bytes.len()).min(left.len());
            if start < end && random.chance(keeps) {
                left[start..end].copy_from_slice(&self.bytes[start..end]);
            }
        }
        self.bytes = left;
    }

    fn resize(&mut self, size: usize) {
        if size == self.bytes.len() {
            return;
        }
        self.is_resized = true;
        let first = size.min(self.bytes.len()) / SECTOR_BYTES;
        let last = size.max(self.bytes.len()) / SECTOR_BYTES;
        self.bytes.resize(size, 0);
        self.dirty.extend(first..=last);
    }

    fn write(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        if end > self.bytes.len() {
            self.resize(end);
        }
        self.bytes[position..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            self.dirty.extend(position / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES);
        }
    }
}

/// Files in a folder and in those below it.
fn names_below<'a>(
    names: &'a Names,
    dir: &'a Path,
) -> impl Iterator<Item = (&'a PathBuf, &'a Rc<RefCell<FileState>>)> {
    names.range(dir.to_owned()..).take_while(move |(path, _)| path.starts_with(dir))
}

fn error(operation: &'static str, path: &Path, kind: io::ErrorKind) -> DiskError {
    DiskError { operation, path: path.to_owned(), source: io::Error::from(kind) }
}

fn index(value: u64) -> usize {
    usize::try_from(value).expect("simulated files are small")
}

impl Disk for SimDisk {
    type File = SimFile;

    async fn open(&self, path: &Path, mode: OpenMode) -> Result<SimFile, DiskError> {
        self.latency().await;
        let mut state = self.state.borrow_mut();
        let known = state.names.get(path).cloned();
        let file = match (known, mode) {
            (Some(_), OpenMode::CreateNew) => {
                return Err(error("open", path, io::ErrorKind::AlreadyExists));
            }
            (Some(file), _) => file,
            (None, OpenMode::Read) => return Err(error("open", path, io::ErrorKind::NotFound)),
            (None, _) => {
                if !path.parent().is_some_and(|parent| state.dirs.contains(parent)) {
                    return Err(error("open", path, io::ErrorKind::NotFound));
                }
                let file = Rc::new(RefCell::new(FileState::default()));
                state.names.insert(path.to_owned(), Rc::clone(&file));
                file
            }
        };
        Ok(SimFile { path: Rc::new(path.to_owned()), state: file })
    }

    async fn read_at(&self, file: &SimFile, position: u64, len: usize) -> Result<Bytes, DiskError> {
        self.latency().await;
        let state = file.state.borrow();
        let start = index(position.min(state.bytes.len() as u64));
        let end = start.saturating_add(len).min(state.bytes.len());
        if state.unreadable.as_ref().is_some_and(|bad| start < bad.end && bad.start < end) {
            let source = io::Error::from_raw_os_error(EIO);
            return Err(DiskError { operation: "read", path: file.path.to_path_buf(), source });
        }
        Ok(Bytes::copy_from_slice(&state.bytes[start..end]))
    }

    /// Nothing: a simulated file has no descriptor.
    fn lend(&self, _: &SimFile, _: u64, _: usize) -> Option<FileRange> {
        None
    }

    /// Nothing: no read of a simulated disk is faster than another.
    fn read_ahead(&self, _: &SimFile, _: u64, _: usize) {}

    async fn write_at(
        &self,
        file: &SimFile,
        position: u64,
        parts: Vec<Bytes>,
    ) -> Result<(), DiskError> {
        let faults = self.state.borrow().faults;
        self.be_slow(&file.path, |slow| slow.write_us).await;
        let mut position = index(position);
        for part in parts {
            // Between two parts others run, and the power may fail: a write can be torn.
            self.latency().await;
            if self.draw_error(faults.write_errors) {
                return Err(error("write", &file.path, io::ErrorKind::Other));
            }
            let end = position + part.len();
            let growth = end.saturating_sub(file.state.borrow().bytes.len());
            if !self.take_room(growth) {
                return Err(error("write", &file.path, io::ErrorKind::StorageFull));
            }
            file.state.borrow_mut().write(position, &part);
            self.state.borrow_mut().bytes_written += part.len() as u64;
            position += part.len();
        }
        Ok(())
    }

    async fn sync(&self, file: &SimFile) -> Result<(), DiskError> {
        let faults = self.state.borrow().faults;
        // What is written while the sync is under way may not be covered: take it as it is now.
        let covered: Vec<(usize, Vec<u8>)> = {
            let state = file.state.borrow();
            let sector = |sector: &usize| {
                let start = (sector * SECTOR_BYTES).min(state.bytes.len());
                let end = (start + SECTOR_BYTES).min(state.bytes.len());
                (start, state.bytes[start..end].to_vec())
            };
            state.dirty.iter().map(sector).collect()
        };
        let size = file.state.borrow().bytes.len();
        self.be_slow(&file.path, |slow| slow.sync_us).await;
        self.latency().await;
        self.state.borrow_mut().syncs += 1;
        if self.draw_error(faults.sync_errors) {
            return Err(error("sync", &file.path, io::ErrorKind::Other));
        }
        if faults.forgets_syncs_below.is_some_and(|dir| file.path.starts_with(dir)) {
            return Ok(());
        }
        let mut state = file.state.borrow_mut();
        state.synced.resize(size, 0);
        for (start, bytes) in covered {
            let end = start + bytes.len();
            state.synced[start..end].copy_from_slice(&bytes);
            let now_end = end.min(state.bytes.len());
            let is_same = start <= now_end && state.bytes[start..now_end] == bytes;
            if is_same && now_end == end {
                state.dirty.remove(&(start / SECTOR_BYTES));
            }
        }
        state.is_resized = state.bytes.len() != size;
        Ok(())
    }

    async fn size(&self, file: &SimFile) -> Result<u64, DiskError> {
        Ok(file.state.borrow().bytes.len() as u64)
    }

    async fn fill_zeros(&self, file: &SimFile, size: u64) -> Result<(), DiskError> {
        self.latency().await;
        if !self.take_room(index(size)) {
            return Err(error("fill", &file.path, io::ErrorKind::StorageFull));
        }
        let mut state = file.state.borrow_mut();
        let zeros = || vec![0; index(size)];
        *state = FileState { bytes: zeros(), synced: zeros(), ..FileState::default() };
        Ok(())
    }

    async fn truncate(&self, file: &SimFile, size: u64) -> Result<(), DiskError> {
        self.latency().await;
        file.state.borrow_mut().resize(index(size));
        Ok(())
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.latency().await;
        let mut state = self.state.borrow_mut();
        let Some(file) = state.names.remove(from) else {
            return Err(error("rename", from, io::ErrorKind::NotFound));
        };
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    async fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.latency().await;
        let mut state = self.state.borrow_mut();
        state.names.retain(|name, _| !name.starts_with(path));
        state.dirs.retain(|dir| !dir.starts_with(path));
        Ok(())
    }

    async fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, DiskError> {
        self.latency().await;
        let state = self.state.borrow();
        let name_of = |path: &Path| {
            path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned()
        };
        let is_here = |path: &&PathBuf| path.parent() == Some(dir);
        let below = names_below(&state.names, dir).filter(|(path, _)| is_here(path));
        let files = below.map(|(path, file)| {
            let size = file.borrow().bytes.len() as u64;
            DirEntry { name: name_of(path), is_dir: false, size }
        });
        let dirs = state.dirs.iter().filter(is_here);
        let dirs = dirs.map(|path| DirEntry { name: name_of(path), is_dir: true, size: 0 });
        Ok(files.chain(dirs).collect())
    }

    async fn create_dir(&self, dir: &Path) -> Result<(), DiskError> {
        self.latency().await;
        let mut state = self.state.borrow_mut();
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    async fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        self.latency().await;
        let mut state = self.state.borrow_mut();
        let State { names, synced_names, dirs, synced_dirs, syncs, .. } = &mut *state;
        *syncs += 1;
        let is_here = |path: &Path| path.parent() == Some(dir);
        let known: Vec<PathBuf> = names_below(synced_names, dir)
            .map(|(path, _)| path)
            .filter(|path| is_here(path) && !names.contains_key(*path))
            .cloned()
            .collect();
        for path in known {
            synced_names.remove(&path);
        }
        for (path, file) in names_below(names, dir).filter(|(path, _)| is_here(path)) {
            synced_names.insert(path.clone(), Rc::clone(file));
        }
        let below = synced_dirs.range(dir.to_owned()..).take_while(|path| path.starts_with(dir));
        let gone: Vec<PathBuf> =
            below.filter(|path| is_here(path) && !dirs.contains(*path)).cloned().collect();
        for dir in gone {
            synced_dirs.retain(|path| !path.starts_with(&dir));
            synced_names.retain(|path, _| !path.starts_with(&dir));
        }
        let below = dirs.range(dir.to_owned()..).take_while(|path| path.starts_with(dir));
        synced_dirs.extend(below.filter(|path| is_here(path)).cloned());
        Ok(())
    }

    async fn space(&self) -> Result<Space, DiskError> {
        let free_bytes = self.state.borrow().faults.room_bytes.unwrap_or(1 << 40);
        Ok(Space { total_bytes: 1 << 40, free_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::executor::SimExecutor;
    use crate::storage::disk_contract::check_disk;

    fn run<T: 'static>(seed: u64, body: impl AsyncFnOnce(SimDisk) -> T + 'static) -> (T, SimDisk) {
        let mut executor = SimExecutor::new(seed);
        let disk = SimDisk::new(executor.handle());
        let inner = disk.clone();
        (executor.run_until(async move { body(inner).await }), disk)
    }

    #[test]
    fn it_keeps_the_contract_of_every_disk() {
        for seed in 0..3 {
            run(seed, async |disk: SimDisk| {
                disk.create_dir(Path::new("/d")).await.unwrap();
                check_disk(&disk, Path::new("/d")).await;
            });
        }
    }

    #[test]
    fn a_crash_takes_only_what_was_not_synced() {
        let mut outcomes = BTreeSet::new();
        for seed in 0..60 {
            let ((), disk) = run(seed, async |disk: SimDisk| {
                disk.create_dir(Path::new("/d")).await.unwrap();
                disk.sync_dir(Path::new("/")).await.unwrap();
                let file = disk.open(Path::new("/d/a"), OpenMode::CreateNew).await.unwrap();
                disk.write_at(&file, 0, vec![Bytes::from(vec![1; 2048])]).await.unwrap();
                disk.sync(&file).await.unwrap();
                disk.sync_dir(Path::new("/d")).await.unwrap();
                disk.write_at(&file, 1024, vec![Bytes::from(vec![2; 2048])]).await.unwrap();
                disk.open(Path::new("/d/b"), OpenMode::CreateNew).await.unwrap();
            });
            disk.crash(&mut Random::new(seed));
            let bytes = disk.content(Path::new("/d/a")).expect("its name was synced");
            assert!(bytes[..1024].iter().all(|byte| *byte == 1));
            assert!(bytes.len() == 2048 || bytes.len() == 3072);
            let kept: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
            outcomes.insert((kept, disk.content(Path::new("/d/b")).is_some()));
        }
        assert!(outcomes.len() > 8, "sectors and names are lost one by one: {outcomes:?}");
    }

    #[test]
    fn a_killed_process_loses_nothing_that_was_written() {
        let ((), disk) = run(1, async |disk: SimDisk| {
            let file = disk.open(Path::new("/a"), OpenMode::CreateNew).await.unwrap();
            disk.write_at(&file, 0, vec![Bytes::from_static(b"abc")]).await.unwrap();
        });
        disk.kill();
        assert_eq!(disk.content(Path::new("/a")), Some(b"abc".to_vec()));
    }
}
