//! A client that says line by line what happens to it, and ends when its input does.

use crate::process::{end, exited, wait_until};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// A running client. Killed when dropped.
pub struct Talker {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Talker {
    /// Starts a program whose toolchain was found.
    pub fn start(mut program: Command) -> Talker {
        let mut child = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the toolchain was installed");
        let stdout = BufReader::new(child.stdout.take().expect("piped above"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Talker { child, lines, said: Vec::new() }
    }

    /// Its next line, if it has said one more; does not wait.
    pub fn hear(&mut self) -> Option<String> {
        let line = self.lines.try_recv().ok()?;
        self.said.push(line.clone());
        Some(line)
    }

    /// Every line heard so far.
    pub fn said(&self) -> &[String] {
        &self.said
    }

    /// Ends its input.
    pub fn close(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Ends its input and waits until it has ended too.
    pub fn close_and_wait(&mut self, patience: Duration) {
        self.close();
        let ended = wait_until("the end of the client", patience, || exited(&mut self.child));
        if let Err(error) = ended {
            while self.hear().is_some() {}
            panic!("{error}; it said {:?}", self.said);
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        end(&mut self.child);
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
