//! What a tuner is: where a setting lies, what each profile wants of it, and why.
//!
//! Tuners are data (see `tuners/`), so that check, plan, apply and explain cannot disagree.
//! Judging reads only; what is off becomes a list of changes that `apply` makes.

use crate::cores;
use crate::host::{Access, Host, Reading, setting};
use crate::mount::{Mount, mount_of, queues};
use crate::report::{Finding, Severity, Status};
use clap::ValueEnum;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// A laptop: what the broker needs to run, nothing that costs power.
    Dev,
    /// A server: many records per second.
    Throughput,
    /// A server: few microseconds, at the price of power and CPU.
    Latency,
}

impl Profile {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Profile::Dev => "dev",
            Profile::Throughput => "throughput",
            Profile::Latency => "latency",
        }
    }
}

/// The host and what is known of the broker on it.
pub(crate) struct Scene {
    pub(crate) host: Host,
    pub(crate) profile: Profile,
    pub(crate) mount: Option<Mount>,
    /// `sys/.../queue` of each disk under the data directory.
    pub(crate) queues: Vec<String>,
    /// `sys/class/net/NAME` of each network device.
    pub(crate) nics: Vec<String>,
    /// `proc/irq/NUMBER` of each interrupt of those.
    pub(crate) interrupts: Vec<String>,
    pub(crate) cores: Vec<u32>,
    /// Empty where the operator did not name them.
    pub(crate) broker_cores: Vec<u32>,
}

impl Scene {
    /// Without names of network devices, each that has hardware behind it counts.
    pub(crate) fn new(host: Host, profile: Profile, data_dir: Option<&Path>) -> Scene {
        let mounts = host.text("proc/self/mountinfo").unwrap_or_default();
        let mount = data_dir.and_then(|folder| mount_of(&mounts, &host.resolved(folder)));
        let queues = mount.as_ref().map(|mount| queues(&host, mount)).unwrap_or_default();
        let online = host.text("sys/devices/system/cpu/online").unwrap_or_default();
        let cores = cores::parse(&online).unwrap_or_default();
        let (nics, interrupts, broker_cores) = (Vec::new(), Vec::new(), Vec::new());
        Scene { host, profile, mount, queues, nics, interrupts, cores, broker_cores }
    }

    pub(crate) fn with_nics(mut self, names: &[String]) -> Scene {
        self.nics = match names {
            [] => self.host.matching("sys/class/net/*/device"),
            names => names.iter().map(|name| format!("sys/class/net/{name}/device")).collect(),
        };
        for device in &self.nics {
            // A virtio device's interrupts belong to the PCI device above it.
            for folder in ["msi_irqs/*", "../msi_irqs/*"] {
                let found = self.host.matching(&format!("{device}/{folder}"));
                let numbers = found.iter().filter_map(|path| path.rsplit('/').next());
                self.interrupts.extend(numbers.map(|number| format!("proc/irq/{number}")));
            }
        }
        self.interrupts.dedup();
        for device in &mut self.nics {
            device.truncate(device.len() - "/device".len());
        }
        self
    }

    pub(crate) fn with_broker_cores(mut self, cores: Vec<u32>) -> Scene {
        self.broker_cores = cores;
        self
    }

    /// The cores that interrupts may go to: not the broker's, where those are named.
    pub(crate) fn interrupt_cores(&self) -> Vec<u32> {
        let is_free = |core: &&u32| !self.broker_cores.contains(core);
        let free: Vec<u32> = self.cores.iter().filter(is_free).copied().collect();
        if free.is_empty() { self.cores.clone() } else { free }
    }
}

/// One idea about the host.
pub(crate) struct Tuner {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) why: &'static str,
    /// What it brings, with a figure only where one was measured.
    pub(crate) gain: &'static str,
    pub(crate) risk: &'static str,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    /// Settings in files, which `apply` can write.
    Files { paths: &'static [&'static str], wants: Wants },
    /// Something that is looked at, and changed by hand only.
    Report { look: fn(&Scene) -> Finding, by_hand: &'static str, undo: &'static str },
}

/// What each profile wants.
pub(crate) struct Wants {
    pub(crate) dev: Want,
    pub(crate) throughput: Want,
    pub(crate) latency: Want,
}

