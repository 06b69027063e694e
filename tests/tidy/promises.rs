//! Configuration keys that claim an effect have one, and state machines check themselves.

use super::modules::shipped_files;
use super::rust::{shipped, views};
use super::tree::{Finding, Tree, finding, is_below};

const ASSERTED: [&str; 4] = ["src/storage", "src/replication", "src/controller", "src/coordinator"];
const ASSERTS_PER_1000_LINES_MIN: usize = 15;
/// Below this a folder is too young for a ratio.
const LINES_FOR_A_RATIO: usize = 300;

/// Each key that is acted upon is named, in quotes, in code that is not the table itself.
pub(crate) fn dead_keys(tree: &Tree, acted_upon: &[&str]) -> Vec<Finding> {
    let is_table = |path: &str| path.starts_with("src/model/config_keys");
    let sources: Vec<String> = shipped_files(tree)
        .into_iter()
        .filter(|(path, _)| !is_table(path))
        .map(|(_, source)| without_test_items(source))
        .collect();
    acted_upon
        .iter()
        .filter(|key| {
            let literal = format!("\"{key}\"");
            !sources.iter().any(|source| source.contains(&literal))
        })
        .map(|key| {
            let fault = format!("{key}: nothing reads it; act on it or mark it AcceptedNoEffect");
            finding("src/model/config_keys.rs", 0, fault)
        })
        .collect()
}

/// The source with its strings, but without what `#[cfg(test)]` keeps from shipping.
fn without_test_items(source: &str) -> String {
    let kept = shipped(&views(source).code);
    let mut lines = Vec::new();
    for (line, kept) in source.lines().zip(kept.lines()) {
        if !kept.trim().is_empty() {
            lines.push(line);
        }
    }
    lines.join("\n")
}

pub(crate) fn assertions(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for folder in ASSERTED {
        let (mut lines, mut asserts) = (0, 0);
        for (path, source) in shipped_files(tree) {
            if is_below(path, folder) {
                let code = shipped(&views(source).code);
                lines += code.lines().filter(|line| !line.trim().is_empty()).count();
                asserts += ["assert!(", "assert_eq!(", "assert_ne!("]
                    .iter()
                    .map(|text| code.matches(text).count())
                    .sum::<usize>();
            }
        }
        if lines >= LINES_FOR_A_RATIO && asserts * 1000 < ASSERTS_PER_1000_LINES_MIN * lines {
            let fault = format!(
                "{asserts} asserts in {lines} lines, at least {ASSERTS_PER_1000_LINES_MIN} per 1000"
            );
            findings.push(finding(folder, 0, fault));
        }
    }
    findings
}

#[test]
fn a_key_that_nobody_reads_is_reported() {
    let tree = Tree::planted(&[
        ("src/lib.rs", "mod model; mod cli;"),
        ("src/model/mod.rs", "mod config_keys;"),
        ("src/model/config_keys.rs", "\"dead.key\" \"live.key\" \"tested.key\""),
        ("src/cli/mod.rs", "a(\"live.key\");\n#[cfg(test)]\nmod t {\n b(\"tested.key\"); }"),
    ]);
    let found = dead_keys(&tree, &["dead.key", "live.key", "tested.key"]);
    let keys: Vec<_> = found.iter().filter_map(|finding| finding.text.split(':').next()).collect();
    assert_eq!(keys, ["dead.key", "tested.key"]);
}

#[test]
fn a_state_machine_without_assertions_is_reported() {
    let planted = |asserts: usize| {
        let text = format!("{}{}", "x();\n".repeat(400 - asserts), "assert!(y);\n".repeat(asserts));
        let files = [("src/lib.rs", "mod storage;"), ("src/storage/mod.rs", text.as_str())];
        assertions(&Tree::planted(&files)).len()
    };
    assert_eq!((planted(5), planted(6)), (1, 0));
}
