//! `explain`: every id, and that every id is tested on a copied host.

use crate::fixture::{Fixture, tuning};

fn ids() -> Vec<String> {
    let list = tuning(&["explain", "-o", "json"]).json();
    let rows = list.as_array().unwrap().clone();
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_id_is_explained_with_why_by_hand_and_undo() {
    let host = Fixture::off("explained");
    for id in ids() {
        let run = host.run("explain", &[&id, "--data-dir", "/data"]);
        assert_eq!(run.code, 0, "{id}");
        for title in ["why:   ", "gain:  ", "risk:  ", "now:   ", "by hand:\n", "undo"] {
            assert!(run.text.contains(title), "{id}: {}", run.text);
        }
        let json = host.run("explain", &[&id, "--data-dir", "/data", "-o", "json"]).json();
        for field in ["id", "what", "why", "gain", "risk", "now"] {
            assert!(!json[field].as_str().unwrap().is_empty(), "{id}: {field}");
        }
        for field in ["by_hand", "undo"] {
            assert!(!json[field].as_array().unwrap().is_empty(), "{id}: {field}");
        }
    }
}

#[test]
fn no_id_is_without_a_fixture() {
    let (good, off) = (Fixture::new("all-good", &[]), Fixture::off("all-off"));
    for id in ids() {
        // A file cannot stand for a ring: it has a test on this host.
        if id == "iouring.ring" {
            continue;
        }
        let (good, off) = (good.row(&id), off.row(&id));
        assert_eq!(good["status"], "ok", "{good}");
        let is_set_by_apply = !off["changes"].as_array().unwrap().is_empty();
        let lesson = tuning(&["explain", &id, "-o", "json"]).json();
        let has_files = !lesson["paths"].as_array().unwrap().is_empty();
        assert_eq!(is_set_by_apply, has_files, "{off}");
    }
}

#[test]
fn the_commands_of_a_lesson_are_those_of_this_host() {
    let host = Fixture::off("lesson");
    let run = host.run("explain", &["memory.swappiness"]);
    assert!(run.text.contains("  sysctl -w vm.swappiness=1\n"), "{}", run.text);
    assert!(run.text.contains("  sysctl -w vm.swappiness=60\n"), "{}", run.text);
    assert!(run.text.contains("  /proc/sys/vm/swappiness\n"), "{}", run.text);
}

#[test]
fn ids_are_listed_once_each() {
    let mut ids = ids();
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
    assert!(tuning(&["explain"]).text.lines().count() == count);
}
