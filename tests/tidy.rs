//! The house rules that a machine can check: layers, sizes, names, words, pages that must be true.
//!
//! Each rule is a function from a tree of files to its findings, and sits beside tests that plant
//! the fault it is for. docs/style.md says why the rules are what they are.

mod tidy {
    pub(crate) mod constructs;
    pub(crate) mod documentation;
    pub(crate) mod layers;
    pub(crate) mod modules;
    pub(crate) mod names;
    pub(crate) mod pages;
    pub(crate) mod promises;
    pub(crate) mod rust;
    pub(crate) mod sizes;
    pub(crate) mod text;
    pub(crate) mod tree;
}

use highwater::model::config_keys::{BROKER_KEYS, Effect, TOPIC_KEYS};
use std::path::Path;
use tidy::tree::{Finding, Tree};
use tidy::{constructs, documentation, layers, modules, names, pages, promises, sizes, text};

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: [(&str, Rule); 24] = [
    ("layers", layers::layers),
    ("dead files", modules::dead_files),
    ("empty files", modules::empty_files),
    ("file sizes", sizes::file_sizes),
    ("function sizes", sizes::function_sizes),
    ("columns", sizes::columns),
    ("file names", names::file_names),
    ("constructs", constructs::constructs),
    ("sleeps", constructs::sleeps),
    ("tables of codes", constructs::code_tables),
    ("words", text::words),
    ("marks", text::marks),
    ("foreign strings", text::foreign_strings),
    ("module headers", documentation::module_headers),
    ("public items", documentation::public_items),
    ("README map", pages::readme_map),
    ("ARCHITECTURE names", pages::architecture_names),
    ("CHANGELOG", pages::changelog),
    ("decisions", pages::decisions),
    ("generated pages", pages::generated_pages),
    ("links", pages::links),
    ("dependencies", pages::dependencies),
    ("dead keys", dead_keys),
    ("assertions", promises::assertions),
];

fn dead_keys(tree: &Tree) -> Vec<Finding> {
    // A broker key that only gives a topic key its default is read through the topic key.
    let is_default = |name: &str| {
        TOPIC_KEYS.iter().flat_map(|key| key.synonyms).any(|synonym| synonym.broker_key == name)
    };
    let broker_keys = BROKER_KEYS.iter().filter(|key| !is_default(key.name));
    let keys = broker_keys.chain(TOPIC_KEYS);
    let acted_upon: Vec<&str> =
        keys.filter(|key| key.effect == Effect::Acted).map(|key| key.name).collect();
    // The keys are read by code that is written last.
    if tree.is_grown() { promises::dead_keys(tree, &acted_upon) } else { Vec::new() }
}

#[test]
fn the_tree_keeps_the_house_rules() {
    let tree = Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    let mut report = String::new();
    for (name, rule) in RULES {
        for finding in rule(&tree) {
            report.push_str(&format!("{finding} [{name}]\n"));
        }
    }
    assert!(report.is_empty(), "{} findings\n{report}", report.lines().count());
}

#[test]
fn a_clean_tree_has_no_findings() {
    let tree = Tree::planted(&[
        ("Cargo.toml", "[dependencies]\nbytes = \"1\" # slices\n"),
        ("CHANGELOG.md", "# Changes\n\n## Unreleased\n"),
        ("src/lib.rs", "//! Modules.\npub mod model;\n"),
        ("src/model/mod.rs", "//! Words.\n\n/// Unit: records.\npub struct Offset(u64);\n"),
    ]);
    for (name, rule) in RULES {
        assert_eq!(rule(&tree), [], "{name}");
    }
}
