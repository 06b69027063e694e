//! What the command line prints is what the README shows and what a shell can load.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "tests run on the real files")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use harness::{Broker, Port, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().unwrap()
}

fn printed(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every sub-command, down to its leaves.
const COMMANDS: [&[&str]; 33] = [
    &[],
    &["topic"],
    &["topic", "create"],
    &["topic", "list"],
    &["topic", "describe"],
    &["topic", "alter"],
    &["topic", "delete"],
    &["group"],
    &["group", "list"],
    &["group", "describe"],
    &["group", "reset-offsets"],
    &["group", "delete"],
    &["produce"],
    &["consume"],
    &["txn"],
    &["txn", "list"],
    &["txn", "describe"],
    &["txn", "abort"],
    &["latency"],
    &["log"],
    &["log", "dump"],
    &["cluster"],
    &["cluster", "status"],
    &["cluster", "add"],
    &["cluster", "remove"],
    &["cluster", "decommission"],
    &["cluster", "unregister"],
    &["cluster", "format"],
    &["cluster", "recover"],
    &["dev-cluster"],
    &["explain"],
    &["completions"],
    &["help"],
];

#[test]
fn every_help_ends_with_examples_that_the_binary_understands() {
    for command in COMMANDS.iter().filter(|command| **command != ["help"]) {
        let help = printed(&[command, &["--help"][..]].concat());
        let (_, examples) = help
            .split_once("Examples:\n")
            .unwrap_or_else(|| panic!("`highwater {} --help` has no examples", command.join(" ")));
        let lines: Vec<&str> = examples.lines().filter(|line| line.contains("highwater")).collect();
        assert!(!lines.is_empty());
        for line in lines {
            is_understood(line);
        }
    }
}

/// An example's words, with `--help` behind them: a flag or sub-command that is not there fails.
fn is_understood(example: &str) {
    let command = example.rsplit(" | ").next().unwrap();
    let command = command.split("  ").find(|part| part.contains("highwater")).unwrap();
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    let words: Vec<&str> = words.into_iter().take_while(|word| *word != ">").collect();
    printed(&[&words[..], &["--help"]].concat());
}

#[test]
fn completions_of_every_shell_name_every_sub_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        for word in COMMANDS.iter().flat_map(|command| command.iter()) {
            assert!(script.contains(word), "{shell}: {word}");
        }
        assert!(script.contains("bootstrap"), "{shell}: flags are there");
    }
}

/// bash is on every host that runs these tests; it loads the script and completes with it.
#[test]
fn bash_completes_with_the_script() {
    let script = "source <(\"$0\" completions bash)\n\
        COMP_WORDS=(highwater topic cr); COMP_CWORD=2; COMP_LINE='highwater topic cr'\n\
        _highwater highwater cr topic\n\
        echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["-c", script, BINARY]).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "create", "{complaint}");
}

