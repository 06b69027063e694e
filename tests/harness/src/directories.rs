//! Where the tests put what they install and write: beside the build, never in the sources.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the sources exist")
}

/// The build directory, found from the test's own executable: `<build>/<profile>/deps/<test>`.
fn build_directory() -> PathBuf {
    let executable = env::current_exe().expect("a test knows its executable");
    executable.ancestors().nth(3).expect("<build>/<profile>/deps/<test>").to_path_buf()
}

/// What clients and Kafka are installed into; kept between runs.
pub fn clients_directory() -> PathBuf {
    let directory = build_directory().join("clients");
    fs::create_dir_all(&directory).expect("the build directory is writable");
    directory
}

/// A new directory on the build directory's file system, removed with its owner.
///
/// With `HIGHWATER_KEEP=1` it stays, so that a failed test's files can be looked at.
pub fn scratch_directory(name: &str) -> TempDir {
    let parent = build_directory().join("tmp");
    fs::create_dir_all(&parent).expect("the build directory is writable");
    let mut directory = tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .tempdir_in(parent)
        .expect("a new directory");
    directory.disable_cleanup(env::var_os("HIGHWATER_KEEP").is_some());
    directory
}
