//! Who else has a say in the cores' time: cgroup, hypervisor, sibling threads, other processes.
//!
//! Nothing here is set by `apply`: each belongs to someone else, or needs a reboot.

use super::context;
use crate::report::{Finding, Severity, Status};
use crate::tuner::{Kind, Profile, Scene, Tuner};

/// Above it the neighbours' load shows in ours.
const STEAL_PERMILLE_MAX: u64 = 10;

pub(super) const TUNERS: &[Tuner] = &[
    Tuner {
        id: "cgroup.quota",
        what: "cpu.max of the cgroup: the CPU time that it may use per period",
        why: "a broker that used its quota stands still until the period ends, all cores at once",
        gain: "no pauses that look like a slow disk",
        risk: "the container may use more CPU time",
        kind: Kind::Report {
            look: quota,
            by_hand: "Kubernetes: whole cores, requests = limits, static CPU manager; Docker: --cpuset-cpus in place of --cpus; systemd: CPUQuota= (empty)",
            undo: "set the quota again",
        },
    },
    Tuner {
        id: "cgroup.cpuset",
        what: "the cores that the cgroup may use",
        why: "the broker starts at most one shard per core that it may use",
        gain: "context for results",
        risk: "none: it is shown, not set",
        kind: Kind::Report {
            look: cpuset,
            by_hand: "systemd: AllowedCPUs=; Docker: --cpuset-cpus",
            undo: "remove the line, restart the service",
        },
    },
    Tuner {
        id: "cpu.steal",
        what: "time since boot in which the hypervisor ran somebody else on our cores",
        why: "stolen time is latency that no setting of this host removes",
        gain: "context for results",
        risk: "none: it is shown, not set",
        kind: Kind::Report {
            look: steal,
            by_hand: "ask for dedicated cores or another instance type",
            undo: "nothing was changed",
        },
    },
    Tuner {
        id: "cpu.smt",
        what: "whether two hardware threads share a core (SMT, hyper-threading)",
        why: "a neighbour on the other thread of a core takes part of its caches and units",
        gain: "steadier latency per core, for fewer of them: measure before you keep it",
        risk: "half as many threads for everything else on the host",
        kind: Kind::Report {
            look: threads,
            by_hand: "echo off > /sys/devices/system/cpu/smt/control",
            undo: "echo on > /sys/devices/system/cpu/smt/control",
        },
    },
    Tuner {
        id: "cpu.isolation",
        what: "cores that the scheduler, its tick and RCU leave to the broker",
        why: "whatever else the kernel runs on a broker's core is a pause of that core",
        gain: "reported for an isolated core (rigtorp.se, low latency guide): worst pause 17 ms before, 18 us after",
        risk: "the cores are lost to everything else; needs a reboot, so apply only prints the line",
        kind: Kind::Report {
            look: isolation,
            by_hand: "add isolcpus=LIST nohz_full=LIST rcu_nocbs=LIST irqaffinity=OTHERS to the kernel's command line and reboot; at run time: a cgroup v2 cpuset with cpuset.cpus.partition=isolated",
            undo: "remove the words from the kernel's command line and reboot",
        },
    },
    Tuner {
        id: "cpu.mitigations",
        what: "whether mitigations of CPU faults are switched off on the command line",
        why: "they cost time at each system call; a figure without this fact cannot be compared",
        gain: "context for results",
        risk: "without them, processes can read each other's memory: never set by apply",
        kind: Kind::Report {
            look: mitigations,
            by_hand: "leave them on; a single-tenant measurement may boot with mitigations=off",
            undo: "remove mitigations=off from the kernel's command line and reboot",
        },
    },
    Tuner {
        id: "cpu.boost",
        what: "whether cores may run above their base clock rate",
        why: "a boosted core is faster until it is warm; figures before and after differ",
        gain: "context for results",
        risk: "none: it is shown, not set",
        kind: Kind::Report {
            look: boost,
            by_hand: "echo 0 > /sys/devices/system/cpu/cpufreq/boost (steady) or 1 (fast)",
            undo: "echo the value before",
        },
    },
    Tuner {
        id: "cpu.microcode",
        what: "the version of the CPU's microcode",
        why: "it decides which mitigations there are and what they cost",
        gain: "context for results",
        risk: "none: it is shown, not set",
        kind: Kind::Report {
            look: microcode,
            by_hand: "install the distribution's microcode package and reboot",
            undo: "boot with the package before it",
        },
    },
    Tuner {
        id: "clock.synchronised",
        what: "the daemon that keeps the clock (chronyd, ntpd, systemd-timesyncd, ptp4l)",
        why: "time stamps, retention by time and latencies between hosts are wrong with a wrong clock",
        gain: "figures across hosts can be compared",
        risk: "low; a clock that steps moves time stamps",
        kind: Kind::Report {
            look: synchronised,
            by_hand: "install chrony and start chronyd; for microseconds between hosts: ptp4l and phc2sys",
            undo: "stop the daemon",
        },
    },
    Tuner {
        id: "cpu.pmqos",
        what: "/dev/cpu_dma_latency: a process that holds it open at 0 keeps cores awake",
        why: "a core that sleeps deeply wakes late, and the record waits meanwhile",
        gain: "none in a guest that has only polling and halt (measured: 48.7 against 48.6 us); on bare metal measure it",
        risk: "power; it ends by itself when the process that holds the file exits",
        kind: Kind::Report {
            look: wake_latency,
            by_hand: "exec 3>/dev/cpu_dma_latency; printf '\\0\\0\\0\\0' >&3   (and keep that shell open)",
            undo: "exec 3>&-   (close the file)",
        },
    },
];

