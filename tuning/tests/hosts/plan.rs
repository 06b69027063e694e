//! `plan` and what it says about what `apply` will and will not do.

use crate::fixture::{ALL_OFF, Fixture};
use std::fs;

#[test]
fn the_plan_is_a_dry_run_of_apply() {
    let host = Fixture::off("dry");
    for profile in ["dev", "throughput", "latency"] {
        for form in ["table", "json"] {
            let arguments = ["--profile", profile, "--data-dir", "/data", "-o", form];
            let plan = host.run("plan", &arguments);
            let dry = host.run("apply", &[&arguments[..], &["--dry-run"]].concat());
            assert_eq!((plan.code, &plan.text), (0, &dry.text));
            assert_eq!(dry.code, 0);
        }
    }
    for (path, text) in ALL_OFF {
        assert_eq!(host.read(path), *text, "{path}");
    }
    assert!(!host.root.join("var").exists());
}

#[test]
fn an_action_has_number_path_old_new_reboot_and_risk() {
    let plan = Fixture::off("actions").run("plan", &["--only", "memory.swappiness", "-o", "json"]);
    let action = &plan.json()["actions"][0];
    assert_eq!(action["number"], 1);
    assert_eq!(action["id"], "memory.swappiness");
    assert_eq!(action["path"], "/proc/sys/vm/swappiness");
    assert_eq!((&action["old"], &action["new"]), (&"60".into(), &"1".into()));
    assert_eq!(action["needs_reboot"], false);
    assert!(!action["risk"].as_str().unwrap().is_empty());
}

#[test]
fn interrupts_keep_off_the_brokers_cores() {
    let host = Fixture::off("interrupts");
    let arguments = ["--only", "net.irq_affinity", "--cores", "1", "-o", "json"];
    let plan = host.run("plan", &arguments).json();
    for index in 0..2 {
        assert_eq!(plan["actions"][index]["new"], "0");
    }
}

#[test]
fn what_is_managed_is_left_alone_and_named() {
    let host = Fixture::off("barred");
    host.make_read_only("proc/sys/vm/swappiness");
    let run = host.run("plan", &["--only", "memory.swappiness"]);
    assert_eq!(run.code, 3);
    assert!(run.text.contains("nothing to change"), "{}", run.text);
    assert!(run.text.contains("managed       memory.swappiness"), "{}", run.text);
}

#[test]
fn a_script_does_the_same_by_hand() {
    let host = Fixture::off("script");
    let script = host.root.join("out.sh");
    let only = "memory.swappiness,net.tcp_rmem,disk.scheduler";
    let run = host.apply("throughput", &["--only", only, "--script", script.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{}", run.errors);
    let text = fs::read_to_string(script).unwrap();
    assert!(text.starts_with("#!/bin/sh\n"));
    for line in [
        "\nsysctl -w vm.swappiness=1\n",
        "\nsysctl -w net.ipv4.tcp_rmem='4096 131072 16777216'\n",
        "\necho none > /sys/devices/vda/queue/scheduler\n",
        "undo: echo bfq > /sys/devices/vda/queue/scheduler\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert_eq!(host.read("proc/sys/vm/swappiness"), "60");
}

#[test]
fn an_id_that_does_not_exist_is_wrong_usage() {
    let run = Fixture::off("unknown").run("plan", &["--skip", "memory.swop"]);
    assert_eq!(run.code, 64);
    assert!(run.errors.contains("memory.swop: no such id"), "{}", run.errors);
}
