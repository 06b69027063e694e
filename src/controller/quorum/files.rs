//! In which order a member's files are written, and what they say after a crash.
//!
//! Three files: the snapshot, the log behind it, the state. Each step below is one call of the
//! disk; a crash may come between any two of them, and takes any part of what was not synced.
//!
//! Invariants
//! - The log is cut, and the cut synced, before other entries are written in the place of old ones.
//! - A state that says "committed" is written when the entries it speaks of are durable.
//! - A snapshot is durable before the log that needs it takes its place.

use super::consensus::{Durable, Entry, Kept, LogBase, Persist};
use super::log::{self, LogError};
use super::snapshot::{Snapshot, SnapshotError};
use super::state::{self, Slots, StateError};
use bytes::Bytes;

/// One call of the disk; in order, each completed before the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileStep {
    WriteLog {
        position: u64,
        parts: Vec<Bytes>,
    },
    CutLog {
        len: u64,
    },
    SyncLog,
    WriteState {
        position: u64,
        bytes: Bytes,
    },
    SyncState,
    /// Written aside, synced, renamed; the older ones go.
    PutSnapshot {
        index: u64,
        bytes: Bytes,
    },
    /// Written aside, synced, renamed; the older ones go.
    ReplaceLog {
        base: u64,
        bytes: Bytes,
    },
}

/// What this member's files hold. One per process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    slots: Slots,
    base: LogBase,
    /// Where each entry's frame starts, and where the last one ends.
    positions: Vec<u64>,
    /// Committed as far as this member knows.
    commit: u64,
    state: Durable,
}

/// What was found on disk.
#[derive(Debug)]
pub struct Recovered {
    pub state: Durable,
    pub snapshot: Snapshot,
    pub base: LogBase,
    pub entries: Vec<Entry>,
    pub files: Files,
    /// To be carried out before anything else: a torn tail goes, a missing file is made.
    pub repairs: Vec<FileStep>,
}

/// Files that must not be used as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("the metadata log starts behind entry {base}, and no snapshot reaches that far")]
    NoSnapshot { base: u64 },
}

impl Files {
    /// A member's first files; `snapshot` says who the voters are.
    pub fn format(snapshot: &Snapshot) -> Vec<FileStep> {
        let base = LogBase { index: snapshot.index, term: snapshot.term };
        vec![
            FileStep::PutSnapshot { index: snapshot.index, bytes: snapshot.encode() },
            FileStep::ReplaceLog { base: base.index, bytes: log::encode_header(base) },
        ]
    }

