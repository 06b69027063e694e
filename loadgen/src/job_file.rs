//! A job file: each job is a table with the same keys as the flags of its command.
//!
//! ```toml
//! order = "together"            # or "in-turn"
//! [global]                      # for every job that knows the key
//! bootstrap = "127.0.0.1:9092"
//! [jobs.ticks]
//! mode = "e2e"
//! rate = "20k/s"
//! [[slo]]                       # see job_slo
//! job = "ticks"
//! p99 = "2ms"
//! ```
//!
//! Invariants
//! - A file is checked whole, by the command line's own rules, before anything starts.
//! - What is wrong is said with its line; a key that no flag has, with the nearest one that is.

use std::ops::Range;
use std::path::Path;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::cli::Cli;
use crate::failure::Failure;
use crate::job_set::Override;
use crate::job_slo::Slo;

/// How the jobs of a file run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Together,
    InTurn,
}

/// One job: a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) mode: String,
    /// The words behind the command's name.
    pub(crate) words: Vec<String>,
    /// The command has `--out`, and the job does not say it.
    pub(crate) takes_out: bool,
}

/// A file that was read and is right.
#[derive(Debug)]
pub(crate) struct JobFile {
    pub(crate) order: Order,
    /// In the order of the file.
    pub(crate) jobs: Vec<Job>,
    pub(crate) slos: Vec<Slo>,
}

/// A flag that was set, and where.
struct Setting {
    flag: String,
    words: Vec<String>,
    span: Range<usize>,
    /// The `--set` that it comes from.
    set: Option<String>,
}

type Table<'a> = DeTable<'a>;

impl JobFile {
    /// Reads and checks a file, with `overrides` in place of what it says.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, or has a job that is no command line: with the line.
    pub(crate) fn read(path: &Path, overrides: &[Override]) -> Result<JobFile, Failure> {
        let refusal = |reason: String| Failure::BadRun { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| refusal(error.to_string()))?;
        JobFile::parse(&text, overrides).map_err(|fault| {
            if let Some(set) = fault.set {
                return Failure::BadSet { set, reason: fault.reason };
            }
            let line = text[..fault.at.min(text.len())].matches('\n').count() + 1;
            Failure::BadJob { path: path.to_owned(), line, reason: fault.reason }
        })
    }

    fn parse(text: &str, overrides: &[Override]) -> Result<JobFile, Fault> {
        let root = DeTable::parse(text).map_err(|error| Fault {
            at: error.span().map_or(0, |span| span.start),
            reason: error.message().into(),
            set: None,
        })?;
        let mut file = JobFile { order: Order::Together, jobs: Vec::new(), slos: Vec::new() };
        let (mut global, mut jobs, mut slos) = (None, Vec::new(), Vec::new());
        for (key, value) in root.get_ref() {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("order", DeValue::String(order)) => file.order = parse_order(order, value)?,
                ("global", DeValue::Table(table)) => global = Some(table),
                ("jobs", DeValue::Table(table)) => jobs.extend(table.iter()),
                ("slo", DeValue::Array(tables)) => slos.extend(tables.iter()),
                ("order" | "global" | "jobs" | "slo", _) => {
                    let reason = "order is a string, global and jobs are tables, slo is [[slo]]";
                    return Err(fault(value, reason));
                }
                (other, _) => {
                    let known = ["order", "global", "jobs", "slo"];
                    return Err(unknown(key, other, known.map(String::from)));
                }
            }
        }
        // The parser sorts by name.
        jobs.sort_by_key(|(name, _)| name.span().start);
        check_global(global, &jobs)?;
        check_overrides(overrides, &jobs)?;
        for (name, job) in jobs {
            let DeValue::Table(table) = job.get_ref() else {
                return Err(fault(job, "a job is a table, as in [jobs.a]"));
            };
            file.jobs.push(read_job(name, table, (global, overrides))?);
        }
        if file.jobs.is_empty() {
            let reason = "there is no job, as in [jobs.a]".to_owned();
            return Err(Fault { at: 0, reason, set: None });
        }
        let names: Vec<String> = file.jobs.iter().map(|job| job.name.clone()).collect();
        let slos = slos.into_iter().map(|slo| Slo::read(slo, &names));
        file.slos = slos.collect::<Result<Vec<Slo>, Fault>>()?;
        Ok(file)
    }
}

