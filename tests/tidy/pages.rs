//! Pages that must agree with the tree: README, ARCHITECTURE, CHANGELOG, decisions, Cargo.toml.
//!
//! Some are written last: `Tree::is_grown` says from when on they must be there.

use super::rust::{views, words};
use super::tree::{Finding, Tree, finding, numbered};
use std::collections::BTreeSet;

/// Written by tests from the tables of the code.
const GENERATED: [&str; 3] = ["docs/config.md", "docs/errors.md", "docs/compatibility.md"];
const README_MAP: &str = "## Where things are";
const DECISION_LINES_MAX: usize = 100;

/// The README's table of folders names each of them, and none that is gone.
pub(crate) fn readme_map(tree: &Tree) -> Vec<Finding> {
    let Some(readme) = tree.get("README.md") else {
        return missing(tree, "README.md");
    };
    let mut named = BTreeSet::new();
    let mut is_in_map = false;
    let mut findings = Vec::new();
    for (number, line) in numbered(readme) {
        if line.starts_with('#') {
            is_in_map = line == README_MAP;
        } else if is_in_map && line.starts_with("| `") {
            let folder = quoted(line).next().unwrap_or_default().trim_end_matches('/');
            if !tree.has_folder(folder) {
                findings.push(finding("README.md", number, format!("`{folder}` is gone")));
            }
            named.insert(folder.to_owned());
        }
    }
    for folder in folders(tree).difference(&named).filter(|_| tree.is_grown()) {
        findings.push(finding("README.md", 0, format!("the map does not name `{folder}`")));
    }
    findings
}

/// Folders of the top level, and the library's modules instead of `src` itself.
fn folders(tree: &Tree) -> BTreeSet<String> {
    tree.files()
        .filter_map(|(path, _)| {
            let (top, rest) = path.split_once('/')?;
            match (top, rest.split_once('/')) {
                ("src", inner) => inner.map(|(module, _)| format!("src/{module}")),
                _ => Some(top.to_owned()),
            }
        })
        .filter(|folder| !folder.starts_with('.'))
        .collect()
}

/// `Type::function`, `module::function` and paths in backticks name things that exist.
pub(crate) fn architecture_names(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.get("ARCHITECTURE.md") else {
        return missing(tree, "ARCHITECTURE.md");
    };
    let code: Vec<(&str, String)> =
        tree.rust_files().map(|(path, text)| (path, views(text).code)).collect();
    let mut findings = Vec::new();
    for (number, line) in numbered(page) {
        for name in quoted(line) {
            let exists = match name {
                _ if name.contains("::") => path_exists(&code, name),
                _ if name.ends_with(".rs") => tree.has(name) || tree.has(&format!("src/{name}")),
                _ => true,
            };
            if !exists {
                findings.push(finding("ARCHITECTURE.md", number, format!("`{name}` is not there")));
            }
        }
    }
    findings
}

/// The last name is declared in a file that also declares the one before it, or is named after it.
fn path_exists(code: &[(&str, String)], path: &str) -> bool {
    let path = path.split(['(', '<', ' ']).next().unwrap_or_default();
    let mut parts = path.rsplit("::").filter(|part| !part.is_empty());
    let (Some(last), Some(owner)) = (parts.next(), parts.next()) else { return true };
    code.iter().any(|(file, code)| {
        let is_module =
            file.ends_with(&format!("/{owner}.rs")) || file.contains(&format!("/{owner}/"));
        let is_owner = is_module || words(code, owner).any(|at| is_declared(code, at));
        is_owner && words(code, last).any(|at| is_declared(code, at))
    })
}

/// Whether the name at this position follows `fn`, `struct` and the like, or is an enum's variant.
fn is_declared(code: &str, at: usize) -> bool {
    let before = code[..at].trim_end();
    let keywords =
        ["fn", "struct", "enum", "trait", "const", "type", "mod", "static", "impl", "for"];
    let is_variant = before.ends_with(['{', ',', ']']) && code[..at].ends_with("    ");
    keywords.iter().any(|keyword| before.ends_with(keyword)) || before.ends_with('>') || is_variant
}

fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn missing(tree: &Tree, path: &str) -> Vec<Finding> {
    match tree.is_grown() {
        true => vec![finding(path, 0, "is missing")],
        false => Vec::new(),
    }
}

pub(crate) fn changelog(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.get("CHANGELOG.md") else {
        return vec![finding("CHANGELOG.md", 0, "is missing")];
    };
    match page.lines().find(|line| line.starts_with("## ")) {
        Some(line) if line.contains("Unreleased") => Vec::new(),
        _ => vec![finding("CHANGELOG.md", 1, "the first section is \"Unreleased\"")],
    }
}

/// docs/decisions/NNN-title.md: numbered from 001 without gaps, dated, at most a page.
pub(crate) fn decisions(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let pages = tree.files().filter(|(path, _)| path.starts_with("docs/decisions/"));
    for (index, (path, text)) in pages.enumerate() {
        let wanted = format!("docs/decisions/{:03}-", index + 1);
        if !path.starts_with(&wanted) {
            findings.push(finding(path, 0, format!("the next decision is {wanted}…")));
        }
        if !text.lines().take(6).any(|line| line.starts_with("20") && line.len() == 10) {
            findings.push(finding(path, 1, "no date: a line such as 2026-11-21 near the top"));
        }
        if text.lines().count() > DECISION_LINES_MAX {
            findings.push(finding(path, 0, "longer than a page"));
        }
    }
    findings
}

