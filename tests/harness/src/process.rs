//! Child processes with their output in a file, and waiting for a condition.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(5);

/// Polls `condition` until it gives a value, for at most `patience`.
///
/// # Errors
/// The text `what`, with the time, when it never did.
pub fn wait_until<T>(
    what: &str,
    patience: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T, String> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if Instant::now() > deadline {
            return Err(format!("not within {patience:?}: {what}"));
        }
        thread::sleep(POLL);
    }
}

/// A process that has ended.
pub struct Finished {
    /// `None` when it was killed at its deadline.
    pub status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Whether it ended by itself with status 0.
    pub fn is_success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// Runs `command` to its end, or kills it after `patience`.
///
/// # Errors
/// The operating system's words when the program cannot be started.
pub fn run_to_end(mut command: Command, patience: Duration) -> Result<Finished, String> {
    let directory = crate::scratch_directory("process");
    let stdout = directory.path().join("stdout");
    let stderr = directory.path().join("stderr");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(File::create(&stdout).expect("a new file"))
        .stderr(File::create(&stderr).expect("a new file"))
        .spawn()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let status = wait_until("the end of the process", patience, || exited(&mut child)).ok();
    if status.is_none() {
        end(&mut child);
    }
    Ok(Finished { status, stdout: text_of(&stdout), stderr: text_of(&stderr) })
}

/// The exit status of a child that has ended.
pub(crate) fn exited(child: &mut Child) -> Option<ExitStatus> {
    child.try_wait().expect("the child is ours")
}

/// Kills and reaps a child, whatever state it is in.
pub(crate) fn end(child: &mut Child) {
    // An error says that it has ended already, which is what is wanted.
    drop(child.kill());
    drop(child.wait());
}

/// A file's text; what is not UTF-8 is shown as such, a missing file is empty.
pub(crate) fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The last `count` lines.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
