//! Whether processors are kept for this process alone: what a core that spins must have.
//!
//! A spinning core never sleeps, so on a shared processor it takes what others need, and they
//! interrupt it. Kept apart is what the kernel schedules nothing on by itself (`isolcpus`, an
//! isolated cpuset partition) or what the process's own cpuset has to itself; and nobody else may
//! be pinned there.

use super::cores::{CoreError, CorePlan, list_text};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel tells of processors and processes; tests have trees of their own.
pub struct Roots {
    /// `/sys/devices/system/cpu`
    pub processors: PathBuf,
    /// `/sys/fs/cgroup`
    pub cgroups: PathBuf,
    /// `/proc`
    pub processes: PathBuf,
    /// Of this process.
    pub process_id: u32,
}

impl Roots {
    /// Those of this machine.
    pub fn of_this_machine() -> Roots {
        Roots {
            processors: PathBuf::from("/sys/devices/system/cpu"),
            cgroups: PathBuf::from("/sys/fs/cgroup"),
            processes: PathBuf::from("/proc"),
            process_id: std::process::id(),
        }
    }
}

/// Refuses a plan whose processors are not kept for this process.
///
/// # Errors
/// The processors that others may use, or use.
pub fn check(plan: &CorePlan, roots: &Roots) -> Result<(), CoreError> {
    if let Some(quota) = plan.quota.filter(|quota| *quota < plan.cores.len()) {
        return Err(CoreError::Throttled { quota, shards: plan.cores.len() });
    }
    let isolated = processors_in(&roots.processors.join("isolated"));
    let exclusive = exclusive_cpuset(roots);
    let is_shared = |core: &usize| !isolated.contains(core) && !exclusive.contains(core);
    let shared: Vec<usize> = plan.cores.iter().copied().filter(is_shared).collect();
    if !shared.is_empty() {
        return Err(CoreError::Shared { cores: list_text(&shared) });
    }
    match neighbour(&plan.cores, roots) {
        Some((core, process)) => Err(CoreError::Occupied { core, process }),
        None => Ok(()),
    }
}

/// Processors of the nearest cpuset partition that this process is in (cgroup v2); none where it
/// shares the root's.
fn exclusive_cpuset(roots: &Roots) -> Vec<usize> {
    let membership = fs::read_to_string(roots.processes.join("self/cgroup")).unwrap_or_default();
    let own = membership.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let mut folder = roots.cgroups.join(own.trim().trim_start_matches('/'));
    while folder != roots.cgroups {
        let partition = fs::read_to_string(folder.join("cpuset.cpus.partition"));
        // "root invalid (...)" is a partition that did not come to be.
        if partition.is_ok_and(|kind| matches!(kind.trim(), "root" | "isolated")) {
            return processors_in(&folder.join("cpuset.cpus.effective"));
        }
        if !folder.pop() {
            break;
        }
    }
    Vec::new()
}

/// A thread of another process that may run on nothing but these processors. Threads of the kernel
/// have no memory of their own and do not count: each processor has some.
fn neighbour(cores: &[usize], roots: &Roots) -> Option<(usize, String)> {
    let own = roots.process_id.to_string();
    for process in folders(&roots.processes).filter(|path| !path.ends_with(&own)) {
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        if !status.contains("\nVmSize:") {
            continue;
        }
        for task in folders(&process.join("task")) {
            let status = fs::read_to_string(task.join("status")).unwrap_or_default();
            let field = |name: &str| {
                status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
            };
            let allowed = parse_list(field("Cpus_allowed_list:"));
            let first = allowed.first().copied();
            if let Some(core) = first.filter(|_| allowed.iter().all(|core| cores.contains(core))) {
                let number = process.file_name().unwrap_or_default().to_string_lossy();
                return Some((core, format!("{} (process {number})", field("Name:"))));
            }
        }
    }
    None
}

