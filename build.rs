//! Tells the tests which build they are in: tests/instructions.rs has budgets for one build only,
//! and a test cannot see the level of optimisation by itself. Cargo hands the variable to what it
//! runs, too, so its name is none that the broker would take for a setting.

use std::env;
use std::process::Command;

fn main() {
    let of = |name: &str| env::var(name).unwrap_or_default();
    let version = Command::new(of("RUSTC")).arg("--version").output();
    let version = version.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
    let compiler = version.unwrap_or_default();
    let release = compiler.split(' ').nth(1).unwrap_or("unknown");
    let flags = of("CARGO_ENCODED_RUSTFLAGS").replace('\x1f', " ");
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::rustc-env=BUILD_OF_TESTS=rustc {release} for {} at opt-level {} with flags [{flags}]",
        of("TARGET"),
        of("OPT_LEVEL"),
    );
}
