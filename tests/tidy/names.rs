//! Files are named by what they hold.

use super::tree::{Finding, Tree, finding};

/// Drawers into which everything fits, and names that say "this one is better than the other".
const FORBIDDEN: [&str; 14] = [
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "misc",
    "manager",
    "types",
    "core",
    "processor",
    "service",
    "stuff",
    "new",
    "old",
];
/// Names that others have given.
const KNOWN: [&str; 1] = ["log4j2"];
const FORBIDDEN_ENDINGS: [&str; 8] =
    ["_new", "_old", "_v2", "_v3", "_manager", "_utils", "_helpers", "_final"];

pub(crate) fn file_names(tree: &Tree) -> Vec<Finding> {
    tree.files()
        .filter_map(|(path, _)| {
            let fault = path.split('/').find_map(fault)?;
            Some(finding(path, 0, format!("{fault}: name the file by what it holds")))
        })
        .collect()
}

fn fault(part: &str) -> Option<String> {
    let stem = part.split('.').next().unwrap_or_default().to_lowercase();
    if KNOWN.contains(&stem.as_str()) {
        return None;
    }
    let is_numbered = stem.ends_with('2')
        && stem.bytes().rev().nth(1).is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let is_forbidden = FORBIDDEN.contains(&stem.as_str())
        || FORBIDDEN_ENDINGS.iter().any(|ending| stem.ends_with(ending));
    (is_numbered || is_forbidden).then(|| format!("{part} says nothing"))
}

#[test]
fn a_name_that_says_nothing_is_reported() {
    for path in [
        "src/utils.rs",
        "src/common/log.rs",
        "a/send_messages2.rs",
        "a/log_v2.rs",
        "a/Helpers.java",
    ] {
        assert_eq!(file_names(&Tree::planted(&[(path, "")])).len(), 1, "{path}");
    }
    for path in ["src/storage/journal.rs", "src/crc32.rs", "tests/golden/v12.hex", "a/newer.rs"] {
        assert_eq!(file_names(&Tree::planted(&[(path, "")])), [], "{path}");
    }
}
