//! The state file: every change with the value before it, on stable storage before it is made.
//!
//! Invariants
//! - `record` returns after the entry is synced, so a crash at any moment leaves a way back.
//! - The file is replaced whole by rename: a reader sees all entries or those before the last.
//! - Who writes holds the lock beside it (`.lock`), so that two runs cannot interleave.

use serde_json::{Value, json};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const VERSION: u64 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A value in `proc` or `sys`, gone after a reboot.
    Setting,
    /// A file of `--persist`, which stays.
    File,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// Relative to the root.
    pub(crate) path: String,
    /// `None` where a file did not exist.
    pub(crate) old: Option<String>,
    pub(crate) new: String,
    /// The kernel's name of the boot in which it was made.
    pub(crate) boot_id: String,
    /// UTC, as in 2026-01-31T12:00:00Z.
    pub(crate) time: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("state file {file}")]
    Io { file: PathBuf, source: io::Error },
    #[error("state file {file} is in use: another apply or revert is under way")]
    Busy { file: PathBuf },
    #[error("state file {file} is not one of ours: {what}")]
    Damaged { file: PathBuf, what: &'static str },
}

pub(crate) struct State {
    file: PathBuf,
    pub(crate) entries: Vec<Entry>,
    /// Held until the state is dropped; the kernel lets go of it when the process ends.
    _lock: File,
}

impl State {
    /// Waits for nobody: a state that another process holds is an error. A file that does not exist
    /// is an empty state.
    pub(crate) fn open(file: PathBuf) -> Result<State, StateError> {
        let lock = match lock(&file) {
            Ok(lock) => lock,
            Err(TryLockError::WouldBlock) => return Err(StateError::Busy { file }),
            Err(TryLockError::Error(source)) => return Err(StateError::Io { file, source }),
        };
        let entries = State::entries_of(&file)?;
        Ok(State { file, entries, _lock: lock })
    }

    /// What is on record, without the right to change it.
    pub(crate) fn entries_of(file: &Path) -> Result<Vec<Entry>, StateError> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(StateError::Io { file: file.to_owned(), source }),
        };
        parse(&text).map_err(|what| StateError::Damaged { file: file.to_owned(), what })
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Adds an entry; it is on stable storage when this returns.
    pub(crate) fn record(&mut self, entry: Entry) -> Result<(), StateError> {
        self.entries.push(entry);
        let outcome = self.save();
        if outcome.is_err() {
            self.entries.pop();
        }
        outcome
    }

    /// Drops the newest entry, whose change was refused.
    pub(crate) fn forget_newest(&mut self) -> Result<(), StateError> {
        self.entries.pop();
        self.save()
    }

    /// Replaces all entries; without any the file goes.
    pub(crate) fn keep(&mut self, entries: Vec<Entry>) -> Result<(), StateError> {
        self.entries = entries;
        self.save()
    }

    fn save(&self) -> Result<(), StateError> {
        let io = |source| StateError::Io { file: self.file.clone(), source };
        replace(&self.file, &self.entries).map_err(io)
    }
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

fn lock(file: &Path) -> Result<File, TryLockError> {
    fs::create_dir_all(folder(file)).map_err(TryLockError::Error)?;
    let lock = File::create(file.with_extension("lock")).map_err(TryLockError::Error)?;
    lock.try_lock()?;
    Ok(lock)
}

fn replace(file: &Path, entries: &[Entry]) -> io::Result<()> {
    let folder = folder(file);
    if entries.is_empty() {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    } else {
        let draft = file.with_extension("draft");
        let mut output = File::create(&draft)?;
        output.write_all(render(entries).as_bytes())?;
        output.sync_all()?;
        fs::rename(&draft, file)?;
    }
    File::open(folder)?.sync_all()
}

fn render(entries: &[Entry]) -> String {
    let entry = |entry: &Entry| {
        json!({
            "id": entry.id,
            "kind": match entry.kind { Kind::Setting => "setting", Kind::File => "file" },
            "path": format!("/{}", entry.path),
            "old": entry.old,
            "new": entry.new,
            "boot_id": entry.boot_id,
            "time": entry.time,
        })
    };
    let changes: Vec<Value> = entries.iter().map(entry).collect();
    format!("{:#}\n", json!({ "version": VERSION, "changes": changes }))
}

fn parse(text: &str) -> Result<Vec<Entry>, &'static str> {
    let value: Value = serde_json::from_str(text).map_err(|_| "no JSON")?;
    if value["version"].as_u64() != Some(VERSION) {
        return Err("its version is not 1");
    }
    let changes = value["changes"].as_array().ok_or("it has no list of changes")?;
    changes.iter().map(|change| entry(change).ok_or("a change lacks a field")).collect()
}

fn entry(change: &Value) -> Option<Entry> {
    let text = |name: &str| change[name].as_str().map(str::to_owned);
    let kind = match change["kind"].as_str()? {
        "setting" => Kind::Setting,
        "file" => Kind::File,
        _ => return None,
    };
    let path = text("path")?.trim_start_matches('/').to_owned();
    // Whoever edits the file must not lead us out of the root.
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    let (old, new) = (text("old"), text("new")?);
    if kind == Kind::Setting && old.is_none() {
        return None;
    }
    Some(Entry {
        id: text("id")?,
        kind,
        path,
        old,
        new,
        boot_id: text("boot_id")?,
        time: text("time")?,
    })
}

/// Seconds since 1970 as UTC (Howard Hinnant's days-to-civil arithmetic).
pub(crate) fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_dates() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(utc(1_798_761_599), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn a_state_file_that_is_not_ours_is_refused() {
        assert_eq!(parse("{"), Err("no JSON"));
        assert_eq!(parse("{}"), Err("its version is not 1"));
        assert_eq!(parse(r#"{"version":1}"#), Err("it has no list of changes"));
        let up = r#"{"version":1,"changes":[{"id":"a","kind":"file","path":"/../x",
            "old":null,"new":"","boot_id":"","time":""}]}"#;
        assert_eq!(parse(up), Err("a change lacks a field"));
    }
}
