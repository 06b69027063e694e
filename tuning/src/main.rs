//! `tuning check`: whether this host gives Highwater what it needs, and how to give the rest.
//!
//! Reads only; nothing is changed. Exit code 0: all well, 1: advice, 2: the broker will not run,
//! 64: wrong usage.

mod checks;
mod disk;
mod host;
mod limits;
mod report;
mod ring;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use host::Host;
use std::path::PathBuf;
use std::process::ExitCode;

const EXIT_USAGE: u8 = 64;

/// Checks whether a Linux host gives Highwater what it needs, and explains what is missing.
#[derive(Parser)]
#[command(name = "tuning", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare the host with what the broker needs. Exit code 0: all well, 1: advice, 2: errors.
    Check {
        /// Print the rows as JSON.
        #[arg(long)]
        json: bool,
        /// The broker's data directory, or a folder on its disk: adds checks of that disk.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// Read proc/ and sys/ below this folder, a copy from another host.
        #[arg(long, value_name = "FAKE")]
        root: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let Command::Check { json, data_dir, root } = arguments.command;
    let host = match root {
        None => Host::live(),
        Some(root) if root.join("proc").is_dir() => Host::copied(root),
        Some(root) => {
            eprintln!("--root {}: has no proc/ folder", root.display());
            eprintln!(
                "  help: name a folder with copies of /proc and /sys of the host in question"
            );
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let rows = checks::check(&host, data_dir.as_deref());
    let text = if json { report::json(&rows) } else { report::table(&rows) };
    #[allow(clippy::print_stdout, reason = "the report is what the command is for")]
    {
        print!("{text}");
    }
    ExitCode::from(report::exit_code(&rows))
}

fn usage(error: &clap::Error) -> ExitCode {
    // Printing can only fail when nobody listens.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_USAGE),
    }
}
