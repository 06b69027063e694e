//! Tells a build which commit it was made of: a summary names it, so that figures can be traced to
//! code. Where git does not know this package (a source archive), nothing is said.
//!
//! Cargo hands the variables to what it runs, too, so their names are none that a broker would take
//! for a setting. Only this package is built again after a commit; nothing depends on the time.

use std::path::Path;
use std::process::Command;

/// What decides whether the files are those of the commit; a change in them builds this package
/// again anyhow.
const SOURCES: [&str; 5] = ["src", "Cargo.toml", "../src", "../Cargo.toml", "../Cargo.lock"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // In an archive that lies in somebody else's repository, that one's commit is not ours.
    if git(&["ls-files", "--error-unmatch", "Cargo.toml"]).is_none() {
        return;
    }
    let Some(commit) = git(&["rev-parse", "HEAD"]) else { return };
    println!("cargo::rustc-env=BUILD_COMMIT={commit}");
    let mut status = vec!["status", "--porcelain", "--untracked-files=no", "--"];
    status.extend(SOURCES);
    if let Some(changes) = git(&status) {
        println!("cargo::rustc-env=BUILD_CHANGED={}", !changes.is_empty());
    }
    let watched = watched().into_iter().chain(SOURCES.map(str::to_owned));
    // A path that is not there would run this at each build.
    for path in watched.filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
}

/// Files that change when another commit is checked out or made.
fn watched() -> Vec<String> {
    let place = |name: &str| git(&["rev-parse", "--git-path", name]);
    match place("logs/HEAD").filter(|path| Path::new(path).exists()) {
        Some(log) => vec![log],
        // Without a log of HEAD: itself, and the branch that it names.
        None => {
            let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
            let names = ["HEAD", "packed-refs"].map(str::to_owned).into_iter().chain(branch);
            names.filter_map(|name| place(&name)).collect()
        }
    }
}

/// What git says, if it is there and has something to say.
fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("--no-optional-locks").args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
