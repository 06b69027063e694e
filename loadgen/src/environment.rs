//! What the figures of a run depend on beside the broker's code: the build, the machine, the
//! brokers' configuration, the seed.
//!
//! Invariant: nothing is guessed. What cannot be read is absent (JSON's null), with the reason
//! where somebody was asked and did not tell.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::host_disk::disk_of;
use crate::interval::to_f64;

/// What only the run itself can tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunFacts {
    /// Of arrivals and payload; `None` for runs that draw nothing.
    pub(crate) seed: Option<u64>,
    /// Part of all cores' time that the hypervisor gave to others during the run.
    pub(crate) steal_percent: Option<f64>,
    /// See `broker_facts`; empty when nobody was asked.
    pub(crate) cluster: Map<String, Value>,
}

/// Time of all cores since the machine started, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CoreTime {
    all: u64,
    stolen: u64,
}

impl CoreTime {
    /// Reads now.
    pub(crate) fn read() -> Option<CoreTime> {
        CoreTime::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// The line of all cores: user, nice, system, idle, iowait, irq, softirq, steal; a guest's time
    /// is in user already.
    fn parse(stat: &str) -> Option<CoreTime> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks = line.split_whitespace().take(8).map(str::parse);
        let ticks: Vec<u64> = ticks.collect::<Result<_, _>>().ok()?;
        Some(CoreTime { all: ticks.iter().sum(), stolen: *ticks.get(7)? })
    }

    /// Percent stolen between this reading and `after`.
    fn steal_percent(self, after: CoreTime) -> Option<f64> {
        let all = after.all.checked_sub(self.all).filter(|all| *all > 0)?;
        Some(100.0 * to_f64(after.stolen.saturating_sub(self.stolen)) / to_f64(all))
    }
}

/// Percent of all cores' time that the hypervisor gave to others since `start`.
pub(crate) fn steal_since(start: Option<CoreTime>) -> Option<f64> {
    start.zip(CoreTime::read()).and_then(|(start, end)| start.steal_percent(end))
}

/// The environment as the summary has it. `out` is the run's directory.
pub(crate) fn environment(command: &[String], facts: &RunFacts, out: Option<&Path>) -> Value {
    let system = rustix::system::uname();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
    let mut environment = json!({
        "command": command,
        "version": env!("CARGO_PKG_VERSION"),
        "kernel": system.release().to_string_lossy(),
        "cpu": model,
        "governor": read_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "cgroup_cpu_max": read_line("/sys/fs/cgroup/cpu.max"),
        "cgroup_memory_max": read_line("/sys/fs/cgroup/memory.max"),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "steal_percent": facts.steal_percent,
        "seed": facts.seed,
        "output_disk": out.and_then(disk_of),
    });
    let fields = environment.as_object_mut().expect("it was made as an object");
    // A build that does not know its commit has no such fields.
    fields.extend(option_env!("BUILD_COMMIT").map(|commit| ("git_commit".into(), json!(commit))));
    fields.extend(
        option_env!("BUILD_CHANGED")
            .map(|changed| ("git_changed".into(), json!(changed == "true"))),
    );
    fields.extend(facts.cluster.clone());
    environment
}

fn read_line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_what_was_stolen_between_two_readings() {
        let at = |text: &str| CoreTime::parse(text).unwrap();
        let start = at("cpu  10 0 10 70 0 0 0 10 5 0\ncpu0 1 1 1 1 1 1 1 1\n");
        let end = at("cpu  20 0 20 130 0 0 0 30 9 0\n");
        assert_eq!(start.steal_percent(end), Some(20.0));
        assert_eq!(start.steal_percent(start), None);
        assert_eq!(CoreTime::parse("cpu  1 2 3\n"), None);
        assert!(CoreTime::read().is_some());
    }

    #[test]
    fn the_build_the_disk_the_seed_and_the_brokers_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let cluster = json!({ "brokers": [{ "id": 1 }] });
        let facts = RunFacts {
            seed: Some(7),
            steal_percent: Some(0.5),
            cluster: cluster.as_object().unwrap().clone(),
        };
        let told = environment(&["loadgen".to_owned()], &facts, Some(directory.path()));
        assert_eq!((&told["seed"], &told["steal_percent"]), (&json!(7), &json!(0.5)));
        assert_eq!(told["brokers"][0]["id"], 1);
        assert!(told["output_disk"]["file_system"].is_string(), "{told:#}");
        // Built where git knows this package, or where it does not.
        match option_env!("BUILD_COMMIT") {
            Some(commit) => {
                assert_eq!(told["git_commit"], commit);
                assert!(commit.len() >= 40 && told["git_changed"].is_boolean(), "{told:#}");
            }
            None => assert!(told.get("git_commit").is_none()),
        }
        let nothing = environment(&[], &RunFacts::default(), None);
        assert!(nothing["seed"].is_null() && nothing["output_disk"].is_null());
        assert!(nothing.get("brokers").is_none());
    }
}
