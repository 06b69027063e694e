//! Reference pages are written from the tables in the code and may not differ from them.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` writes them anew.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod docs {
    pub(crate) mod compatibility;
}

use highwater::model::config_keys::{
    BROKER_KEYS, ConfigKey, Effect, GROUP_KEYS, TOPIC_KEYS, Update, nearest_broker_key,
};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// Compares a page with what the code says, or writes it.
fn check(page: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, expected).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/{page} is not what the code says; UPDATE_DOCS=1 cargo test --test docs writes it anew"
    );
}

const CONFIG_HEAD: &str = "\
# Configuration

Written from `src/model/config_keys` by `tests/docs.rs`; do not edit.

Settings are read from a properties file (`--config server.properties`), then the environment,
then `--override key=value`; the later one wins. An environment variable `KAFKA_LOG_RETENTION_HOURS`
is the key `log.retention.hours`: `KAFKA_` goes, `_` becomes `.`, `__` becomes `_`, `___` is `-`.

Names, types, ranges and defaults are those of Apache Kafka 4.1 unless the key begins with
`highwater.` or the text says otherwise. A value out of range stops the start and says where it was
written; an unknown key is a warning with the nearest known one; keys of ZooKeeper are ignored with
one warning. *Effect*: **acted** changes what the broker does; **none** is accepted, shown and
warned about, with the reason; **refused** takes no value but the default.

";

fn config_page() -> String {
    let mut page = CONFIG_HEAD.to_owned();
    let intro = "A topic's own value wins over the broker's key in the last column.";
    table(&mut page, "Topics", intro, TOPIC_KEYS);
    let intro =
        "A group's own value (resource type GROUP) wins over the broker's key in the last column.";
    table(&mut page, "Groups", intro, GROUP_KEYS);
    let intro = "Keys marked *dynamic* change while the broker runs, for one broker or for all.";
    table(&mut page, "Broker", intro, BROKER_KEYS);
    page
}

fn table(page: &mut String, title: &str, intro: &str, keys: &[ConfigKey]) {
    let is_topic = title != "Broker";
    let last = if is_topic { "Broker key" } else { "Changes" };
    writeln!(page, "## {title}\n\n{intro}\n").unwrap();
    writeln!(page, "| Key | Default | Type | Allowed | Meaning | Effect | {last} |").unwrap();
    writeln!(page, "|---|---|---|---|---|---|---|").unwrap();
    for key in keys {
        let default = match key.default {
            None => "*none*".to_owned(),
            Some("") => "*empty*".to_owned(),
            Some(default) => format!("`{}`", default.replace(',', ", ")),
        };
        let effect = match key.effect {
            Effect::Acted => "acted".to_owned(),
            Effect::AcceptedNoEffect(reason) => format!("none: {reason}"),
            Effect::Refused(reason) => format!("refused: {reason}"),
        };
        let last = match key.update {
            _ if is_topic => synonyms(key),
            Update::ReadOnly => "at start".to_owned(),
            Update::PerBroker | Update::ClusterWide => "dynamic".to_owned(),
        };
        let kind = key.kind.type_name().to_lowercase();
        let allowed = key.kind.valid_values();
        let (name, doc) = (key.name, key.doc);
        writeln!(page, "| `{name}` | {default} | {kind} | {allowed} | {doc} | {effect} | {last} |")
            .unwrap();
    }
    page.push('\n');
}

fn synonyms(key: &ConfigKey) -> String {
    let names: Vec<String> =
        key.synonyms.iter().map(|synonym| format!("`{}`", synonym.broker_key)).collect();
    names.join(", ")
}

#[test]
fn the_configuration_page_says_what_the_table_says() {
    check("config.md", config_page().trim_end_matches('\n'));
}

const ERRORS_HEAD: &str = "\
# Errors

Written from what `highwater explain` prints by `tests/docs.rs`; do not edit. The broker names these
codes in its log and on its way out; `highwater explain E0003` prints one of these pages on the host
where that happens.

Exit codes: 0 done or stopped as asked, 64 a command line that cannot be understood, 65 damaged
batches found, 69 no broker answers, 74 a disk or socket failed, 78 a configuration or host cannot
work, 1 any other refusal.

";

/// What a command of the binary prints.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_highwater")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every page that `explain list` names, one heading level down.
fn errors_page() -> String {
    let mut page = ERRORS_HEAD.to_owned();
    for line in printed(&["explain", "list"]).lines() {
        let code = line.split_whitespace().next().unwrap();
        for line in printed(&["explain", code]).trim_end().lines() {
            let mark = if line.starts_with('#') { "#" } else { "" };
            writeln!(page, "{mark}{line}").unwrap();
        }
        page.push('\n');
    }
    page
}

#[test]
fn the_errors_page_says_what_explain_prints() {
    check("errors.md", errors_page().trim_end_matches('\n'));
}

#[test]
fn every_error_page_in_the_sources_can_be_explained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/errors");
    let listed = printed(&["explain", "list"]);
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let code = name.trim_end_matches(".md");
        assert!(listed.contains(code), "{code} is not in the list that `highwater explain` knows");
    }
}

#[test]
fn the_compatibility_page_says_what_is_served_and_tested() {
    check("compatibility.md", docs::compatibility::page().trim_end_matches('\n'));
}

#[test]
fn every_topic_default_has_a_broker_key_of_the_same_effect() {
    for key in TOPIC_KEYS {
        for synonym in key.synonyms {
            let broker = BROKER_KEYS.iter().find(|broker| broker.name == synonym.broker_key);
            let broker = broker.unwrap_or_else(|| panic!("{} is in the table", synonym.broker_key));
            let is_acted = |key: &ConfigKey| key.effect == Effect::Acted;
            assert_eq!(is_acted(broker), is_acted(key), "{} and {}", key.name, broker.name);
        }
    }
}

#[test]
fn a_mistyped_key_finds_its_neighbour_and_a_strange_one_finds_none() {
    assert_eq!(nearest_broker_key("log.retention.hour"), Some("log.retention.hours"));
    assert_eq!(nearest_broker_key("advertised.listener"), Some("advertised.listeners"));
    assert_eq!(nearest_broker_key("delete.all.topics"), None);
}
