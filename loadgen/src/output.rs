//! What loadgen says on standard output and standard error.
//!
//! Why not the standard library's macros: they panic when the reader has gone, as in
//! `loadgen produce ... | head -1`. The macros here have the same names and hide those in all of
//! loadgen, so that nobody has to remember.
//!
//! Invariant: a reader that has gone changes neither the run nor its exit code: what it measures
//! may also go to `--out`, and a broker under load must not lose it.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

/// To standard output, open or closed.
macro_rules! print {
    ($($text:tt)*) => { $crate::output::say(format_args!($($text)*)) };
}

/// As `print!`, one line.
macro_rules! println {
    ($($text:tt)*) => { $crate::output::say(format_args!("{}\n", format_args!($($text)*))) };
}

/// One line to standard error, open or closed.
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::output::complain(format_args!("{}\n", format_args!($($text)*))) };
}

/// What `print!` does.
pub(crate) fn say(text: Arguments<'_>) {
    match io::stdout().lock().write_fmt(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(format_args!("loadgen: standard output: {error}\n"));
        }
        _ => {}
    }
}

/// What `eprintln!` does.
pub(crate) fn complain(text: Arguments<'_>) {
    // There is nowhere else to say it.
    let _ = io::stderr().lock().write_fmt(text);
}
