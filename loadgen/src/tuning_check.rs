//! What `tuning check` says of this machine, where that program is at hand.

use std::env;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// The check reads some files below /proc and /sys; one that takes longer hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// What is read of an answer: some dozens of rows of less than a KiB each; one that says more is
/// another program.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// The rows of the check; `None` without the program, or when it does not answer in time or with
/// something else than rows.
pub(crate) fn tuning_check() -> Option<Value> {
    answer_of(Command::new(program()?), ANSWER_WITHIN)
}

/// `tuning` beside this program, or the first on PATH.
fn program() -> Option<PathBuf> {
    let own = env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = beside.into_iter().chain(env::split_paths(&path));
    places.find_map(|place| Some(place.join("tuning")).filter(|file| file.is_file()))
}

fn answer_of(mut program: Command, within: Duration) -> Option<Value> {
    let mut child = program
        .args(["check", "--output", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut output = child.stdout.take()?.take(ANSWER_BYTES_MAX);
    let (sender, answer) = channel();
    let read = move || {
        let mut bytes = Vec::new();
        let read = output.read_to_end(&mut bytes);
        // Nobody waits for what comes too late.
        let _ = sender.send(read.map(|_| bytes));
    };
    let reader = thread::Builder::new().name("tuning-check".to_owned()).spawn(read);
    let bytes = reader.ok().and_then(|_| answer.recv_timeout(within).ok()).and_then(Result::ok);
    // It has ended, or is to end; its exit code tells of findings, not of its answer.
    let _ = child.kill();
    let _ = child.wait();
    // Another program of that name on PATH says something else.
    serde_json::from_slice(&bytes?).ok().filter(is_check)
}

fn is_check(answer: &Value) -> bool {
    let rows = answer.as_array();
    rows.is_some_and(|rows| {
        rows.iter().all(|row| row["id"].is_string() && row["status"].is_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(script: &str, within: Duration) -> Option<Value> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script, "tuning"]);
        answer_of(shell, within)
    }

    #[test]
    fn rows_are_kept_whatever_the_exit_code_and_nothing_else_is() {
        let minute = Duration::from_secs(60);
        let rows = said(
            "[ \"$*\" = 'check --output json' ] && echo '[{\"id\":\"a\",\"status\":\"warn\"}]'; exit 2",
            minute,
        );
        assert_eq!(rows.unwrap()[0]["status"], "warn");
        assert_eq!(said("echo '{\"id\":\"a\"}'", minute), None);
        assert_eq!(said("echo usage >&2; exit 64", minute), None);
        assert_eq!(answer_of(Command::new("/nothing/here"), minute), None);
    }

    #[test]
    fn one_that_does_not_answer_is_not_waited_for() {
        assert_eq!(said("exec tail -f /dev/null", Duration::ZERO), None);
    }

    #[test]
    fn one_that_never_ends_its_answer_is_not_read_to_the_end() {
        assert_eq!(said("exec cat /dev/zero", Duration::from_secs(60)), None);
    }
}