/// Folders whose names are numbers.
fn folders(path: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.iter().all(u8::is_ascii_digit)
    })
}

fn processors_in(path: &Path) -> Vec<usize> {
    parse_list(fs::read_to_string(path).unwrap_or_default().trim())
}

/// The kernel's lists: `2-3,6`.
fn parse_list(text: &str) -> Vec<usize> {
    let range = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse().ok()?);
        Some(first..=last)
    };
    text.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A machine whose files are these.
    fn machine(files: &[(&str, &str)]) -> (TempDir, Roots) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = |name: &str| folder.path().join(name);
        let (processors, cgroups, processes) = (root("cpu"), root("cgroup"), root("proc"));
        let roots = Roots { processors, cgroups, processes, process_id: 7 };
        (folder, roots)
    }

    fn told(cores: &[usize], quota: Option<usize>, files: &[(&str, &str)]) -> String {
        let (_folder, roots) = machine(files);
        let plan = CorePlan { cores: cores.to_vec(), available: vec![0, 1, 2, 3, 4], quota };
        check(&plan, &roots).map_or_else(|error| error.to_string(), |()| "kept".to_owned())
    }

    #[test]
    fn isolated_processors_may_spin_and_others_are_named() {
        let files = [("cpu/isolated", "2-3\n")];
        assert_eq!(told(&[2, 3], None, &files), "kept");
        let shared = told(&[0, 2, 4], None, &files);
        assert!(shared.starts_with("highwater.profile=latency spins, and processors 0,4 "));
        assert!(told(&[2], None, &[]).contains("processors 2 "), "a machine that tells nothing");
    }

    #[test]
    fn a_cpuset_partition_keeps_its_processors_and_one_that_is_invalid_does_not() {
        let files = |kind| {
            [
                ("proc/self/cgroup", "0::/feed/broker\n"),
                ("cgroup/feed/cpuset.cpus.partition", kind),
                ("cgroup/feed/cpuset.cpus.effective", "1-2\n"),
            ]
        };
        assert_eq!(told(&[1, 2], None, &files("isolated\n")), "kept");
        assert_eq!(told(&[1], None, &files("root\n")), "kept");
        assert!(told(&[3], None, &files("root\n")).contains("processors 3 "));
        let invalid = "isolated invalid (Cpu list in cpuset.cpus not exclusive)\n";
        assert!(told(&[1], None, &files(invalid)).contains("processors 1 "));
        assert!(told(&[1], None, &files("member\n")).contains("processors 1 "));
    }

    #[test]
    fn a_thread_pinned_to_the_same_processor_is_named_and_the_kernels_are_not() {
        let pinned = "Name:\tfeed\nVmSize:\t 10 kB\nCpus_allowed_list:\t3\n";
        let kernels = "Name:\tksoftirqd/3\nCpus_allowed_list:\t3\n";
        let anywhere = "Name:\tshell\nVmSize:\t 10 kB\nCpus_allowed_list:\t0-4\n";
        let mut files = vec![
            ("cpu/isolated", "2-3"),
            ("proc/5/status", kernels),
            ("proc/5/task/5/status", kernels),
            ("proc/6/status", anywhere),
            ("proc/6/task/6/status", anywhere),
            ("proc/7/status", pinned),
            ("proc/7/task/7/status", pinned),
        ];
        assert_eq!(told(&[2, 3], None, &files), "kept");
        files.extend([("proc/8/status", anywhere), ("proc/8/task/9/status", pinned)]);
        assert_eq!(
            told(&[2, 3], None, &files),
            "highwater.profile=latency spins, and feed (process 8) is pinned to processor 3"
        );
    }

    #[test]
    fn a_quota_below_the_spinning_cores_is_refused() {
        let files = [("cpu/isolated", "2-3")];
        assert_eq!(told(&[2, 3], Some(2), &files), "kept");
        assert!(told(&[2, 3], Some(1), &files).contains("pays for 1 of 2 spinning"));
    }
}