/// The folder of our own cgroup (version 2), below the root.
fn cgroup(scene: &Scene) -> Option<String> {
    let text = scene.host.text("proc/self/cgroup")?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let folder = format!("sys/fs/cgroup{}", path.trim_end_matches('/'));
    Some(if scene.host.exists(&folder) { folder } else { "sys/fs/cgroup".to_owned() })
}

fn quota(scene: &Scene) -> Finding {
    let Some(folder) = cgroup(scene) else {
        return Finding::absent("no cgroup of version 2");
    };
    let Some(text) = scene.host.text(&format!("{folder}/cpu.max")) else {
        return context("no quota").wanted("no quota");
    };
    let mut words = text.split_whitespace();
    let (quota, period) = (words.next().unwrap_or("max"), words.next().unwrap_or("100000"));
    if quota == "max" {
        return context("no quota").wanted("no quota");
    }
    let statistics = scene.host.text(&format!("{folder}/cpu.stat")).unwrap_or_default();
    let throttled = statistics.lines().find_map(|line| line.strip_prefix("nr_throttled "));
    let current = format!("{quota} of {period} us, throttled {}x", throttled.unwrap_or("?"));
    let mut finding = Finding::new(Severity::Advised, current, false).wanted("no quota");
    finding.status = Status::Managed;
    finding.fix("whoever started this cgroup sets it; start one shard per whole core of quota")
}

fn cpuset(scene: &Scene) -> Finding {
    let folder = cgroup(scene);
    let path = folder.map(|folder| format!("{folder}/cpuset.cpus.effective"));
    match path.and_then(|path| scene.host.text(&path)) {
        Some(cores) if !cores.is_empty() => context(cores),
        _ => Finding::absent("no cpuset"),
    }
}

fn steal(scene: &Scene) -> Finding {
    let text = scene.host.text("proc/stat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "));
    let times: Vec<u64> = line
        .unwrap_or_default()
        .split_whitespace()
        .take(8)
        .filter_map(|word| word.parse().ok())
        .collect();
    let [.., stolen] = times[..] else { return Finding::absent("not in proc/stat") };
    let all = times.iter().sum::<u64>().max(1);
    let permille = stolen.saturating_mul(1000) / all;
    let current = format!("{}.{} %", permille / 10, permille % 10);
    Finding::new(Severity::Advised, current, permille <= STEAL_PERMILLE_MAX)
        .wanted("<= 1 %")
        .fix("dedicated cores, or another instance type")
}

