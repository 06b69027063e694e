//! `measure` on this host, with short turns: its shape, not its figures.

use crate::fixture::tuning;
use std::fs;
use std::path::Path;

#[test]
fn each_measurement_has_samples_and_ordered_percentiles() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.join("tuning-measure");
    fs::create_dir_all(&folder).unwrap();
    let place = folder.to_str().unwrap();
    let run = tuning(&["measure", "--time", "100ms", "--data-dir", place, "-o", "json"]);
    assert_eq!(run.code, 0, "{}", run.errors);
    let result = run.json();
    assert_eq!((&result["version"], &result["turn_ms"]), (&1.into(), &100.into()));
    let rows = result["rows"].as_array().unwrap();
    let ids: Vec<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["pauses", "wakeup", "fdatasync", "loopback"]);
    for row in rows {
        let figure = |name: &str| row[name].as_u64().unwrap();
        assert!(figure("count") > 0 || row["id"] == "pauses", "{row}");
        assert!(figure("p50_ns") <= figure("p99_ns"), "{row}");
        assert!(figure("p999_ns") <= figure("max_ns"), "{row}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);

    let before = folder.with_extension("json");
    fs::write(&before, run.text).unwrap();
    let run = tuning(&["measure", "--time", "20ms", "--before", before.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{}", run.errors);
    assert_eq!(run.text.matches("  before ").count(), 4, "{}", run.text);
    assert!(run.text.contains("n-a: name the disk with --data-dir"), "{}", run.text);
}

#[test]
fn before_and_after_are_one_run() {
    let run = tuning(&["measure", "--before-after", "--time", "10ms", "-o", "json"]);
    assert_eq!(run.code, 0, "{}", run.errors);
    assert!(run.errors.contains("change the host now"), "{}", run.errors);
    let result = run.json();
    let count = |rows: &str| result[rows].as_array().unwrap().len();
    assert_eq!((count("rows"), count("before")), (4, 4));
}

#[test]
fn a_disk_that_cannot_be_written_is_named() {
    let run = tuning(&["measure", "--time", "10ms", "--data-dir", "/none"]);
    assert_eq!(run.code, 2);
    assert!(run.text.contains("n-a: No such file"), "{}", run.text);
}
