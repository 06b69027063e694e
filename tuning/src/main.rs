//! `tuning`: whether this host gives Highwater what it needs, and how to give it the rest.
//!
//! `check`, `plan`, `measure` and `explain` change nothing. `apply` records each value before it
//! changes it, and `revert` takes it back.

mod apply;
mod arguments;
mod cores;
mod explain;
mod host;
mod limits;
mod measure;
mod mount;
mod persist;
mod plan;
mod report;
mod revert;
mod ring;
mod state;
mod tuner;
mod tuners;

use apply::with_source;
use arguments::{Arguments, Choice, Command, Form, HostOptions};
use clap::Parser;
use clap::error::ErrorKind;
use host::{Access, Host, is_superuser};
use plan::Plan;
use report::{EXIT_ERRORS, EXIT_NOT_POSSIBLE, EXIT_USAGE, EXIT_WARNINGS, FailOn, Row};
use revert::Outcome;
use serde_json::{Value, json};
use state::{Kind, State, StateError};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tuner::{Scene, Tuner};

const STATE_FILE: &str = "var/lib/highwater/tuning.json";

/// Why a command ends early.
struct Failure {
    text: String,
    help: String,
    code: u8,
}

type Outcomes = Result<u8, Failure>;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    match run(arguments.command) {
        Ok(code) => ExitCode::from(code),
        Err(Failure { text, help, code }) => {
            eprintln!("{text}");
            if !help.is_empty() {
                eprintln!("  help: {help}");
            }
            ExitCode::from(code)
        }
    }
}

fn run(command: Command) -> Outcomes {
    match command {
        Command::Check { host, fail_on } => check(&host, fail_on),
        Command::Plan { host, choice } => show_plan(&host, &choice),
        Command::Apply { host, choice, dry_run: true, .. } => show_plan(&host, &choice),
        Command::Apply { host, choice, script: Some(file), .. } => script(&host, &choice, &file),
        Command::Apply { host, choice, yes, persist, state, .. } => {
            change(&host, &choice, Wish { is_agreed: yes, is_lasting: persist, state })
        }
        Command::Revert { to, place } => {
            let host = host_of(place.root.as_deref())?;
            let file = state_file(place.root.as_deref(), to);
            take_back(&host, file, place.output)
        }
        Command::Measure { time, data_dir, core, before, before_after, output } => {
            let mut before = before.map(|file| read_json(&file)).transpose()?;
            pin(core)?;
            if before_after {
                before = Some(measured_first(time, data_dir.as_deref()));
            }
            measured(time, data_dir.as_deref(), before.as_ref(), output)
        }
        Command::Explain { id, host } => explained(id.as_deref(), &host),
    }
}

/// To standard output; a reader that has gone (`tuning check | head`) is no failure.
fn say(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

fn show(form: Form, text: String, value: &Value) {
    match form {
        Form::Table => say(&text),
        Form::Json => say(&format!("{value:#}\n")),
    }
}

fn usage(error: &clap::Error) -> ExitCode {
    // Printing can only fail when nobody listens.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_USAGE),
    }
}

fn wrong_usage(text: String, help: impl Into<String>) -> Failure {
    Failure { text, help: help.into(), code: EXIT_USAGE }
}

fn broken(text: impl Into<String>, help: impl Into<String>) -> Failure {
    Failure { text: text.into(), help: help.into(), code: EXIT_ERRORS }
}

fn host_of(root: Option<&Path>) -> Result<Host, Failure> {
    match root {
        None => Ok(Host::live()),
        Some(root) if root.join("proc").is_dir() => Ok(Host::copied(root.to_owned())),
        Some(root) => Err(wrong_usage(
            format!("--root {}: has no proc/ folder", root.display()),
            "name a folder with copies of /proc and /sys of the host in question",
        )),
    }
}

fn scene(options: &HostOptions) -> Result<Scene, Failure> {
    let host = host_of(options.place.root.as_deref())?;
    for name in &options.nic {
        if !host.exists(&format!("sys/class/net/{name}/device")) {
            let (text, help) = (format!("--nic {name}: no such device"), "ls /sys/class/net");
            return Err(wrong_usage(text, help));
        }
    }
    let cores = options.cores.as_ref().map(|list| list.0.clone()).unwrap_or_default();
    let scene = Scene::new(host, options.profile, options.data_dir.as_deref());
    Ok(scene.with_nics(&options.nic).with_broker_cores(cores))
}

