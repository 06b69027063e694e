//! Constructs that the house does without, each with what to write instead.

use super::modules::shipped_files;
use super::rust::{block_end, functions, shipped, views};
use super::tree::{Finding, Tree, finding, is_below, line_of};

struct Ban {
    text: &'static str,
    /// Folders and files in which it is the right thing.
    except: &'static [&'static str],
    instead: &'static str,
}

const fn ban(text: &'static str, except: &'static [&'static str], instead: &'static str) -> Ban {
    Ban { text, except, instead }
}

const CLOCK_USERS: &[&str] = &["src/runtime", "src/cli", "loadgen", "tuning"];
const OUTSIDE: &[&str] =
    &["src/runtime", "src/cli", "src/admin", "src/main.rs", "loadgen", "tuning"];
const PRINTERS: &[&str] = &["src/cli", "src/main.rs", "loadgen", "tuning"];
const COMMANDS: &[&str] = &["src/cli", "src/main.rs", "loadgen", "tuning"];

/// In code that ships.
const BANS: [Ban; 28] = [
    ban("Arc<Mutex", &[], "give the state one owner and send it a message"),
    ban("Arc<RwLock", &[], "give the state one owner and send it a message"),
    ban("DashMap", &[], "give the state one owner and send it a message"),
    ban("lazy_static", &[], "a const, or a field of the owner"),
    ban("static mut", &[], "a field of the owner"),
    ban("thread_local!", &["src/runtime"], "a field of the shard"),
    ban("unsafe ", &["src/runtime"], "zerocopy, or move it to src/runtime with its SAFETY comment"),
    ban("glommio::", &["src/runtime"], "the traits and outboxes of shard/"),
    ban("Instant::now", CLOCK_USERS, "the `now` that the driver hands in"),
    ban("SystemTime::now", CLOCK_USERS, "the `now` that the driver hands in"),
    ban("thread::spawn", OUTSIDE, "threads are started in src/runtime"),
    ban("std::fs::", OUTSIDE, "the Disk seam"),
    ban("println!", PRINTERS, "tracing"),
    ban("print!(", PRINTERS, "tracing"),
    ban("dbg!", &[], "nothing: delete it"),
    ban("todo!", &[], "the code, or an error that says what is not there"),
    ban("unimplemented!", &[], "the code, or an error that says what is not there"),
    ban("Box<dyn Error", COMMANDS, "a thiserror enum of the module"),
    ban("Box<dyn std::error::Error", COMMANDS, "a thiserror enum of the module"),
    ban("anyhow", COMMANDS, "a thiserror enum of the module"),
    ban("Other(String)", &[], "a variant that carries data"),
    ban(".unwrap()", &[], "`?`, or expect(\"the invariant that holds\")"),
    ban("catch_unwind", &[], "let it abort: recovery takes over"),
    ban("allow(dead_code)", &[], "delete the code"),
    ban("expect(dead_code", &[], "delete the code"),
    ban("allow(unused_imports", &[], "delete the code"),
    ban("SipHasher", &[], "foldhash"),
    ban("unbounded_channel", &[], "a channel with a bound from model/limits.rs"),
];

/// In tests as well.
const BANS_EVERYWHERE: [Ban; 3] = [
    ban("#[ignore", &[], "a test that runs, or a skip that says why"),
    ban("should_panic", &[], "an error value, and a test that reads it"),
    ban("allow(dead_code)", &[], "delete the code"),
];

pub(crate) fn constructs(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in shipped_files(tree) {
        findings.extend(banned(path, &shipped(&views(source).code), &BANS));
    }
    for (path, source) in tree.rust_files() {
        findings.extend(banned(path, &views(source).code, &BANS_EVERYWHERE));
    }
    findings.sort();
    findings.dedup();
    findings
}

fn banned(path: &str, code: &str, bans: &[Ban]) -> Vec<Finding> {
    let is_excepted =
        |ban: &Ban| ban.except.iter().any(|place| path == *place || is_below(path, place));
    let mut findings = Vec::new();
    for ban in bans.iter().filter(|ban| !is_excepted(ban)) {
        for (at, _) in code.match_indices(ban.text) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            let begins_a_word = ban.text.starts_with(|char: char| char.is_alphabetic());
            if begins_a_word && (before.is_alphanumeric() || before == '_') {
                continue;
            }
            let fault = format!("`{}`; instead: {}", ban.text.trim(), ban.instead);
            findings.push(finding(path, line_of(code, at), fault));
        }
    }
    findings
}

