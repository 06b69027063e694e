//! The host as files under `proc` and `sys`: the running one, or a copy in a folder.
//!
//! Everything but the ring itself is read from files, so a copied tree shows another host's state
//! and the checks are tested without privileges.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct Host {
    root: PathBuf,
    pub(crate) is_live: bool,
}

impl Host {
    pub(crate) fn live() -> Host {
        Host { root: PathBuf::from("/"), is_live: true }
    }

    pub(crate) fn copied(root: PathBuf) -> Host {
        Host { root, is_live: false }
    }

    /// A file's text without surrounding blanks; `None` where it cannot be read.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        Some(fs::read_to_string(self.root.join(path)).ok()?.trim().to_owned())
    }

    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The folder as the kernel names it, with links resolved where that can be known.
    pub(crate) fn resolved(&self, folder: &Path) -> PathBuf {
        if !self.is_live {
            return folder.to_owned();
        }
        // A data directory that does not exist yet will lie on its parent's disk.
        let existing = folder.ancestors().find_map(|known| known.canonicalize().ok());
        existing.or_else(|| std::env::current_dir().ok()).unwrap_or_else(|| folder.to_owned())
    }
}

/// The choice in brackets: `always [madvise] never` is `madvise`.
pub(crate) fn chosen(text: &str) -> &str {
    let bracketed = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    bracketed.map_or(text, |(choice, _)| choice)
}