/// What is wrong, and at which byte.
#[derive(Debug)]
pub(crate) struct Fault {
    at: usize,
    pub(crate) reason: String,
    /// It is not in the file but in this `--set`.
    set: Option<String>,
}

/// Something wrong with what is at `place`.
pub(crate) fn fault<T>(place: &Spanned<T>, reason: impl Into<String>) -> Fault {
    Fault { at: place.span().start, reason: reason.into(), set: None }
}

/// A name that is none of `known`.
pub(crate) fn unknown<T>(
    place: &Spanned<T>,
    key: &str,
    known: impl IntoIterator<Item = String>,
) -> Fault {
    let nearest = known.into_iter().min_by_key(|known| distance(key, known)).unwrap_or_default();
    fault(place, format!("there is no {key}; the nearest is {nearest}"))
}

fn parse_order<T>(order: &str, place: &Spanned<T>) -> Result<Order, Fault> {
    match order {
        "together" => Ok(Order::Together),
        "in-turn" => Ok(Order::InTurn),
        other => Err(fault(place, format!("{other}: an order is together or in-turn"))),
    }
}

/// The commands that a job may be: those with a result as JSON.
fn commands() -> Vec<clap::Command> {
    let mut cli = Cli::command();
    cli.build();
    let is_job =
        |command: &&clap::Command| command.get_arguments().any(|arg| arg.get_id() == "json");
    // A file of jobs is no job.
    let commands = cli.get_subcommands().filter(is_job);
    commands.filter(|command| command.get_name() != "run").cloned().collect()
}

/// Keys that a job of `command` may have.
fn keys_of(command: &clap::Command) -> impl Iterator<Item = String> + '_ {
    let names = command.get_arguments().map(|arg| arg.get_long().unwrap_or(arg.get_id().as_str()));
    names.filter(|name| !["help", "version", "json"].contains(name)).map(key_of)
}

fn key_of(flag: &str) -> String {
    flag.replace('-', "_")
}

/// Every key of `[global]` must be one of some job's command.
fn check_global(
    global: Option<&Table<'_>>,
    jobs: &[(&Spanned<toml::de::DeString<'_>>, &Spanned<DeValue<'_>>)],
) -> Result<(), Fault> {
    let commands = commands();
    let modes: Vec<&str> = jobs.iter().filter_map(|(_, job)| mode_of(job.get_ref())).collect();
    let used = commands.iter().filter(|command| modes.contains(&command.get_name()));
    let known: Vec<String> = used.flat_map(keys_of).collect();
    for key in global.into_iter().flat_map(DeTable::keys) {
        let name = key_of(key.get_ref());
        if !known.is_empty() && !known.contains(&name) {
            return Err(unknown(key, key.get_ref(), known));
        }
    }
    Ok(())
}

/// Every `--set` must name a job that there is.
fn check_overrides(
    overrides: &[Override],
    jobs: &[(&Spanned<toml::de::DeString<'_>>, &Spanned<DeValue<'_>>)],
) -> Result<(), Fault> {
    for set in overrides {
        let known = |job: &String| jobs.iter().any(|(name, _)| name.get_ref().as_ref() == job);
        if let Some(job) = set.job.as_ref().filter(|job| !known(job)) {
            let names: Vec<&str> = jobs.iter().map(|(name, _)| name.get_ref().as_ref()).collect();
            let reason = format!("there is no job {job}; there are {}", names.join(", "));
            return Err(Fault { at: 0, reason, set: Some(set.text.clone()) });
        }
    }
    Ok(())
}

