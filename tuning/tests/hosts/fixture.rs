//! Copied hosts: one with nothing to do, one with everything off.

use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A host without anything to complain about in any profile. Two cores, one disk, one device.
const GOOD_HOST: &[(&str, &str)] = &[
    ("proc/sys/kernel/osrelease", "6.12.3-amd64"),
    ("proc/sys/kernel/random/boot_id", "boot-1"),
    ("proc/sys/kernel/io_uring_disabled", "0"),
    (
        "proc/self/limits",
        "Limit  Soft  Hard  Units\nMax open files 1024 1048576 files\nMax locked memory unlimited unlimited bytes\nMax core file size 0 unlimited bytes",
    ),
    ("proc/self/cgroup", "0::/"),
    ("proc/self/mountinfo", "27 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw"),
    ("proc/stat", "cpu  100 0 100 800 0 0 0 5 0 0"),
    ("proc/cmdline", "ro isolcpus=1 nohz_full=1 rcu_nocbs=1"),
    ("proc/swaps", "Filename Type Size Used Priority"),
    ("proc/7/comm", "highwater"),
    ("proc/8/comm", "chronyd"),
    ("proc/cpuinfo", "processor : 0\nmicrocode : 0xa201016"),
    ("proc/irq/30/smp_affinity_list", "0"),
    ("proc/irq/31/smp_affinity_list", "1"),
    ("proc/sys/fs/nr_open", "1048576"),
    ("proc/sys/kernel/core_pattern", "core"),
    ("proc/sys/kernel/numa_balancing", "0"),
    ("proc/sys/kernel/timer_migration", "0"),
    ("proc/sys/kernel/watchdog", "0"),
    ("proc/sys/net/core/busy_poll", "50"),
    ("proc/sys/net/core/busy_read", "50"),
    ("proc/sys/net/core/rmem_max", "16777216"),
    ("proc/sys/net/core/rps_sock_flow_entries", "32768"),
    ("proc/sys/net/core/somaxconn", "4096"),
    ("proc/sys/net/core/wmem_max", "16777216"),
    ("proc/sys/net/ipv4/tcp_autocorking", "0"),
    ("proc/sys/net/ipv4/tcp_congestion_control", "cubic"),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", "8192"),
    ("proc/sys/net/ipv4/tcp_notsent_lowat", "131072"),
    ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t16777216"),
    ("proc/sys/net/ipv4/tcp_slow_start_after_idle", "0"),
    ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t16777216"),
    ("proc/sys/vm/dirty_background_ratio", "5"),
    ("proc/sys/vm/dirty_ratio", "20"),
    ("proc/sys/vm/nr_hugepages", "0"),
    ("proc/sys/vm/swappiness", "1"),
    ("etc/systemd/system/timers.target.wants/fstrim.timer", ""),
    ("dev/cpu_dma_latency", ""),
    ("sys/fs/cgroup/cpuset.cpus.effective", "0-1"),
    ("sys/class/net/eth0/device/msi_irqs/30", "msix"),
    ("sys/class/net/eth0/device/msi_irqs/31", "msix"),
    ("sys/class/net/eth0/gro_flush_timeout", "20000"),
    ("sys/class/net/eth0/napi_defer_hard_irqs", "2"),
    ("sys/class/net/eth0/queues/rx-0/rps_cpus", "3"),
    ("sys/class/net/eth0/queues/rx-0/rps_flow_cnt", "32768"),
    ("sys/class/net/eth0/queues/tx-0/xps_cpus", "1"),
    ("sys/class/net/eth0/queues/tx-1/xps_cpus", "2"),
    ("sys/class/net/eth0/statistics/rx_missed_errors", "0"),
    ("sys/class/net/eth0/threaded", "0"),
    ("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc acpi_pm"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc"),
    ("sys/devices/system/cpu/cpu0/cpufreq/energy_performance_preference", "performance"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state2/disable", "1"),
    ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance"),
    ("sys/devices/system/cpu/cpufreq/boost", "1"),
    ("sys/devices/system/cpu/isolated", "1"),
    ("sys/devices/system/cpu/online", "0-1"),
    ("sys/devices/system/cpu/smt/active", "0"),
    ("sys/devices/vda/partition-of", ""),
    ("sys/devices/vda/queue/discard_max_bytes", "2147450880"),
    ("sys/devices/vda/queue/nomerges", "2"),
    ("sys/devices/vda/queue/nr_requests", "256"),
    ("sys/devices/vda/queue/read_ahead_kb", "128"),
    ("sys/devices/vda/queue/rotational", "0"),
    ("sys/devices/vda/queue/rq_affinity", "2"),
    ("sys/devices/vda/queue/scheduler", "[none] mq-deadline"),
    ("sys/devices/vda/queue/wbt_lat_usec", "0"),
    ("sys/devices/vda/queue/write_cache", "write through"),
    ("sys/devices/vda/vda1/partition", "1"),
    ("sys/kernel/mm/transparent_hugepage/defrag", "always [defer+madvise] madvise never"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never"),
];

/// What makes every setting wrong that `apply` can set.
pub(crate) const ALL_OFF: &[(&str, &str)] = &[
    ("proc/swaps", "Filename Type\n/dev/sda2 partition"),
    ("proc/irq/30/smp_affinity_list", "0-1"),
    ("proc/irq/31/smp_affinity_list", "0-1"),
    ("proc/sys/fs/nr_open", "1024"),
    ("proc/sys/kernel/numa_balancing", "1"),
    ("proc/sys/kernel/timer_migration", "1"),
    ("proc/sys/kernel/watchdog", "1"),
    ("proc/sys/net/core/busy_poll", "0"),
    ("proc/sys/net/core/busy_read", "0"),
    ("proc/sys/net/core/rmem_max", "212992"),
    ("proc/sys/net/core/rps_sock_flow_entries", "0"),
    ("proc/sys/net/core/somaxconn", "128"),
    ("proc/sys/net/core/wmem_max", "212992"),
    ("proc/sys/net/ipv4/tcp_autocorking", "1"),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", "512"),
    ("proc/sys/net/ipv4/tcp_notsent_lowat", "4294967295"),
    ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456"),
    ("proc/sys/net/ipv4/tcp_slow_start_after_idle", "1"),
    ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304"),
    ("proc/sys/vm/dirty_background_ratio", "10"),
    ("proc/sys/vm/dirty_ratio", "40"),
    ("proc/sys/vm/swappiness", "60"),
    ("sys/class/net/eth0/gro_flush_timeout", "0"),
    ("sys/class/net/eth0/napi_defer_hard_irqs", "0"),
    ("sys/class/net/eth0/queues/rx-0/rps_cpus", "0"),
    ("sys/class/net/eth0/queues/rx-0/rps_flow_cnt", "0"),
    ("sys/class/net/eth0/queues/tx-0/xps_cpus", "0"),
    ("sys/class/net/eth0/queues/tx-1/xps_cpus", "0"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "acpi_pm"),
    ("sys/devices/system/cpu/cpu0/cpufreq/energy_performance_preference", "balance_power"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state2/disable", "0"),
    ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave"),
    ("sys/devices/vda/queue/nomerges", "0"),
    ("sys/devices/vda/queue/read_ahead_kb", "8192"),
    ("sys/devices/vda/queue/rq_affinity", "1"),
    ("sys/devices/vda/queue/scheduler", "none [bfq] mq-deadline"),
    ("sys/devices/vda/queue/wbt_lat_usec", "75000"),
    ("sys/kernel/mm/transparent_hugepage/defrag", "[always] defer defer+madvise madvise never"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
];

pub(crate) struct Fixture {
    pub(crate) root: PathBuf,
}

/// What a run of the command left.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) text: String,
    pub(crate) errors: String,
}

impl Run {
    fn of(output: Output) -> Run {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (text, errors) = (text(output.stdout), text(output.stderr));
        Run { code: output.status.code().unwrap(), text, errors }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{} {}", self.text, self.errors))
    }
}

pub(crate) fn tuning(arguments: &[&str]) -> Run {
    Run::of(Command::new(env!("CARGO_BIN_EXE_tuning")).args(arguments).output().unwrap())
}

impl Fixture {
    /// The good host with some files replaced.
    pub(crate) fn new(name: &str, changes: &[(&str, &str)]) -> Fixture {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tuning-{name}"));
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        let host = Fixture { root };
        for (path, text) in GOOD_HOST.iter().chain(changes) {
            host.write(path, text);
        }
        let device = host.root.join("sys/dev/block/254:1");
        fs::create_dir_all(device.parent().unwrap()).unwrap();
        symlink("../../devices/vda/vda1", device).unwrap();
        host
    }

    /// A host on which each setting is wrong.
    pub(crate) fn off(name: &str) -> Fixture {
        Fixture::new(name, ALL_OFF)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    /// The text as a file has it; a setting that was written has no brackets any more.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap().trim().to_owned()
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.root.join(path)).unwrap();
    }

    pub(crate) fn make_read_only(&self, path: &str) {
        fs::set_permissions(self.root.join(path), Permissions::from_mode(0o444)).unwrap();
    }

    pub(crate) fn run(&self, command: &str, arguments: &[&str]) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_tuning"))
            .args([command, "--root"])
            .arg(&self.root)
            .args(arguments)
            .output()
            .unwrap();
        Run::of(output)
    }

    /// Applies everything of a profile, with the disk.
    pub(crate) fn apply(&self, profile: &str, arguments: &[&str]) -> Run {
        let mut all = vec!["--profile", profile, "--data-dir", "/data", "--yes"];
        all.extend(arguments);
        self.run("apply", &all)
    }

    /// The rows of a check with the disk.
    pub(crate) fn rows(&self, profile: &str) -> Vec<Value> {
        let run = self.run("check", &["-o", "json", "--data-dir", "/data", "--profile", profile]);
        run.json().as_array().unwrap().clone()
    }

    /// The row of `id` in the profile that looks at the most: latency, or else throughput.
    pub(crate) fn row(&self, id: &str) -> Value {
        let rows = self.rows("latency").into_iter().chain(self.rows("throughput"));
        rows.into_iter().find(|row| row["id"] == id).unwrap()
    }

    /// Ids of the settings that `apply` can write, each with its files on this host.
    pub(crate) fn settings(&self) -> Vec<(String, Vec<String>)> {
        let list = self.run("explain", &["-o", "json"]).json();
        let ids = list.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned());
        let files = |id: &str| {
            let lesson = self.run("explain", &[id, "--data-dir", "/data", "-o", "json"]).json();
            let paths = lesson["paths"].as_array().unwrap().clone();
            let paths = paths.iter().map(|path| path.as_str().unwrap().trim_start_matches('/'));
            paths.map(str::to_owned).filter(|path| self.root.join(path).exists()).collect()
        };
        let settings = ids.map(|id| (id.clone(), files(&id)));
        settings.filter(|(_, files): &(_, Vec<String>)| !files.is_empty()).collect()
    }

    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.read(STATE)).unwrap()
    }
}

pub(crate) const STATE: &str = "var/lib/highwater/tuning.json";
