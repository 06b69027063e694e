//! The command line: starting a broker, and talking to one as any Kafka client would.
//!
//! Every sub-command that needs a broker speaks the Kafka protocol to it, so it works against any
//! Kafka-compatible broker too. `latency` alone asks for what Kafka does not have.

#[macro_use]
mod output; // print! and println! for readers that may go away
mod args; // what can be typed
pub mod config_source; // files, environment and flags become settings
mod cluster; // voters, brokers, and data directories of those that do not run
mod client; // one blocking connection to a broker
mod consume; // records to the terminal
mod dev_cluster; // several brokers on one machine, to be broken
mod error; // what went wrong, and the exit code that says so
mod host_check; // what this host could do better, in one line
mod group; // consumer groups: state, lag, offsets
mod explain; // one page per operator error
mod latency; // where the time of requests goes, stage by stage
mod leaders; // which broker leads which partition
mod log_dump; // segment files, batch by batch, with their checksums
mod offsets; // first, end and by time
mod produce; // lines to records
mod start; // a broker, from its configuration to its banner
mod record_format; // how a consumed record is printed
mod table; // columns for people
mod topic; // create, list, describe, alter, delete
mod txn; // transactional ids: list, describe, abort

use error::CliError;

use args::{Args, Command};
use clap::{CommandFactory, Parser};
use std::process::ExitCode;

/// What the command line says cannot be understood (sysexits EX_USAGE).
const EXIT_USAGE: u8 = 64;

/// Parses the command line, runs the command, and turns its end into an exit code.
pub fn run() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(message) => {
            // Asked-for help goes to standard output; if that is closed, nobody wants it.
            drop(message.print());
            return if message.use_stderr() { EXIT_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match dispatch(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("highwater: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            if let Some(way_out) = error.way_out() {
                eprintln!("  help: {way_out}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(args: Args) -> Result<(), CliError> {
    match args.command {
        None => Ok(start::run(&args.start)?),
        Some(Command::Topic(command)) => topic::run(&command),
        Some(Command::Group(command)) => group::run(&command),
        Some(Command::Txn(command)) => txn::run(&command),
        Some(Command::Produce(options)) => produce::run(&options),
        Some(Command::Consume(options)) => consume::run(&options),
        Some(Command::Latency(options)) => latency::run(&options),
        Some(Command::Log(command)) => log_dump::run(&command),
        Some(Command::Cluster(command)) => cluster::run(&command),
        Some(Command::DevCluster(options)) => dev_cluster::run(&options),
        Some(Command::Explain { code }) => explain::run(&code),
        Some(Command::Completions { shell }) => {
            let mut command = Args::command();
            clap_complete::generate(shell, &mut command, "highwater", &mut output::writer());
            Ok(())
        }
    }
}
