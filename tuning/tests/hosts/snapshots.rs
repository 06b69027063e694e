//! What programs read: JSON of check, plan and explain for a host with everything off.
//!
//! `UPDATE_EXPECT=1` writes the files anew; their difference is what changes for those programs.

use crate::fixture::Fixture;
use expect_test::expect_file;

#[test]
fn the_json_of_each_command_is_what_it_was() {
    let host = Fixture::off("snapshots");
    let text = |command: &str, arguments: &[&str]| {
        let all = ["--data-dir", "/data", "-o", "json"];
        host.run(command, &[arguments, &all].concat()).text
    };
    expect_file!["snapshots/check.json"].assert_eq(&text("check", &[]));
    expect_file!["snapshots/plan.json"].assert_eq(&text("plan", &["--profile", "latency"]));
    expect_file!["snapshots/explain.json"].assert_eq(&text("explain", &["memory.thp"]));
}
