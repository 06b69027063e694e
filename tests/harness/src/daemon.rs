//! A program that runs beside a test until it is closed or killed.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{end, exited, tail, text_of, wait_until};

const LINES_SHOWN: usize = 60;

/// A running program; what it writes is in a file. Killed when dropped.
pub struct Daemon {
    name: String,
    child: Child,
    output: PathBuf,
    _directory: TempDir,
}

impl Daemon {
    /// Starts it with a standard input that stays open.
    pub fn start(name: &str, mut command: Command) -> Daemon {
        let directory = crate::scratch_directory(name);
        let output = directory.path().join("output");
        let file = File::create(&output).expect("a new file");
        let child = command
            .stdin(Stdio::piped())
            .stdout(file.try_clone().expect("an open file"))
            .stderr(file)
            .spawn()
            .expect("the toolchain was installed");
        Daemon { name: name.to_owned(), child, output, _directory: directory }
    }

    /// Both outputs so far.
    pub fn output(&self) -> String {
        text_of(&self.output)
    }

    /// Waits for a whole line; panics with what it said instead.
    pub fn wait_for_line(&self, line: &str, patience: Duration) {
        let is_said = || self.output().lines().any(|said| said == line).then_some(());
        wait_until(line, patience, is_said).unwrap_or_else(|late| self.fail(&late));
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("it is not closed yet");
        writeln!(input, "{line}").unwrap_or_else(|error| self.fail(&error.to_string()));
    }

    /// Closes its input, which asks it to end, and waits until it has.
    pub fn close(&mut self, patience: Duration) -> ExitStatus {
        drop(self.child.stdin.take());
        let ended = wait_until("its end", patience, || exited(&mut self.child));
        ended.unwrap_or_else(|late| self.fail(&late))
    }

    /// SIGTERM, and waits until it has ended.
    pub fn terminate(&mut self, patience: Duration) -> ExitStatus {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().expect("a system has kill");
        self.close(patience)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        end(&mut self.child);
    }

    /// Panics with the last lines it wrote.
    pub fn fail(&self, what: &str) -> ! {
        panic!("{}: {what}\n--- it said ---\n{}", self.name, tail(&self.output(), LINES_SHOWN));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
