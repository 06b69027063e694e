//! The files under test, read once: a rule sees a map from path to text and never the disk, so that
//! a planted fault is three lines.

use std::collections::BTreeMap;
use std::path::Path;

/// Written by builds, test runs and editors; never part of the project.
const SKIPPED: [&str; 6] = [
    "target",
    "node_modules",
    "highwater-data",
    "__pycache__",
    "proptest-regressions",
    "mutants.out",
];
/// Of the names that begin with a dot, these are part of the project.
const DOT_NAMES: [&str; 2] = [".ci", ".gitignore"];

pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

/// One violated rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// From 1; 0 where the file as a whole is meant.
    pub(crate) line: usize,
    pub(crate) text: String,
}

pub(crate) fn finding(path: &str, line: usize, text: impl Into<String>) -> Finding {
    Finding { path: path.to_owned(), line, text: text.into() }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.text)
    }
}

impl Tree {
    pub(crate) fn read(root: &Path) -> Tree {
        let mut tree = Tree { files: BTreeMap::new() };
        tree.add_folder(root, "");
        assert!(tree.files.contains_key("Cargo.toml"), "{} is no repository", root.display());
        tree
    }

    /// A tree that exists only in a test.
    pub(crate) fn planted(files: &[(&str, &str)]) -> Tree {
        let own = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        Tree { files: files.iter().map(own).collect() }
    }

    fn add_folder(&mut self, folder: &Path, prefix: &str) {
        for entry in std::fs::read_dir(folder).expect("a folder of the repository is readable") {
            let entry = entry.expect("a folder of the repository is readable");
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_hidden = name.starts_with('.') && !DOT_NAMES.contains(&name.as_str());
            if is_hidden || SKIPPED.contains(&name.as_str()) {
                continue;
            }
            let path = format!("{prefix}{name}");
            if entry.path().is_dir() {
                self.add_folder(&entry.path(), &format!("{path}/"));
            } else if let Ok(text) = std::fs::read_to_string(entry.path()) {
                self.files.insert(path, text);
            }
        }
    }

    /// Text files with their contents; binary files are left out.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(crate) fn rust_files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| path.ends_with(".rs"))
    }

    pub(crate) fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Whether any file lies below `folder`, which is named without the last slash.
    pub(crate) fn has_folder(&self, folder: &str) -> bool {
        self.files.keys().any(|path| is_below(path, folder))
    }

    /// Some pages are written last. From the day the broker can be started they must be there.
    pub(crate) fn is_grown(&self) -> bool {
        self.has("src/cli/start.rs")
    }
}

pub(crate) fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Line numbers from 1.
pub(crate) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// The line, from 1, on which a byte lies.
pub(crate) fn line_of(text: &str, position: usize) -> usize {
    text[..position].bytes().filter(|byte| *byte == b'\n').count() + 1
}
