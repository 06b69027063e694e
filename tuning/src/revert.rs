//! Takes changes back, the newest first, and leaves alone what somebody else changed since.

use crate::apply::is_same;
use crate::host::Host;
use crate::state::{Entry, Kind, State, StateError};
use std::fs;
use std::io;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Restored,
    /// The value before is there already.
    AlreadyBefore,
    /// Neither our value nor the one before: what is there now.
    Conflict(String),
    Failed(String),
}

/// Entries that could not be taken back stay on record.
pub(crate) fn revert(host: &Host, state: &mut State) -> Result<Vec<(Entry, Outcome)>, StateError> {
    let mut outcomes = Vec::new();
    for entry in state.entries.iter().rev() {
        let outcome = match entry.kind {
            Kind::Setting => setting(host, entry),
            Kind::File => file(host, entry),
        };
        outcomes.push((entry.clone(), outcome));
    }
    let is_open = |outcome: &Outcome| matches!(outcome, Outcome::Conflict(_) | Outcome::Failed(_));
    let open = outcomes.iter().rev().filter(|(_, outcome)| is_open(outcome));
    state.keep(open.map(|(entry, _)| entry.clone()).collect())?;
    Ok(outcomes)
}

fn setting(host: &Host, entry: &Entry) -> Outcome {
    let old = entry.old.as_deref().expect("State::open refuses a setting without its value before");
    let Some(current) = host.setting(&entry.path) else {
        return Outcome::Conflict("not readable".to_owned());
    };
    if is_same(&entry.path, &current, old) {
        return Outcome::AlreadyBefore;
    }
    if !is_same(&entry.path, &current, &entry.new) {
        return Outcome::Conflict(current);
    }
    if let Err(error) = host.write(&entry.path, old) {
        return Outcome::Failed(error.to_string());
    }
    match host.setting(&entry.path) {
        Some(found) if is_same(&entry.path, &found, old) => Outcome::Restored,
        found => Outcome::Failed(format!("read back {}", found.unwrap_or_default())),
    }
}

fn file(host: &Host, entry: &Entry) -> Outcome {
    let path = host.file(&entry.path);
    let current = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    if current == entry.old {
        return Outcome::AlreadyBefore;
    }
    if current.as_ref() != Some(&entry.new) {
        return Outcome::Conflict("edited since".to_owned());
    }
    let outcome = match &entry.old {
        Some(old) => fs::write(&path, old),
        None => fs::remove_file(&path),
    };
    match outcome {
        Ok(()) => Outcome::Restored,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}
