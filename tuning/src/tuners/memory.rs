//! Settings of memory: huge pages, swapping, write-back.

use super::{always, context, files, throughput};
use crate::report::Finding;
use crate::tuner::{Kind, Scene, Tuner, Verdict, Want};

/// A server's memory is meant to stay.
const SWAPPINESS_MAX: u64 = 10;

pub(super) const TUNERS: &[Tuner] = &[
    Tuner {
        id: "memory.thp",
        what: "transparent huge pages",
        why: "with `always` the kernel compacts memory in the middle of an allocation",
        gain: "no pauses in first touches of memory; the broker forgoes huge pages by itself",
        risk: "low; programs that rely on `always` lose huge pages",
        kind: files(
            &["sys/kernel/mm/transparent_hugepage/enabled"],
            always(Want::OneOf(&["madvise", "never"])),
        ),
    },
    Tuner {
        id: "memory.thp_defrag",
        what: "who makes room for a huge page, and when",
        why: "with `always` a page fault waits for compaction",
        gain: "no pauses in first touches of memory; the broker forgoes huge pages by itself",
        risk: "low; huge pages come later",
        kind: files(
            &["sys/kernel/mm/transparent_hugepage/defrag"],
            always(Want::OneOf(&["defer+madvise", "madvise", "defer", "never"])),
        ),
    },
    Tuner {
        id: "memory.swappiness",
        what: "how readily the kernel swaps out memory of programs",
        why: "a core that waits for a swapped page serves nobody",
        gain: "no pauses of the length of a disk read",
        risk: "low; the page cache shrinks first",
        kind: files(
            &["proc/sys/vm/swappiness"],
            always(Want::Rule("<= 10, or no swap", swappiness)),
        ),
    },
    Tuner {
        id: "memory.swap",
        what: "whether there is swap at all",
        why: "without swap a host out of memory ends a process; with it, it slows down first",
        gain: "context for results",
        risk: "none: it is shown, not set",
        kind: Kind::Report { look: swap, by_hand: "swapoff -a", undo: "swapon -a" },
    },
    Tuner {
        id: "memory.hugepages",
        what: "memory set aside for huge pages (vm.nr_hugepages)",
        why: "the broker does not ask for them: what is set aside is missing from the page cache",
        gain: "context for results",
        risk: "none: it is shown, not set",
        kind: Kind::Report {
            look: huge_pages,
            by_hand: "sysctl -w vm.nr_hugepages=0, where no other program uses them",
            undo: "sysctl -w vm.nr_hugepages with the number before",
        },
    },
    Tuner {
        id: "memory.dirty_background",
        what: "share of memory that may wait to be written before write-back begins",
        why: "records of durability `kernel` wait in the page cache; much of it is written at once",
        gain: "write-back in small steps in place of bursts",
        risk: "medium: other programs' writes go to disk earlier too",
        kind: files(&["proc/sys/vm/dirty_background_ratio"], throughput(Want::AtMost(5))),
    },
    Tuner {
        id: "memory.dirty",
        what: "share of memory that may wait to be written before writers are stopped",
        why: "writers that are stopped are the broker's, whoever filled the memory",
        gain: "shorter stalls behind a backlog of writes",
        risk: "medium: other programs' writes are stopped earlier too",
        kind: files(&["proc/sys/vm/dirty_ratio"], throughput(Want::AtMost(20))),
    },
];

fn swaps(scene: &Scene) -> Option<usize> {
    Some(scene.host.text("proc/swaps")?.lines().skip(1).count())
}

fn swap(scene: &Scene) -> Finding {
    match swaps(scene) {
        Some(0) => context("none"),
        Some(count) => context(format!("areas: {count}")),
        None => Finding::absent("not readable here"),
    }
}

fn huge_pages(scene: &Scene) -> Finding {
    match scene.host.text("proc/sys/vm/nr_hugepages") {
        Some(count) => context(count),
        None => Finding::absent("not readable here"),
    }
}

fn swappiness(scene: &Scene, _path: &str, current: &str) -> Verdict {
    let swaps = swaps(scene).unwrap_or(0);
    match current.parse::<u64>() {
        Ok(value) if value <= SWAPPINESS_MAX => Verdict::Met,
        _ if swaps == 0 => Verdict::Leave("no swap"),
        _ => Verdict::Set("1".to_owned()),
    }
}
