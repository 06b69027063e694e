//! Spark: a streaming query copies a topic in two runs, of which the second takes only what is
//! new, and batch reads give ranges of offsets. Its sink delivers at least once, so a record may be
//! there twice but none is missing.

use std::collections::BTreeSet;

use harness::{Toolchain, java_program, run_to_end, scratch_directory};

use super::{PATIENCE, create_topic, start_broker};

/// Records of each run, half of them in each partition.
const BURST: usize = 1_000;

#[test]
fn spark_copies_a_topic_in_two_runs_and_reads_ranges_of_offsets() {
    let broker = start_broker();
    let Some(mut job) = java_program("SparkJob", "spark").or_skip("spark") else { return };
    let directory = scratch_directory("spark");
    create_topic(&broker, "in", 2);
    create_topic(&broker, "out", 2);
    job.args([broker.bootstrap(), BURST.to_string()]).arg(directory.path());
    let ended = run_to_end(job, PATIENCE).expect("it starts");
    let lines_of = |what: &str| -> Vec<&str> {
        ended.stdout.lines().filter_map(|line| line.strip_prefix(what)).collect()
    };
    assert!(ended.is_success(), "{}\n{}", ended.stderr, broker.report());
    let took = BURST.to_string();
    assert_eq!(lines_of("TOOK "), [took.as_str(), took.as_str()], "{}", ended.stderr);

    let numbers = lines_of("COPIED ").into_iter().map(|value| value.parse().expect("a number"));
    let copied: BTreeSet<usize> = numbers.collect();
    let every_record: BTreeSet<usize> = (0..2 * BURST).collect();
    assert_eq!(copied, every_record, "{}\n{}", ended.stderr, broker.report());

    let mut ranges = lines_of("RANGE ");
    ranges.sort_unstable();
    let first = (10..BURST).map(|offset| format!("0:{offset}"));
    let mut expected: Vec<String> = first.chain((0..20).map(|at| format!("1:{at}"))).collect();
    expected.sort_unstable();
    assert_eq!(ranges, expected, "{}\n{}", ended.stderr, broker.report());
}