pub(crate) fn generated_pages(tree: &Tree) -> Vec<Finding> {
    GENERATED
        .into_iter()
        .filter(|path| tree.get(path).is_some_and(|text| text.trim().is_empty()))
        .map(|path| finding(path, 0, "is empty: a test writes it"))
        .collect()
}

/// A page that names another page in `docs/` names one that is there.
pub(crate) fn links(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| path.ends_with(".md")) {
        for (number, line) in numbered(text) {
            for (at, _) in line.match_indices("docs/") {
                let is_word = |char: char| char.is_alphanumeric() || "/-_.".contains(char);
                let target = line[at..].split(|char| !is_word(char)).next().unwrap_or_default();
                if target.ends_with(".md") && !tree.has(target) {
                    findings.push(finding(path, number, format!("`{target}` is not there")));
                }
            }
        }
    }
    findings
}

/// Every dependency says why it is here, on its own line.
pub(crate) fn dependencies(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| path.ends_with("Cargo.toml")) {
        let mut is_list = false;
        for (number, line) in numbered(text) {
            if line.starts_with('[') {
                is_list = line.trim_end().ends_with("dependencies]");
            } else if is_list && line.contains('=') && !line.contains('#') {
                let name = line.split('=').next().unwrap_or_default().trim();
                findings.push(finding(path, number, format!("{name}: no `#` that says why")));
            }
        }
    }
    findings
}

#[test]
fn a_map_that_has_drifted_is_reported() {
    let table = "| `src/model` | `words` |\n| `attic/` | old |\n";
    let readme = format!("# Highwater\n| `gone` |\n{README_MAP}\n{table}");
    let files = [
        ("README.md", readme.as_str()),
        ("src/model/a.rs", ""),
        ("src/cli/start.rs", ""),
        (".ci/run", ""),
    ];
    let found: Vec<_> = readme_map(&Tree::planted(&files)).into_iter().map(|f| f.text).collect();
    assert_eq!(found, ["`attic` is gone", "the map does not name `src/cli`"]);
    assert_eq!(readme_map(&Tree::planted(&[("src/cli/start.rs", "")])).len(), 1);
    assert_eq!(readme_map(&Tree::planted(&[("src/model/a.rs", "")])), []);
}

#[test]
fn a_name_that_is_gone_from_the_source_is_reported() {
    let code = "//! `Gone::away`\nstruct Shard;\nimpl Shard {\n    fn route() { call(away) }\n}\n";
    let page = "`Shard::route` `shard/shard.rs` `routes::handle`, `Shard::away` `shard/gone.rs`\n";
    let tree = Tree::planted(&[
        ("ARCHITECTURE.md", page),
        ("src/shard/shard.rs", code),
        ("src/api/routes.rs", "pub fn handle() {}"),
    ]);
    let found: Vec<_> = architecture_names(&tree).into_iter().map(|f| f.text).collect();
    assert_eq!(found, ["`Shard::away` is not there", "`shard/gone.rs` is not there"]);
    assert_eq!(architecture_names(&Tree::planted(&[("src/cli/start.rs", "")])).len(), 1);
}

#[test]
fn a_changelog_without_an_unreleased_section_is_reported() {
    let planted = |text| changelog(&Tree::planted(&[("CHANGELOG.md", text)])).len();
    assert_eq!(planted("# Changes\n## Unreleased\n## 0.1\n"), 0);
    assert_eq!((planted("# Changes\n## 0.1\n## Unreleased\n"), planted("")), (1, 1));
    assert_eq!(changelog(&Tree::planted(&[])).len(), 1);
}

#[test]
fn a_decision_out_of_order_undated_or_too_long_is_reported() {
    let planted = |path, text| decisions(&Tree::planted(&[(path, text)])).len();
    assert_eq!(planted("docs/decisions/001-a.md", "# 001\n\n2026-11-21\n"), 0);
    assert_eq!(planted("docs/decisions/002-a.md", "# 002\n\n2026-11-21\n"), 1);
    assert_eq!(planted("docs/decisions/001-a.md", "# 001\n"), 1);
    assert_eq!(planted("docs/decisions/001-a.md", &format!("2026-11-21{}", "\nx".repeat(100))), 1);
}

#[test]
fn an_empty_generated_page_is_reported() {
    assert_eq!(generated_pages(&Tree::planted(&[("docs/config.md", "\n")])).len(), 1);
    assert_eq!(generated_pages(&Tree::planted(&[("docs/config.md", "x")])), []);
}

#[test]
fn a_link_to_a_page_that_is_gone_is_reported() {
    let page = "See [a](docs/a.md), `docs/b.md#part` and docs/decisions/.";
    let tree = Tree::planted(&[("README.md", page), ("docs/a.md", "x")]);
    assert_eq!(links(&tree), [finding("README.md", 1, "`docs/b.md` is not there")]);
}

#[test]
fn a_dependency_without_a_reason_is_reported() {
    let text = "[dependencies]\na = 1\nb = 1 # why\n[features]\nc = []\n[dev-dependencies]\nd = 1";
    let found: Vec<_> = dependencies(&Tree::planted(&[("x/Cargo.toml", text)]))
        .into_iter()
        .map(|f| f.line)
        .collect();
    assert_eq!(found, [2, 7]);
}