/// The settings of `--set` for a job, or (with `None`) for all that know the key.
fn settings_of(
    overrides: &[Override],
    job: Option<&str>,
    command: &clap::Command,
) -> Result<Vec<Setting>, Fault> {
    let mut settings = Vec::new();
    for set in overrides.iter().filter(|set| set.job.as_deref() == job) {
        let fail = |reason: String| Fault { at: 0, reason, set: Some(set.text.clone()) };
        let text = set.to_toml();
        let table = DeTable::parse(&text).map_err(|error| fail(error.message().to_owned()))?;
        for (key, value) in table.get_ref() {
            match setting(command, key, value).map_err(|fault| fail(fault.reason))? {
                Some(setting) => {
                    settings.push(Setting { set: Some(set.text.clone()), ..setting });
                }
                None if job.is_some() => {
                    return Err(fail(unknown(key, key.get_ref(), keys_of(command)).reason));
                }
                None => {}
            }
        }
    }
    Ok(settings)
}

fn mode_of<'a>(job: &'a DeValue<'_>) -> Option<&'a str> {
    match job {
        DeValue::Table(table) => match table.get("mode")?.get_ref() {
            DeValue::String(mode) => Some(mode),
            _ => None,
        },
        _ => None,
    }
}

fn read_job(
    name: &Spanned<toml::de::DeString<'_>>,
    table: &Table<'_>,
    (global, overrides): (Option<&Table<'_>>, &[Override]),
) -> Result<Job, Fault> {
    let title = name.get_ref().as_ref();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if title.is_empty() || !title.chars().all(is_plain) {
        return Err(fault(
            name,
            "a job's name is of letters, digits, - and _: it names a directory",
        ));
    }
    let commands = commands();
    let Some(mode) = table.get("mode") else {
        return Err(fault(name, format!("job {title} has no mode, as in mode = \"produce\"")));
    };
    let DeValue::String(mode_name) = mode.get_ref() else {
        return Err(fault(mode, "a mode is a string, as in mode = \"produce\""));
    };
    let found = commands.iter().find(|command| command.get_name() == mode_name.as_ref());
    let modes = commands.iter().map(|command| command.get_name().to_owned());
    let command = found.ok_or_else(|| unknown(mode, mode_name, modes))?;
    // What comes first counts.
    let mut settings = settings_of(overrides, Some(title), command)?;
    let mut add = |further: Setting| {
        if !settings.iter().any(|setting| setting.flag == further.flag) {
            settings.push(further);
        }
    };
    for (key, value) in table.iter().filter(|(key, _)| key.get_ref() != "mode") {
        let Some(setting) = setting(command, key, value)? else {
            return Err(unknown(key, key.get_ref(), keys_of(command)));
        };
        add(setting);
    }
    settings_of(overrides, None, command)?.into_iter().for_each(&mut add);
    for (key, value) in global.into_iter().flat_map(DeTable::iter) {
        setting(command, key, value)?.into_iter().for_each(&mut add);
    }
    check(name, mode_name, &settings)?;
    let takes_out = command.get_arguments().any(|arg| arg.get_id() == "out")
        && !settings.iter().any(|setting| setting.flag == "out");
    let words = settings.into_iter().flat_map(|setting| setting.words).collect();
    Ok(Job { name: title.to_owned(), mode: mode_name.clone().into_owned(), words, takes_out })
}

/// The words of one key; `None` when the command has no such flag.
fn setting(
    command: &clap::Command,
    key: &Spanned<toml::de::DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
) -> Result<Option<Setting>, Fault> {
    let name = key_of(key.get_ref());
    let found = command
        .get_arguments()
        .find(|arg| key_of(arg.get_long().unwrap_or(arg.get_id().as_str())) == name);
    let Some(arg) = found.filter(|_| keys_of(command).any(|known| known == name)) else {
        return Ok(None);
    };
    let flag = name.replace('_', "-");
    let is_switch = !arg.get_action().takes_values();
    let words = match value.get_ref() {
        DeValue::Boolean(is_on) if is_switch => {
            if *is_on {
                vec![format!("--{flag}")]
            } else {
                Vec::new()
            }
        }
        _ if is_switch => return Err(fault(value, format!("{name} is true or false"))),
        value if arg.is_positional() => scalars(value)
            .filter(|texts| texts.len() == 1)
            .ok_or_else(|| fault(key, format!("{name} is one string")))?,
        value => {
            let texts = scalars(value).ok_or_else(|| {
                fault(key, format!("{name} is a string, a number, or a list of such"))
            })?;
            texts.iter().map(|text| format!("--{flag}={text}")).collect()
        }
    };
    Ok(Some(Setting { flag, words, span: key.span(), set: None }))
}

/// The texts of a string or number, or of a list of such; of a table, `key=value` each.
pub(crate) fn scalars(value: &DeValue<'_>) -> Option<Vec<String>> {
    let text = match value {
        DeValue::String(text) => text.clone().into_owned(),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Array(values) => {
            let texts = values.iter().map(|value| scalars(value.get_ref()));
            return texts.collect::<Option<Vec<_>>>().map(|texts| texts.concat());
        }
        DeValue::Table(table) => {
            let texts = table.iter().map(|(key, value)| {
                let text = scalars(value.get_ref())?;
                Some(format!("{}={}", key.get_ref(), text.concat()))
            });
            return texts.collect();
        }
        DeValue::Boolean(_) | DeValue::Datetime(_) => return None,
    };
    Some(vec![text])
}

/// Holds the job against the command line.
fn check(
    name: &Spanned<toml::de::DeString<'_>>,
    mode: &str,
    settings: &[Setting],
) -> Result<(), Fault> {
    let words = settings.iter().flat_map(|setting| setting.words.iter().map(String::as_str));
    let line = ["loadgen", mode].into_iter().chain(words);
    let Err(error) = Cli::try_parse_from(line) else {
        return Ok(());
    };
    let at = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => settings.iter().find(|setting| {
            let shown = arg.trim_start_matches('-');
            shown.split([' ', '=']).next() == Some(&setting.flag[..])
        }),
        _ => None,
    };
    let text = error.to_string();
    let reason = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let set = at.and_then(|setting| setting.set.clone());
    let at = at.map_or(name.span().start, |setting| setting.span.start);
    Err(Fault { at, reason: format!("job {}: {}", name.get_ref(), reason.trim_end()), set })
}

