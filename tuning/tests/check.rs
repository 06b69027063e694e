//! The built command against copied hosts: rows, JSON and exit codes.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A host without anything to complain about.
const GOOD_HOST: [(&str, &str); 11] = [
    ("proc/sys/kernel/osrelease", "6.12.3-amd64\n"),
    ("proc/sys/kernel/io_uring_disabled", "0\n"),
    (
        "proc/self/limits",
        "Limit  Soft  Hard  Units\nMax open files 1024 1048576 files\nMax locked memory unlimited unlimited bytes\n",
    ),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ("proc/sys/vm/swappiness", "60\n"),
    ("proc/swaps", "Filename Type Size Used Priority\n"),
    ("proc/sys/net/core/somaxconn", "4096\n"),
    (
        "proc/self/mountinfo",
        "27 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n30 27 0:40 / /run rw - tmpfs tmpfs rw\n",
    ),
    ("sys/dev/block/254:1/partition", "1\n"),
    ("sys/dev/block/queue/scheduler", "[none] mq-deadline\n"),
    ("sys/dev/block/queue/write_cache", "write through\n"),
];

struct Fixture {
    root: PathBuf,
}

impl Fixture {
    /// The good host with some files replaced.
    fn new(name: &str, changes: &[(&str, &str)]) -> Fixture {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tuning-{name}"));
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        for (path, text) in GOOD_HOST.iter().chain(changes) {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Fixture { root }
    }

    fn check(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_tuning"))
            .args(["check", "--root"])
            .arg(&self.root)
            .args(arguments)
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }

    /// The row of `id` as status, current value and fix.
    fn row(&self, id: &str) -> (String, String, String) {
        let (_, text) = self.check(&["--json", "--data-dir", "/data"]);
        let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
        let row = rows.as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone();
        let cell = |name: &str| row[name].as_str().unwrap().to_owned();
        (cell("status"), cell("current"), cell("fix"))
    }
}

#[test]
fn a_good_host_has_nothing_to_do() {
    let (code, text) = Fixture::new("good", &[]).check(&["--data-dir", "/data"]);
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("fix:") && text.contains("1048576 (soft 1024)"), "{text}");
    assert!(text.lines().next().unwrap().starts_with("STATUS  ID"));
    assert_eq!(text.lines().count(), 13, "{text}");
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
        ("limit.nofile", "200 (soft 100)", "ulimit -n 256"),
    ] {
        let (status, found, found_fix) = host.row(id);
        assert_eq!((status.as_str(), found.as_str()), ("error", current), "{id}");
        assert!(found_fix.contains(fix), "{id}: {found_fix}");
    }
    let (code, text) = host.check(&[]);
    assert_eq!(code, 2);
    assert_eq!(text.matches("why: ").count(), 4, "{text}");
}

#[test]
fn what_costs_speed_is_advice() {
    let limits = "Max open files 1024 4096 files\nMax locked memory 8388608 8388608 bytes\n";
    let host = Fixture::new(
        "slow",
        &[
            ("proc/sys/kernel/io_uring_disabled", "1"),
            ("proc/self/limits", limits),
            ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
            ("proc/swaps", "Filename Type\n/dev/sda2 partition\n"),
            ("proc/sys/net/core/somaxconn", "128"),
            ("proc/self/mountinfo", "27 1 0:9 / / rw - overlay overlay rw"),
        ],
    );
    for id in [
        "iouring.enabled",
        "limit.memlock",
        "limit.nofile",
        "memory.thp",
        "memory.swappiness",
        "net.somaxconn",
        "disk.filesystem",
        "disk.mount",
    ] {
        assert_eq!(host.row(id).0, "warn", "{id}");
    }
    assert_eq!(host.row("disk.scheduler").0, "n-a");
    assert_eq!(host.check(&[]).0, 1);
}

#[test]
fn a_disk_that_queues_fairly_or_caches_writes_is_named() {
    let host = Fixture::new(
        "disk",
        &[
            ("sys/dev/block/queue/scheduler", "none [bfq]"),
            ("sys/dev/block/queue/write_cache", "write back"),
        ],
    );
    assert_eq!(host.row("disk.scheduler").0, "warn");
    assert_eq!(host.row("disk.write_cache").0, "info");
}

#[test]
fn wrong_usage_is_told_apart_from_a_wrong_host() {
    for arguments in [&["check", "--rot"][..], &["chek"], &[], &["check", "--root", "/none"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_tuning")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
    let help = Command::new(env!("CARGO_BIN_EXE_tuning")).arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
}

#[test]
fn this_host_is_probed_with_a_real_ring() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_tuning")).args(["check", "--json"]).output().unwrap();
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let ring = rows.as_array().unwrap().iter().find(|row| row["id"] == "iouring.ring").unwrap();
    assert_ne!(ring["status"], "n-a");
}
