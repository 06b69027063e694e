//! What `apply` will do, in order: numbered changes, and what it cannot do with the reason.

use crate::host::{Access, is_superuser};
use crate::report::{Row, Status};
use crate::tuner::{Change, Kind, Profile, Tuner, command};
use serde_json::{Value, json};

pub(crate) struct Step {
    pub(crate) tuner: &'static Tuner,
    pub(crate) change: Change,
}

/// Something that is off and stays so.
pub(crate) struct Barred {
    tuner: &'static Tuner,
    status: Status,
    path: String,
    reason: String,
}

pub(crate) struct Plan {
    pub(crate) profile: Profile,
    pub(crate) steps: Vec<Step>,
    pub(crate) barred: Vec<Barred>,
}

impl Plan {
    pub(crate) fn new(profile: Profile, rows: Vec<Row>) -> Plan {
        let mut plan = Plan { profile, steps: Vec::new(), barred: Vec::new() };
        for Row { tuner, finding } in rows {
            let is_report = matches!(tuner.kind, Kind::Report { .. });
            if is_report && !finding.fix.is_empty() && finding.status != Status::Info {
                let (status, reason) = (finding.status, finding.fix);
                plan.barred.push(Barred { tuner, status, path: String::new(), reason });
                continue;
            }
            if finding.status == Status::NeedsRoot {
                let reason = "not readable without root".to_owned();
                let (status, path) = (Status::NeedsRoot, String::new());
                plan.barred.push(Barred { tuner, status, path, reason });
            }
            for change in finding.changes {
                plan.add(tuner, change);
            }
        }
        plan
    }

    fn add(&mut self, tuner: &'static Tuner, change: Change) {
        let (status, reason) = match change.access {
            Access::Writable => return self.steps.push(Step { tuner, change }),
            Access::Managed(reason) => (Status::Managed, reason),
            Access::NeedsRoot => (Status::NeedsRoot, "run it as root"),
        };
        let path = format!("/{}", change.path);
        self.barred.push(Barred { tuner, status, path, reason: reason.to_owned() });
    }

    /// Whether a setting is off that this process may not change.
    pub(crate) fn is_barred(&self) -> bool {
        self.barred.iter().any(|barred| matches!(barred.tuner.kind, Kind::Files { .. }))
    }

    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let path = self.steps.iter().map(|step| step.change.path.len() + 1).max().unwrap_or(0);
        let id = self.steps.iter().map(|step| step.tuner.id.len()).max().unwrap_or(0);
        for (index, Step { tuner, change }) in self.steps.iter().enumerate() {
            let (number, file) = (index + 1, format!("/{}", change.path));
            text.push_str(&format!(
                "{number:>3}. {:<id$}  {file:<path$}  {} -> {}\n",
                tuner.id, change.old, change.new
            ));
            let is_last = self.steps.get(index + 1).is_none_or(|next| next.tuner.id != tuner.id);
            if is_last {
                text.push_str(&format!("     risk: {}\n", tuner.risk));
            }
        }
        if self.steps.is_empty() {
            text.push_str(&format!("nothing to change for profile {}\n", self.profile.name()));
        } else {
            text.push_str(
                "none of these needs a reboot; all are gone after one, unless --persist\n",
            );
        }
        if !self.barred.is_empty() {
            text.push_str("\nleft alone:\n");
        }
        for Barred { tuner, status, path, reason } in &self.barred {
            let gap = if path.is_empty() { "" } else { "  " };
            let (status, id) = (status.name(), tuner.id);
            text.push_str(&format!("  {status:<12}  {id:<18}{gap}{path}  {reason}\n"));
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let step = |(index, Step { tuner, change }): (usize, &Step)| {
            json!({
                "number": index + 1,
                "id": tuner.id,
                "path": format!("/{}", change.path),
                "old": change.old,
                "new": change.new,
                "needs_reboot": false,
                "risk": tuner.risk,
            })
        };
        let barred = |Barred { tuner, status, path, reason }: &Barred| json!({ "id": tuner.id, "status": status.name(), "path": path, "reason": reason });
        json!({
            "profile": self.profile.name(),
            "actions": self.steps.iter().enumerate().map(step).collect::<Vec<_>>(),
            "left_alone": self.barred.iter().map(barred).collect::<Vec<_>>(),
        })
    }

    /// The same changes as a shell script, for hosts on which this program must not write.
    pub(crate) fn script(&self) -> String {
        let mut text = format!(
            "#!/bin/sh\n# profile {}; written by `tuning apply --script`; run as root\nset -eu\n",
            self.profile.name()
        );
        for Step { tuner, change } in &self.steps {
            let undo = command(&change.path, &change.old);
            text.push_str(&format!("\n# {}; undo: {undo}\n{}\n", tuner.id, change.by_hand()));
        }
        text
    }
}

/// Why a write was refused, where that is no failure of ours.
pub(crate) fn refusal(error: &std::io::Error) -> Option<Access> {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::PERM | Errno::ACCESS) if !is_superuser() => Some(Access::NeedsRoot),
        // Interrupts whose cores the kernel chose itself answer EPERM or EIO.
        Some(Errno::PERM | Errno::ACCESS | Errno::IO) => {
            Some(Access::Managed("the kernel or the host refuses it, even to root"))
        }
        Some(Errno::ROFS) => Some(Access::Managed("mounted read-only, as containers have it")),
        _ => None,
    }
}
