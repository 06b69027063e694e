//! Rows of the report, as a table, as JSON and as an exit code.

use serde_json::json;

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
    /// It cannot be known here.
    NotApplicable,
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) status: Status,
    pub(crate) current: String,
    pub(crate) wanted: String,
    pub(crate) severity: Severity,
    pub(crate) why: &'static str,
    /// Empty where there is nothing to do.
    pub(crate) fix: String,
}

impl Row {
    /// A check of `current`, met or not.
    pub(crate) fn new(
        id: &'static str,
        severity: Severity,
        current: impl Into<String>,
        is_met: bool,
    ) -> Row {
        let status = match (is_met, severity) {
            (true, _) => Status::Ok,
            (false, Severity::Required) => Status::Error,
            (false, Severity::Advised) => Status::Warn,
            (false, Severity::Context) => Status::Info,
        };
        let (wanted, fix) = (String::new(), String::new());
        Row { id, status, current: current.into(), wanted, severity, why: "", fix }
    }

    /// A check whose facts this host does not show.
    pub(crate) fn unknown(id: &'static str, severity: Severity, reason: &str) -> Row {
        Row { status: Status::NotApplicable, ..Row::new(id, severity, reason, true) }
    }

    pub(crate) fn wanted(mut self, wanted: impl Into<String>) -> Row {
        self.wanted = wanted.into();
        self
    }

    pub(crate) fn why(mut self, why: &'static str) -> Row {
        self.why = why;
        self
    }

    /// How to meet the check; dropped where it is met.
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Row {
        if matches!(self.status, Status::Info | Status::Warn | Status::Error) {
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
    fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Info => "info",
            Status::Warn => "warn",
            Status::Error => "error",
            Status::NotApplicable => "n-a",
        }
    }
}

/// One line per check; why and fix follow where something is to do.
pub(crate) fn table(rows: &[Row]) -> String {
    let width = |cell: fn(&Row) -> &str, title: &str| {
        rows.iter().map(|row| cell(row).chars().count()).max().unwrap_or(0).max(title.len())
    };
    let id = width(|row| row.id, "ID");
    let current = width(|row| &row.current, "CURRENT");
    let wanted = width(|row| &row.wanted, "WANTED");
    let mut text = format!(
        "{:<6}  {:<id$}  {:<current$}  {:<wanted$}  SEVERITY\n",
        "STATUS", "ID", "CURRENT", "WANTED"
    );
    for row in rows {
        let (status, severity) = (row.status.name(), row.severity.name());
        text.push_str(&format!(
            "{status:<6}  {:<id$}  {:<current$}  {:<wanted$}  {severity}\n",
            row.id, row.current, row.wanted
        ));
        if !row.fix.is_empty() {
            text.push_str(&format!("        why: {}\n        fix: {}\n", row.why, row.fix));
        }
    }
    text
}

pub(crate) fn json(rows: &[Row]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "status": row.status.name(),
                "id": row.id,
                "current": row.current,
                "wanted": row.wanted,
                "severity": row.severity.name(),
                "why": row.why,
                "fix": row.fix,
            })
        })
        .collect();
    format!("{:#}\n", serde_json::Value::from(rows))
}

pub(crate) fn exit_code(rows: &[Row]) -> u8 {
    let has = |status| rows.iter().any(|row| row.status == status);
    match (has(Status::Error), has(Status::Warn)) {
        (true, _) => 2,
        (false, true) => 1,
        (false, false) => 0,
    }
}
