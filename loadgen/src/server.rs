//! What the measured brokers themselves use: CPU time and memory of processes on the same machine.

use std::collections::BTreeMap;
use std::fs;

/// Ticks per second in `/proc/<pid>/stat`; Linux shows 100 to user space on every machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// A reading of one process, or the sum of several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ServerUse {
    /// User and system time of all its threads since it began.
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
}

impl ServerUse {
    /// Reads processes now and adds them up; `None` when there are none, or one is gone or not to
    /// be read.
    pub(crate) fn read(pids: &[u32]) -> Option<ServerUse> {
        let uses = pids.iter().map(|pid| ServerUse::read_one(*pid));
        let uses: Vec<ServerUse> = uses.collect::<Option<_>>()?;
        uses.into_iter().reduce(|sum, one| ServerUse {
            cpu_seconds: sum.cpu_seconds + one.cpu_seconds,
            resident_bytes: sum.resident_bytes + one.resident_bytes,
        })
    }

    fn read_one(pid: u32) -> Option<ServerUse> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(ServerUse {
            cpu_seconds: cpu_seconds(&stat)?,
            resident_bytes: resident_bytes(&status)?,
        })
    }
}

/// User and system seconds of each thread of a process; empty when it cannot be read.
pub(crate) fn thread_cpu_seconds(pid: u32) -> BTreeMap<u32, f64> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return BTreeMap::new();
    };
    let seconds = threads.flatten().filter_map(|thread| {
        let id = thread.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
        Some((id, cpu_seconds(&stat)?))
    });
    seconds.collect()
}

/// Fields 14 and 15 (utime, stime); the name in field 2 may hold spaces and parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 9 9 20 0 1 0 100 0 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("7 (gone"), None);
    }

    #[test]
    fn this_process_has_used_memory() {
        let own = std::process::id();
        let once = ServerUse::read(&[own]).unwrap();
        assert!(once.resident_bytes > 100_000 && once.cpu_seconds >= 0.0);
        assert!(ServerUse::read(&[own, own]).unwrap().resident_bytes > once.resident_bytes);
        assert_eq!(ServerUse::read(&[own, u32::MAX]), None);
        assert_eq!(ServerUse::read(&[]), None);
        assert!(!thread_cpu_seconds(std::process::id()).is_empty());
    }
}
