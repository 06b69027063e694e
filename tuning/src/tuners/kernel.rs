//! What the broker cannot start without: kernel, rings, locked memory, open files.

use super::{always, context, files};
use crate::limits::{Limit, limit};
use crate::report::{Finding, Severity};
use crate::ring;
use crate::tuner::{Kind, Scene, Tuner, Want};
use highwater::model::limits::{HOST_FILES_MIN, HOST_MEMLOCK_BYTES_MIN};
use highwater::model::rings::{RING_SIZES, memlock_bytes_for, ring_size};

/// io_uring with the operations that the executor uses.
const KERNEL_MIN: (u32, u32) = (5, 8);
/// Rings of full depth for a few cores.
const MEMLOCK_BYTES_ADVISED: u64 = 64 * 1024 * 1024;
/// Three files per partition, a socket per client.
const FILES_ADVISED: u64 = 65_536;

pub(super) const TUNERS: &[Tuner] = &[
    Tuner {
        id: "kernel.version",
        what: "the version of the running kernel",
        why: "older kernels lack operations of io_uring that the broker is built on",
        gain: "the broker starts",
        risk: "that of a kernel upgrade",
        kind: Kind::Report {
            look: kernel,
            by_hand: "install a newer kernel from the distribution, then reboot",
            undo: "boot the kernel before it",
        },
    },
    Tuner {
        id: "iouring.enabled",
        what: "the switch kernel.io_uring_disabled",
        why: "the kernel refuses rings: 1 to unprivileged processes outside a group, 2 to all",
        gain: "the broker starts",
        risk: "a host's security policy may forbid rings, so this is never set by apply",
        kind: Kind::Report {
            look: rings_allowed,
            by_hand: "sysctl -w kernel.io_uring_disabled=0, if the host's policy allows it",
            undo: "sysctl -w kernel.io_uring_disabled=2 (or the value before)",
        },
    },
    Tuner {
        id: "iouring.ring",
        what: "a real ring, opened as the broker will",
        why: "every core of the broker does its I/O through a ring",
        gain: "the broker starts",
        risk: "none: it is a probe",
        kind: Kind::Report {
            look: ring::check,
            by_hand: "follow the fix that check prints: it depends on the error",
            undo: "nothing was changed",
        },
    },
    Tuner {
        id: "limit.memlock",
        what: "RLIMIT_MEMLOCK: memory that a process may lock",
        why: "rings and registered buffers are locked memory; with little of it rings are shallow",
        gain: "measured on 6.18 without root: 512 KiB gives 10 executors of depth 128 and 1 of 1024; 8 MiB gives 8 of 1024",
        risk: "low: locked memory cannot be swapped out",
        kind: Kind::Report {
            look: locked_memory,
            by_hand: "ulimit -l unlimited, or LimitMEMLOCK=infinity in the systemd unit",
            undo: "remove the line, restart the broker",
        },
    },
    Tuner {
        id: "limit.ring_depth",
        what: "entries per ring that RLIMIT_MEMLOCK has room for, with a shard on each core",
        why: "the broker makes its rings shallower until they fit; a burst of completions then interrupts the tasks that it woke",
        gain: "full depth (1024); fewer wake-ups in bursts",
        risk: "as limit.memlock",
        kind: Kind::Report {
            look: ring_depth,
            by_hand: "ulimit -l unlimited, or LimitMEMLOCK=infinity in the systemd unit; or fewer highwater.cores",
            undo: "remove the line, restart the broker",
        },
    },
    Tuner {
        id: "limit.core",
        what: "whether a crash leaves a core file: RLIMIT_CORE and kernel.core_pattern",
        why: "a crash without one can only be guessed at",
        gain: "context for crashes",
        risk: "a core file is as large as the broker's memory and holds records",
        kind: Kind::Report {
            look: core_files,
            by_hand: "LimitCORE=infinity in the systemd unit; sysctl -w kernel.core_pattern=/DIR/core.%e.%p",
            undo: "remove the line; sysctl -w kernel.core_pattern with the pattern before",
        },
    },
    Tuner {
        id: "limit.nofile",
        what: "RLIMIT_NOFILE: files and sockets that a process may open",
        why: "a partition keeps up to three files open, a client one socket",
        gain: "no refused connections and no partitions that fail to open",
        risk: "low",
        kind: Kind::Report {
            look: open_files,
            by_hand: "ulimit -n 65536, or LimitNOFILE=65536 in the systemd unit",
            undo: "remove the line, restart the broker",
        },
    },
    Tuner {
        id: "limit.nr_open",
        what: "fs.nr_open: the highest RLIMIT_NOFILE that anyone may ask for",
        why: "a unit's LimitNOFILE above it fails, and the service does not start",
        gain: "room for many partitions and clients",
        risk: "low",
        kind: files(&["proc/sys/fs/nr_open"], always(Want::AtLeast(FILES_ADVISED))),
    },
];

