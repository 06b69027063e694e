//! What the broker needs of its host: one function per row, nothing is changed.

use crate::disk;
use crate::host::{Host, chosen};
use crate::limits::{Limit, limit};
use crate::report::{Row, Severity};
use crate::ring;
use highwater::model::limits::{HOST_FILES_MIN, HOST_MEMLOCK_BYTES_MIN};
use std::path::Path;

/// io_uring with the operations that the executor uses.
const KERNEL_MIN: (u32, u32) = (5, 8);
/// Rings of full depth for a few cores.
const MEMLOCK_BYTES_ADVISED: u64 = 64 * 1024 * 1024;
/// Three files per partition, a socket per client.
const FILES_ADVISED: u64 = 65_536;
const SWAPPINESS_MAX: u64 = 10;
/// A reconnect storm waits in this queue.
const BACKLOG_MIN: u64 = 4096;

pub(crate) fn check(host: &Host, data_dir: Option<&Path>) -> Vec<Row> {
    let mut rows = vec![
        kernel(host),
        rings_allowed(host),
        ring::check(host),
        locked_memory(host),
        open_files(host),
        huge_pages(host),
        swapping(host),
        backlog(host),
    ];
    if let Some(data_dir) = data_dir {
        rows.extend(disk::check(host, data_dir));
    }
    rows
}

fn kernel(host: &Host) -> Row {
    let Some(release) = host.text("proc/sys/kernel/osrelease") else {
        return unreadable("kernel.version", Severity::Required);
    };
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Row::new("kernel.version", Severity::Required, release.clone(), version >= KERNEL_MIN)
        .wanted(format!(">= {}.{}", KERNEL_MIN.0, KERNEL_MIN.1))
        .why("older kernels lack operations of io_uring that the broker is built on")
        .fix("install a newer kernel")
}

fn rings_allowed(host: &Host) -> Row {
    // Kernels before 6.6 have no such switch, and rings are allowed.
    let disabled = host.number("proc/sys/kernel/io_uring_disabled").unwrap_or(0);
    let severity = if disabled == 1 { Severity::Advised } else { Severity::Required };
    let fix = match disabled {
        1 => {
            "run the broker in the group kernel.io_uring_group, or sysctl kernel.io_uring_disabled=0"
        }
        _ => "sysctl kernel.io_uring_disabled=0, if the host's policy allows it",
    };
    Row::new("iouring.enabled", severity, disabled.to_string(), disabled == 0)
        .wanted("0")
        .why("the kernel refuses rings: 1 to unprivileged processes outside a group, 2 to all")
        .fix(fix)
}

fn locked_memory(host: &Host) -> Row {
    let Some(found) = limit(host, "Max locked memory") else {
        return unreadable("limit.memlock", Severity::Required);
    };
    let (severity, wanted) = match found.allows(HOST_MEMLOCK_BYTES_MIN) {
        true => (Severity::Advised, MEMLOCK_BYTES_ADVISED),
        false => (Severity::Required, HOST_MEMLOCK_BYTES_MIN),
    };
    Row::new("limit.memlock", severity, shown(found), found.allows(wanted))
        .wanted(format!(">= {wanted}"))
        .why("rings and registered buffers are locked memory; with little of it rings are shallow")
        .fix("ulimit -l unlimited, or LimitMEMLOCK=infinity in the systemd unit")
}

fn open_files(host: &Host) -> Row {
    let Some(found) = limit(host, "Max open files") else {
        return unreadable("limit.nofile", Severity::Required);
    };
    let (severity, wanted) = match found.allows(HOST_FILES_MIN) {
        true => (Severity::Advised, FILES_ADVISED),
        false => (Severity::Required, HOST_FILES_MIN),
    };
    Row::new("limit.nofile", severity, shown(found), found.allows(wanted))
        .wanted(format!(">= {wanted}"))
        .why("a partition keeps up to three files open, a client one socket")
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

fn huge_pages(host: &Host) -> Row {
    let Some(text) = host.text("sys/kernel/mm/transparent_hugepage/enabled") else {
        return unreadable("memory.thp", Severity::Advised);
    };
    let current = chosen(&text).to_owned();
    let is_met = current != "always";
    Row::new("memory.thp", Severity::Advised, current, is_met)
        .wanted("madvise or never")
        .why("with `always` the kernel compacts memory in the middle of an allocation")
        .fix("echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
}

fn swapping(host: &Host) -> Row {
    let Some(swappiness) = host.number("proc/sys/vm/swappiness") else {
        return unreadable("memory.swappiness", Severity::Advised);
    };
    let swaps = host.text("proc/swaps").map_or(0, |text| text.lines().skip(1).count());
    let is_met = swaps == 0 || swappiness <= SWAPPINESS_MAX;
    let current =
        if swaps == 0 { format!("{swappiness}, no swap") } else { swappiness.to_string() };
    Row::new("memory.swappiness", Severity::Advised, current, is_met)
        .wanted(format!("<= {SWAPPINESS_MAX}"))
        .why("a core that waits for a swapped page serves nobody")
        .fix("sysctl vm.swappiness=1")
}

fn backlog(host: &Host) -> Row {
    let Some(found) = host.number("proc/sys/net/core/somaxconn") else {
        return unreadable("net.somaxconn", Severity::Advised);
    };
    Row::new("net.somaxconn", Severity::Advised, found.to_string(), found >= BACKLOG_MIN)
        .wanted(format!(">= {BACKLOG_MIN}"))
        .why("clients that reconnect all at once wait here; those that do not fit time out")
        .fix(format!("sysctl net.core.somaxconn={BACKLOG_MIN}"))
}

fn unreadable(id: &'static str, severity: Severity) -> Row {
    Row::unknown(id, severity, "not readable here")
}
