//! Which disk and file system a directory of this machine is on.
//!
//! Read from `/proc/self/mountinfo` and `/sys`; what these do not tell stays absent.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A device below which others lie (LVM, RAID) is followed so far.
const LAYERS_MAX: usize = 4;

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    /// `major:minor` of the file system's device.
    device: String,
    file_system: String,
    source: String,
}

/// File system, device and model of the disk that `directory` is on, as the summary says it;
/// `None` when it is not there.
pub(crate) fn disk_of(directory: &Path) -> Option<Value> {
    let directory = fs::canonicalize(directory).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mount_of(&mounts, &directory)?;
    let disks = disks_below(Path::new("/sys/dev/block"), &mount.device);
    Some(json!({
        "path": directory.display().to_string(),
        "file_system": mount.file_system,
        "source": mount.source,
        "disks": disks,
    }))
}

/// Bytes in all and free bytes of the file system that `directory` is on.
pub(crate) fn room_of(directory: &Path) -> Option<(u64, u64)> {
    let room = rustix::fs::statvfs(directory).ok()?;
    Some((room.f_frsize * room.f_blocks, room.f_frsize * room.f_bavail))
}

/// The mount that `path` is below: the longest, and of several over each other the last.
fn mount_of(mounts: &str, path: &Path) -> Option<Mount> {
    let above = mounts.lines().filter_map(parse).filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

fn parse(line: &str) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(2);
    let (device, point) = (place.next()?, place.nth(1)?);
    let mut kind = kind.split(' ');
    Some(Mount {
        point: PathBuf::from(unescaped(point)),
        device: device.to_owned(),
        file_system: kind.next()?.to_owned(),
        source: unescaped(kind.next()?),
    })
}

/// A space, a tab, a line feed and a backslash stand as three octal digits.
fn unescaped(text: &str) -> String {
    let letters = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    letters.iter().fold(text.to_owned(), |text, (code, letter)| text.replace(code, letter))
}

/// The disks that a device is made of, each with its model where it has one; none for a file
/// system that has no device of its own.
fn disks_below(devices: &Path, number: &str) -> Vec<Value> {
    let Ok(device) = fs::canonicalize(devices.join(number)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    collect(&device, LAYERS_MAX, &mut found);
    found
}

fn collect(device: &Path, layers: usize, found: &mut Vec<Value>) {
    let is_partition = device.join("partition").exists();
    let disk = if is_partition { device.parent().unwrap_or(device) } else { device };
    let lower = fs::read_dir(disk.join("slaves")).into_iter().flatten().flatten();
    let lower: Vec<PathBuf> =
        lower.filter_map(|entry| fs::canonicalize(entry.path()).ok()).collect();
    if !lower.is_empty() && layers > 0 {
        lower.iter().for_each(|device| collect(device, layers - 1, found));
        return;
    }
    let name = disk.file_name().map(|name| name.to_string_lossy().into_owned());
    let line =
        |file: &str| fs::read_to_string(disk.join(file)).ok().map(|text| text.trim().to_owned());
    found.push(json!({
        "name": name,
        "model": line("device/model"),
        "rotational": line("queue/rotational").map(|text| text == "1"),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:25 / /tmp rw - tmpfs tmpfs rw,size=1g
31 22 259:3 / /data\\040one rw,noatime shared:9 master:2 - xfs /dev/nvme0n1p3 rw
32 31 259:9 / /data\\040one rw - btrfs /dev/nvme1n1 rw
no mount
";

    #[test]
    fn a_directory_is_on_the_longest_mount_and_the_last_over_it() {
        let of = |path: &str| {
            let mount = mount_of(MOUNTS, Path::new(path)).unwrap();
            (mount.device, mount.file_system)
        };
        assert_eq!(of("/data one/logs"), ("259:9".to_owned(), "btrfs".to_owned()));
        assert_eq!(of("/data"), ("254:0".to_owned(), "ext4".to_owned()));
        assert_eq!(of("/tmpfile"), ("254:0".to_owned(), "ext4".to_owned()));
        assert_eq!(of("/tmp/a").1, "tmpfs");
        assert_eq!(mount_of("", Path::new("/")), None);
    }

    #[test]
    fn a_partition_and_a_volume_lead_to_the_disks_below() {
        let directory = tempfile::tempdir().unwrap();
        let sys = directory.path();
        let disk = sys.join("devices/nvme0n1");
        for folder in ["nvme0n1p3", "device", "queue"] {
            fs::create_dir_all(disk.join(folder)).unwrap();
        }
        fs::write(disk.join("nvme0n1p3/partition"), "3\n").unwrap();
        fs::write(disk.join("device/model"), "Fast Disk 7   \n").unwrap();
        fs::write(disk.join("queue/rotational"), "0\n").unwrap();
        let volume = sys.join("devices/dm-0/slaves");
        fs::create_dir_all(&volume).unwrap();
        symlink(disk.join("nvme0n1p3"), volume.join("nvme0n1p3")).unwrap();
        let numbers = sys.join("dev/block");
        fs::create_dir_all(&numbers).unwrap();
        symlink(disk.join("nvme0n1p3"), numbers.join("259:3")).unwrap();
        symlink(sys.join("devices/dm-0"), numbers.join("253:0")).unwrap();
        let expected = json!([{ "name": "nvme0n1", "model": "Fast Disk 7", "rotational": false }]);
        for number in ["259:3", "253:0"] {
            assert_eq!(Value::from(disks_below(&numbers, number)), expected, "{number}");
        }
        assert_eq!(disks_below(&numbers, "0:25"), Vec::<Value>::new());
    }

    #[test]
    fn a_directory_that_is_there_has_a_file_system_and_room() {
        let directory = tempfile::tempdir().unwrap();
        assert!(disk_of(directory.path()).unwrap()["file_system"].is_string());
        let (total, free) = room_of(directory.path()).unwrap();
        assert!(total >= free && total > 0);
        assert_eq!(disk_of(Path::new("/nothing/here")), None);
    }
}
