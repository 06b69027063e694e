//! A Flink job from topic to topic that delivers exactly once: it fails with a transaction that is
//! prepared and with one that is open, goes on from a checkpoint each time, and every record of the
//! input is in the output once for readers of committed records.

use harness::{Toolchain, java_program, run_to_end};

use super::{PATIENCE, create_topic, start_broker};

const RECORDS: usize = 6_000;

#[test]
fn a_flink_job_that_fails_twice_delivers_each_record_once() {
    let broker = start_broker();
    let Some(mut job) = java_program("FlinkJob", "flink").or_skip("flink") else { return };
    create_topic(&broker, "in", 2);
    create_topic(&broker, "out", 2);
    job.args([broker.bootstrap(), RECORDS.to_string()]);
    let ended = run_to_end(job, PATIENCE).expect("it starts");
    let lines_of = |what: &str| -> Vec<usize> {
        let lines = ended.stdout.lines().filter_map(|line| line.strip_prefix(what));
        lines.map(|number| number.parse().expect("a number")).collect()
    };
    assert!(ended.is_success(), "{}\n{}", ended.stderr, broker.report());
    assert_eq!(lines_of("FAILED "), [2], "{}", ended.stderr);
    let mut committed = lines_of("COMMITTED ");
    committed.sort_unstable();
    let every_record_once: Vec<usize> = (0..RECORDS).collect();
    assert_eq!(committed, every_record_once, "{}\n{}", ended.stderr, broker.report());
    let written = lines_of("WRITTEN ");
    assert!(written[0] > RECORDS, "no transaction was aborted: {written:?}");
}
