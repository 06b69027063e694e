//! The disk under the data directory: file system, mount options, scheduler, write cache.

use crate::host::{Host, chosen};
use crate::report::{Row, Severity};
use std::path::{Path, PathBuf};

/// What one line of mountinfo says.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    /// Major and minor, as `sys/dev/block` names the device.
    device: String,
    options: String,
    file_system: String,
}

pub(crate) fn check(host: &Host, data_dir: &Path) -> Vec<Row> {
    let folder = host.resolved(data_dir);
    let mounts = host.text("proc/self/mountinfo").unwrap_or_default();
    let Some(mount) = mount_of(&mounts, &folder) else {
        let reason = "proc/self/mountinfo does not show it";
        return vec![Row::unknown("disk.filesystem", Severity::Advised, reason)];
    };
    vec![file_system(&mount), access_times(&mount), scheduler(host, &mount), cache(host, &mount)]
}

/// The mount that holds `folder`: the longest one above it, the last one where they are equal.
fn mount_of(mountinfo: &str, folder: &Path) -> Option<Mount> {
    mountinfo
        .lines()
        .filter_map(parse)
        .filter(|mount| folder.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
}

/// `36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/sda rw`, see proc(5).
fn parse(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut words = mount.split(' ').skip(2);
    let device = words.next()?.to_owned();
    let point = words.nth(1)?.replace("\\040", " ");
    Some(Mount {
        point: PathBuf::from(point),
        device,
        options: words.next()?.to_owned(),
        file_system: file_system.split(' ').next()?.to_owned(),
    })
}

fn file_system(mount: &Mount) -> Row {
    let is_tried = ["ext4", "xfs"].contains(&mount.file_system.as_str());
    let current = format!("{} on {}", mount.file_system, mount.point.display());
    Row::new("disk.filesystem", Severity::Advised, current, is_tried)
        .wanted("ext4 or xfs")
        .why("durable acknowledgements rest on fdatasync and direct writes as ext4 and xfs do them")
        .fix("put the data directory on ext4 or xfs; tmpfs and overlay survive no power cut")
}

fn access_times(mount: &Mount) -> Row {
    let is_met = mount.options.split(',').any(|option| ["noatime", "relatime"].contains(&option));
    Row::new("disk.mount", Severity::Advised, mount.options.clone(), is_met)
        .wanted("noatime or relatime")
        .why("otherwise each read of a segment writes its access time")
        .fix(format!("mount -o remount,noatime {}", mount.point.display()))
}

fn scheduler(host: &Host, mount: &Mount) -> Row {
    let Some(text) = queue(host, mount, "scheduler") else {
        return Row::unknown("disk.scheduler", Severity::Context, "no block device");
    };
    let current = chosen(&text).to_owned();
    let is_plain = current == "none" || current == "mq-deadline";
    let path = format!("/sys/dev/block/{}/queue/scheduler", mount.device);
    Row::new("disk.scheduler", Severity::Advised, current, is_plain)
        .wanted("none or mq-deadline")
        .why("fair queueing between processes delays the sync of a commit")
        .fix(format!("echo none > {path}"))
}

fn cache(host: &Host, mount: &Mount) -> Row {
    let Some(current) = queue(host, mount, "write_cache") else {
        return Row::unknown("disk.write_cache", Severity::Context, "no block device");
    };
    let has_no_flush = current == "write through";
    Row::new("disk.write_cache", Severity::Context, current, has_no_flush)
        .wanted("known to the reader of a figure")
        .why("a write-back cache is flushed by each commit; that is most of a commit's time")
        .fix("nothing: never switch it to write through here, the device does not follow")
}

/// A file of the device's queue; a partition's queue is its disk's.
fn queue(host: &Host, mount: &Mount, name: &str) -> Option<String> {
    let device = format!("sys/dev/block/{}", mount.device);
    let folder = match host.exists(&format!("{device}/partition")) {
        true => format!("{device}/../queue"),
        false => format!("{device}/queue"),
    };
    host.text(&format!("{folder}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_above_the_folder_counts() {
        let mountinfo = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
             30 27 259:1 / /data\\0401 rw,noatime shared:2 - xfs /dev/nvme0n1p1 rw\n\
             not a mount";
        let point = |folder| mount_of(mountinfo, Path::new(folder)).expect("/ holds all").point;
        assert_eq!(point("/data 1/topics"), Path::new("/data 1"));
        assert_eq!(point("/data 12"), Path::new("/"));
        assert_eq!(mount_of("", Path::new("/data")), None);
    }
}
