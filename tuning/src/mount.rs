//! The mount under the data directory, and the queues of the disks that it lies on.

use crate::host::Host;
use std::path::{Path, PathBuf};

/// What one line of mountinfo says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) point: PathBuf,
    /// Major and minor, as `sys/dev/block` names the device.
    device: String,
    pub(crate) options: String,
    pub(crate) file_system: String,
}

/// The mount that holds `folder`: the longest one above it, the last one where they are equal.
pub(crate) fn mount_of(mountinfo: &str, folder: &Path) -> Option<Mount> {
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

/// The queue folders of the mount's device and of the disks below it (LVM, md, dm-crypt).
pub(crate) fn queues(host: &Host, mount: &Mount) -> Vec<String> {
    let device = format!("sys/dev/block/{}", mount.device);
    let mut devices = vec![device.clone()];
    devices.extend(host.matching(&format!("{device}/slaves/*")));
    let mut queues: Vec<String> =
        devices.iter().filter_map(|device| host.without_links(&queue(host, device))).collect();
    queues.dedup();
    queues
}

/// A partition's queue is its disk's.
fn queue(host: &Host, device: &str) -> String {
    match host.exists(&format!("{device}/partition")) {
        true => format!("{device}/../queue"),
        false => format!("{device}/queue"),
    }
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
