//! The load generator's binary.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The program beside the test's own; built where it is not there, because one package is tested
/// alone.
///
/// Panics when it does not build.
pub fn loadgen() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> PathBuf {
    // <build>/<profile>/deps/<test>
    let executable = env::current_exe().expect("a test knows its executable");
    let profile = executable.ancestors().nth(2).expect("a profile's directory");
    let program = profile.join("loadgen");
    if program.exists() {
        return program;
    }
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--package", "loadgen", "--bin", "loadgen"]);
    command.arg("--target-dir").arg(profile.parent().expect("the build directory"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.current_dir(crate::repository()).status().expect("cargo ran this test");
    assert!(status.success(), "loadgen does not build");
    program
}
