//! What commands say on standard output and standard error.
//!
//! Why not the standard library's macros: they panic when the reader has gone, as in
//! `highwater topic list | head -1`. The macros here have the same names and hide those in all of
//! `cli`, so that nobody has to remember.
//!
//! Invariants
//! - A command whose standard output is closed ends there, quietly and with success: nobody wants
//!   the rest. What goes on whoever listens (a broker, a development cluster, a decommission) uses
//!   `announce!`.
//! - A closed standard error stops nothing.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, StdoutLock, Write};
use std::process::exit;

/// Standard output cannot be written (sysexits EX_IOERR).
const EXIT_IO: i32 = 74;

/// To standard output; a closed one ends the process.
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::output::say(format_args!($($text)*)) };
}

/// As `print!`, one line.
macro_rules! println {
    ($($text:tt)*) => {
        $crate::cli::output::say(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// One line to standard output, closed or not.
macro_rules! announce {
    ($($text:tt)*) => {
        $crate::cli::output::announce(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// One line to standard error, closed or not.
macro_rules! eprintln {
    ($($text:tt)*) => {
        $crate::cli::output::complain(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// Standard output of a command.
pub(crate) struct Output(StdoutLock<'static>);

/// Standard output, for what is written piece by piece.
pub(crate) fn writer() -> Output {
    Output(io::stdout().lock())
}

/// What `print!` does.
pub(crate) fn say(text: Arguments<'_>) {
    if let Err(error) = writer().write_fmt(text) {
        complain(format_args!("highwater: standard output: {error}\n"));
        exit(EXIT_IO);
    }
}

/// What `announce!` does.
pub(crate) fn announce(text: Arguments<'_>) {
    // Whoever listened has gone, or the disk behind it is full: the broker goes on.
    let _ = io::stdout().lock().write_fmt(text);
}

/// What `eprintln!` does.
pub(crate) fn complain(text: Arguments<'_>) {
    // There is nowhere else to say it.
    let _ = io::stderr().lock().write_fmt(text);
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_end(self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        or_end(self.0.flush())
    }
}

fn or_end<T>(outcome: io::Result<T>) -> io::Result<T> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit(0),
        outcome => outcome,
    }
}