impl Wants {
    pub(crate) fn of(&self, profile: Profile) -> Want {
        match profile {
            Profile::Dev => self.dev,
            Profile::Throughput => self.throughput,
            Profile::Latency => self.latency,
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Want {
    /// This profile does not care.
    Leave,
    Exactly(&'static str),
    /// Any of them will do; the first that is offered is set.
    OneOf(&'static [&'static str]),
    AtLeast(u64),
    AtMost(u64),
    /// Depends on the host: what is wanted in words, and the judgement of one file.
    Rule(&'static str, fn(&Scene, &str, &str) -> Verdict),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    Set(String),
    /// This file is left as it is, for this reason.
    Leave(&'static str),
}

impl Want {
    pub(crate) fn shown(self) -> String {
        match self {
            Want::Leave => "as it is".to_owned(),
            Want::Exactly(value) => value.to_owned(),
            Want::OneOf(values) => values.join(" or "),
            Want::AtLeast(least) => format!(">= {least}"),
            Want::AtMost(most) => format!("<= {most}"),
            Want::Rule(words, _) => words.to_owned(),
        }
    }

    fn judge(self, scene: &Scene, path: &str, text: &str) -> Verdict {
        let current = setting(text);
        let met_or = |is_met: bool, value: String| match is_met {
            true => Verdict::Met,
            false => Verdict::Set(value),
        };
        let number = current.parse::<u64>().ok();
        match self {
            Want::Leave => Verdict::Leave("not part of this profile"),
            Want::Exactly(value) => met_or(current == value, value.to_owned()),
            Want::OneOf(values) if values.contains(&current.as_str()) => Verdict::Met,
            Want::OneOf(values) => {
                let offers = |value: &&&str| text.split([' ', '[', ']']).any(|it| it == **value);
                match values.iter().find(offers) {
                    Some(value) => Verdict::Set((*value).to_owned()),
                    None => Verdict::Leave("this kernel offers none of those wanted"),
                }
            }
            Want::AtLeast(least) => {
                met_or(number.is_some_and(|number| number >= least), least.to_string())
            }
            Want::AtMost(most) => {
                met_or(number.is_some_and(|number| number <= most), most.to_string())
            }
            Want::Rule(_, judge) => judge(scene, path, text),
        }
    }
}

/// One file to write. `path` is relative to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: String,
    pub(crate) old: String,
    pub(crate) new: String,
    pub(crate) access: Access,
}

impl Change {
    /// The shell command that makes it.
    pub(crate) fn by_hand(&self) -> String {
        command(&self.path, &self.new)
    }
}

/// The shell command that writes `value` to the setting at `path`.
pub(crate) fn command(path: &str, value: &str) -> String {
    let quoted = if value.contains(' ') { format!("'{value}'") } else { value.to_owned() };
    match path.strip_prefix("proc/sys/") {
        Some(key) => format!("sysctl -w {}={quoted}", key.replace('/', ".")),
        None => format!("echo {quoted} > /{path}"),
    }
}

/// The files that patterns name on this host: `{queue}`, `{nic}` and `{irq}` stand for the scene's.
pub(crate) fn files(scene: &Scene, patterns: &[&str]) -> Vec<String> {
    let named = |pattern: &str| -> Vec<String> {
        let places =
            [("{queue}", &scene.queues), ("{nic}", &scene.nics), ("{irq}", &scene.interrupts)];
        match places.iter().find(|(name, _)| pattern.starts_with(name)) {
            Some((name, folders)) => {
                folders.iter().map(|folder| pattern.replace(name, folder)).collect()
            }
            None => vec![pattern.to_owned()],
        }
    };
    let patterns = patterns.iter().flat_map(|pattern| named(pattern));
    patterns.flat_map(|pattern| scene.host.matching(&pattern)).collect()
}

impl Tuner {
    /// What this tuner finds; `None` where the profile does not care.
    pub(crate) fn look(&self, scene: &Scene) -> Option<Finding> {
        match &self.kind {
            Kind::Report { look, .. } => Some(look(scene)),
            Kind::Files { paths, wants } => match wants.of(scene.profile) {
                Want::Leave => None,
                want => Some(judge_files(scene, &files(scene, paths), want)),
            },
        }
    }
}

fn judge_files(scene: &Scene, paths: &[String], want: Want) -> Finding {
    let (mut seen, mut changes) = (Vec::new(), Vec::new());
    let mut is_closed = false;
    for path in paths {
        let text = match scene.host.read(path) {
            Reading::Text(text) => text,
            Reading::Absent => continue,
            Reading::NeedsRoot => {
                is_closed = true;
                continue;
            }
        };
        let old = setting(&text);
        match want.judge(scene, path, &text) {
            Verdict::Met => seen.push(old),
            Verdict::Leave(reason) => seen.push(format!("{old} ({reason})")),
            Verdict::Set(new) => {
                seen.push(old.clone());
                let access = scene.host.access(path);
                changes.push(Change { path: path.clone(), old, new, access });
            }
        }
    }
    if seen.is_empty() {
        let (status, reason) = match is_closed {
            true => (Status::NeedsRoot, "not readable without root"),
            false => (Status::NotAvailable, "not available here"),
        };
        return Finding::told(status, reason).wanted(want.shown());
    }
    let is_met = changes.is_empty();
    let is_managed = changes.iter().all(|change| matches!(change.access, Access::Managed(_)));
    let mut finding = Finding::new(Severity::Advised, counted(&seen), is_met).wanted(want.shown());
    if !is_met && is_managed {
        finding.status = Status::Managed;
    }
    finding.fix = fix(&changes);
    finding.changes = changes;
    finding
}

fn fix(changes: &[Change]) -> String {
    match changes {
        [] => String::new(),
        [Change { access: Access::Managed(reason), .. }, ..] => format!("nothing here: {reason}"),
        [only] => only.by_hand(),
        [first, rest @ ..] => format!("{} (and {} more files)", first.by_hand(), rest.len()),
    }
}

/// `performance x2, powersave`: equal values are counted.
fn counted(values: &[String]) -> String {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for value in values {
        match kinds.iter_mut().find(|(known, _)| known == value) {
            Some((_, count)) => *count += 1,
            None => kinds.push((value, 1)),
        }
    }
    let shown = kinds.iter().map(|(value, count)| match count {
        1 => (*value).to_owned(),
        _ => format!("{value} x{count}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}
