//! Words: in comments and pages, and strings that have no business in a repository.

use super::rust::views;
use super::tree::{Finding, Tree, finding, numbered};

/// Praise and diary. A figure or a fact says more.
const WORDS: [&str; 12] = [
    "robust",
    "comprehensive",
    "production-ready",
    "blazing",
    "blazingly",
    "simply",
    "now we",
    "seamless",
    "seamlessly",
    "cutting-edge",
    "state-of-the-art",
    "effortlessly",
];
const MARKS: [&str; 3] = ["TODO", "FIXME", "XXX"];
/// Hosts belong to the package managers' configuration.
const HOSTS: [&str; 8] = [
    concat!("registry", ".npmjs"),
    concat!("repo1", ".maven"),
    concat!("repo", ".maven"),
    concat!("pypi", ".org"),
    concat!("files", ".pythonhosted"),
    concat!("proxy", ".golang"),
    concat!("index.cra", "tes.io"),
    concat!("static.cra", "tes.io"),
];
/// Written in two halves, so that a search of the repository does not find them here.
const FOREIGN: [(&str, &str); 8] = [
    ("shared", "/design"),
    ("\"/wo", "rk/"),
    (" /wo", "rk/"),
    ("HELP", "ERS.md"),
    ("cla", "ude"),
    ("anthr", "opic"),
    ("chat", "gpt"),
    ("copi", "lot"),
];

/// Where the lists themselves live: this checker, and the page that explains them.
fn names_the_words(path: &str) -> bool {
    path.starts_with("tests/tidy") || path == "docs/style.md"
}

pub(crate) fn words(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| !names_the_words(path)) {
        let prose = match path.rsplit_once('.').map(|(_, ending)| ending) {
            Some("rs") => views(text).comments,
            Some("md") => text.to_owned(),
            _ => continue,
        };
        for (number, line) in numbered(&prose) {
            let line = line.to_lowercase();
            if let Some(char) = line.chars().find(|char| is_emoji(*char)) {
                findings.push(finding(path, number, format!("{char}: use words")));
            }
            for word in WORDS.iter().filter(|word| has_word(&line, word)) {
                findings.push(finding(
                    path,
                    number,
                    format!("\"{word}\": say what is true instead"),
                ));
            }
        }
    }
    findings
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let is_letter = |char: Option<char>| char.is_some_and(char::is_alphabetic);
        !is_letter(line[..at].chars().next_back())
            && !is_letter(line[at + word.len()..].chars().next())
    })
}

fn is_emoji(char: char) -> bool {
    matches!(u32::from(char), 0x2600..=0x27bf | 0x1f000..=0x1faff | 0xfe0f)
}

/// A mark for later is a promise nobody reads: write the test that shows today's behaviour.
pub(crate) fn marks(tree: &Tree) -> Vec<Finding> {
    let is_source = |path: &str| {
        let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
        ["rs", "py", "js", "go", "java", "sh", "toml"].contains(&ending) || path == ".ci/run"
    };
    let mut findings = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| is_source(path) && !names_the_words(path)) {
        for (number, line) in numbered(text) {
            for mark in MARKS.iter().filter(|mark| has_word(line, mark)) {
                findings.push(finding(path, number, format!("{mark}: do it, or test what holds")));
            }
        }
    }
    findings
}

pub(crate) fn foreign_strings(tree: &Tree) -> Vec<Finding> {
    let mut forbidden: Vec<String> =
        FOREIGN.iter().map(|(head, tail)| format!("{head}{tail}").to_lowercase()).collect();
    forbidden.extend(HOSTS.map(str::to_owned));
    let mut findings = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| !names_the_words(path)) {
        let text = text.to_lowercase();
        for (number, line) in numbered(&text) {
            for string in forbidden.iter().filter(|string| line.contains(string.as_str())) {
                let fault = format!("{string:?} names a machine, a registry or a tool");
                findings.push(finding(path, number, fault));
            }
        }
    }
    findings
}

#[test]
fn praise_and_pictures_are_reported() {
    for word in WORDS {
        assert_eq!(words(&Tree::planted(&[("a.md", &format!("A {word}, b."))])).len(), 1, "{word}");
        assert_eq!(words(&Tree::planted(&[("a.rs", &format!("/// {word}"))])).len(), 1, "{word}");
    }
    assert_eq!(words(&Tree::planted(&[("a.md", "done \u{2705}")])).len(), 1);
    let clean = [("a.rs", "let robust = \"simply\"; // robustness"), ("b.py", "# simply")];
    assert_eq!(words(&Tree::planted(&clean)), []);
}

#[test]
fn a_mark_for_later_is_reported() {
    for mark in MARKS {
        assert_eq!(marks(&Tree::planted(&[("a.py", &format!("# {mark}: x"))])).len(), 1);
    }
    assert_eq!(marks(&Tree::planted(&[("a.rs", "TODOS"), ("a.md", "TODO")])), []);
}

#[test]
fn a_string_that_names_a_machine_is_reported() {
    for (head, tail) in FOREIGN {
        let text = format!("x{head}{tail}y");
        assert_eq!(foreign_strings(&Tree::planted(&[("a.md", &text)])).len(), 1, "{text}");
    }
    for host in HOSTS {
        assert_eq!(foreign_strings(&Tree::planted(&[("a.py", host)])).len(), 1, "{host}");
    }
    assert_eq!(foreign_strings(&Tree::planted(&[("a.md", "homework/ is shared")])), []);
}
