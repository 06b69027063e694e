//! Which files the compiler sees: follows `mod` declarations from each crate root.

use super::rust::{TEST_ATTRIBUTES, identifier, views, words};
use super::tree::{Finding, Tree, finding, is_below, line_of};
use std::collections::BTreeMap;

/// How a file is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    Shipped,
    /// Only through a `#[cfg(test)] mod`, or as an integration test or bench.
    Tests,
}

/// Every Rust file that a crate root leads to.
pub(crate) fn reached(tree: &Tree) -> BTreeMap<String, Reach> {
    let mut reached = BTreeMap::new();
    for (path, _) in tree.rust_files() {
        if let Some(reach) = root(path) {
            follow(tree, path, reach, &mut reached);
        }
    }
    reached
}

/// Files that no crate root leads to.
pub(crate) fn dead_files(tree: &Tree) -> Vec<Finding> {
    let reached = reached(tree);
    tree.rust_files()
        .filter(|(path, _)| !reached.contains_key(*path) && !path.starts_with("fuzz/"))
        .map(|(path, _)| finding(path, 0, "no `mod` leads here: delete it or declare it"))
        .collect()
}

fn root(path: &str) -> Option<Reach> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_target_folder = |parent: &str| {
        let inner = folder.strip_prefix(parent).and_then(|rest| rest.strip_prefix('/'));
        folder == parent || (inner.is_some_and(|rest| !rest.contains('/')) && name == "main.rs")
    };
    let is_source = folder == "src" || folder.ends_with("/src");
    if is_source && (name == "lib.rs" || name == "main.rs") {
        let is_for_tests = folder.starts_with("tests/");
        return Some(if is_for_tests { Reach::Tests } else { Reach::Shipped });
    }
    if name == "build.rs" && ["", "loadgen"].contains(&folder) {
        return Some(Reach::Tests);
    }
    let targets = ["tests", "benches", "loadgen/tests", "tuning/tests"];
    targets.into_iter().any(is_target_folder).then_some(Reach::Tests)
}

fn follow(tree: &Tree, path: &str, reach: Reach, reached: &mut BTreeMap<String, Reach>) {
    if reached.get(path).is_some_and(|known| *known <= reach) {
        return;
    }
    reached.insert(path.to_owned(), reach);
    let source = tree.get(path).expect("only files of the tree are followed");
    let code = views(source).code;
    for at in words(&code, "mod") {
        let name = identifier(code[at + 3..].trim_start());
        let is_declaration =
            code[at + 3..].trim_start()[name.len()..].trim_start().starts_with(';');
        if name.is_empty() || !is_declaration {
            continue;
        }
        let attributes = attributes_before(source, at);
        let is_test = TEST_ATTRIBUTES.iter().any(|attribute| attributes.contains(attribute));
        let reach = if is_test && name != "sim" { Reach::Tests } else { reach };
        for candidate in candidates(path, &code, at, name, attributes) {
            if tree.has(&candidate) {
                follow(tree, &candidate, reach, reached);
            }
        }
    }
}

/// The attribute lines directly above the item at `position`.
fn attributes_before(source: &str, position: usize) -> &str {
    let line_start = source[..position].rfind('\n').map_or(0, |newline| newline + 1);
    let mut start = line_start;
    for line in source[..line_start].lines().rev() {
        if !line.trim_start().starts_with("#[") {
            break;
        }
        start = source[..start - 1].rfind('\n').map_or(0, |newline| newline + 1);
    }
    &source[start..position]
}

fn candidates(path: &str, code: &str, at: usize, name: &str, attributes: &str) -> Vec<String> {
    let (folder, file) = path.rsplit_once('/').expect("source files lie in folders");
    if let Some((_, rest)) = attributes.split_once("path = \"") {
        let target = rest.split('"').next().unwrap_or_default();
        return vec![normalised(&format!("{folder}/{target}"))];
    }
    let stem = file.trim_end_matches(".rs");
    let is_root = ["lib", "main", "mod"].contains(&stem) || root(path).is_some();
    let mut base = if is_root { folder.to_owned() } else { format!("{folder}/{stem}") };
    for outer in inline_modules_around(code, at) {
        base = format!("{base}/{outer}");
    }
    vec![format!("{base}/{name}.rs"), format!("{base}/{name}/mod.rs")]
}

/// `a/b/../c` is `a/c`.
fn normalised(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// Names of the inline `mod name { … }` blocks that hold the position, outermost first.
fn inline_modules_around(code: &str, position: usize) -> Vec<&str> {
    words(code, "mod")
        .filter_map(|at| {
            let rest = code[at + 3..].trim_start();
            let name = identifier(rest);
            let body = rest[name.len()..].trim_start();
            let open = code.len() - body.len();
            let holds = body.starts_with('{')
                && open < position
                && position < super::rust::block_end(code, open);
            holds.then_some(name)
        })
        .collect()
}

/// Rust that ships: path and text of each file.
pub(crate) fn shipped_files(tree: &Tree) -> Vec<(&str, &str)> {
    let reached = reached(tree);
    tree.rust_files().filter(|(path, _)| reached.get(*path) == Some(&Reach::Shipped)).collect()
}

/// Folders of the library that later become modules need an owner in `lib.rs`.
pub(crate) fn empty_files(tree: &Tree) -> Vec<Finding> {
    tree.files()
        .filter(|(path, text)| text.trim().is_empty() && !is_below(path, "tests/golden"))
        .map(|(path, text)| {
            finding(path, line_of(text, 0), "an empty file says nothing: delete it")
        })
        .collect()
}

#[test]
fn a_file_that_no_mod_names_is_reported() {
    let tree = Tree::planted(&[
        ("src/lib.rs", "pub mod a;\n// mod c;\n"),
        ("src/a/mod.rs", "mod b { mod deep; }\n#[cfg(test)]\n#[path = \"../t.rs\"]\nmod t;"),
        ("src/a/b/deep.rs", ""),
        ("src/c.rs", ""),
        ("src/t.rs", ""),
        ("tests/x.rs", "mod x { mod y; }"),
        ("tests/x/y.rs", "mod z;"),
        ("tests/x/y/z.rs", ""),
        ("tests/x/z.rs", ""),
    ]);
    let dead: Vec<_> = dead_files(&tree).into_iter().map(|finding| finding.path).collect();
    assert_eq!(dead, ["src/c.rs", "tests/x/z.rs"]);
    assert_eq!(reached(&tree)["src/t.rs"], Reach::Tests);
    assert_eq!(reached(&tree)["src/a/b/deep.rs"], Reach::Shipped);
}

#[test]
fn an_empty_file_is_reported() {
    let tree = Tree::planted(&[("docs/a.md", " \n"), ("docs/b.md", "text")]);
    assert_eq!(empty_files(&tree).len(), 1);
}
