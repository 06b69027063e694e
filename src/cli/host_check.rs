//! One line soon after a broker's start: which checks of `tuning` this host does not meet.
//!
//! Why another process does it: the checks are `tuning`'s own, so what a broker says and what
//! `tuning check` shows cannot differ. It runs beside the broker that is up already, with the same
//! limits. Where no `tuning` lies beside this program, nothing is said.

#![allow(clippy::disallowed_methods, reason = "a thread of its own waits for the process")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The program, in this one's folder.
const PROGRAM: &str = "tuning";

/// The broker has been up for so long: its start is over, and what looks at it in passing has gone.
const LOOK_AFTER: Duration = Duration::from_secs(3);

/// Checks that are named; the command shows the others.
const NAMED_MAX: usize = 8;

/// Looks in the background, and logs what it has found.
pub(crate) fn start(profile: &'static str, data_dir: &Path) {
    let Some(program) = beside_this_program() else {
        return;
    };
    let data_dir = data_dir.to_owned();
    let look = move || {
        std::thread::sleep(LOOK_AFTER);
        if let Some(line) = look(&program, profile, &data_dir) {
            tracing::info!("{line}");
        }
    };
    // Without a thread to spare, there are more pressing things to know.
    drop(std::thread::Builder::new().name("host-check".into()).spawn(look));
}

fn beside_this_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.with_file_name(PROGRAM);
    program.is_file().then_some(program)
}

fn look(program: &Path, profile: &str, data_dir: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.args(["check", "-o", "json", "--profile", profile, "--data-dir"]).arg(data_dir);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let rows = serde_json::from_slice(&output.stdout).ok()?;
    let told = format!("tuning check --profile {profile} --data-dir {}", data_dir.display());
    unmet(&rows, &told)
}

/// The line, when something is to be done.
fn unmet(report: &Value, command: &str) -> Option<String> {
    let rows = report.as_array()?;
    let is_unmet =
        |row: &&Value| matches!(row["status"].as_str(), Some("warn" | "error" | "needs-reboot"));
    let unmet: Vec<&Value> = rows.iter().filter(is_unmet).collect();
    if unmet.is_empty() {
        return None;
    }
    let names = unmet.iter().filter_map(|row| row["id"].as_str());
    let mut names: Vec<&str> = names.take(NAMED_MAX).collect();
    if unmet.len() > NAMED_MAX {
        names.push("...");
    }
    let (count, all, names) = (unmet.len(), rows.len(), names.join(", "));
    Some(format!("this host misses {count} of {all} checks: {names}; see `{command}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_to_be_done_is_named_and_not_more_than_a_line_holds() {
        let row = |id: &str, status: &str| json!({ "id": id, "status": status });
        let met = json!([row("a", "ok"), row("b", "managed"), row("c", "n-a"), row("d", "info")]);
        assert_eq!(unmet(&met, "tuning check"), None);
        let some = json!([row("a", "ok"), row("memlock", "error"), row("swap", "warn")]);
        let line = "this host misses 2 of 3 checks: memlock, swap; see `tuning check`";
        assert_eq!(unmet(&some, "tuning check").as_deref(), Some(line));
        let many: Vec<Value> = (0..20).map(|id| row(&format!("c{id}"), "warn")).collect();
        let line = unmet(&Value::from(many), "t").unwrap();
        assert!(line.contains("20 of 20") && line.ends_with("c7, ...; see `t`"), "{line}");
    }
}
