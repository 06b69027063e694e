//! `check`: rows, JSON and exit codes.

use crate::fixture::{Fixture, tuning};

#[test]
fn a_good_host_has_nothing_to_do_in_any_profile() {
    let host = Fixture::new("good", &[]);
    for profile in ["dev", "throughput", "latency"] {
        let arguments = ["--data-dir", "/data", "--profile", profile, "--fail-on", "warn"];
        let run = host.run("check", &arguments);
        assert_eq!(run.code, 0, "{}", run.text);
        assert!(!run.text.contains("fix:"), "{}", run.text);
        assert!(run.text.contains("1048576 (soft 1024)"));
        assert!(run.text.starts_with("STATUS "));
        assert!(run.text.ends_with("not available here: iouring.ring\n"), "{}", run.text);
    }
}

#[test]
fn a_profile_shows_only_what_it_cares_for() {
    let host = Fixture::off("profiles");
    let count = |profile| host.rows(profile).len();
    assert!(count("dev") < count("throughput") && count("dev") < count("latency"));
    let has = |profile, id: &str| host.rows(profile).iter().any(|row| row["id"] == id);
    assert!(has("latency", "cpu.cstates") && !has("throughput", "cpu.cstates"));
    assert!(has("throughput", "memory.dirty") && !has("latency", "memory.dirty"));
    assert!(has("dev", "net.somaxconn") && !has("dev", "cpu.governor"));
}

#[test]
fn what_keeps_the_broker_from_starting_is_an_error() {
    let limits = "Max open files 100 200 files\nMax locked memory 65536 65536 bytes\n";
    let host = Fixture::new(
        "bad",
        &[
            ("proc/sys/kernel/osrelease", "5.4.0-1-generic"),
            ("proc/sys/kernel/io_uring_disabled", "2"),
            ("proc/self/limits", limits),
        ],
    );
    for (id, current, fix) in [
        ("kernel.version", "5.4.0-1-generic", "newer kernel"),
        ("iouring.enabled", "2", "kernel.io_uring_disabled=0"),
        ("limit.memlock", "65536", "LimitMEMLOCK"),
        ("limit.ring_depth", "none on 2 cores", "ulimit -l 4368"),
        ("limit.nofile", "200 (soft 100)", "ulimit -n 256"),
    ] {
        let row = host.row(id);
        assert_eq!((&row["status"], &row["current"]), (&"error".into(), &current.into()), "{id}");
        assert!(row["fix"].as_str().unwrap().contains(fix), "{id}: {row}");
    }
    let run = host.run("check", &[]);
    assert_eq!(run.code, 2);
    assert_eq!(run.text.matches("why: ").count(), 5, "{}", run.text);
}

#[test]
fn what_costs_speed_is_advice_and_fails_only_on_request() {
    let limits = "Max open files 1024 4096 files\nMax locked memory 8388608 8388608 bytes\n";
    let host = Fixture::new(
        "slow",
        &[
            ("proc/sys/kernel/io_uring_disabled", "1"),
            ("proc/self/limits", limits),
            ("proc/self/mountinfo", "27 1 0:9 / / rw - overlay overlay rw"),
            ("proc/stat", "cpu  100 0 100 700 0 0 0 100 0 0"),
            ("proc/7/comm", "irqbalance"),
        ],
    );
    let ids = ["iouring.enabled", "limit.memlock", "limit.nofile", "disk.filesystem", "disk.mount"];
    for id in ids.into_iter().chain(["cpu.steal", "net.irqbalance"]) {
        assert_eq!(host.row(id)["status"], "warn", "{id}");
    }
    assert_eq!(host.row("cpu.steal")["current"], "10.0 %");
    assert_eq!(host.row("disk.scheduler")["status"], "n-a");
    assert_eq!(host.run("check", &[]).code, 0);
    assert_eq!(host.run("check", &["--fail-on", "warn"]).code, 1);
}