#[test]
fn an_unknown_shell_or_flag_is_a_usage_error_that_says_what_is_known() {
    let output = run(&["completions", "cmd.com"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("fish"));
    let output = run(&["--no-such-flag"]);
    assert_eq!(output.status.code(), Some(64));
}

/// The README's own commands, in order, against a broker on another port.
#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let commands: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    assert!(commands.len() >= 3, "the README shows commands behind `$ `");
    let broker = Broker::start(BINARY, &[]);
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(broker.data_directory(), folder.path().join("highwater-data"))
        .unwrap();
    let mut transcript = String::new();
    for command in commands {
        // Reading ends by itself at the log's end.
        let script = "highwater() { \"$BINARY\" \"$@\"; }; eval \"$1\"";
        let output = Command::new("bash")
            .args(["-ec", script, "readme", command])
            .env("BINARY", BINARY)
            .env("HIGHWATER_BOOTSTRAP", broker.bootstrap())
            .current_dir(folder.path())
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {complaint}");
        transcript.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    assert!(transcript.contains(" o-1=hello\n"), "{transcript}");
}

/// As `highwater ... | head -1` leaves a command: nobody reads what it prints.
fn run_unread(arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Command::new(BINARY).args(arguments).stdout(writer).output().unwrap()
}

#[test]
fn a_command_whose_output_nobody_reads_ends_quietly() {
    let broker = Broker::start(BINARY, &[]);
    let bootstrap = broker.bootstrap();
    let target = ["--bootstrap", &bootstrap];
    let script = "echo x | \"$0\" produce unread --bootstrap \"$1\"";
    let produced = Command::new("bash").args(["-c", script, BINARY, &bootstrap]).output().unwrap();
    assert!(produced.status.success(), "{produced:?}");
    let commands: [&[&str]; 6] = [
        &["--help"],
        &["explain", "list"],
        &["completions", "bash"],
        &["topic", "list"],
        &["consume", "unread"],
        &["latency"],
    ];
    for command in commands {
        let needs_broker = ["topic", "consume", "latency"].contains(&command[0]);
        let target = if needs_broker { &target[..] } else { &[] };
        let output = run_unread(&[command, target].concat());
        assert!(output.status.success() && output.stderr.is_empty(), "{command:?}: {output:?}");
    }
}

#[test]
fn a_broker_whose_output_nobody_reads_goes_on() {
    let mut broker = Broker::prepare(BINARY, &[]);
    broker.launch_with(&["bash", "-c", "exec \"$0\" \"$@\" > >(:) 2>&1"]);
    broker.restart();
    printed(&["topic", "create", "unread", "--bootstrap", &broker.bootstrap()]);
    broker.stop();
}

/// A program of that name beside the broker's own stands in for the host.
#[test]
fn a_broker_names_the_checks_that_its_host_misses() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let binary = folder.path().join("highwater");
    std::fs::hard_link(BINARY, &binary).unwrap();
    let tuning = folder.path().join("tuning");
    let said = r#"[{"id":"memlock","status":"error"},{"id":"x","status":"ok"}]"#;
    std::fs::write(&tuning, format!("#!/bin/sh\necho \"$*\" > \"$0.asked\"\necho '{said}'\n"))
        .unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&tuning, executable).unwrap();
    let broker = Broker::start(binary.to_str().unwrap(), &[]);
    let data = broker.data_directory();
    let asked = format!("check -o json --profile throughput --data-dir {}", data.display());
    let line = format!("misses 1 of 2 checks: memlock; see `{}`", asked.replace(" -o json", ""));
    let line = line.replace("`check", "`tuning check");
    let is_said = || broker.report().contains(&line).then_some(());
    wait_until(&line, Duration::from_secs(60), is_said)
        .unwrap_or_else(|late| panic!("{late}\n{}", broker.report()));
    assert_eq!(std::fs::read_to_string(folder.path().join("tuning.asked")).unwrap().trim(), asked);
}

/// What a broker's metrics listener answers to these bytes: status line and body.
fn asked(port: u16, request: &str) -> (String, String) {
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The sum of a metric over all cores.
fn metric(port: u16, name: &str) -> u64 {
    let (status, body) = asked(port, SCRAPE);
    assert_eq!(status, "HTTP/1.1 200 OK");
    let of_name = |line: &&str| line.split(['{', ' ']).next() == Some(name);
    let values = body.lines().filter(of_name).map(|line| line.rsplit(' ').next().unwrap());
    let values: Vec<u64> = values.map(|value| value.parse().unwrap()).collect();
    assert!(!values.is_empty(), "{name} is not among\n{body}");
    values.iter().sum()
}

#[test]
fn metrics_are_told_over_http_and_nobody_can_keep_others_from_them() {
    let port = Port::take();
    let setting = format!("highwater.metrics.listener=127.0.0.1:{}", port.number);
    let mut broker = Broker::start(BINARY, &[&setting]);
    let bootstrap = broker.bootstrap();
    let before = metric(port.number, "highwater_frames_total");
    printed(&["topic", "create", "watched", "--partitions", "3", "--bootstrap", &bootstrap]);
    assert!(metric(port.number, "highwater_frames_total") > before);
    assert_eq!(metric(port.number, "highwater_leaders"), 3);
    assert_eq!(metric(port.number, "highwater_cluster_partitions"), 3);
    assert_eq!(metric(port.number, "highwater_log_directory_offline"), 0);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
        ("PUT /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
        ("nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request"),
    ] {
        assert_eq!(asked(port.number, request).0, status, "{request:?}");
    }
    // One that says nothing, and one that never ends its head.
    let _silent = TcpStream::connect(("127.0.0.1", port.number)).unwrap();
    let mut endless = TcpStream::connect(("127.0.0.1", port.number)).unwrap();
    endless.write_all(b"GET /metrics HTTP/1.1\r\nA: b\r\n").unwrap();
    assert_eq!(metric(port.number, "highwater_disk_full"), 0);
    broker.stop();
}

#[test]
fn an_address_for_metrics_that_is_taken_refuses_the_start() {
    let port = Port::take();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port.number)).unwrap();
    let setting = format!("highwater.metrics.listener=127.0.0.1:{}", port.number);
    let mut broker = Broker::prepare(BINARY, &[&setting]);
    assert_eq!(broker.start_and_end().code(), Some(78));
    let log = broker.log();
    assert!(log.contains("highwater.metrics.listener") && log.contains("free address"), "{log}");
}