fn threads(scene: &Scene) -> Finding {
    match scene.host.text("sys/devices/system/cpu/smt/active").as_deref() {
        Some("1") => context("on"),
        Some("0") => context("off"),
        _ => Finding::absent("not shown by this kernel"),
    }
}

fn isolation(scene: &Scene) -> Finding {
    let command_line = scene.host.text("proc/cmdline").unwrap_or_default();
    let isolated = scene.host.text("sys/devices/system/cpu/isolated").unwrap_or_default();
    if command_line.is_empty() && isolated.is_empty() {
        return Finding::absent("not readable here");
    }
    let names = ["isolcpus=", "nohz_full=", "rcu_nocbs="];
    let missing = names
        .iter()
        .any(|name| !command_line.split_whitespace().any(|word| word.starts_with(name)));
    let current = if isolated.is_empty() { "none".to_owned() } else { isolated };
    if scene.profile != Profile::Latency {
        return context(current);
    }
    let (broker, others) = split_cores(scene);
    let mut finding =
        Finding::new(Severity::Advised, current, !missing).wanted("isolcpus, nohz_full, rcu_nocbs");
    if missing {
        finding.status = Status::NeedsReboot;
    }
    finding.fix(format!(
        "kernel command line: isolcpus={broker} nohz_full={broker} rcu_nocbs={broker} irqaffinity={others}"
    ))
}

/// The cores to isolate and those to keep: all but the first, unless the operator named them.
fn split_cores(scene: &Scene) -> (String, String) {
    let list = |cores: &[u32]| cores.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    match (&scene.broker_cores[..], &scene.cores[..]) {
        ([], [first, rest @ ..]) if !rest.is_empty() => (list(rest), list(&[*first])),
        ([], _) => ("LIST".to_owned(), "OTHERS".to_owned()),
        (named, _) => (list(named), list(&scene.interrupt_cores())),
    }
}

fn mitigations(scene: &Scene) -> Finding {
    let Some(command_line) = scene.host.text("proc/cmdline") else {
        return Finding::absent("not readable here");
    };
    let is_off = command_line.split_whitespace().any(|word| word == "mitigations=off");
    context(if is_off { "off" } else { "on" })
}

fn boost(scene: &Scene) -> Finding {
    match scene.host.text("sys/devices/system/cpu/cpufreq/boost").as_deref() {
        Some("1") => context("on"),
        Some("0") => context("off"),
        _ => Finding::absent("not shown by this kernel"),
    }
}

fn microcode(scene: &Scene) -> Finding {
    let text = scene.host.text("proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("microcode"));
    match line.and_then(|line| line.split_once(':')) {
        Some((_, version)) => context(version.trim()),
        None => Finding::absent("not in proc/cpuinfo"),
    }
}

/// As the kernel shows them: names are cut after 15 letters.
const CLOCK_DAEMONS: [&str; 5] = ["chronyd", "ntpd", "systemd-timesyn", "ptp4l", "phc2sys"];

fn synchronised(scene: &Scene) -> Finding {
    let names = scene.host.matching("proc/*/comm");
    if names.is_empty() {
        return Finding::absent("no processes are shown");
    }
    let running: Vec<String> = names.iter().filter_map(|path| scene.host.text(path)).collect();
    let found = CLOCK_DAEMONS.iter().find(|daemon| running.iter().any(|name| name == **daemon));
    let current = found.map_or("no daemon", |daemon| *daemon);
    // A guest's clock may be kept by its host.
    Finding::new(Severity::Context, current, found.is_some())
        .wanted("a daemon, or the host's clock in a guest")
        .fix("install chrony and start chronyd")
}

fn wake_latency(scene: &Scene) -> Finding {
    if !scene.host.exists("dev/cpu_dma_latency") {
        return Finding::absent("no /dev/cpu_dma_latency");
    }
    context("there; held by whoever wants it")
}
