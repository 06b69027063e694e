//! `apply` and `revert` on copied hosts.

use crate::fixture::{ALL_OFF, Fixture, STATE};
use std::fs::File;
use std::process::Command;

#[test]
fn apply_meets_each_profile_and_revert_brings_back_what_was() {
    for profile in ["dev", "throughput", "latency"] {
        let host = Fixture::off(&format!("apply-{profile}"));
        let run = host.apply(profile, &[]);
        assert_eq!(run.code, 0, "{}{}", run.text, run.errors);
        for row in host.rows(profile) {
            assert!(row["changes"].as_array().unwrap().is_empty(), "{row}");
        }
        assert_eq!(host.apply(profile, &[]).code, 0);
        let run = host.run("revert", &[]);
        assert_eq!(run.code, 0, "{}", run.text);
        for (path, text) in ALL_OFF {
            let before = match text.split_once('[') {
                Some((_, rest)) => rest.split(']').next().unwrap().to_owned(),
                None => text.replace('\t', " "),
            };
            let found = host.read(path);
            assert!(found == before || found == *text, "{path}: {found}");
        }
        assert!(!host.root.join(STATE).exists());
    }
}

#[test]
fn each_change_is_on_record_with_what_was_before() {
    let host = Fixture::off("record");
    host.apply("throughput", &["--only", "memory.swappiness,memory.thp"]);
    let state = host.state();
    assert_eq!(state["version"], 1);
    let change = &state["changes"][0];
    assert_eq!(change["id"], "memory.thp");
    assert_eq!(change["path"], "/sys/kernel/mm/transparent_hugepage/enabled");
    assert_eq!((&change["old"], &change["new"]), (&"always".into(), &"madvise".into()));
    assert_eq!(change["boot_id"], "boot-1");
    assert!(change["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(state["changes"].as_array().unwrap().len(), 2);
}

#[test]
fn what_somebody_else_changed_since_is_skipped_and_named() {
    let host = Fixture::off("conflict");
    host.apply("throughput", &["--only", "memory.swappiness,net.somaxconn"]);
    host.write("proc/sys/vm/swappiness", "30");
    host.write("proc/sys/kernel/random/boot_id", "boot-2");
    let run = host.run("revert", &[]);
    assert_eq!(run.code, 1, "{}", run.text);
    assert!(run.text.contains("now 30; we set 1, before that 60"), "{}", run.text);
    assert!(run.text.contains("(set before a reboot)"), "{}", run.text);
    assert_eq!(host.read("proc/sys/vm/swappiness"), "30");
    assert_eq!(host.read("proc/sys/net/core/somaxconn"), "128");
    let state = host.state();
    assert_eq!(state["changes"].as_array().unwrap().len(), 1);
    assert_eq!(state["changes"][0]["id"], "memory.swappiness");
}

#[test]
fn changes_on_top_of_changes_are_taken_back_to_the_first() {
    let host = Fixture::off("chain");
    host.apply("throughput", &["--only", "disk.readahead"]);
    host.write("sys/devices/vda/queue/read_ahead_kb", "4096");
    host.apply("throughput", &["--only", "disk.readahead"]);
    let run = host.run("revert", &["-o", "json"]);
    let rows = run.json();
    assert_eq!(rows[0]["status"], "restored");
    // The first change was overwritten by somebody in between.
    assert_eq!(rows[1]["status"], "conflict");
    assert_eq!(host.read("sys/devices/vda/queue/read_ahead_kb"), "4096");
}

/// The state file may grow to two blocks only, so recording stops somewhere in the middle.
#[test]
fn a_failure_in_the_middle_stops_and_names_the_way_back() {
    let host = Fixture::off("middle");
    let script = "trap '' XFSZ; ulimit -f 2; exec \"$@\"";
    let output = Command::new("bash")
        .args(["-c", script, "bash", env!("CARGO_BIN_EXE_tuning"), "apply", "--yes", "--root"])
        .arg(&host.root)
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("was not written: state file"), "{errors}");
    assert!(errors.contains("help: tuning revert --root"), "{errors}");
    let recorded = host.state()["changes"].as_array().unwrap().clone();
    assert!(!recorded.is_empty());
    for change in &recorded {
        let path = change["path"].as_str().unwrap().trim_start_matches('/').to_owned();
        assert_eq!(host.read(&path), change["new"].as_str().unwrap());
    }
    assert_eq!(host.read("proc/sys/net/ipv4/tcp_slow_start_after_idle"), "1");
    assert_eq!(host.run("revert", &[]).code, 0);
    assert_eq!(host.read("proc/sys/fs/nr_open"), "1024");
}

#[test]
fn a_state_file_elsewhere_is_named_alike_by_both_commands() {
    let host = Fixture::off("elsewhere");
    let state = host.root.join("elsewhere.json");
    let state = state.to_str().unwrap();
    let swappiness = host.read("proc/sys/vm/swappiness");
    assert_ne!(swappiness, "1");
    for option in ["--to", "--state"] {
        assert_eq!(host.apply("throughput", &["--state", state]).code, 0);
        assert_eq!(host.read("proc/sys/vm/swappiness"), "1");
        assert_eq!(host.run("revert", &[option, state]).code, 0, "{option}");
        assert_eq!(host.read("proc/sys/vm/swappiness"), swappiness, "{option}");
    }
}

#[test]
fn nothing_is_written_where_nothing_can_be_recorded() {
    let host = Fixture::off("no-state");
    host.write("var/lib/highwater", "a file where the folder should be");
    let run = host.apply("throughput", &[]);
    assert_eq!(run.code, 2, "{}", run.text);
    for (path, text) in ALL_OFF {
        assert_eq!(host.read(path), *text, "{path}");
    }
}

#[test]
fn nobody_at_the_terminal_means_no() {
    let host = Fixture::off("nobody");
    let run = host.run("apply", &[]);
    assert_eq!(run.code, 64);
    assert!(run.errors.contains("--yes"), "{}", run.errors);
    assert_eq!(host.read("proc/sys/vm/swappiness"), "60");
}

#[test]
fn what_is_managed_is_passed_over() {
    let host = Fixture::off("pass");
    host.make_read_only("proc/sys/vm/swappiness");
    assert_eq!(host.apply("throughput", &[]).code, 0);
    assert_eq!(host.read("proc/sys/vm/swappiness"), "60");
    assert_eq!(host.read("proc/sys/net/core/somaxconn"), "4096");
    let run = host.apply("throughput", &["--only", "memory.swappiness"]);
    assert_eq!(run.code, 3, "{}", run.text);
}

#[test]
fn a_link_out_of_the_copy_is_never_written() {
    let outside = Fixture::new("outside", &[("victim", "60")]);
    let host = Fixture::off("inside");
    host.remove("proc/sys/vm/swappiness");
    let link = host.root.join("proc/sys/vm/swappiness");
    std::os::unix::fs::symlink(outside.root.join("victim"), link).unwrap();
    assert_eq!(host.apply("throughput", &[]).code, 0);
    assert_eq!(outside.read("victim"), "60");
    assert_eq!(host.row("memory.swappiness")["status"], "managed");
}

#[test]
fn lasting_changes_are_files_that_revert_removes() {
    let host = Fixture::off("lasting");
    let udev = "etc/udev/rules.d/90-highwater.rules";
    let (sysctl, tmpfiles) = ("etc/sysctl.d/90-highwater.conf", "etc/tmpfiles.d/90-highwater.conf");
    host.write(udev, "an older one");
    let run = host.apply("throughput", &["--persist"]);
    assert_eq!(run.code, 0, "{}", run.errors);
    assert!(run.text.contains("not kept over a reboot: /proc/irq/30"), "{}", run.text);
    assert!(host.read(sysctl).contains("\nvm.swappiness = 1\n"), "{}", host.read(sysctl));
    assert!(host.read(sysctl).contains("\nnet.ipv4.tcp_rmem = 4096 131072 16777216"));
    for attribute in [
        "SUBSYSTEM==\"block\", KERNEL==\"vda\", ATTR{queue/scheduler}=\"none\"",
        "SUBSYSTEM==\"net\", KERNEL==\"eth0\", ATTR{queues/rx-0/rps_cpus}=\"3\"",
    ] {
        assert!(host.read(udev).contains(attribute), "{}", host.read(udev));
    }
    let line = "w /sys/kernel/mm/transparent_hugepage/enabled - - - - madvise";
    assert!(host.read(tmpfiles).contains(line), "{}", host.read(tmpfiles));
    assert_eq!(host.run("revert", &[]).code, 0);
    assert_eq!(host.read(udev), "an older one");
    assert!(!host.root.join(sysctl).exists() && !host.root.join(tmpfiles).exists());
}

#[test]
fn the_outcome_as_json_has_these_fields() {
    let host = Fixture::off("outcome");
    let outcome = host.apply("dev", &["-o", "json"]).json();
    let names: Vec<&String> = outcome.as_object().unwrap().keys().collect();
    assert_eq!(names, ["already", "failed", "made", "persisted", "profile", "refused", "state"]);
    assert!(outcome["failed"].is_null());
}

#[test]
fn without_a_record_there_is_nothing_to_take_back() {
    let host = Fixture::off("nothing");
    let run = host.run("revert", &[]);
    assert_eq!(run.code, 3);
    assert!(run.errors.contains("nothing to take back"), "{}", run.errors);
    host.write(STATE, "{\"version\": 9}");
    let run = host.run("revert", &[]);
    assert_eq!(run.code, 2);
    assert!(run.errors.contains("not one of ours: its version is not 1"), "{}", run.errors);
}

#[test]
fn two_runs_cannot_change_a_host_at_once() {
    let host = Fixture::off("busy");
    host.apply("throughput", &["--only", "memory.swappiness"]);
    let lock = File::open(host.root.join(STATE).with_extension("lock")).unwrap();
    lock.lock().unwrap();
    for run in [host.apply("throughput", &[]), host.run("revert", &[])] {
        assert_eq!(run.code, 2, "{}", run.text);
        assert!(run.errors.contains("another apply or revert is under way"), "{}", run.errors);
    }
    assert_eq!(host.read("proc/sys/net/core/somaxconn"), "128");
    lock.unlock().unwrap();
    assert_eq!(host.run("revert", &[]).code, 0);
    assert_eq!(host.read("proc/sys/vm/swappiness"), "60");
}