    /// Reads what is there: the newest snapshot, the log with the latest base, the state.
    ///
    /// # Errors
    /// Something that was promised cannot be read. Nothing is changed.
    pub fn recover(
        snapshot: Option<&[u8]>,
        log_file: Option<&[u8]>,
        state: &[u8],
    ) -> Result<Recovered, FilesError> {
        let (slots, state) = state::decode(state)?.unwrap_or_default();
        let snapshot = match snapshot {
            Some(bytes) => Snapshot::decode(bytes)?,
            None => Snapshot::default(),
        };
        let at_snapshot = LogBase { index: snapshot.index, term: snapshot.term };
        let read = match log_file.map(|bytes| log::read(bytes, state.commit)) {
            None => None,
            // All that is lost the snapshot has.
            Some(Err(LogError::Damaged { commit, .. })) if commit <= snapshot.index => None,
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(read)) if read.base.index > snapshot.index => {
                return Err(FilesError::NoSnapshot { base: read.base.index });
            }
            Some(Ok(read)) => read.holds(at_snapshot).then_some(read),
        };
        let mut repairs = Vec::new();
        let (base, entries, positions, commit) = match read {
            Some(read) => {
                if log_file.is_some_and(|bytes| bytes.len() as u64 > read.end()) {
                    repairs.push(FileStep::CutLog { len: read.end() });
                    repairs.push(FileStep::SyncLog);
                }
                (read.base, read.entries, read.positions, read.commit)
            }
            None => {
                let bytes = log::encode_header(at_snapshot);
                let positions = vec![bytes.len() as u64];
                repairs.push(FileStep::ReplaceLog { base: at_snapshot.index, bytes });
                (at_snapshot, Vec::new(), positions, 0)
            }
        };
        let state = known(state, &entries, at_snapshot, commit);
        let commit = state.commit;
        let files = Files { slots, base, positions, commit, state: state.clone() };
        Ok(Recovered { state, snapshot, base, entries, files, repairs })
    }

    /// The steps that make a run of readies durable; what is for leisure is kept back.
    pub fn plan(&mut self, persists: Vec<Persist>) -> Vec<FileStep> {
        let mut steps = Vec::new();
        let mut must_sync = false;
        let synced = self.base.index + self.positions.len() as u64 - 1;
        for persist in persists {
            must_sync |= persist.must_sync && persist.state.is_some();
            if let Some(snapshot) = persist.snapshot {
                let base = LogBase { index: snapshot.index, term: snapshot.term };
                let header = log::encode_header(base);
                self.base = base;
                self.positions = vec![header.len() as u64];
                let index = snapshot.index;
                steps.push(FileStep::PutSnapshot { index, bytes: snapshot.encode() });
                steps.push(FileStep::ReplaceLog { base: index, bytes: header });
            }
            // What a leader says is committed may be what replaces something here.
            let committed_before = self.commit;
            if let Some(state) = persist.state {
                self.commit = self.commit.max(state.commit);
                self.state = state;
            }
            self.plan_entries(&mut steps, &persist.entries, (committed_before, synced));
        }
        if matches!(steps.last(), Some(FileStep::WriteLog { .. })) {
            steps.push(FileStep::SyncLog);
        }
        if must_sync {
            self.plan_state(&mut steps);
        }
        steps
    }

    /// The steps that write down what is known to be committed; for a quiet moment.
    pub fn plan_commit(&mut self) -> Vec<FileStep> {
        let mut steps = Vec::new();
        self.plan_state(&mut steps);
        steps
    }

    /// The steps that let the beginning of the log go; `kept` is what stays.
    pub fn plan_compaction(&mut self, snapshot: &Snapshot, kept: &Kept) -> Vec<FileStep> {
        assert!(kept.base.index <= snapshot.index, "what goes is in the snapshot");
        let mut bytes = log::encode_header(kept.base).to_vec();
        self.base = kept.base;
        self.positions.clear();
        for entry in &kept.entries {
            self.positions.push(bytes.len() as u64);
            bytes.extend_from_slice(&log::encode_frame(entry, self.commit.min(entry.index)));
        }
        self.positions.push(bytes.len() as u64);
        vec![
            FileStep::PutSnapshot { index: snapshot.index, bytes: snapshot.encode() },
            FileStep::ReplaceLog { base: kept.base.index, bytes: Bytes::from(bytes) },
        ]
    }

    /// Bytes of the log.
    pub fn log_bytes(&self) -> u64 {
        *self.positions.last().expect("the end is always there")
    }

    fn plan_entries(
        &mut self,
        steps: &mut Vec<FileStep>,
        entries: &[Entry],
        (committed_before, synced): (u64, u64),
    ) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.base.index, "what a snapshot covers is not written again");
        let at = usize::try_from(first.index - self.base.index - 1).expect("entries in memory");
        assert!(at < self.positions.len(), "the log has no holes");
        if at + 1 < self.positions.len() {
            assert!(committed_before < first.index, "a committed entry is never replaced");
            self.positions.truncate(at + 1);
            steps.push(FileStep::CutLog { len: self.positions[at] });
            steps.push(FileStep::SyncLog);
        }
        // Of what is written together a power cut may leave the last frame and not the first: none
        // of them may say that another is committed.
        let commit = self.commit.min(synced).min(first.index - 1);
        let frames: Vec<Bytes> =
            entries.iter().map(|entry| log::encode_frame(entry, commit)).collect();
        let position = self.log_bytes();
        for frame in &frames {
            self.positions.push(self.log_bytes() + frame.len() as u64);
        }
        match steps.last_mut() {
            Some(FileStep::WriteLog { parts, .. }) => parts.extend(frames),
            _ => steps.push(FileStep::WriteLog { position, parts: frames }),
        }
        assert!(self.positions.is_sorted(), "entries lie one behind the other");
    }

    fn plan_state(&mut self, steps: &mut Vec<FileStep>) {
        let (position, bytes) = self.slots.next(&self.state);
        steps.push(FileStep::WriteState { position, bytes });
        steps.push(FileStep::SyncState);
    }
}

/// What state, log and snapshot know together: an entry of a term proves the term.
fn known(mut state: Durable, entries: &[Entry], snapshot: LogBase, commit: u64) -> Durable {
    let term = entries.last().map_or(snapshot.term, |last| last.term);
    if term > state.term {
        state.term = term;
        state.vote = None;
    }
    state.commit = state.commit.max(commit).max(snapshot.index);
    state
}