fn state_file(root: Option<&Path>, named: Option<PathBuf>) -> PathBuf {
    named.unwrap_or_else(|| root.unwrap_or(Path::new("/")).join(STATE_FILE))
}

fn check(options: &HostOptions, fail_on: FailOn) -> Outcomes {
    let rows = tuners::look(&scene(options)?);
    show(options.place.output, report::table(&rows), &report::json(&rows));
    Ok(report::exit_code(&rows, fail_on))
}

fn known(id: &str) -> Result<&'static Tuner, Failure> {
    let help = || "`tuning explain` lists all ids";
    tuners::find(id).ok_or_else(|| wrong_usage(format!("{id}: no such id"), help()))
}

fn plan(options: &HostOptions, choice: &Choice) -> Result<(Scene, Plan), Failure> {
    for id in choice.names() {
        known(id)?;
    }
    let scene = scene(options)?;
    let rows: Vec<Row> =
        tuners::look(&scene).into_iter().filter(|row| choice.has(row.tuner.id)).collect();
    let plan = Plan::new(scene.profile, rows);
    Ok((scene, plan))
}

/// 3 where something is off and nothing of it can be changed by us.
fn plan_code(plan: &Plan) -> u8 {
    if plan.steps.is_empty() && plan.is_barred() { EXIT_NOT_POSSIBLE } else { 0 }
}

fn show_plan(options: &HostOptions, choice: &Choice) -> Outcomes {
    let (_, plan) = plan(options, choice)?;
    show(options.place.output, plan.table(), &plan.json());
    Ok(plan_code(&plan))
}

fn script(options: &HostOptions, choice: &Choice, file: &Path) -> Outcomes {
    let (_, plan) = plan(options, choice)?;
    let written = std::fs::write(file, plan.script());
    written.map_err(|error| broken(format!("{}: {error}", file.display()), ""))?;
    say(&format!(
        "{} changes in {}; read it, then run it as root\n",
        plan.steps.len(),
        file.display()
    ));
    Ok(plan_code(&plan))
}

struct Wish {
    is_agreed: bool,
    is_lasting: bool,
    state: Option<PathBuf>,
}

fn change(options: &HostOptions, choice: &Choice, wish: Wish) -> Outcomes {
    let (scene, plan) = plan(options, choice)?;
    let form = options.place.output;
    if form == Form::Table {
        say(&plan.table());
    }
    if plan.steps.is_empty() && !wish.is_lasting {
        let outcome = outcome_json(&plan, &apply::Applied::default(), None);
        show(form, String::new(), &outcome);
        return Ok(plan_code(&plan));
    }
    if !plan.steps.is_empty() && !wish.is_agreed && !ask("make these changes? [y/N] ")? {
        say("nothing was changed\n");
        return Ok(0);
    }
    let root = options.place.root.as_deref();
    let host = &scene.host;
    let mut state = open(state_file(root, wish.state))?;
    let mut applied =
        apply::apply(host, &plan.steps, &mut state, &|path, text| host.write(path, text));
    let mut failed = applied.failed.take();
    let mut persisted = None;
    if wish.is_lasting && failed.is_none() {
        match persist::persist(host, &mut state) {
            Ok(files) => persisted = Some(files),
            Err(error) => failed = Some(error),
        }
    }
    applied.failed = failed;
    let mut value = outcome_json(&plan, &applied, persisted.as_ref());
    value["state"] = json!(state.file());
    show(form, applied_text(&applied, persisted.as_ref()), &value);
    if let Some(text) = applied.failed {
        return stopped(&scene.host, state, text, options);
    }
    let needs_root = applied.refused.iter().any(|(_, access)| *access == Access::NeedsRoot);
    let nothing_made = applied.made.is_empty() && !applied.refused.is_empty();
    Ok(if needs_root || nothing_made { EXIT_NOT_POSSIBLE } else { plan_code(&plan) })
}

