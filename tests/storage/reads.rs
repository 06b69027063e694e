//! Reads by offset and by time, and the files that Kafka's own tools read.

use crate::bench::{Bench, batch, name, small_segments};
use highwater::model::ids::Offset;
use highwater::model::topic_config::TopicConfig;
use highwater::storage::index::{decode_offsets, decode_times};
use highwater::storage::partition_log::{ReadPlan, TimestampLookup};

fn filled(timestamps: &[&[i64]]) -> Bench {
    let mut bench = Bench::new(small_segments());
    for timestamps in timestamps {
        bench.append(batch(timestamps)).unwrap();
    }
    bench
}

#[test]
fn a_read_says_out_of_range_empty_or_where_the_batches_are() {
    let mut bench = filled(&[&[1, 1], &[1], &[1]]);
    bench.log.delete_records_before(Offset::new(1));
    let plan = |bench: &Bench, from, up_to| match bench.log.read(
        Offset::new(from),
        1000,
        Offset::new(up_to),
        true,
    ) {
        ReadPlan::OutOfRange => "out of range",
        ReadPlan::Empty => "empty",
        ReadPlan::Memory(_) => "memory",
        ReadPlan::File(_) => "file",
    };
    assert_eq!(plan(&bench, 0, 4), "out of range");
    assert_eq!(plan(&bench, 5, 4), "out of range");
    assert_eq!(plan(&bench, 4, 4), "empty");
    assert_eq!(plan(&bench, 2, 2), "empty");
    assert_eq!(plan(&bench, 1, 4), "memory");
    bench.sync();
    assert_eq!(plan(&bench, 1, 4), "file");
}

#[test]
fn the_first_batch_comes_whole_and_the_rest_only_while_they_fit() {
    for is_in_memory in [true, false] {
        let mut bench = filled(&[&[1, 2], &[3], &[4]]);
        if !is_in_memory {
            bench.sync();
        }
        let (first, second) = (batch(&[1, 2]).len(), batch(&[3]).len());
        assert_eq!(bench.read(1, 1).unwrap().len(), first);
        assert_eq!(bench.read(0, first + second).unwrap().len(), first + second);
        assert_eq!(bench.read(0, first + second + 1).unwrap().len(), first + second);
        assert_eq!(bench.read(2, 10_000).unwrap().len(), 2 * second);
    }
}

#[test]
fn a_time_finds_the_first_record_that_is_as_young_wherever_it_lies() {
    let times: Vec<Vec<i64>> =
        (0..60).map(|n: i64| vec![100 + n * 10, 105 + n * 10 - (n % 7) * 20]).collect();
    let flat: Vec<i64> = times.iter().flatten().copied().collect();
    let mut bench = Bench::new(small_segments());
    for (index, times) in times.iter().enumerate() {
        bench.append(batch(times)).unwrap();
        if index == 45 {
            bench.sync();
        }
    }
    for round in 0..2 {
        for wanted in (0..800).step_by(7) {
            let expected = flat.iter().position(|time| *time >= wanted);
            let found = match bench.log.plan_timestamp(wanted, bench.log.log_end()) {
                TimestampLookup::None => None,
                TimestampLookup::Search(search) => {
                    let disk = bench.disk.clone();
                    bench.executor.run_until(async move { search.execute(&disk).await }).unwrap()
                }
            };
            let found = found.map(|found| found.offset.get());
            assert_eq!(found, expected.map(|index| index as u64), "time {wanted}");
        }
        bench.sync();
        let point = bench.log.recovery_point();
        if round == 0 {
            bench.reopen(point);
        }
    }
}

#[test]
fn closed_segments_leave_indexes_that_agree_with_their_log() {
    let mut bench = Bench::new(TopicConfig { segment_bytes: 4000, ..small_segments() });
    for index in 0..100 {
        bench.append(batch(&[index * 3])).unwrap();
    }
    bench.sync();
    let log = bench.disk.content(&name(0, "log")).unwrap();
    let offsets = decode_offsets(&bench.disk.content(&name(0, "index")).unwrap()).unwrap();
    let times = decode_times(&bench.disk.content(&name(0, "timeindex")).unwrap()).unwrap();
    assert!(offsets.len() > 10);
    for entry in &offsets {
        let at = usize::try_from(entry.position).unwrap();
        let base = i64::from_be_bytes(*log[at..].first_chunk().unwrap());
        assert_eq!(base, i64::from(entry.relative), "batches of one record end where they begin");
    }
    assert_eq!(times.len(), offsets.len() + 1, "and one more when it was closed");
    for entry in &times {
        assert_eq!(entry.timestamp_ms, i64::from(entry.relative) * 3);
    }
    let epochs = bench.disk.content(std::path::Path::new("/topic/0/leader-epoch-checkpoint"));
    assert_eq!(epochs.unwrap(), b"0\n1\n7 0\n");
}
