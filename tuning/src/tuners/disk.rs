//! The disk under the data directory: file system, mount options, queue, write cache.

use super::{always, context, files, latency, servers};
use crate::report::{Finding, Severity};
use crate::tuner::{Kind, Scene, Tuner, Verdict, Want};

pub(super) const TUNERS: &[Tuner] = &[
    Tuner {
        id: "disk.filesystem",
        what: "the file system of the data directory",
        why: "durable acknowledgements rest on fdatasync and direct writes as ext4 and xfs do them",
        gain: "what was acknowledged is there after a power cut",
        risk: "moving data takes a copy",
        kind: Kind::Report {
            look: file_system,
            by_hand: "mkfs.xfs or mkfs.ext4 on a disk of its own, mounted at the data directory",
            undo: "move the data back",
        },
    },
    Tuner {
        id: "disk.mount",
        what: "mount options of the data directory",
        why: "without noatime or relatime each read of a segment writes its access time; with discard each deletion of a segment waits for the device",
        gain: "reads that do not write",
        risk: "low",
        kind: Kind::Report {
            look: mount_options,
            by_hand: "mount -o remount,noatime,nodiscard DIR, and the same in /etc/fstab (then fstrim.timer)",
            undo: "mount -o remount with the options before",
        },
    },
    Tuner {
        id: "disk.write_cache",
        what: "whether the device has a cache that must be flushed",
        why: "a write-back cache is flushed by each commit; that is most of a commit's time",
        gain: "context for results",
        risk: "never set it to write through here: the device does not follow, and a power cut loses data",
        kind: Kind::Report {
            look: cache,
            by_hand: "nothing; a disk with protection against power loss answers flushes at once",
            undo: "nothing was changed",
        },
    },
    Tuner {
        id: "disk.nr_requests",
        what: "requests that the disk's queue holds",
        why: "writes beyond it wait in the submitting core",
        gain: "context for results",
        risk: "none: it is shown, not set",
        kind: Kind::Report {
            look: queue_depth,
            by_hand: "echo 256 > /sys/block/DISK/queue/nr_requests",
            undo: "echo the value before",
        },
    },
    Tuner {
        id: "disk.trim",
        what: "whether the disk is told which blocks are free (fstrim.timer)",
        why: "flash that is not told slows down as it fills",
        gain: "steady write times over months",
        risk: "low; a trim is a burst of work for the disk",
        kind: Kind::Report {
            look: trim,
            by_hand: "systemctl enable --now fstrim.timer, or fstrim DIR once a week",
            undo: "systemctl disable --now fstrim.timer",
        },
    },
    Tuner {
        id: "disk.scheduler",
        what: "the order in which the kernel sends requests to the disk",
        why: "fair queueing between processes delays the sync of a commit",
        gain: "less CPU per request; our comparison of none and mq-deadline on a virtual disk was inconclusive",
        risk: "low on flash; on a turning disk keep mq-deadline",
        kind: files(&["{queue}/scheduler"], always(Want::OneOf(&["none", "mq-deadline"]))),
    },
    Tuner {
        id: "disk.nomerges",
        what: "whether the kernel looks for neighbouring requests to join",
        why: "the broker's writes are large already; looking costs CPU",
        gain: "less CPU per request",
        risk: "low on flash; other programs' small writes are no longer joined",
        kind: files(&["{queue}/nomerges"], servers(Want::Rule("2 on flash", no_merges))),
    },
    Tuner {
        id: "disk.rq_affinity",
        what: "the core on which a request's completion is handled",
        why: "with 2 it is the core that submitted it, as one shard per core wants it",
        gain: "completions find their data in the core's cache",
        risk: "low",
        kind: files(&["{queue}/rq_affinity"], servers(Want::Exactly("2"))),
    },
    Tuner {
        id: "disk.wbt",
        what: "write-back throttling: how long reads may take before writes are slowed",
        why: "it can hold back the writes of a commit while a segment is written back",
        gain: "shorter commits under write-back",
        risk: "medium: reads wait longer behind writes",
        kind: files(&["{queue}/wbt_lat_usec"], latency(Want::Exactly("0"))),
    },
    Tuner {
        id: "disk.readahead",
        what: "KiB that the kernel reads ahead of a reader",
        why: "the broker reads what was asked; a long read-ahead fills memory with the rest",
        gain: "less wasted reading when several consumers lag",
        risk: "low; large sequential copies by other programs may slow down",
        kind: files(&["{queue}/read_ahead_kb"], servers(Want::AtMost(512))),
    },
];

const NO_DIRECTORY: &str = "name the disk with --data-dir";

fn file_system(scene: &Scene) -> Finding {
    let Some(mount) = &scene.mount else { return Finding::absent(NO_DIRECTORY) };
    let is_tried = ["ext4", "xfs"].contains(&mount.file_system.as_str());
    let current = format!("{} on {}", mount.file_system, mount.point.display());
    Finding::new(Severity::Advised, current, is_tried)
        .wanted("ext4 or xfs")
        .fix("put the data directory on ext4 or xfs; tmpfs and overlay survive no power cut")
}

fn mount_options(scene: &Scene) -> Finding {
    let Some(mount) = &scene.mount else { return Finding::absent(NO_DIRECTORY) };
    let has = |wanted: &str| mount.options.split(',').any(|option| option == wanted);
    let is_met = (has("noatime") || has("relatime")) && !has("discard");
    Finding::new(Severity::Advised, mount.options.clone(), is_met)
        .wanted("noatime or relatime, no discard")
        .fix(format!("mount -o remount,noatime,nodiscard {}", mount.point.display()))
}

fn cache(scene: &Scene) -> Finding {
    let Some(current) = queue_setting(scene, "write_cache") else {
        return Finding::absent("no block device");
    };
    let has_no_flush = current == "write through";
    Finding::new(Severity::Context, current, has_no_flush)
        .wanted("known to the reader of a figure")
        .fix("nothing: never switch it to write through here, the device does not follow")
}

fn queue_depth(scene: &Scene) -> Finding {
    match queue_setting(scene, "nr_requests") {
        Some(depth) => context(depth),
        None => Finding::absent("no block device"),
    }
}

fn trim(scene: &Scene) -> Finding {
    match queue_setting(scene, "discard_max_bytes").as_deref() {
        None => return Finding::absent("no block device"),
        Some("0") => return context("the disk takes no trim"),
        Some(_) => {}
    }
    if !scene.host.exists("etc/systemd/system") {
        return Finding::absent("no timers of systemd");
    }
    let timer = "etc/systemd/system/timers.target.wants/fstrim.timer";
    let is_timed = scene.host.exists(timer);
    let current = if is_timed { "fstrim.timer" } else { "no fstrim.timer" };
    Finding::new(Severity::Context, current, is_timed)
        .wanted("fstrim.timer, or another that does it")
        .fix("systemctl enable --now fstrim.timer")
}

fn queue_setting(scene: &Scene, name: &str) -> Option<String> {
    scene.host.text(&format!("{}/{name}", scene.queues.first()?))
}

fn no_merges(scene: &Scene, path: &str, current: &str) -> Verdict {
    let turns = path.replace("/nomerges", "/rotational");
    match (current, scene.host.number(&turns)) {
        ("2", _) => Verdict::Met,
        (_, Some(1)) => Verdict::Leave("a turning disk"),
        _ => Verdict::Set("2".to_owned()),
    }
}