fn outcome_json(
    plan: &Plan,
    applied: &apply::Applied,
    persisted: Option<&persist::Persisted>,
) -> Value {
    let made = |(path, new): &(String, String)| json!({ "path": format!("/{path}"), "new": new });
    let refused = |(path, access): &(String, Access)| json!({ "path": format!("/{path}"), "status": access_name(*access) });
    let files = persisted.map(|files| files.written.iter().map(|file| format!("/{file}")));
    json!({
        "profile": plan.profile.name(),
        "made": applied.made.iter().map(made).collect::<Vec<_>>(),
        "already": applied.already.iter().map(|path| format!("/{path}")).collect::<Vec<_>>(),
        "refused": applied.refused.iter().map(refused).collect::<Vec<_>>(),
        "failed": applied.failed,
        "state": Value::Null,
        "persisted": files.map(Iterator::collect::<Vec<_>>),
    })
}

fn access_name(access: Access) -> &'static str {
    match access {
        Access::Managed(_) => "managed",
        Access::NeedsRoot => "needs-root",
        Access::Writable => "failed",
    }
}

fn applied_text(applied: &apply::Applied, persisted: Option<&persist::Persisted>) -> String {
    let mut text = format!("changed and read back: {}\n", applied.made.len());
    for path in &applied.already {
        text.push_str(&format!("  already so: /{path}\n"));
    }
    for (path, access) in &applied.refused {
        text.push_str(&format!("  {}: /{path}\n", access_name(*access)));
    }
    let Some(files) = persisted else { return text };
    for file in &files.written {
        text.push_str(&format!("written: /{file}\n"));
    }
    for path in &files.skipped {
        text.push_str(&format!("not kept over a reboot: /{path} (its number changes)\n"));
    }
    text
}

/// A failure in the middle: what was made stays, and the way back is offered.
fn stopped(host: &Host, state: State, text: String, options: &HostOptions) -> Outcomes {
    let file = state.file().to_owned();
    let root = options.place.root.as_deref();
    let root = root.map_or(String::new(), |root| format!(" --root {}", root.display()));
    let help = format!("tuning revert{root} --to {}", file.display());
    if options.place.output == Form::Table && io::stdin().is_terminal() {
        eprintln!("stopped: {text}");
        if ask("take back what was changed? [y/N] ")? {
            drop(state);
            take_back(host, file, options.place.output)?;
            return Ok(EXIT_ERRORS);
        }
    }
    Err(broken(format!("stopped: {text}"), help))
}

fn ask(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        let text = "nobody is there to agree: standard input is no terminal".to_owned();
        return Err(wrong_usage(text, "add --yes, or look first with --dry-run"));
    }
    eprint!("{question}");
    let mut answer = String::new();
    // No answer is a no.
    let _ = io::stdin().lock().read_line(&mut answer);
    Ok(["y", "yes"].contains(&answer.trim()))
}

fn open(file: PathBuf) -> Result<State, Failure> {
    State::open(file).map_err(|error| not_opened(&error))
}

fn not_opened(error: &StateError) -> Failure {
    let help = match error {
        StateError::Busy { .. } => "wait until it has ended, then look again",
        _ => "name another with --state (apply) or --to (revert)",
    };
    broken(with_source(error), help)
}

