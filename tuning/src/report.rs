//! What was found, as a table, as JSON and as an exit code.

use crate::tuner::{Change, Tuner};
use serde_json::{Value, json};

/// What it means for the broker when a check is not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// It does not start.
    Required,
    /// It runs, with less speed or fewer clients.
    Advised,
    /// For the reader of a figure; nothing to do.
    Context,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    Info,
    Warn,
    Error,
    /// The kernel, the hypervisor or the container's host decides it.
    Managed,
    /// This host does not have it.
    NotAvailable,
    NeedsRoot,
    /// Only the kernel's command line sets it.
    NeedsReboot,
}

/// What one tuner found.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) status: Status,
    pub(crate) severity: Severity,
    pub(crate) current: String,
    pub(crate) wanted: String,
    /// Empty where there is nothing to do.
    pub(crate) fix: String,
    /// What `apply` would write.
    pub(crate) changes: Vec<Change>,
}

pub(crate) struct Row {
    pub(crate) tuner: &'static Tuner,
    pub(crate) finding: Finding,
}

impl Finding {
    /// A check of `current`, met or not.
    pub(crate) fn new(severity: Severity, current: impl Into<String>, is_met: bool) -> Finding {
        let status = match (is_met, severity) {
            (true, _) => Status::Ok,
            (false, Severity::Required) => Status::Error,
            (false, Severity::Advised) => Status::Warn,
            (false, Severity::Context) => Status::Info,
        };
        let (wanted, fix, changes) = (String::new(), String::new(), Vec::new());
        Finding { status, severity, current: current.into(), wanted, fix, changes }
    }

    /// A finding that is neither met nor missed.
    pub(crate) fn told(status: Status, current: impl Into<String>) -> Finding {
        Finding { status, ..Finding::new(Severity::Context, current, true) }
    }

    /// A check whose facts this host does not show.
    pub(crate) fn absent(reason: &str) -> Finding {
        Finding::told(Status::NotAvailable, reason)
    }

    pub(crate) fn wanted(mut self, wanted: impl Into<String>) -> Finding {
        self.wanted = wanted.into();
        self
    }

    /// How to meet the check; dropped where it is met.
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Finding {
        if !matches!(self.status, Status::Ok | Status::NotAvailable) {
            self.fix = fix.into();
        }
        self
    }
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Required => "required",
            Severity::Advised => "advised",
            Severity::Context => "context",
        }
    }
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Info => "info",
            Status::Warn => "warn",
            Status::Error => "error",
            Status::Managed => "managed",
            Status::NotAvailable => "n-a",
            Status::NeedsRoot => "needs-root",
            Status::NeedsReboot => "needs-reboot",
        }
    }
}

const WIDE: usize = 44;

/// One line per check; why, gain and fix follow where something is to do. What this host does not
/// have is one line at the end.
pub(crate) fn table(rows: &[Row]) -> String {
    let is_there = |row: &&Row| row.finding.status != Status::NotAvailable;
    let there: Vec<&Row> = rows.iter().filter(is_there).collect();
    let width = |cell: fn(&Row) -> &str, title: &str| {
        let longest = there.iter().map(|row| cell(row).chars().count()).max().unwrap_or(0);
        longest.clamp(title.len(), WIDE)
    };
    let id = width(|row| row.tuner.id, "ID");
    let current = width(|row| &row.finding.current, "CURRENT");
    let wanted = width(|row| &row.finding.wanted, "WANTED");
    let mut text = format!(
        "{:<12}  {:<id$}  {:<current$}  {:<wanted$}  SEVERITY\n",
        "STATUS", "ID", "CURRENT", "WANTED"
    );
    for Row { tuner, finding } in there {
        let (status, severity) = (finding.status.name(), finding.severity.name());
        text.push_str(&format!(
            "{status:<12}  {:<id$}  {:<current$}  {:<wanted$}  {severity}\n",
            tuner.id, finding.current, finding.wanted
        ));
        if !finding.fix.is_empty() {
            text.push_str(&format!("    why:  {}\n", tuner.why));
            if !tuner.gain.is_empty() {
                text.push_str(&format!("    gain: {}\n", tuner.gain));
            }
            text.push_str(&format!("    fix:  {}\n", finding.fix));
        }
    }
    let absent: Vec<&str> =
        rows.iter().filter(|row| !is_there(row)).map(|row| row.tuner.id).collect();
    if !absent.is_empty() {
        text.push_str(&format!("\nnot available here: {}\n", absent.join(", ")));
    }
    text
}

pub(crate) fn json(rows: &[Row]) -> Value {
    let row = |Row { tuner, finding }: &Row| {
        let change = |change: &Change| json!({ "path": format!("/{}", change.path), "old": change.old, "new": change.new });
        json!({
            "status": finding.status.name(),
            "id": tuner.id,
            "current": finding.current,
            "wanted": finding.wanted,
            "severity": finding.severity.name(),
            "why": tuner.why,
            "gain": tuner.gain,
            "risk": tuner.risk,
            "fix": finding.fix,
            "changes": finding.changes.iter().map(change).collect::<Vec<_>>(),
        })
    };
    Value::from(rows.iter().map(row).collect::<Vec<_>>())
}

/// What makes `check` fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FailOn {
    Warn,
    Error,
}

pub(crate) const EXIT_WARNINGS: u8 = 1;
pub(crate) const EXIT_ERRORS: u8 = 2;
pub(crate) const EXIT_NOT_POSSIBLE: u8 = 3;
pub(crate) const EXIT_USAGE: u8 = 64;

pub(crate) fn exit_code(rows: &[Row], fail_on: FailOn) -> u8 {
    let has = |wanted: &[Status]| rows.iter().any(|row| wanted.contains(&row.finding.status));
    if has(&[Status::Error]) {
        return EXIT_ERRORS;
    }
    if fail_on == FailOn::Warn && has(&[Status::Warn, Status::NeedsReboot]) {
        return EXIT_WARNINGS;
    }
    // Nothing but context was seen: that is no clean bill of health.
    let judged = [Status::Ok, Status::Warn, Status::NeedsReboot];
    let is_judged = rows.iter().any(|Row { finding, .. }| {
        finding.severity != Severity::Context && judged.contains(&finding.status)
    });
    if is_judged { 0 } else { EXIT_NOT_POSSIBLE }
}