#[test]
fn each_setting_that_is_off_is_named_with_its_command() {
    let host = Fixture::off("off");
    let row = host.row("net.tcp_rmem");
    assert_eq!(row["status"], "warn");
    assert_eq!(row["fix"], "sysctl -w net.ipv4.tcp_rmem='4096 131072 16777216'");
    let row = host.row("cpu.governor");
    assert_eq!(row["current"], "powersave x2");
    assert!(row["fix"].as_str().unwrap().ends_with("(and 1 more files)"), "{row}");
    let row = host.row("disk.scheduler");
    assert_eq!(row["current"], "bfq");
    assert_eq!(row["fix"], "echo none > /sys/devices/vda/queue/scheduler");
    assert_eq!(host.row("net.xps")["changes"][1]["new"], "2");
}

#[test]
fn managed_and_not_available_are_told_from_wrong() {
    let host = Fixture::off("managed");
    host.make_read_only("proc/sys/vm/swappiness");
    host.remove("proc/sys/kernel/numa_balancing");
    host.write("sys/fs/cgroup/cpu.max", "150000 100000");
    host.write("sys/fs/cgroup/cpu.stat", "nr_periods 9\nnr_throttled 4");
    assert_eq!(host.row("memory.swappiness")["status"], "managed");
    assert_eq!(host.row("cpu.numa_balancing")["status"], "n-a");
    let quota = host.row("cgroup.quota");
    assert_eq!(quota["status"], "managed");
    assert_eq!(quota["current"], "150000 of 100000 us, throttled 4x");
}

#[test]
fn a_setting_without_its_files_is_not_available() {
    let host = Fixture::off("absent");
    let settings = host.settings();
    assert!(settings.len() > 30, "{}", settings.len());
    for (id, files) in settings {
        let kept: Vec<String> = files.iter().map(|path| host.read(path)).collect();
        files.iter().for_each(|path| host.remove(path));
        let row = host.row(&id);
        assert_eq!((&row["status"], &row["fix"]), (&"n-a".into(), &"".into()), "{row}");
        files.iter().zip(kept).for_each(|(path, text)| host.write(path, &text));
    }
}

#[test]
fn a_setting_that_may_only_be_read_is_managed() {
    let host = Fixture::off("read-only");
    for (id, files) in host.settings() {
        files.iter().for_each(|path| host.make_read_only(path));
        let row = host.row(&id);
        assert_eq!(row["status"], "managed", "{row}");
        assert_eq!(row["fix"], "nothing here: the kernel offers it for reading only");
    }
    let run = host.run("apply", &["--yes", "--data-dir", "/data", "--profile", "latency"]);
    assert_eq!(run.code, 3, "{}", run.text);
    assert!(!host.root.join("var").exists(), "nothing to do leaves nothing behind");
}

#[test]
fn rings_are_as_deep_as_the_locked_memory_allows() {
    for (bytes, status, current) in [
        ("unlimited", "ok", "1024 on 2 cores"),
        ("8388608", "ok", "1024 on 2 cores"),
        ("4194304", "warn", "256 on 2 cores"),
        ("1048576", "warn", "64 on 2 cores"),
        ("524288", "error", "none on 2 cores"),
    ] {
        let limits = format!("Max locked memory {bytes} {bytes} bytes");
        let host = Fixture::new(&format!("rings-{bytes}"), &[("proc/self/limits", &limits)]);
        let row = host.row("limit.ring_depth");
        assert_eq!((&row["status"], &row["current"]), (&status.into(), &current.into()), "{row}");
    }
}

#[test]
fn what_is_context_is_shown_and_never_a_fault() {
    let host = Fixture::new(
        "context",
        &[
            ("proc/8/comm", "sshd"),
            ("proc/swaps", "Filename Type\n/dev/sda2 partition"),
            ("proc/sys/vm/nr_hugepages", "512"),
            ("sys/devices/system/cpu/cpufreq/boost", "0"),
        ],
    );
    host.remove("etc/systemd/system/timers.target.wants/fstrim.timer");
    for (id, status, current) in [
        ("clock.synchronised", "info", "no daemon"),
        ("cpu.boost", "ok", "off"),
        ("cpu.microcode", "ok", "0xa201016"),
        ("disk.trim", "info", "no fstrim.timer"),
        ("limit.core", "ok", "unlimited (soft 0), to core"),
        ("memory.hugepages", "ok", "512"),
        ("memory.swap", "ok", "areas: 1"),
        ("net.napi_threads", "ok", "eth0: off"),
        ("net.queues", "ok", "eth0: 1 to receive, 2 to send"),
    ] {
        let row = host.row(id);
        assert_eq!((&row["status"], &row["current"]), (&status.into(), &current.into()), "{row}");
    }
    host.write("sys/devices/vda/queue/discard_max_bytes", "0");
    assert_eq!(host.row("disk.trim")["current"], "the disk takes no trim");
    assert_eq!(host.run("check", &["--data-dir", "/data", "--fail-on", "warn"]).code, 0);
}