/// A test waits for a condition with a deadline; only the function that polls
/// may sleep, and the one that kills at a chosen moment.
pub(crate) fn sleeps(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in tree.rust_files() {
        let is_test_file = path.contains("tests/") || path.ends_with("_tests.rs");
        let code = views(source).code;
        let functions = functions(&code);
        let is_poll = |at: usize| {
            functions.iter().any(|function| {
                function.range.contains(&at)
                    && ["wait", "until", "poll", "kill"]
                        .iter()
                        .any(|verb| function.name.split('_').any(|word| word == *verb))
            })
        };
        let shipped = shipped(&code);
        for (at, _) in code.match_indices("sleep(") {
            let is_test = is_test_file || shipped.as_bytes()[at] == b' ';
            if is_test && !is_poll(at) {
                let fault =
                    "`sleep` in a test; instead: a wait_… function with condition and deadline";
                findings.push(finding(path, line_of(&code, at), fault));
            }
        }
    }
    findings
}

/// A new variant must choose its Kafka code, so tables of codes have no catch-all.
pub(crate) fn code_tables(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in tree.rust_files() {
        let code = views(source).code;
        for (at, _) in code.match_indices("for KafkaCode {") {
            let start = code[..at].rfind("impl").unwrap_or(at);
            if !code[start..at].contains("From<") {
                continue;
            }
            let open = at + "for KafkaCode ".len();
            for (inner, _) in code[open..block_end(&code, open)].match_indices("_ =>") {
                let before = code[..open + inner].chars().next_back().unwrap_or(' ');
                if !before.is_alphanumeric() && before != '_' {
                    let fault = "`_ =>` in a table of Kafka codes; instead: name each variant";
                    findings.push(finding(path, line_of(&code, open + inner), fault));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
fn faults(path: &str, source: &str) -> Vec<String> {
    let tree = Tree::planted(&[
        ("src/lib.rs", "mod storage; mod runtime; mod cli;"),
        ("src/storage/mod.rs", "mod a;"),
        ("src/runtime/mod.rs", "mod a;"),
        ("src/cli/mod.rs", "mod a;"),
        (path, source),
    ]);
    constructs(&tree).into_iter().map(|finding| finding.text).collect()
}

#[test]
fn every_banned_construct_is_reported() {
    for ban in &BANS {
        assert!(!faults("src/storage/a.rs", &format!("fn a() {{ {} }}", ban.text)).is_empty());
    }
    for ban in &BANS_EVERYWHERE {
        assert!(!faults("tests/a.rs", ban.text).is_empty(), "{}", ban.text);
    }
}

#[test]
fn a_construct_is_free_in_its_own_place_in_tests_comments_and_strings() {
    assert_eq!(faults("src/runtime/a.rs", "use glommio::Task; // unsafe "), [""; 0]);
    assert_eq!(faults("src/cli/a.rs", "fn a() { println!() }"), [""; 0]);
    assert_eq!(faults("src/storage/a.rs", "fn a() { b(\"todo!\") } // todo!"), [""; 0]);
    assert_eq!(
        faults("src/storage/a.rs", "#[cfg(test)]\nmod t { fn a() { b.unwrap() } }"),
        [""; 0]
    );
    assert_eq!(
        faults("src/storage/a.rs", "#![deny(unsafe_code)] fn a() { eprint_all() }"),
        [""; 0]
    );
}

#[test]
fn a_test_that_sleeps_is_reported() {
    let tree = Tree::planted(&[
        ("tests/a.rs", "fn b() { thread::sleep(x); }\nfn wait_for() { thread::sleep(x); }"),
        ("src/a.rs", "async fn tick() { sleep(x); }\n#[cfg(test)]\nmod t { fn c() { sleep(x); } }"),
    ]);
    let found: Vec<_> = sleeps(&tree).into_iter().map(|f| (f.path, f.line)).collect();
    assert_eq!(found, [("src/a.rs".to_owned(), 3), ("tests/a.rs".to_owned(), 1)]);
}

#[test]
fn a_catch_all_in_a_table_of_codes_is_reported() {
    let planted = |arm: &str| {
        let text = format!(
            "impl From<A> for KafkaCode {{ fn from(a: A) {{ match a {{ {arm} => B }} }} }}"
        );
        code_tables(&Tree::planted(&[("src/a.rs", &text)])).len()
    };
    assert_eq!((planted("_"), planted("A::Gone"), planted("A::Io { .. }")), (1, 0, 0));
}
