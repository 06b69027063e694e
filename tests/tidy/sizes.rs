//! Files and functions that fit a head, lines that fit a screen.

use super::rust::{functions, views};
use super::tree::{Finding, Tree, finding, is_below, numbered};

const FILE_LINES_MAX: usize = 800;
/// For the sans-io modules, where a file is one idea.
const FILE_LINES_MAX_L2: usize = 600;
const L2: [&str; 5] =
    ["src/storage", "src/replication", "src/controller", "src/coordinator", "src/security"];
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// Inline tests count: they move to a sibling file when the file gets long.
pub(crate) fn file_sizes(tree: &Tree) -> Vec<Finding> {
    let limit = |path: &str| match L2.iter().any(|folder| is_below(path, folder)) {
        true => FILE_LINES_MAX_L2,
        false => FILE_LINES_MAX,
    };
    tree.rust_files()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(path, lines)| *lines > limit(path))
        .map(|(path, lines)| {
            finding(path, 0, format!("{lines} lines, at most {}: split it by idea", limit(path)))
        })
        .collect()
}

pub(crate) fn function_sizes(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust_files() {
        for function in functions(&views(text).code) {
            if function.line_count > FUNCTION_LINES_MAX {
                let fault = format!(
                    "{} has {} lines, at most {FUNCTION_LINES_MAX}",
                    function.name, function.line_count
                );
                findings.push(finding(path, function.first_line, fault));
            }
        }
    }
    findings
}

/// rustfmt leaves comments alone, so this looks for itself. A line with quoted text is spared,
/// because a message is easier to find in one piece; so is a link.
pub(crate) fn columns(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust_files() {
        for (number, line) in numbered(text) {
            let width = line.chars().count();
            let is_spared = line.contains('"') || line.contains("https://");
            if width > COLUMNS_MAX && !is_spared {
                let fault = format!("{width} columns, at most {COLUMNS_MAX}");
                findings.push(finding(path, number, fault));
            }
        }
    }
    findings
}

#[test]
fn a_long_file_is_reported() {
    let (long, short) = ("x();\n".repeat(601), "x();\n".repeat(600));
    let tree = Tree::planted(&[
        ("src/storage/a.rs", &long),
        ("src/storage/b.rs", &short),
        ("src/shard/c.rs", &long),
    ]);
    let found = file_sizes(&tree);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].text, "601 lines, at most 600: split it by idea");
    assert_eq!(file_sizes(&Tree::planted(&[("a.rs", &"x();\n".repeat(801))])).len(), 1);
}

#[test]
fn a_long_function_is_reported() {
    let body = "    let text = \"}\"; // }\n";
    let (long, short) = (body.repeat(69), body.repeat(68));
    let text = format!("fn long<'a>() {{\n{long}}}\nfn short() {{\n{short}}}\n");
    let found = function_sizes(&Tree::planted(&[("src/a.rs", &text)]));
    assert_eq!(found, [finding("src/a.rs", 1, "long has 71 lines, at most 70")]);
}

#[test]
fn a_wide_line_is_reported() {
    let (wide, fits) = ("é".repeat(101), "é".repeat(100));
    let tree = Tree::planted(&[("src/a.rs", &format!("// {fits}\n")), ("src/b.rs", &fits)]);
    assert_eq!(columns(&tree), [finding("src/a.rs", 1, "103 columns, at most 100")]);
    assert_eq!(columns(&Tree::planted(&[("src/a.rs", &wide)])).len(), 1);
}
