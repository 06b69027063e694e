//! Settings of the cores: frequency, sleep states, clock, the kernel's own work on them.

use super::{files, latency, servers};
use crate::tuner::{Scene, Tuner, Verdict, Want};

pub(super) const TUNERS: &[Tuner] = &[
    Tuner {
        id: "cpu.governor",
        what: "the rule by which cores choose their clock rate",
        why: "a core that has to speed up first serves the first records of a burst slowly",
        gain: "steady clock rate, so steady latency after idle moments",
        risk: "more power and heat",
        kind: files(
            &["sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"],
            servers(Want::Exactly("performance")),
        ),
    },
    Tuner {
        id: "cpu.energy",
        what: "the hint to the CPU whether to prefer speed or power (EPP)",
        why: "with hardware-controlled clock rates this hint decides, not the governor",
        gain: "as cpu.governor",
        risk: "more power and heat",
        kind: files(
            &["sys/devices/system/cpu/cpu*/cpufreq/energy_performance_preference"],
            servers(Want::Exactly("performance")),
        ),
    },
    Tuner {
        id: "cpu.cstates",
        what: "sleep states deeper than the first (C1)",
        why: "waking from a deep state takes longer than serving a record",
        gain: "earlier wake-ups on bare metal; none in a guest that has no such states",
        risk: "more power and heat; turbo of single cores may fall",
        kind: files(
            // State 0 is polling and state 1 is C1.
            &[
                "sys/devices/system/cpu/cpu*/cpuidle/state2/disable",
                "sys/devices/system/cpu/cpu*/cpuidle/state3/disable",
                "sys/devices/system/cpu/cpu*/cpuidle/state4/disable",
                "sys/devices/system/cpu/cpu*/cpuidle/state5/disable",
                "sys/devices/system/cpu/cpu*/cpuidle/state6/disable",
                "sys/devices/system/cpu/cpu*/cpuidle/state7/disable",
                "sys/devices/system/cpu/cpu*/cpuidle/state8/disable",
                "sys/devices/system/cpu/cpu*/cpuidle/state9/disable",
            ],
            latency(Want::Exactly("1")),
        ),
    },
    Tuner {
        id: "cpu.clocksource",
        what: "the clock behind every time stamp",
        why: "the broker reads the clock for every request; only tsc is read without a system call everywhere",
        gain: "cheap time stamps",
        risk: "low; the kernel offers tsc only where it trusts it",
        kind: files(
            &["sys/devices/system/clocksource/clocksource0/current_clocksource"],
            servers(Want::Rule("tsc, where offered", clock)),
        ),
    },
    Tuner {
        id: "cpu.numa_balancing",
        what: "the kernel's moving of memory between NUMA nodes",
        why: "it unmaps pages to see who uses them; a pinned core then takes faults for nothing",
        gain: "fewer page faults on hosts with several nodes",
        risk: "low for pinned processes; others may lose locality",
        kind: files(&["proc/sys/kernel/numa_balancing"], servers(Want::Exactly("0"))),
    },
    Tuner {
        id: "cpu.timer_migration",
        what: "whether timers move to busy cores so that idle ones may sleep",
        why: "the busy core is a broker's core, and gets the timers of others",
        gain: "fewer interruptions of busy cores",
        risk: "low; idle cores wake more often",
        kind: files(&["proc/sys/kernel/timer_migration"], latency(Want::Exactly("0"))),
    },
    Tuner {
        id: "cpu.watchdog",
        what: "the kernel's detector of cores that hang",
        why: "it interrupts each core at regular times",
        gain: "fewer interruptions of busy cores",
        risk: "a kernel that hangs is no longer reported",
        kind: files(&["proc/sys/kernel/watchdog"], latency(Want::Exactly("0"))),
    },
];

fn clock(scene: &Scene, _path: &str, current: &str) -> Verdict {
    let path = "sys/devices/system/clocksource/clocksource0/available_clocksource";
    let offered = scene.host.text(path).unwrap_or_default();
    match (current, offered.split_whitespace().any(|clock| clock == "tsc")) {
        ("tsc", _) => Verdict::Met,
        (_, true) => Verdict::Set("tsc".to_owned()),
        (_, false) => Verdict::Leave("tsc is not offered"),
    }
}