#[test]
fn isolation_asks_for_a_reboot_and_prints_the_line() {
    let host = Fixture::new("isolation", &[("proc/cmdline", "ro quiet")]);
    let row = host.row("cpu.isolation");
    assert_eq!(row["status"], "needs-reboot");
    let line = "kernel command line: isolcpus=1 nohz_full=1 rcu_nocbs=1 irqaffinity=0";
    assert_eq!(row["fix"], line);
}

#[test]
fn settings_that_do_not_fit_the_host_are_left() {
    let host = Fixture::new(
        "left",
        &[
            ("proc/sys/vm/swappiness", "60"),
            ("sys/devices/vda/queue/nomerges", "0"),
            ("sys/devices/vda/queue/rotational", "1"),
            ("sys/devices/system/clocksource/clocksource0/available_clocksource", "hpet"),
            ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"),
        ],
    );
    for (id, current) in [
        ("memory.swappiness", "60 (no swap)"),
        ("disk.nomerges", "0 (a turning disk)"),
        ("cpu.clocksource", "hpet (tsc is not offered)"),
    ] {
        let row = host.row(id);
        assert_eq!((&row["status"], &row["current"]), (&"ok".into(), &current.into()), "{id}");
    }
}

#[test]
fn a_row_of_json_has_these_fields() {
    let row = Fixture::off("json").row("net.somaxconn");
    let names: Vec<&String> = row.as_object().unwrap().keys().collect();
    let wanted = ["changes", "current", "fix", "gain", "id", "risk", "severity", "status"];
    assert_eq!(names[..8], wanted);
    assert_eq!(names[8..], ["wanted", "why"]);
    let change = &row["changes"][0];
    assert_eq!(change["path"], "/proc/sys/net/core/somaxconn");
    assert_eq!((&change["old"], &change["new"]), (&"128".into(), &"4096".into()));
}

#[test]
fn a_host_that_shows_nothing_is_no_good_host() {
    let host = Fixture::new("empty", &[]);
    std::fs::remove_dir_all(host.root.join("proc")).unwrap();
    std::fs::remove_dir_all(host.root.join("sys")).unwrap();
    std::fs::create_dir(host.root.join("proc")).unwrap();
    let run = host.run("check", &["--profile", "dev"]);
    assert!(run.text.contains("not available here: kernel.version"), "{}", run.text);
    assert_eq!(run.code, 3, "{}", run.text);
}

#[test]
fn wrong_usage_is_told_apart_from_a_wrong_host() {
    for arguments in [
        &["check", "--rot"][..],
        &["chek"],
        &[],
        &["check", "--root", "/none"],
        &["check", "--profile", "fast"],
        &["check", "--cores", "4-1"],
        &["check", "--nic", "none0"],
        &["explain", "memory.swapiness"],
        &["measure", "--time", "0s"],
        &["measure", "--before", "/none"],
    ] {
        let run = tuning(arguments);
        assert_eq!(run.code, 64, "{arguments:?}");
        assert!(!run.errors.is_empty());
    }
    assert_eq!(tuning(&["--help"]).code, 0);
}

#[test]
fn this_host_is_probed_with_a_real_ring() {
    let rows = tuning(&["check", "-o", "json"]).json();
    let ring = rows.as_array().unwrap().iter().find(|row| row["id"] == "iouring.ring").unwrap();
    assert_ne!(ring["status"], "n-a");
}
