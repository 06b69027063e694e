//! The pages under docs/tutorials, run command by command against the real binary.
//!
//! Each block marked `console` of a page is a session: lines with `$` are commands, what follows is
//! what they print. One shell runs all commands of a page in a copy of its directory, on a broker
//! of its own; each must end with 0 and print what the page says.
//! `UPDATE_DOCS=1 cargo test --test tutorials` writes the outputs anew: read them before they are
//! kept.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::{
    Broker, Missing, Port, Toolchain, jars, node_modules, python, repository, run_to_end,
    scratch_directory,
};

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");
const PATIENCE: Duration = Duration::from_secs(150);
/// Printed behind each command, before its status.
const END_OF_COMMAND: char = '\u{1e}';
/// Groups form at once, and the cleaner comes round soon.
const SETTINGS: [&str; 6] = [
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.num.partitions=4",
    "transaction.state.log.num.partitions=4",
    "transaction.state.log.replication.factor=1",
    "transaction.state.log.min.isr=1",
    "log.cleaner.backoff.ms=100",
];

/// A command of a page and the lines that it shall print.
struct Shown {
    command: String,
    printed: Vec<String>,
}

/// The page cut into what stands between commands' outputs: text, then a command, and so on.
fn commands(page: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let mut is_session = false;
    for line in page.lines() {
        if line.starts_with("```") {
            is_session = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| is_session) {
            found.push(Shown { command: command.to_owned(), printed: Vec::new() });
        } else if is_session {
            let last = found.last_mut().expect("a session begins with a command");
            last.printed.push(line.to_owned());
        }
    }
    found
}

/// The page with these outputs in place of its own.
fn with_outputs(page: &str, outputs: &[Vec<String>]) -> String {
    let mut outputs = outputs.iter();
    let mut is_session = false;
    let mut lines: Vec<&str> = Vec::new();
    for line in page.lines() {
        let is_output = is_session && !line.starts_with("```") && !line.starts_with("$ ");
        if line.starts_with("```") {
            is_session = line == "```console";
        }
        if !is_output {
            lines.push(line);
        }
        if is_session && line.starts_with("$ ") {
            let output = outputs.next().expect("an output for each command");
            lines.extend(output.iter().map(String::as_str));
        }
    }
    lines.join("\n") + "\n"
}

/// Where one page's commands run.
struct Stage {
    directory: tempfile::TempDir,
    broker: Broker,
    _connect: Port,
}

impl Stage {
    /// A broker, a copy of the page's directory, and `bin` with what the commands call.
    fn set(name: &str) -> Stage {
        let directory = scratch_directory(name);
        let connect = Port::take();
        let broker = Broker::start(BINARY, &SETTINGS);
        let bin = directory.path().join("bin");
        fs::create_dir(&bin).expect("a new directory");
        symlink(BINARY, bin.join("highwater")).expect("a new file");
        fs::create_dir(directory.path().join("work")).expect("a new directory");
        for entry in fs::read_dir(tutorial(name)).expect("the pages are there").flatten() {
            let text = fs::read_to_string(entry.path()).expect("a text");
            // Property files have no environment.
            let text = text
                .replace("=127.0.0.1:9092", &format!("={}", broker.bootstrap()))
                .replace("127.0.0.1:8083", &format!("127.0.0.1:{}", connect.number));
            let copy = directory.path().join("work").join(entry.file_name());
            fs::write(copy, text).expect("a new file");
        }
        Stage { directory, broker, _connect: connect }
    }