fn kernel(scene: &Scene) -> Finding {
    let Some(release) = scene.host.text("proc/sys/kernel/osrelease") else {
        return Finding::absent("not readable here");
    };
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Finding::new(Severity::Required, release.clone(), version >= KERNEL_MIN)
        .wanted(format!(">= {}.{}", KERNEL_MIN.0, KERNEL_MIN.1))
        .fix("install a newer kernel")
}

fn rings_allowed(scene: &Scene) -> Finding {
    // Kernels before 6.6 have no such switch, and rings are allowed.
    if !scene.host.exists("proc/sys/kernel") {
        return Finding::absent("not readable here");
    }
    let disabled = scene.host.number("proc/sys/kernel/io_uring_disabled").unwrap_or(0);
    let severity = if disabled == 1 { Severity::Advised } else { Severity::Required };
    let fix = match disabled {
        1 => {
            "run the broker in the group kernel.io_uring_group, or sysctl kernel.io_uring_disabled=0"
        }
        _ => "sysctl kernel.io_uring_disabled=0, if the host's policy allows it",
    };
    Finding::new(severity, disabled.to_string(), disabled == 0).wanted("0").fix(fix)
}

fn locked_memory(scene: &Scene) -> Finding {
    let Some(found) = limit(&scene.host, "Max locked memory") else {
        return Finding::absent("not readable here");
    };
    let (severity, wanted) = match found.allows(HOST_MEMLOCK_BYTES_MIN) {
        true => (Severity::Advised, MEMLOCK_BYTES_ADVISED),
        false => (Severity::Required, HOST_MEMLOCK_BYTES_MIN),
    };
    Finding::new(severity, shown(found), found.allows(wanted))
        .wanted(format!(">= {wanted}"))
        .fix("ulimit -l unlimited, or LimitMEMLOCK=infinity in the systemd unit")
}

fn ring_depth(scene: &Scene) -> Finding {
    let Some(found) = limit(&scene.host, "Max locked memory") else {
        return Finding::absent("not readable here");
    };
    let count =
        if scene.broker_cores.is_empty() { &scene.cores } else { &scene.broker_cores }.len();
    let cores = count.max(1);
    let deepest = RING_SIZES[0];
    let (severity, current, is_met) = match ring_size(found.hard, cores) {
        Ok(size) => (Severity::Advised, size.depth.to_string(), size == deepest),
        Err(_) => (Severity::Required, "none".to_owned(), false),
    };
    let kib = memlock_bytes_for(deepest, cores).div_ceil(1024);
    Finding::new(severity, format!("{current} on {cores} cores"), is_met)
        .wanted(deepest.depth.to_string())
        .fix(format!(
            "ulimit -l {kib}, or LimitMEMLOCK={kib}K in the unit; or fewer highwater.cores"
        ))
}

fn core_files(scene: &Scene) -> Finding {
    let pattern = scene.host.text("proc/sys/kernel/core_pattern");
    let (Some(found), Some(pattern)) = (limit(&scene.host, "Max core file size"), pattern) else {
        return Finding::absent("not readable here");
    };
    context(format!("{}, to {pattern}", shown(found)))
}

fn open_files(scene: &Scene) -> Finding {
    let Some(found) = limit(&scene.host, "Max open files") else {
        return Finding::absent("not readable here");
    };
    let (severity, wanted) = match found.allows(HOST_FILES_MIN) {
        true => (Severity::Advised, FILES_ADVISED),
        false => (Severity::Required, HOST_FILES_MIN),
    };
    Finding::new(severity, shown(found), found.allows(wanted))
        .wanted(format!(">= {wanted}"))
        .fix(format!("ulimit -n {wanted}, or LimitNOFILE={wanted} in the systemd unit"))
}

/// The hard limit; the soft one beside it where it differs.
fn shown(limit: Limit) -> String {
    let number = |value: Option<u64>| value.map_or("unlimited".to_owned(), |it| it.to_string());
    match limit.soft == limit.hard {
        true => number(limit.hard),
        false => format!("{} (soft {})", number(limit.hard), number(limit.soft)),
    }
}