fn take_back(host: &Host, file: PathBuf, form: Form) -> Outcomes {
    let shown = file.display().to_string();
    let known = State::entries_of(&file).map_err(|error| not_opened(&error))?;
    if known.is_empty() {
        let text = format!("{shown}: nothing is on record, nothing to take back");
        return Err(Failure { text, help: String::new(), code: EXIT_NOT_POSSIBLE });
    }
    let mut state = open(file)?;
    let boot_id = host.text("proc/sys/kernel/random/boot_id").unwrap_or_default();
    let outcomes = revert::revert(host, &mut state)
        .map_err(|error| broken(with_source(&error), "run revert again: it is safe to repeat"))?;
    let (mut text, mut rows) = (String::new(), Vec::new());
    for (entry, outcome) in &outcomes {
        let is_file = entry.kind == Kind::File;
        let old = match (&entry.old, is_file) {
            (Some(old), false) => old.clone(),
            (Some(_), true) => "the text before".to_owned(),
            (None, _) => "removed".to_owned(),
        };
        let new = if is_file { "our text" } else { &entry.new };
        let (status, detail) = match outcome {
            Outcome::Restored => ("restored", format!("{new} -> {old}")),
            Outcome::AlreadyBefore => ("as-before", old.clone()),
            Outcome::Conflict(now) => {
                ("conflict", format!("now {now}; we set {new}, before that {old}: left alone"))
            }
            Outcome::Failed(error) => ("failed", error.clone()),
        };
        let reboot = if entry.boot_id == boot_id { "" } else { "  (set before a reboot)" };
        text.push_str(&format!("{status:<9}  /{}  {detail}{reboot}\n", entry.path));
        rows.push(json!({
            "path": format!("/{}", entry.path), "status": status, "detail": detail,
            "id": entry.id, "same_boot": entry.boot_id == boot_id, "time": entry.time,
        }));
    }
    let has = |wanted: fn(&Outcome) -> bool| outcomes.iter().any(|(_, outcome)| wanted(outcome));
    let has_failed = has(|outcome| matches!(outcome, Outcome::Failed(_)));
    let has_conflicts = has(|outcome| matches!(outcome, Outcome::Conflict(_)));
    if has_failed || has_conflicts {
        text.push_str(&format!("what is not restored stays on record in {shown}\n"));
    }
    show(form, text, &Value::from(rows));
    Ok(match (has_failed, has_conflicts) {
        (true, _) if !is_superuser() => EXIT_NOT_POSSIBLE,
        (true, _) => EXIT_ERRORS,
        (false, true) => EXIT_WARNINGS,
        (false, false) => 0,
    })
}

fn read_json(file: &Path) -> Result<Value, Failure> {
    let help = "name the output of `tuning measure -o json`";
    let text = std::fs::read_to_string(file)
        .map_err(|error| wrong_usage(format!("{}: {error}", file.display()), help))?;
    serde_json::from_str(&text)
        .map_err(|error| wrong_usage(format!("{}: {error}", file.display()), help))
}

fn pin(core: Option<u16>) -> Result<(), Failure> {
    let Some(core) = core else { return Ok(()) };
    let mut set = rustix::thread::CpuSet::new();
    set.set(usize::from(core));
    rustix::thread::sched_setaffinity(None, &set).map_err(|error| {
        wrong_usage(format!("--core {core}: {error}"), "the cores that this process may use: nproc")
    })
}

/// The first of two runs; the host is changed by somebody else before the second one. Without an
/// answer it goes on, so `</dev/null` shows how far two runs differ by themselves.
fn measured_first(turn: Duration, data_dir: Option<&Path>) -> Value {
    let rows = measure::measure(turn, data_dir);
    eprint!("measured once; change the host now (tuning apply), then press Enter ");
    let _ = io::stdin().lock().read_line(&mut String::new());
    measure::json(&rows, turn, &kernel())
}

fn kernel() -> String {
    Host::live().text("proc/sys/kernel/osrelease").unwrap_or_default()
}

fn measured(
    turn: Duration,
    data_dir: Option<&Path>,
    before: Option<&Value>,
    form: Form,
) -> Outcomes {
    let rows = measure::measure(turn, data_dir);
    let mut value = measure::json(&rows, turn, &kernel());
    if let Some(before) = before {
        value["before"] = before["rows"].clone();
    }
    show(form, measure::table(&rows, before), &value);
    let has_failed = rows.iter().any(|row| row.result.is_err() && data_dir.is_some());
    Ok(if has_failed { EXIT_ERRORS } else { 0 })
}

fn explained(id: Option<&str>, options: &HostOptions) -> Outcomes {
    let form = options.place.output;
    let Some(id) = id else {
        show(form, explain::list(), &explain::list_json());
        return Ok(0);
    };
    let tuner = known(id)?;
    let scene = scene(options)?;
    show(form, explain::text(&scene, tuner), &explain::json(&scene, tuner));
    Ok(0)
}
