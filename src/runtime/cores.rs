//! Which processors the shards run on: what the operator asked for, within what the machine gives.
//!
//! The process may have less than the machine shows: a cpuset, an affinity mask, a cgroup quota.
//! Pinning more shards than the quota pays for would have the kernel stop all of them for most of
//! every 100 ms period, so the quota bounds the number of shards.

use std::fs;
use std::path::Path;

/// Shards of a broker that was not told how many, at most.
const DEFAULT_SHARDS_MAX: usize = 2;

/// Processors for the shards, and whether they may be called our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorePlan {
    /// One processor per shard, in shard order.
    pub cores: Vec<usize>,
    /// Processors that this process may use at all.
    pub available: Vec<usize>,
    /// Whole processors that the cgroup's quota pays for; `None` without a quota.
    pub quota: Option<usize>,
}

/// The wish cannot be met on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoreError {
    #[error("highwater.core.list names processor {core}, this process may use {available}")]
    NotAvailable { core: usize, available: String },
    #[error("highwater.core.list names processor {core} twice")]
    Twice { core: usize },
    #[error("highwater.cores is {shards}, this process may use {available} processors: {list}")]
    TooMany { shards: usize, available: usize, list: String },
    #[error("highwater.cores is {shards}, highwater.core.list names {cores} processors")]
    Disagree { shards: usize, cores: usize },
    #[error(
        "highwater.profile=latency spins, and processors {cores} are not kept for this process: \
         they are neither isolated (/sys/devices/system/cpu/isolated) nor in a cpuset partition"
    )]
    Shared { cores: String },
    #[error("highwater.profile=latency spins, and {process} is pinned to processor {core}")]
    Occupied { core: usize, process: String },
    #[error(
        "highwater.profile=latency spins, and the cgroup's cpu.max pays for {quota} of {shards} \
         spinning cores"
    )]
    Throttled { quota: usize, shards: usize },
}

impl CoreError {
    /// What the operator can do.
    pub fn fix(&self) -> &'static str {
        match self {
            CoreError::NotAvailable { .. } => "name processors of that list, or widen the cpuset",
            CoreError::Twice { .. } => "name each processor once",
            CoreError::TooMany { .. } => "set highwater.cores to that number or less",
            CoreError::Disagree { .. } => "leave one of the two keys out",
            CoreError::Shared { .. } => {
                "boot with isolcpus= or make a cpuset partition, and name its processors in \
                 highwater.core.list; or spin all the same with highwater.spin.force=true"
            }
            CoreError::Occupied { .. } => {
                "move one of the two with highwater.core.list, or spin all the same with \
                 highwater.spin.force=true"
            }
            CoreError::Throttled { .. } => {
                "raise cpu.max, or set highwater.cores to that number or less"
            }
        }
    }
}

/// Chooses processors: `cores` if named (`highwater.core.list`), else the first `shards`
/// (`highwater.cores`) of those available.
pub fn plan(shards: Option<usize>, cores: &[usize]) -> Result<CorePlan, CoreError> {
    let available: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    let quota = cgroup_quota(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"));
    choose(available, quota, shards, cores)
}

fn choose(
    available: Vec<usize>,
    quota: Option<usize>,
    shards: Option<usize>,
    cores: &[usize],
) -> Result<CorePlan, CoreError> {
    let list = || list_text(&available);
    for (index, core) in cores.iter().enumerate() {
        if !available.contains(core) {
            return Err(CoreError::NotAvailable { core: *core, available: list() });
        }
        if cores[..index].contains(core) {
            return Err(CoreError::Twice { core: *core });
        }
    }
    if let Some(shards) = shards {
        if !cores.is_empty() && cores.len() != shards {
            return Err(CoreError::Disagree { shards, cores: cores.len() });
        }
        if shards > available.len() {
            return Err(CoreError::TooMany { shards, available: available.len(), list: list() });
        }
    }
    let default = available.len().min(quota.unwrap_or(usize::MAX)).clamp(1, DEFAULT_SHARDS_MAX);
    let chosen = if cores.is_empty() {
        available.iter().copied().take(shards.unwrap_or(default)).collect()
    } else {
        cores.to_vec()
    };
    Ok(CorePlan { cores: chosen, available, quota })
}

/// Numbers with commas between them.
pub(super) fn list_text(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// Whole processors, at least 1, that the tightest `cpu.max` above this process pays for
/// (cgroup v2).
fn cgroup_quota(membership: &Path, root: &Path) -> Option<usize> {
    let membership = fs::read_to_string(membership).ok()?;
    let own = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut folder = root.join(own.trim().trim_start_matches('/'));
    let mut tightest: Option<usize> = None;
    loop {
        let text = fs::read_to_string(folder.join("cpu.max")).unwrap_or_default();
        if let Some(quota) = parse_cpu_max(&text) {
            tightest = Some(tightest.map_or(quota, |known| known.min(quota)));
        }
        if folder == root || !folder.pop() {
            return tightest;
        }
    }
}

/// `<quota us> <period us>` or `max <period us>`.
fn parse_cpu_max(text: &str) -> Option<usize> {
    let (quota, period) = text.trim().split_once(' ')?;
    let quota: usize = quota.parse().ok()?;
    let period: usize = period.parse().ok()?;
    Some(quota.checked_div(period)?.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_wish_at_most_two_shards_run_within_quota_and_cpuset() {
        let chosen = |available: &[usize], quota| {
            choose(available.to_vec(), quota, None, &[]).unwrap().cores
        };
        assert_eq!(chosen(&[0, 1, 2, 3], None), [0, 1]);
        assert_eq!(chosen(&[5], None), [5]);
        assert_eq!(chosen(&[4, 6, 8], Some(1)), [4]);
    }

    #[test]
    fn a_wish_beyond_the_machine_is_refused_with_both_numbers() {
        let error = choose(vec![0, 1], None, Some(3), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "highwater.cores is 3, this process may use 2 processors: 0,1"
        );
        let error = choose(vec![2, 3], None, None, &[0]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "highwater.core.list names processor 0, this process may use 2,3"
        );
        assert_eq!(choose(vec![2, 3], None, None, &[3, 3]), Err(CoreError::Twice { core: 3 }));
        let disagree = CoreError::Disagree { shards: 1, cores: 2 };
        assert_eq!(choose(vec![2, 3], None, Some(1), &[3, 2]), Err(disagree));
        assert_eq!(choose(vec![2, 3], None, Some(2), &[3, 2]).unwrap().cores, [3, 2]);
    }

    #[test]
    fn the_tightest_quota_above_the_process_counts() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("pod/app");
        fs::create_dir_all(&inner).unwrap();
        fs::write(folder.path().join("membership"), "0::/pod/app\n").unwrap();
        fs::write(folder.path().join("cpu.max"), "max 100000\n").unwrap();
        fs::write(folder.path().join("pod/cpu.max"), "250000 100000\n").unwrap();
        fs::write(inner.join("cpu.max"), "50000 100000\n").unwrap();
        let quota = || cgroup_quota(&folder.path().join("membership"), folder.path());
        assert_eq!(quota(), Some(1));
        fs::remove_file(inner.join("cpu.max")).unwrap();
        assert_eq!(quota(), Some(2));
        fs::remove_file(folder.path().join("pod/cpu.max")).unwrap();
        assert_eq!(quota(), None);
    }
}
