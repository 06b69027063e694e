//! Files that set the same values again at each boot: sysctl.d, udev rules, tmpfiles.d.
//!
//! Written from the state file, so they hold what was applied and nothing else. The boot loader is
//! never touched: a line for it is only printed.

use crate::apply::{entry, with_source};
use crate::host::Host;
use crate::state::{Entry, Kind, State};
use std::fs;
use std::io::{self, Write};

const HEADER: &str = "# Written by `tuning apply --persist`; `tuning revert` removes it.\n";
const SYSCTL: &str = "etc/sysctl.d/90-highwater.conf";
const UDEV: &str = "etc/udev/rules.d/90-highwater.rules";
const TMPFILES: &str = "etc/tmpfiles.d/90-highwater.conf";

pub(crate) struct Persisted {
    pub(crate) written: Vec<&'static str>,
    /// Settings whose path means something else after a reboot.
    pub(crate) skipped: Vec<String>,
}

/// Writes the files; each is on record before it is written.
pub(crate) fn persist(host: &Host, state: &mut State) -> Result<Persisted, String> {
    let mut texts = [(SYSCTL, String::new()), (UDEV, String::new()), (TMPFILES, String::new())];
    let mut skipped = Vec::new();
    for (path, value) in latest(&state.entries) {
        match line(&path, &value) {
            Some((file, line)) => {
                let text = texts.iter_mut().find(|(name, _)| *name == file);
                text.expect("line() names one of the three").1.push_str(&line);
            }
            None => skipped.push(path),
        }
    }
    let mut written = Vec::new();
    for (file, lines) in texts.into_iter().filter(|(_, lines)| !lines.is_empty()) {
        let text = format!("{HEADER}{lines}");
        let old = fs::read_to_string(host.file(file)).ok();
        if old.as_ref() == Some(&text) {
            continue;
        }
        let change = Entry { old, kind: Kind::File, ..entry(host, "persist", file, &text) };
        state.record(change).map_err(|error| with_source(&error))?;
        write(host, file, &text).map_err(|error| format!("/{file}: {error}"))?;
        written.push(file);
    }
    Ok(Persisted { written, skipped })
}

/// The last value of each setting, in the order in which they were first set.
fn latest(entries: &[Entry]) -> Vec<(String, String)> {
    let mut values: Vec<(String, String)> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.kind == Kind::Setting) {
        match values.iter_mut().find(|(path, _)| *path == entry.path) {
            Some((_, value)) => value.clone_from(&entry.new),
            None => values.push((entry.path.clone(), entry.new.clone())),
        }
    }
    values
}

/// The file and the line that set `path` at boot.
fn line(path: &str, value: &str) -> Option<(&'static str, String)> {
    if let Some(key) = path.strip_prefix("proc/sys/") {
        return Some((SYSCTL, format!("{} = {value}\n", key.replace('/', "."))));
    }
    // Interrupts are numbered anew at each boot.
    if path.starts_with("proc/") {
        return None;
    }
    let rule = |subsystem: &str, name: &str, attribute: &str| {
        format!(
            "ACTION==\"add|change\", SUBSYSTEM==\"{subsystem}\", KERNEL==\"{name}\", ATTR{{{attribute}}}=\"{value}\"\n"
        )
    };
    if let Some((disk, name)) = path.split_once("/queue/") {
        let disk = disk.rsplit('/').next().unwrap_or_default();
        return Some((UDEV, rule("block", disk, &format!("queue/{name}"))));
    }
    if let Some((nic, attribute)) =
        path.strip_prefix("sys/class/net/").and_then(|rest| rest.split_once('/'))
    {
        return Some((UDEV, rule("net", nic, attribute)));
    }
    Some((TMPFILES, format!("w /{path} - - - - {value}\n")))
}

fn write(host: &Host, path: &str, text: &str) -> io::Result<()> {
    let path = host.file(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
