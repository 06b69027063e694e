//! The host as files under `proc` and `sys`: the running one, or a copy in a folder.
//!
//! Everything but the ring itself is read from files, so a copied tree shows another host's state
//! and everything is tested without privileges. Paths are relative to the root, as in
//! `proc/sys/vm/swappiness`.
//!
//! Invariant: with a copied tree nothing outside of it is written, not even through a link.

use rustix::fs::Access as Wish;
use rustix::io::Errno;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub(crate) struct Host {
    root: PathBuf,
    pub(crate) is_live: bool,
}

/// What one read of a file gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Text(String),
    Absent,
    /// Only the superuser may read it.
    NeedsRoot,
}

/// Whether a file can be changed by this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Writable,
    /// The kernel, the hypervisor or the container's host decides; the reason.
    Managed(&'static str),
    NeedsRoot,
}

impl Host {
    pub(crate) fn live() -> Host {
        Host { root: PathBuf::from("/"), is_live: true }
    }

    pub(crate) fn copied(root: PathBuf) -> Host {
        Host { root, is_live: false }
    }

    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(crate) fn read(&self, path: &str) -> Reading {
        match fs::read_to_string(self.file(path)) {
            Ok(text) => Reading::Text(text.trim().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Reading::NeedsRoot,
            Err(_) => Reading::Absent,
        }
    }

    /// A file's text without surrounding blanks; `None` where it cannot be read.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        match self.read(path) {
            Reading::Text(text) => Some(text),
            Reading::Absent | Reading::NeedsRoot => None,
        }
    }

    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.file(path).exists()
    }

    /// The setting that a file holds: the choice in brackets, or its words with one blank between.
    pub(crate) fn setting(&self, path: &str) -> Option<String> {
        Some(setting(&self.text(path)?))
    }

    pub(crate) fn access(&self, path: &str) -> Access {
        let file = self.file(path);
        if !self.holds(&file) {
            return Access::Managed("a link that leads out of the copied tree");
        }
        let is_read_only =
            fs::metadata(&file).is_ok_and(|known| known.permissions().mode() & 0o222 == 0);
        if is_read_only {
            return Access::Managed("the kernel offers it for reading only");
        }
        match rustix::fs::access(&file, Wish::WRITE_OK) {
            Ok(()) => Access::Writable,
            Err(Errno::ROFS) => Access::Managed("mounted read-only, as containers have it"),
            Err(_) if is_superuser() => Access::Managed("refused even to the superuser"),
            Err(_) => Access::NeedsRoot,
        }
    }

    /// Writes an existing file in one call, as the kernel's settings must be.
    pub(crate) fn write(&self, path: &str, text: &str) -> io::Result<()> {
        let file = self.file(path);
        if !self.holds(&file) {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        let mut file = OpenOptions::new().write(true).truncate(true).open(file)?;
        file.write_all(format!("{text}\n").as_bytes())
    }

    /// The paths that a pattern names: `*` stands for any part of one name. Sorted by number.
    pub(crate) fn matching(&self, pattern: &str) -> Vec<String> {
        let mut found = vec![String::new()];
        for part in pattern.split('/') {
            found = found.iter().flat_map(|folder| self.children(folder, part)).collect();
        }
        found
    }

    fn children(&self, folder: &str, part: &str) -> Vec<String> {
        let below = |name: &str| match folder {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        };
        let Some((before, after)) = part.split_once('*') else {
            let path = below(part);
            return if self.exists(&path) { vec![path] } else { Vec::new() };
        };
        let entries = fs::read_dir(self.file(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.len() >= before.len() + after.len())
            .filter(|name| name.starts_with(before) && name.ends_with(after))
            .collect();
        // cpu2 comes before cpu10.
        names.sort_by_key(|name| (name.len(), name.clone()));
        names.iter().map(|name| below(name)).collect()
    }

    /// The path without links, where it lies below the root.
    pub(crate) fn without_links(&self, path: &str) -> Option<String> {
        let root = self.root.canonicalize().ok()?;
        let file = self.file(path).canonicalize().ok()?;
        Some(file.strip_prefix(root).ok()?.to_str()?.to_owned())
    }

    fn holds(&self, file: &Path) -> bool {
        let Ok(root) = self.root.canonicalize() else { return false };
        file.canonicalize().is_ok_and(|file| file.starts_with(root))
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

pub(crate) fn is_superuser() -> bool {
    rustix::process::geteuid().is_root()
}

/// `always [madvise] never` is `madvise`; `4096\t131072` is `4096 131072`.
pub(crate) fn setting(text: &str) -> String {
    let bracketed = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    match bracketed {
        Some((choice, _)) => choice.to_owned(),
        None => text.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}
