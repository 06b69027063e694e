//! Which resource of this machine was at its end during a step: a core of the broker, a disk, or
//! the generator. Read from `/proc`; what cannot be read is not claimed.

use std::collections::BTreeMap;
use std::fs;

use crate::clock::{SECOND_NS, now_ns};
use crate::interval::{Interval, to_f64};
use crate::server::thread_cpu_seconds;

/// From this part of its time on, a resource counts as used up.
const USED_UP_PERCENT: f64 = 85.0;

/// A reading of the machine.
#[derive(Debug, Clone)]
pub(crate) struct Resources {
    at_ns: u64,
    /// CPU seconds of each thread of the broker.
    threads: BTreeMap<u32, f64>,
    /// Milliseconds in which each disk was at work.
    disks: BTreeMap<String, u64>,
}

/// How far resources were used, in percent of the time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Used {
    /// The broker's busiest thread; `None` when its process was not named.
    pub(crate) broker_core: Option<f64>,
    /// Cores' worth of time of all its threads, 1.0 for one at work all the time.
    pub(crate) broker_cores: Option<f64>,
    pub(crate) disk: f64,
    pub(crate) client: f64,
}

impl Resources {
    /// Reads now; `servers` are the brokers' processes.
    pub(crate) fn read(servers: &[u32]) -> Resources {
        let disks = fs::read_to_string("/proc/diskstats").unwrap_or_default();
        Resources {
            at_ns: now_ns(),
            threads: servers.iter().flat_map(|pid| thread_cpu_seconds(*pid)).collect(),
            disks: disk_milliseconds(&disks),
        }
    }

    /// What was used between this reading and `after`.
    pub(crate) fn used_until(&self, after: &Resources, total: &Interval) -> Used {
        let seconds = to_f64(after.at_ns - self.at_ns) / to_f64(SECOND_NS);
        let thread = after.threads.iter().map(|(thread, end)| {
            let start = self.threads.get(thread).copied().unwrap_or(0.0);
            100.0 * (end - start) / seconds
        });
        let all = thread.clone().reduce(|sum, one| sum + one);
        let disk = after.disks.iter().map(|(disk, end)| {
            let start = self.disks.get(disk).copied().unwrap_or(*end);
            to_f64(end.saturating_sub(start)) / 10.0 / seconds
        });
        Used {
            broker_core: thread.reduce(f64::max),
            broker_cores: all.map(|percent| percent / 100.0),
            disk: disk.fold(0.0, f64::max),
            client: total.busy_percent(),
        }
    }
}

impl Used {
    /// The resource at its end, or why none is named.
    pub(crate) fn limit(&self) -> &'static str {
        let used_up = |percent: f64| percent >= USED_UP_PERCENT;
        if used_up(self.client) {
            "client"
        } else if self.broker_core.is_some_and(used_up) {
            "broker core"
        } else if used_up(self.disk) {
            "disk"
        } else if self.broker_core.is_none() {
            "unknown: --server-pid names the broker"
        } else {
            "none used up: latency grew first"
        }
    }
}

/// Field 13 of `/proc/diskstats` (time doing I/O) by device.
fn disk_milliseconds(text: &str) -> BTreeMap<String, u64> {
    let devices = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let milliseconds = fields.get(12)?.parse().ok()?;
        Some(((*fields.get(2)?).to_owned(), milliseconds))
    });
    devices.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_thread_and_disk_decide() {
        let reading = |seconds: u64, thread: f64, disk: u64| Resources {
            at_ns: seconds * SECOND_NS,
            threads: BTreeMap::from([(1, thread / 10.0), (2, thread)]),
            disks: BTreeMap::from([("a".to_owned(), disk), ("b".to_owned(), 5)]),
        };
        let used = reading(0, 1.0, 0).used_until(&reading(10, 10.0, 3_000), &Interval::new(0));
        let expected =
            Used { broker_core: Some(90.0), broker_cores: Some(0.99), disk: 30.0, client: 0.0 };
        assert_eq!(used, expected);
        assert_eq!(used.limit(), "broker core");
        assert_eq!(Used { client: 99.0, ..used }.limit(), "client");
        let on_disk = Used { broker_core: Some(1.0), disk: 97.0, ..used };
        assert_eq!(on_disk.limit(), "disk");
    }

    #[test]
    fn disks_are_read_by_their_busy_time() {
        let text = " 254 0 vda 1 2 3 4 5 6 7 8 9 1234 11\n short line\n";
        assert_eq!(disk_milliseconds(text), BTreeMap::from([("vda".to_owned(), 1234)]));
    }
}
