//! Child processes with their output in a file, and waiting for a condition.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
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

/// Runs `command` without input to its end, or kills it after `patience`.
///
/// # Errors
/// The operating system's words when the program cannot be started.
pub fn run_to_end(mut command: Command, patience: Duration) -> Result<Finished, String> {
    command.stdin(Stdio::null());
    run_serving(command, patience, "", || unreachable!("nothing is asked for"))
}

/// The same for a program that reads `input`.
///
/// # Errors
/// The operating system's words when the program cannot be started.
pub fn run_with_input(
    mut command: Command,
    input: &str,
    patience: Duration,
) -> Result<Finished, String> {
    let directory = crate::scratch_directory("input");
    let path = directory.path().join("input");
    fs::write(&path, input).map_err(|error| format!("{}: {error}", path.display()))?;
    let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    command.stdin(file);
    run_serving(command, patience, "", || unreachable!("nothing is asked for"))
}

/// The same for a program that asks for something by a line `request` of its output, and then waits
/// for a line of input: `serve` does what it asks for. Without one its input is the command's.
///
/// # Errors
/// The operating system's words when the program cannot be started.
pub(crate) fn run_serving(
    mut command: Command,
    patience: Duration,
    request: &str,
    mut serve: impl FnMut(),
) -> Result<Finished, String> {
    let directory = crate::scratch_directory("process");
    let stdout = directory.path().join("stdout");
    let stderr = directory.path().join("stderr");
    if !request.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command
        .stdout(File::create(&stdout).expect("a new file"))
        .stderr(File::create(&stderr).expect("a new file"))
        .spawn()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let mut served = 0;
    let mut serve_what_is_asked = |stdin: Option<&mut ChildStdin>| {
        let Some(stdin) = stdin else { return };
        let text = text_of(&stdout);
        let asked = text.lines().filter(|line| *line == request);
        for _ in asked.skip(served) {
            served += 1;
            serve();
            // A program that has ended in between reads no more; its status says how it ended.
            drop(stdin.write_all(b"\n"));
        }
    };
    let status = wait_until("the end of the process", patience, || {
        serve_what_is_asked(child.stdin.as_mut());
        exited(&mut child)
    });
    let status = status.ok();
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