/// Letters to change, add or take away to get from one word to the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = index;
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_set::parse_override;

    fn refusal(text: &str) -> (usize, String) {
        let fault = JobFile::parse(text, &[]).unwrap_err();
        (text[..fault.at].matches('\n').count() + 1, fault.reason)
    }

    const GOOD: &str = "order = \"in-turn\"\n[global]\nbootstrap = \"b:1\"\nduration = \"5s\"\n\
        rate = \"20k\"\n[jobs.z]\nmode = \"produce\"\ntopic = \"t\"\nduration = \"1s\"\n\
        records_per_batch = 7\nfresh = true\nspin = false\nacks = -1\n\
        config = { \"retention.ms\" = 5 }\ncore = [0, 1]\n\
        [jobs.a]\nmode = \"consume\"\ntopic = \"t\"\nloop = true\n";

    #[test]
    fn a_job_is_the_command_line_of_its_keys() {
        let file = JobFile::parse(GOOD, &[]).unwrap();
        assert_eq!(file.order, Order::InTurn);
        let names: Vec<&str> = file.jobs.iter().map(|job| &job.name[..]).collect();
        assert_eq!(names, ["z", "a"]);
        let words = file.jobs[0].words.join(" ");
        for word in [
            "--duration=1s",
            "--records-per-batch=7",
            "--fresh",
            "--acks=-1",
            "--config=retention.ms=5",
            "--core=0 --core=1",
            "--bootstrap=b:1",
            "--rate=20k",
        ] {
            assert!(words.contains(word), "{word} in {words}");
        }
        assert!(!words.contains("5s") && !words.contains("spin"), "{words}");
        // A rate is for those that have one.
        assert_eq!(file.jobs[1].words.join(" "), "--loop --topic=t --bootstrap=b:1 --duration=5s");
        assert!(file.jobs.iter().all(|job| job.takes_out));
    }

    #[test]
    fn what_is_set_on_the_command_line_counts() {
        let set = |texts: &[&str]| {
            let overrides = texts.iter().map(|text| parse_override(text).unwrap());
            JobFile::parse(GOOD, &overrides.collect::<Vec<Override>>())
        };
        let file = set(&["jobs.z.rate=50k", "jobs.z.fresh=false", "global.duration=9s"]).unwrap();
        let words = file.jobs[0].words.join(" ");
        assert!(words.contains("--rate=50k") && !words.contains("--rate=20k"), "{words}");
        // The job's own duration goes before one for all.
        assert!(words.contains("--duration=1s") && !words.contains("--fresh"), "{words}");
        assert!(file.jobs[1].words.contains(&"--duration=9s".to_owned()));
        let refusal = |text: &str| {
            let fault = set(&[text]).unwrap_err();
            assert_eq!(fault.set.as_deref(), Some(text));
            fault.reason
        };
        assert!(refusal("jobs.b.rate=5").contains("there is no job b; there are z, a"));
        assert!(refusal("jobs.z.rat=5").contains("the nearest is rate"));
        assert!(refusal("jobs.z.rate=fast").contains("as in 200"));
    }

    #[test]
    fn objectives_are_read_with_their_jobs() {
        let file = JobFile::parse(&format!("{GOOD}[[slo]]\njob = \"z\"\np99 = \"5ms\"\n"), &[]);
        assert_eq!(file.unwrap().slos[0].job, "z");
        let (line, reason) = refusal(&format!("{GOOD}[[slo]]\njob = \"y\"\np99 = \"5ms\"\n"));
        assert!(line == 21 && reason.contains("there is no y"), "{line}: {reason}");
    }

    #[test]
    fn an_unknown_key_is_said_with_its_line_and_the_nearest() {
        let job = "[jobs.a]\nmode = \"produce\"\ntopic = \"t\"\n";
        let (line, reason) = refusal(&format!("{job}\nrecord_per_batch = 5\nclosed = true\n"));
        assert_eq!(
            (line, &reason[..]),
            (
                5,
                "there is no record_per_batch; the nearest is \
            records_per_batch"
            )
        );
        let (line, reason) = refusal(&format!("[global]\ndurations = 5\n{job}closed = true\n"));
        assert_eq!((line, &reason[..]), (2, "there is no durations; the nearest is duration"));
        let (line, reason) = refusal("[job.a]\nmode = \"produce\"\n");
        assert_eq!((line, &reason[..]), (1, "there is no job; the nearest is jobs"));
        let (line, reason) = refusal("\n[jobs.a]\nmode = \"prodcue\"\n");
        assert_eq!((line, &reason[..]), (3, "there is no prodcue; the nearest is produce"));
    }

    #[test]
    fn a_wrong_value_is_said_with_its_line_and_an_example() {
        let job = "[jobs.a]\nmode = \"produce\"\ntopic = \"t\"\n";
        let (line, reason) = refusal(&format!("{job}acks = 1\nrate = \"fast\"\n"));
        assert!(line == 5 && reason.contains("as in 200,"), "{line}: {reason}");
        let (line, reason) = refusal(&format!("{job}closed = \"yes\"\n"));
        assert!(line == 4 && reason.contains("closed is true or false"), "{line}: {reason}");
        let (line, reason) = refusal(&format!("{job}rate = true\n"));
        assert!(line == 4 && reason.contains("rate is a string"), "{line}: {reason}");
        let (line, reason) = refusal("[jobs.a]\nmode = \"consume\"\n");
        assert!(line == 1 && reason.contains("--topic"), "{line}: {reason}");
    }

    #[test]
    fn a_file_that_is_no_toml_or_has_no_job_is_refused() {
        let (line, reason) = refusal("[jobs.a]\nmode = produce\n");
        assert!(line == 2 && !reason.is_empty(), "{line}: {reason}");
        assert!(refusal("order = \"in-turn\"\n").1.contains("there is no job"));
        assert!(refusal("order = \"random\"\n").1.contains("together or in-turn"));
        assert!(refusal("[jobs]\na = 1\n").1.contains("a job is a table"));
        assert!(refusal("[jobs.\"../a\"]\nmode = \"consume\"\n").1.contains("names a directory"));
        assert!(refusal("[jobs.a]\ntopic = \"t\"\n").1.contains("has no mode"));
    }

    #[test]
    fn the_distance_of_words_counts_letters() {
        let words = [("rate", "rate"), ("rat", "rate"), ("trae", "rate"), ("", "ab")];
        assert_eq!(words.map(|(left, right)| distance(left, right)), [0, 1, 2, 2]);
    }
}