    /// A command that runs one of Kafka's programs, as its distribution has them in `bin`.
    fn add_kafka_script(&self, name: &str, class_path: &Path, main_class: &str) {
        let log4j = repository().join("tests/clients/java/log4j2.properties");
        let text = format!(
            "#!/bin/sh\nexec java -Xmx256m -XX:TieredStopAtLevel=1 -cp '{}/*' \
            -Dlog4j2.configurationFile={} {main_class} \"$@\"\n",
            class_path.display(),
            log4j.display(),
        );
        let path = self.directory.path().join("bin").join(name);
        fs::write(&path, text).expect("a new file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
    }

    /// What each command printed, and its status.
    fn run(&self, shown: &[Shown], environment: &[(&str, PathBuf)]) -> Vec<(Vec<String>, String)> {
        let script: String = shown
            .iter()
            .map(|shown| format!("{}\nprintf '{END_OF_COMMAND}%s\\n' $?\n", shown.command))
            .collect();
        let path = self.directory.path().join("script");
        // What still runs in the background at the end of the page ends with it.
        fs::write(&path, format!("exec 2>&1\n{script}kill $(jobs -p) 2>/dev/null\ntrue\n"))
            .expect("a new file");
        // Ends the whole group of processes when it takes too long.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &(PATIENCE.as_secs() - 10).to_string(), "bash"]);
        command.arg(&path).current_dir(self.directory.path().join("work"));
        let mut path = vec![self.directory.path().join("bin")];
        path.extend(
            environment.iter().filter(|(name, _)| *name == "PATH").map(|pair| pair.1.clone()),
        );
        path.extend(env::split_paths(&env::var_os("PATH").expect("a system has a PATH")));
        command.env("PATH", env::join_paths(path).expect("no colons"));
        for (name, value) in environment.iter().filter(|(name, _)| *name != "PATH") {
            command.env(name, value);
        }
        command.env("HIGHWATER_BOOTSTRAP", self.broker.bootstrap());
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let finished = run_to_end(command, PATIENCE).expect("a system has timeout and bash");
        let mut ran: Vec<(Vec<String>, String)> = Vec::new();
        let mut printed = Vec::new();
        for line in finished.stdout.lines() {
            match line.split_once(END_OF_COMMAND) {
                None => printed.push(line.trim_end().to_owned()),
                Some((last, status)) => {
                    printed.extend((!last.is_empty()).then(|| last.to_owned()));
                    ran.push((std::mem::take(&mut printed), status.to_owned()));
                }
            }
        }
        let report = self.broker.report();
        assert_eq!(ran.len(), shown.len(), "{}\n{printed:#?}\n{report}", finished.stdout);
        ran
    }
}

fn tutorial(name: &str) -> PathBuf {
    repository().join("docs/tutorials").join(name)
}

/// Runs a page, and holds what it prints against the page.
fn check(name: &str, stage: &Stage, environment: &[(&str, PathBuf)]) {
    let path = tutorial(name).join("README.md");
    let page = fs::read_to_string(&path).expect("each tutorial has a page");
    let shown = commands(&page);
    assert!(!shown.is_empty(), "{name} has no commands");
    let ran = stage.run(&shown, environment);
    for (shown, (printed, status)) in shown.iter().zip(&ran) {
        assert_eq!(status, "0", "$ {}\n{printed:#?}\n{}", shown.command, stage.broker.report());
    }
    if env::var_os("UPDATE_DOCS").is_some() {
        let outputs: Vec<Vec<String>> = ran.into_iter().map(|(printed, _)| printed).collect();
        fs::write(&path, with_outputs(&page, &outputs)).expect("the sources are writable");
        return;
    }
    for (shown, (printed, _)) in shown.iter().zip(&ran) {
        assert_eq!(printed, &shown.printed, "{name}: $ {}", shown.command);
    }
}

/// The directory of the interpreter with the Python clients.
fn python_directory() -> Result<PathBuf, Missing> {
    let python = python()?;
    Ok(python.parent().expect("bin/python").to_path_buf())
}

#[test]
fn a_topic_is_a_queue_for_one_group_and_a_stream_for_others() {
    let name = "queue-and-stream";
    let Some(python) = python_directory().or_skip(name) else { return };
    check(name, &Stage::set(name), &[("PATH", python)]);
}

#[test]
fn balances_are_the_same_from_all_events_and_from_a_compacted_topic() {
    let name = "event-sourcing";
    let Some(python) = python_directory().or_skip(name) else { return };
    check(name, &Stage::set(name), &[("PATH", python)]);
}

#[test]
fn a_read_model_follows_its_events_and_can_be_made_anew() {
    let name = "read-model";
    let Some(modules) = node_modules().or_skip(name) else { return };
    let quiet = ("KAFKAJS_NO_PARTITIONER_WARNING", PathBuf::from("1"));
    check(name, &Stage::set(name), &[("NODE_PATH", modules), quiet]);
}

#[test]
fn logs_of_several_hosts_are_counted_and_searched_in_one_place() {
    let name = "log-aggregation";
    // The toolchain is looked for as the client tests do, which also fetches the modules.
    let Some(_) = harness::go_program().or_skip(name) else { return };
    check(name, &Stage::set(name), &[]);
}

#[test]
fn a_stream_processor_adds_up_a_feed_of_trades() {
    let name = "trading-feed";
    let Some(jars) = jars("streams").or_skip(name) else { return };
    let stage = Stage::set(name);
    let home = stage.directory.path().join("kafka");
    fs::create_dir(&home).expect("a new directory");
    symlink(jars, home.join("libs")).expect("a new file");
    check(name, &stage, &[("KAFKA_HOME", home)]);
}

#[test]
fn connect_carries_a_topic_into_a_warehouse_file() {
    let name = "warehouse";
    let Some(jars) = jars("connect").or_skip(name) else { return };
    let stage = Stage::set(name);
    let main_class = "org.apache.kafka.connect.cli.ConnectStandalone";
    stage.add_kafka_script("connect-standalone.sh", &jars, main_class);
    check(name, &stage, &[]);
}

#[test]
fn outputs_stand_between_commands() {
    let page = "text\n```console\n$ a\none\ntwo\n$ b\n```\n```\n$ c\n```\n";
    let shown = commands(page);
    let commands: Vec<&str> = shown.iter().map(|shown| shown.command.as_str()).collect();
    assert_eq!((commands, shown[0].printed.len()), (vec!["a", "b"], 2));
    let written = with_outputs(page, &[vec!["three".to_owned()], vec!["four".to_owned()]]);
    assert_eq!(written, "text\n```console\n$ a\nthree\n$ b\nfour\n```\n```\n$ c\n```\n");
}
