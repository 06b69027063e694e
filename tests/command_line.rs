//! What the command line prints is what the README shows and what a shell can load.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::disallowed_methods, reason = "tests run on the real files")]

use std::path::Path;
use std::process::{Command, Output};

use harness::Broker;

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
const COMMANDS: [&[&str]; 23] = [
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
    &["log"],
    &["log", "dump"],
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
