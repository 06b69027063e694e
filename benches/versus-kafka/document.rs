//! Puts a report into a page that people keep: between markers, in place of the rows that it has
//! measured anew. Rows that it has not stay as they were, with their date.

use std::path::Path;

use crate::failure::Failure;
use crate::report::{DETAIL_HEAD, Report, VERDICT_HEAD};
use crate::rows;

/// The parts of a page that are written here, each between `<!-- NAME begin -->` and
/// `<!-- NAME end -->`.
const CONDITIONS: &str = "versus-kafka conditions";
const VERDICTS: &str = "versus-kafka results";
const DETAILS: &str = "versus-kafka details";

/// Replaces the parts of the page at `path`.
///
/// # Errors
/// It cannot be read or written, or lacks a marker; it is then as it was.
pub(crate) fn write(path: &Path, report: &Report) -> Result<(), Failure> {
    let mut text = std::fs::read_to_string(path)?;
    let conditions: Vec<String> = report.preamble.iter().map(|line| format!("* {line}")).collect();
    for (marker, head, lines) in [
        (CONDITIONS, None, conditions.into_iter().map(|line| ("", line)).collect()),
        (VERDICTS, Some(VERDICT_HEAD), report.verdicts()),
        (DETAILS, Some(DETAIL_HEAD), report.details()),
    ] {
        let missing = || Failure::NoMarker { path: path.to_owned(), marker: marker.to_owned() };
        let (begin, end) = part(&text, marker).ok_or_else(missing)?;
        let lines = match head {
            None => lines.into_iter().map(|(_, line)| line).collect(),
            Some(head) => std::iter::once(head.to_owned())
                .chain(merge(&text[begin..end], &lines))
                .collect::<Vec<String>>(),
        };
        text.replace_range(begin..end, &format!("\n{}\n", lines.join("\n")));
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    std::fs::write(&beside, text)?;
    Ok(std::fs::rename(&beside, path)?)
}

/// Where a part begins and ends, without its markers.
fn part(text: &str, marker: &str) -> Option<(usize, usize)> {
    let begin_marker = format!("<!-- {marker} begin -->");
    let begin = text.find(&begin_marker)? + begin_marker.len();
    let end = begin + text[begin..].find(&format!("<!-- {marker} end -->"))?;
    Some((begin, end))
}

/// Lines of a table: those that are new, and of the old ones those of other rows.
fn merge(old: &str, new: &[(&str, String)]) -> Vec<String> {
    let id_of = |line: &str| line.split('|').nth(1).map(|cell| cell.trim().to_owned());
    let old: Vec<(String, &str)> =
        old.lines().filter_map(|line| Some((id_of(line)?, line))).collect();
    let mut lines = Vec::new();
    for row in rows::all() {
        let replaced = new.iter().filter(|(id, _)| *id == row.id);
        let replaced: Vec<String> = replaced.map(|(_, line)| line.clone()).collect();
        if replaced.is_empty() {
            let kept = old.iter().filter(|(id, _)| id == row.id);
            lines.extend(kept.map(|(_, line)| (*line).to_owned()));
        } else {
            lines.extend(replaced);
        }
    }
    lines
}
