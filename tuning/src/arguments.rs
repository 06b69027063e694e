//! The command line.

use crate::cores;
use crate::report::FailOn;
use crate::tuner::Profile;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Checks and tunes a Linux host for Highwater, explains each setting, and takes changes back.
#[derive(Parser)]
#[command(name = "tuning", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 warnings (check --fail-on warn) or values that \
somebody else changed (revert), 2 errors, 3 nothing could be judged or done here, or no \
permission, 64 wrong usage";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Compare the host with what the broker needs. Changes nothing.
    Check {
        #[command(flatten)]
        host: HostOptions,
        /// What makes the exit code differ from 0.
        #[arg(long, value_name = "WHAT", default_value = "error")]
        fail_on: FailOn,
    },
    /// Show each change that `apply` would make. Changes nothing.
    Plan {
        #[command(flatten)]
        host: HostOptions,
        #[command(flatten)]
        choice: Choice,
    },
    /// Make the changes; each is recorded first, and `revert` takes it back.
    Apply {
        #[command(flatten)]
        host: HostOptions,
        #[command(flatten)]
        choice: Choice,
        /// The same as `plan`.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Also write sysctl.d, udev and tmpfiles.d, so that it holds after a reboot.
        #[arg(long)]
        persist: bool,
        /// Change nothing; write the changes as a shell script.
        #[arg(long, value_name = "FILE", conflicts_with = "persist")]
        script: Option<PathBuf>,
        /// Where changes are recorded. Default: /var/lib/highwater/tuning.json below the root.
        #[arg(long, value_name = "FILE")]
        state: Option<PathBuf>,
    },
    /// Take back what `apply` did, except for values that somebody else changed since.
    Revert {
        /// The state file of that apply. Default: /var/lib/highwater/tuning.json below the root.
        #[arg(long, visible_alias = "state", value_name = "FILE")]
        to: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
    /// Measure pauses, wake-ups, fdatasync and loopback, one turn each. Changes nothing.
    Measure {
        /// Length of each turn: 500ms, 10s.
        #[arg(long, default_value = "10s", value_parser = duration)]
        time: Duration,
        /// Folder on the disk to measure; without it fdatasync is left out.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// Run on this core only.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..1024))]
        core: Option<u16>,
        /// The JSON of a run before, to show beside this one.
        #[arg(long, value_name = "FILE")]
        before: Option<PathBuf>,
        /// Measure twice, and wait for Enter in between: change the host meanwhile.
        #[arg(long, conflicts_with = "before")]
        before_after: bool,
        #[arg(short, long, value_name = "FORM", default_value = "table")]
        output: Form,
    },
    /// Explain a setting: what it is, why, how to set it by hand, how to undo that.
    Explain {
        /// Its id; without one, all are listed.
        id: Option<String>,
        #[command(flatten)]
        host: HostOptions,
    },
}

/// Where to look.
#[derive(Args)]
pub(crate) struct Place {
    /// Use proc/ and sys/ below this folder, a copy from another host.
    #[arg(long, value_name = "FAKE")]
    pub(crate) root: Option<PathBuf>,
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Form,
}

#[derive(Args)]
pub(crate) struct HostOptions {
    #[arg(long, default_value = "throughput")]
    pub(crate) profile: Profile,
    /// The broker's data directory, or a folder on its disk: adds that disk.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Network devices. Default: each that has hardware behind it.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) nic: Vec<String>,
    /// The broker's cores, as in 2-7; interrupts go to the others.
    #[arg(long, value_name = "LIST", value_parser = core_list)]
    pub(crate) cores: Option<CoreList>,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Which tuners take part.
#[derive(Args)]
pub(crate) struct Choice {
    /// Only these ids.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// All but these ids.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub(crate) skip: Vec<String>,
}

impl Choice {
    pub(crate) fn has(&self, id: &str) -> bool {
        let is_in = |list: &[String]| list.iter().any(|known| known == id);
        (self.only.is_empty() || is_in(&self.only)) && !is_in(&self.skip)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.only.iter().chain(&self.skip)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Table,
    Json,
}

#[derive(Debug, Clone)]
pub(crate) struct CoreList(pub(crate) Vec<u32>);

fn core_list(text: &str) -> Result<CoreList, String> {
    match cores::parse(text) {
        Some(cores) if !cores.is_empty() => Ok(CoreList(cores)),
        _ => Err("not a list of cores such as 2-7 or 1,3".to_owned()),
    }
}

/// At most an hour: a turn is a measurement, not a soak test.
const TURN_MS_MAX: u64 = 3_600_000;

fn duration(text: &str) -> Result<Duration, String> {
    let (number, factor) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1000),
        (None, None) => (text, 1000),
    };
    let milliseconds = number.parse::<u64>().ok().and_then(|it| it.checked_mul(factor));
    match milliseconds {
        Some(it) if (1..=TURN_MS_MAX).contains(&it) => Ok(Duration::from_millis(it)),
        _ => Err("not a time between 1ms and 3600s, such as 500ms or 10s".to_owned()),
    }
}
