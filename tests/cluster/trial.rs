//! `highwater dev-cluster`: what it prints is done word by word, so that a stranger who does the
//! same sees a broker die, and the cluster go on and mend.

use super::{BINARY, PATIENCE};
use harness::{Commands, Daemon, Port, broker_state, scratch_directory};
use std::process::Command;

const COMMANDS: Commands = Commands::new(BINARY);
const BROKERS: usize = 3;

/// The brokers end with it, also where the test fails: a process that is killed cannot see to it.
struct Trial(Daemon);

impl Drop for Trial {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for line in self.0.output().lines() {
            let pid = line.split_once(", process ").and_then(|(_, rest)| rest.split_once(','));
            if let Some((pid, _)) = pid {
                // One that was killed by the test is gone already.
                drop(Command::new("kill").args(["-TERM", pid]).status());
            }
        }
    }
}

/// Ports one behind the other, as the brokers take them.
fn neighbouring_ports() -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    loop {
        ports.push(Port::take());
        let Some(last) = ports.len().checked_sub(BROKERS).map(|from| &ports[from..]) else {
            continue;
        };
        if last.windows(2).all(|pair| pair[0].number + 1 == pair[1].number) {
            return ports.split_off(ports.len() - BROKERS);
        }
    }
}

/// What the banner says behind a word, up to two spaces.
fn said_behind(banner: &str, word: &str) -> String {
    let line = banner.lines().find_map(|line| line.trim_start().strip_prefix(word));
    let line = line.unwrap_or_else(|| panic!("no {word:?} in\n{banner}")).trim_start();
    line.split("  ").next().expect("a first part").to_owned()
}

#[test]
fn a_trial_cluster_says_how_to_break_and_mend_it() {
    let folder = scratch_directory("trial");
    let dir = folder.path().join("data").display().to_string();
    let ports = neighbouring_ports();
    let (first, third) = (ports[0].number, ports[2].number);
    let mut command = Command::new(BINARY);
    command.args(["dev-cluster", "3", "--dir", &dir, "--port", &first.to_string()]);
    let mut trial = Trial(Daemon::start("dev-cluster", command));
    trial.0.wait_for_line("  here        kill N | stop N | start N | status | quit", PATIENCE);
    let banner = trial.0.output();
    let at = format!("127.0.0.1:{third}");
    assert!(said_behind(&banner, "clients").ends_with(&at), "{banner}");

    let create = said_behind(&banner, "try").replace("highwater ", "");
    let create: Vec<&str> = create.split_whitespace().collect();
    let is_made = |now: &serde_json::Value| now["partitions"] == 6;
    COMMANDS.bring_about(&create, &at, ("the topic of the banner", &[]), is_made);
    COMMANDS.bring_about(&[], &at, ("all replicas", &[]), |now| {
        now["under_replicated_partitions"] == 0
    });
    assert!(COMMANDS.produce("orders", 0..100, &at), "{}", trial.0.output());

    trial.0.type_line(&said_behind(&banner, "break it"));
    let gone = "broker 2 is gone (signal: 9 (SIGKILL)); bring it back with: start 2";
    trial.0.wait_for_line(gone, PATIENCE);
    COMMANDS.bring_about(&[], &at, ("two are left", &[]), |now| {
        broker_state(now, 2) == "fenced" && now["leaderless_partitions"] == 0
    });
    assert!(COMMANDS.produce("orders", 100..200, &at), "{}", trial.0.output());

    trial.0.type_line(&said_behind(&banner, "mend it"));
    trial.0.wait_for_line("broker 2 is up again", PATIENCE);
    COMMANDS.bring_about(&[], &at, ("all replicas again", &[]), |now| {
        broker_state(now, 2) == "active" && now["under_replicated_partitions"] == 0
    });
    assert_eq!(COMMANDS.consume("orders", &at), Some((0..200).collect()));
    trial.0.type_line("quit");
    assert!(trial.0.close(PATIENCE).success(), "{}", trial.0.output());
    assert_eq!(COMMANDS.status(&at), None, "the brokers end with it");
}
