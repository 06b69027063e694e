//! Code that explains itself: a header per file, a line per public function and type.

use super::modules::{Reach, reached, shipped_files};
use super::rust::{functions, shipped, views};
use super::tree::{Finding, Tree, finding, numbered};

const ITEMS: [&str; 8] =
    ["fn", "async fn", "const fn", "struct", "enum", "trait", "type", "static"];

/// A function this short says itself what it does: a getter, a constructor.
const SHORT_LINES: usize = 3;

/// Test modules beside their source are spared: the header of the source speaks for them.
pub(crate) fn module_headers(tree: &Tree) -> Vec<Finding> {
    let reached = reached(tree);
    let is_sibling_test =
        |path: &str| path.contains("src/") && reached.get(path) == Some(&Reach::Tests);
    tree.rust_files()
        .filter(|(path, text)| !is_sibling_test(path) && !text.starts_with("//! "))
        .map(|(path, _)| finding(path, 1, "no `//!` header: say why the module exists"))
        .collect()
}

/// Fields and variants are left out on purpose: their names must say it.
pub(crate) fn public_items(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in shipped_files(tree) {
        let code = shipped(&views(source).code);
        let lines: Vec<&str> = source.lines().collect();
        let functions = functions(&code);
        let is_short = |number: usize| {
            functions
                .iter()
                .any(|function| function.first_line == number && function.line_count <= SHORT_LINES)
        };
        for (number, line) in numbered(&code) {
            let Some(item) = line.trim_start().strip_prefix("pub ") else { continue };
            let Some(kind) = ITEMS.iter().find(|kind| item.starts_with(&format!("{kind} "))) else {
                continue;
            };
            if !is_short(number) && !is_documented(&lines[..number - 1]) {
                let name =
                    item[kind.len()..].trim_start().split(['(', '<', ' ', ':', ';', '{']).next();
                let fault = format!("pub {kind} {} has no doc line", name.unwrap_or_default());
                findings.push(finding(path, number, fault));
            }
        }
    }
    findings
}

/// Looks upwards past attributes, which may span lines.
fn is_documented(above: &[&str]) -> bool {
    let mut in_attribute = false;
    for line in above.iter().rev().map(|line| line.trim()) {
        if line.starts_with("///") || line.starts_with("$(#[") || line.starts_with("#[doc") {
            return true;
        }
        if line.starts_with("#[") {
            in_attribute = false;
        } else if in_attribute || line.ends_with(")]") {
            in_attribute = true;
        } else {
            return false;
        }
    }
    false
}

#[test]
fn a_file_without_a_header_is_reported() {
    let tree = Tree::planted(&[("src/a.rs", "use b;"), ("src/b.rs", "//! Why.\nuse b;")]);
    assert_eq!(module_headers(&tree).len(), 1);
}

#[test]
fn a_public_item_without_a_doc_line_is_reported() {
    let text = "\
        /// Meaning.\n#[derive(\n    Debug,\n)]\npub struct Good { pub field: u8 }\n\
        pub struct Bad;\n\
        impl Good {\n    pub const fn bad(\n    ) {\n\n    }\n    /// Meaning.\n    \
        pub fn good(\n    ) {\n    }\n    pub fn get() {}\n}\n\
        pub(crate) fn free() {}\n\
        #[cfg(test)]\nmod tests { pub fn free() {} }\n";
    let found = public_items(&Tree::planted(&[("src/lib.rs", text)]));
    let texts: Vec<_> = found.iter().map(|finding| finding.text.as_str()).collect();
    assert_eq!(texts, ["pub struct Bad has no doc line", "pub const fn bad has no doc line"]);
    assert_eq!(found[1].line, 8);
}
