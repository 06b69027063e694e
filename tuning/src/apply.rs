//! Makes the changes of a plan, one by one: record, write, read again.
//!
//! Invariant: nothing is written whose value before is not in the synced state file. The first
//! failure stops; what was made stays until `revert`.

use crate::cores::is_same_mask;
use crate::host::{Access, Host};
use crate::plan::{Step, refusal};
use crate::state::{Entry, Kind, State, utc};
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes one setting: the host's own, or a test's.
pub(crate) type Writer<'a> = &'a dyn Fn(&str, &str) -> io::Result<()>;

#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Paths and values that were read back as written.
    pub(crate) made: Vec<(String, String)>,
    /// Paths that had the value by their turn: a change before brought it along, or somebody else.
    pub(crate) already: Vec<String>,
    /// Paths that the kernel or the host refused, with the reason.
    pub(crate) refused: Vec<(String, Access)>,
    /// What stopped it.
    pub(crate) failed: Option<String>,
}

pub(crate) fn apply(host: &Host, steps: &[Step], state: &mut State, write: Writer) -> Applied {
    let mut applied = Applied::default();
    for Step { tuner, change } in steps {
        let (path, new) = (change.path.clone(), change.new.clone());
        let now = host.setting(&path).unwrap_or_default();
        // The governor `performance` sets the hint to the CPU too, for one.
        if is_same(&path, &now, &new) {
            applied.already.push(path);
            continue;
        }
        if !is_same(&path, &now, &change.old) {
            let text = format!("/{path} is {now} now, it was {} in the plan", change.old);
            applied.failed = Some(format!("{text}: somebody else changed it; look again"));
            return applied;
        }
        let entry = Entry { old: Some(change.old.clone()), ..entry(host, tuner.id, &path, &new) };
        if let Err(error) = state.record(entry) {
            applied.failed = Some(format!("/{path} was not written: {}", with_source(&error)));
            return applied;
        }
        if let Err(error) = write(&path, &new) {
            let Some(access) = refusal(&error) else {
                applied.failed = Some(format!("/{path}: writing {new}: {error}"));
                return applied;
            };
            applied.refused.push((path, access));
            if let Err(error) = state.forget_newest() {
                applied.failed = Some(with_source(&error));
                return applied;
            }
            continue;
        }
        match host.setting(&path) {
            Some(found) if is_same(&path, &found, &new) => applied.made.push((path, new)),
            found => {
                let found = found.unwrap_or_else(|| "nothing".to_owned());
                applied.failed = Some(format!("/{path}: wrote {new}, read back {found}"));
                return applied;
            }
        }
    }
    applied
}

/// An entry of now, without the value before.
pub(crate) fn entry(host: &Host, id: &str, path: &str, new: &str) -> Entry {
    #[allow(clippy::disallowed_methods, reason = "when a change was made is for people to read")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Entry {
        id: id.to_owned(),
        kind: Kind::Setting,
        path: path.to_owned(),
        old: None,
        new: new.to_owned(),
        boot_id: host.text("proc/sys/kernel/random/boot_id").unwrap_or_default(),
        time: utc(now),
    }
}

/// Whether two texts are the same setting of this file.
pub(crate) fn is_same(path: &str, one: &str, other: &str) -> bool {
    one == other || (path.ends_with("_cpus") && is_same_mask(one, other))
}

pub(crate) fn with_source(error: &dyn std::error::Error) -> String {
    error.source().map_or(error.to_string(), |source| format!("{error}: {source}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuner::Change;
    use crate::tuners;
    use rustix::io::Errno;

    fn steps() -> Vec<Step> {
        let change = |id: &str, path: &str| {
            let (path, old, new) = (path.to_owned(), "0".to_owned(), "1".to_owned());
            let change = Change { path, old, new, access: Access::Writable };
            Step { tuner: tuners::find(id).unwrap(), change }
        };
        vec![change("memory.thp", "a"), change("memory.dirty", "b"), change("net.rps", "c")]
    }

    /// Applies three changes; the second is answered by `second`.
    fn applied(name: &str, second: Result<&str, Errno>) -> (Applied, Vec<String>) {
        let root = std::env::temp_dir().join(format!("tuning-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        for path in ["a", "b", "c"] {
            std::fs::write(root.join(path), "0\n").unwrap();
        }
        let host = Host::copied(root.clone());
        let mut state = State::open(root.join("state.json")).unwrap();
        let write = |path: &str, value: &str| match (path, second) {
            ("b", Ok(kept)) => host.write(path, kept),
            ("b", Err(errno)) => Err(io::Error::from(errno)),
            _ => host.write(path, value),
        };
        let applied = apply(&host, &steps(), &mut state, &write);
        let on_disk = State::entries_of(state.file()).unwrap();
        std::fs::remove_dir_all(root).unwrap();
        (applied, on_disk.into_iter().map(|entry| entry.path).collect())
    }

    #[test]
    fn the_first_failure_stops_and_all_that_was_tried_is_on_record() {
        let (outcome, recorded) = applied("invalid", Err(Errno::INVAL));
        assert_eq!(outcome.made, [("a".to_owned(), "1".to_owned())]);
        assert!(outcome.failed.unwrap().contains("/b: writing 1: Invalid argument"));
        assert_eq!(recorded, ["a", "b"]);
    }

    #[test]
    fn a_value_that_does_not_stick_is_a_failure() {
        let (outcome, recorded) = applied("stuck", Ok("7"));
        assert_eq!(outcome.failed.as_deref(), Some("/b: wrote 1, read back 7"));
        assert_eq!(recorded, ["a", "b"]);
    }

    #[test]
    fn a_value_that_changed_after_the_plan_is_not_overwritten() {
        let root = std::env::temp_dir().join(format!("tuning-stale-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("a"), "5\n").unwrap();
        let host = Host::copied(root.clone());
        let mut state = State::open(root.join("state.json")).unwrap();
        let outcome = apply(&host, &steps(), &mut state, &|_, _| panic!("nothing is written"));
        let failed = outcome.failed.unwrap();
        assert!(failed.starts_with("/a is 5 now, it was 0 in the plan"), "{failed}");
        assert_eq!(State::entries_of(state.file()).unwrap(), []);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_value_that_came_with_another_is_not_written_and_not_on_record() {
        let root = std::env::temp_dir().join(format!("tuning-along-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        for path in ["a", "b", "c"] {
            std::fs::write(root.join(path), "0\n").unwrap();
        }
        let host = Host::copied(root.clone());
        let mut state = State::open(root.join("state.json")).unwrap();
        let write = |path: &str, value: &str| {
            assert_ne!(path, "b");
            host.write("b", value)?;
            host.write(path, value)
        };
        let outcome = apply(&host, &steps(), &mut state, &write);
        assert_eq!((outcome.made.len(), outcome.failed), (2, None));
        assert_eq!(outcome.already, ["b"]);
        assert_eq!(State::entries_of(state.file()).unwrap().len(), 2);
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn what_the_kernel_manages_is_passed_over_and_not_on_record() {
        for errno in [Errno::ROFS, Errno::IO] {
            let (outcome, recorded) = applied("managed", Err(errno));
            // Without root EIO is told from EPERM: only the latter asks for root.
            assert!(matches!(outcome.refused[..], [(_, Access::Managed(_))]), "{outcome:?}");
            assert_eq!((outcome.made.len(), outcome.failed), (2, None));
            assert_eq!(recorded, ["a", "c"]);
        }
    }
}
