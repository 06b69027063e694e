//! Reads a feed ahead of the sender and makes requests of it.
//!
//! Invariants
//! - Memory is bounded: an open batch per partition, and as many requests as the channel takes.
//! - Batches are handed over in the order in which they are due; records of a partition stay in the
//!   order of the file.
//! - Due times never go back, whatever the times in the file do.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;

use highwater::protocol::frame::encode_request;
use highwater::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use highwater::protocol::partitioner::partition_of;
use highwater::protocol::record::{BatchBuilder, BatchOptions, BuildError, NewRecord};
use highwater::protocol::records::Records;

use crate::clock::wall_ms;
use crate::control::CLIENT_ID;
use crate::failure::Failure;
use crate::feed::{BadLine, Feed, FeedRecord, FeedShape};
use crate::replay_args::{ReplayArgs, Speed};
use crate::topic::Topic;

/// A batch is closed before it becomes larger, uncompressed and in bytes: brokers accept 1 MiB.
const BATCH_BYTES_MAX: usize = 900 * 1024;

const PRODUCE_TIMEOUT_MS: i32 = 30_000;

/// One request, ready to be sent.
#[derive(Debug)]
pub(crate) struct ReadyBatch {
    pub(crate) lane: usize,
    /// The whole frame; its correlation id is right for its lane.
    pub(crate) frame: Vec<u8>,
    /// When it is due, in nanoseconds since the start; 0 at max speed.
    pub(crate) due_ns: u64,
    /// When each of its records was due.
    pub(crate) records_due_ns: Vec<u64>,
    pub(crate) batch_bytes: u64,
}

/// What a feed was like.
#[derive(Debug, Default)]
pub(crate) struct FeedReport {
    pub(crate) records: u64,
    pub(crate) rounds: u64,
    pub(crate) bad_lines: u64,
    pub(crate) disordered: u64,
    /// Packets of a capture that are no UDP datagrams.
    pub(crate) left_out: u64,
    /// From the first to the last record, as played.
    pub(crate) span_ns: u64,
    /// Why reading ended before the end of the file.
    pub(crate) failure: Option<Failure>,
}

/// What the source knows of the topic.
pub(crate) struct ReplayPlan<'a> {
    pub(crate) args: &'a ReplayArgs,
    pub(crate) shape: FeedShape,
    pub(crate) topic: Topic,
    /// Produce version on the wire.
    pub(crate) version: i16,
    /// The connection of each partition.
    pub(crate) lanes: Vec<usize>,
}

struct OpenBatch {
    builder: BatchBuilder,
    records_due_ns: Vec<u64>,
    close_ns: u64,
}

/// The file's clock, as it is played.
#[derive(Debug, Default)]
struct Player {
    /// Time of the line before, in the file.
    last_time_ns: Option<i64>,
    /// When it is due, in nanoseconds since the start.
    due_ns: u64,
    /// Records of the round at hand.
    records: u64,
    /// When the round at hand began.
    round_due_ns: u64,
}

/// See the module's header.
pub(crate) struct ReplaySource<'a> {
    plan: &'a ReplayPlan<'a>,
    ready: SyncSender<ReadyBatch>,
    open: Vec<Option<OpenBatch>>,
    /// Partitions with an open batch, in the order in which these close.
    order: VecDeque<usize>,
    /// Where records without a key go.
    turn: usize,
    next_ids: Vec<i32>,
    player: Player,
    wall_start_ms: i64,
    report: FeedReport,
}

/// The sender is gone: there is nobody to read for.
struct SenderGone;

enum Stop {
    SenderGone,
    Failed(Failure),
}

impl From<SenderGone> for Stop {
    fn from(_: SenderGone) -> Stop {
        Stop::SenderGone
    }
}

impl<'a> ReplaySource<'a> {
    /// `wall_start_ms` is the wall clock at the start of the run.
    pub(crate) fn new(
        plan: &'a ReplayPlan<'a>,
        lanes: usize,
        ready: SyncSender<ReadyBatch>,
        wall_start_ms: i64,
    ) -> ReplaySource<'a> {
        let partitions = plan.lanes.len();
        ReplaySource {
            plan,
            ready,
            open: (0..partitions).map(|_| None).collect(),
            order: VecDeque::new(),
            turn: 0,
            next_ids: vec![0; lanes],
            player: Player::default(),
            wall_start_ms,
            report: FeedReport::default(),
        }
    }

    /// Reads to the end, or to what ends it early; what was read before is handed over.
    pub(crate) fn run(mut self) -> FeedReport {
        let outcome = self.play();
        // Also behind a bad line: what was good before it is sent.
        let rest = match outcome {
            Err(Stop::SenderGone) => Ok(()),
            Ok(()) | Err(Stop::Failed(_)) => self.close_until(u64::MAX),
        };
        let failures = [outcome.err(), rest.err()].into_iter().flatten();
        self.report.failure = failures
            .filter_map(|stop| match stop {
                Stop::SenderGone => None,
                Stop::Failed(failure) => Some(failure),
            })
            .next();
        self.report.span_ns = self.player.due_ns;
        self.report
    }

    fn play(&mut self) -> Result<(), Stop> {
        for _ in 0..self.plan.args.rounds {
            let path = &self.plan.args.file;
            let mut feed = Feed::open(path, &self.plan.shape).map_err(Stop::Failed)?;
            self.player.begin_round();
            let left_out = self.report.left_out;
            while let Some(line) = feed.next() {
                self.report.left_out = left_out + feed.left_out();
                match line.and_then(|record| self.due(&record).map(|due_ns| (record, due_ns))) {
                    Ok((record, due_ns)) => self.add(&record, due_ns)?,
                    Err(bad) => self.refuse(bad)?,
                }
            }
            self.report.left_out = left_out + feed.left_out();
            self.report.rounds += 1;
        }
        Ok(())
    }

    fn refuse(&mut self, bad: BadLine) -> Result<(), Stop> {
        self.report.bad_lines += 1;
        let failure = Failure::BadLine {
            path: self.plan.args.file.clone(),
            line: bad.line,
            reason: bad.reason,
        };
        if self.report.bad_lines > self.plan.args.skip_bad {
            return Err(Stop::Failed(failure));
        }
        eprintln!("loadgen skips: {failure}");
        Ok(())
    }

    fn due(&mut self, record: &FeedRecord) -> Result<u64, BadLine> {
        let Speed::Factor(factor) = self.plan.args.speed else {
            return Ok(0);
        };
        let last = self.player.last_time_ns.unwrap_or(record.time_ns);
        let gap_ns = match u64::try_from(i128::from(record.time_ns) - i128::from(last)) {
            Ok(gap_ns) => gap_ns.min(self.plan.args.max_gap.unwrap_or(u64::MAX)),
            Err(_) if self.plan.args.allow_disorder => {
                self.report.disordered += 1;
                return Ok(self.player.due_ns);
            }
            Err(_) => {
                let back_ms = (i128::from(last) - i128::from(record.time_ns)) / 1_000_000;
                return Err(BadLine {
                    line: record.line,
                    reason: format!(
                        "a time not before that of the record before is expected, this is {back_ms} \
                         ms earlier; --allow-disorder sends such records at once"
                    ),
                });
            }
        };
        self.player.go_on(record.time_ns, gap_ns, factor);
        Ok(self.player.due_ns)
    }

    fn add(&mut self, record: &FeedRecord, due_ns: u64) -> Result<(), Stop> {
        let is_timed = self.plan.args.speed != Speed::Max;
        if is_timed {
            self.close_until(due_ns)?;
        }
        let partition = match &record.key {
            Some(key) => partition_of(key, self.open.len()),
            None => self.turn,
        };
        let size = record.value.len() + record.key.as_ref().map_or(0, Vec::len);
        let is_full = |batch: &OpenBatch| batch.builder.size() + size > BATCH_BYTES_MAX;
        if self.open[partition].as_ref().is_some_and(is_full) {
            self.close(partition, due_ns)?;
        }
        let batch = match &mut self.open[partition] {
            Some(batch) => batch,
            empty => {
                self.order.push_back(partition);
                let close_ns = due_ns.saturating_add(self.plan.args.linger);
                let compression = self.plan.args.compression;
                let options = BatchOptions { compression, ..BatchOptions::default() };
                let builder = BatchBuilder::new(options);
                empty.insert(OpenBatch { builder, records_due_ns: Vec::new(), close_ns })
            }
        };
        let timestamp_ms = match (self.plan.args.keep_times, is_timed) {
            (true, _) => record.time_ns.div_euclid(1_000_000),
            (false, true) => {
                let due_ms = i64::try_from(due_ns / 1_000_000).unwrap_or(i64::MAX);
                self.wall_start_ms.saturating_add(due_ms)
            }
            (false, false) => wall_ms(),
        };
        let new = NewRecord {
            timestamp_ms,
            key: record.key.as_deref(),
            value: Some(&record.value),
            ..NewRecord::default()
        };
        batch.builder.push(&new).map_err(refusal)?;
        batch.records_due_ns.push(due_ns);
        self.report.records += 1;
        let limit = usize::try_from(self.plan.args.records_per_batch).unwrap_or(usize::MAX);
        if batch.records_due_ns.len() >= limit {
            self.close(partition, due_ns)?;
        }
        Ok(())
    }

    /// Hands over the batches that close before `now_ns`.
    fn close_until(&mut self, now_ns: u64) -> Result<(), Stop> {
        while let Some(partition) = self.order.front().copied() {
            let close_ns = self.open[partition].as_ref().map_or(0, |batch| batch.close_ns);
            if close_ns >= now_ns {
                return Ok(());
            }
            self.close(partition, close_ns)?;
        }
        Ok(())
    }

    fn close(&mut self, partition: usize, due_ns: u64) -> Result<(), Stop> {
        self.order.retain(|open| *open != partition);
        let Some(batch) = self.open[partition].take() else {
            return Ok(());
        };
        self.turn = (self.turn + 1) % self.open.len();
        let bytes = batch.builder.build().map_err(refusal)?;
        let lane = self.plan.lanes[partition];
        let correlation_id = self.next_ids[lane];
        self.next_ids[lane] = correlation_id.checked_add(1).unwrap_or(0);
        let batch_bytes = u64::try_from(bytes.len()).expect("usize fits in 64 bits");
        let request = ProduceRequest {
            acks: self.plan.args.acks.to_wire(),
            timeout_ms: PRODUCE_TIMEOUT_MS,
            topic_data: vec![TopicProduceData {
                name: self.plan.topic.name.clone(),
                topic_id: self.plan.topic.id,
                partition_data: vec![PartitionProduceData {
                    index: i32::try_from(partition).expect("partitions are numbered by int32"),
                    records: Records::from(bytes),
                }],
            }],
            ..ProduceRequest::default()
        };
        let frame = encode_request(&request, self.plan.version, correlation_id, Some(CLIENT_ID))
            .map_err(|error| Stop::Failed(Failure::Batch { reason: error.to_string() }))?;
        let ready = ReadyBatch {
            lane,
            frame: frame.into_bytes().to_vec(),
            due_ns,
            records_due_ns: batch.records_due_ns,
            batch_bytes,
        };
        Ok(self.ready.send(ready).map_err(|_| SenderGone)?)
    }
}

fn refusal(error: BuildError) -> Stop {
    Stop::Failed(Failure::Batch { reason: error.to_string() })
}

impl Player {
    /// The next round begins a mean gap behind the end of the last.
    fn begin_round(&mut self) {
        let gaps = self.records.saturating_sub(1);
        if let Some(mean_ns) = (self.due_ns - self.round_due_ns).checked_div(gaps) {
            self.due_ns = self.due_ns.saturating_add(mean_ns);
        }
        *self = Player { due_ns: self.due_ns, round_due_ns: self.due_ns, ..Player::default() };
    }

    fn go_on(&mut self, time_ns: i64, gap_ns: u64, factor: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a gap is not negative, and one of centuries is the longest that there is"
        )]
        let played_ns =
            if factor == 1.0 { gap_ns } else { (crate::interval::to_f64(gap_ns) / factor) as u64 };
        self.due_ns = self.due_ns.saturating_add(played_ns);
        self.last_time_ns = Some(time_ns);
        self.records += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use std::collections::BTreeMap;
    use std::sync::mpsc::sync_channel;

    fn played(text: &str, flags: &str) -> (Vec<ReadyBatch>, FeedReport) {
        let file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let line = format!("loadgen replay {} --topic t {flags}", file.path().display());
        let Command::Replay(args) = Cli::try_parse_from(line.split_whitespace()).unwrap().command
        else {
            panic!("not a replay");
        };
        let topic = Topic { name: "t".to_owned(), id: uuid::Uuid::nil(), leaders: BTreeMap::new() };
        let shape = args.shape().unwrap();
        let plan = ReplayPlan { args: &args, shape, topic, version: 9, lanes: vec![0, 1, 0, 1] };
        let (sender, batches) = sync_channel(10_000);
        let report = ReplaySource::new(&plan, 2, sender, 0).run();
        (batches.iter().collect(), report)
    }

    const FEED: &str = "ts,symbol\n10.0,A\n10.0,A\n10.001,B\n10.5,A\n12,C\n";

    #[test]
    fn records_are_due_by_the_files_own_times() {
        let (batches, report) = played(FEED, "--time-column ts --key-column symbol --speed 1x");
        let due: Vec<(u64, usize)> = batches
            .iter()
            .map(|batch| (batch.due_ns / 1_000_000, batch.records_due_ns.len()))
            .collect();
        assert_eq!(due, [(0, 2), (1, 1), (500, 1), (2000, 1)]);
        assert_eq!((report.records, report.span_ns), (5, 2_000_000_000));
        let (batches, _) = played(FEED, "--time-column ts --speed 10x");
        assert_eq!(batches.last().unwrap().due_ns, 200_000_000);
    }

    #[test]
    fn rounds_follow_each_other_by_a_mean_gap_and_long_pauses_are_cut() {
        let (batches, report) = played(FEED, "--time-column ts --loop 2");
        assert_eq!((report.records, report.rounds), (10, 2));
        let due: Vec<u64> = batches.iter().map(|batch| batch.due_ns / 1_000_000).collect();
        assert_eq!(due, [0, 1, 500, 2000, 2500, 2501, 3000, 4500]);
        let (_, report) = played(FEED, "--time-column ts --max-gap 100ms");
        assert_eq!(report.span_ns, 201_000_000);
    }

    #[test]
    fn a_batch_waits_for_its_linger_and_each_record_keeps_its_own_time() {
        let flags = "--time-column ts --key-column symbol --linger 600ms";
        let (batches, _) = played(FEED, flags);
        let of_a = batches.iter().find(|batch| batch.records_due_ns.len() == 3).unwrap();
        assert_eq!(
            (of_a.due_ns, &of_a.records_due_ns[..]),
            (600_000_000, &[0, 0, 500_000_000][..])
        );
        assert!(batches.is_sorted_by_key(|batch| batch.due_ns));
        let (batches, _) = played(FEED, &format!("{flags} --records-per-batch 2"));
        assert_eq!((batches[0].due_ns, batches[0].records_due_ns.len()), (0, 2));
    }

    #[test]
    fn a_bad_line_ends_the_feed_and_what_was_before_it_is_sent() {
        let text = "ts,symbol\n1,A\n2,A\nx,B\n3,A\ny,B\n";
        let (batches, report) = played(text, "--time-column ts");
        assert_eq!(batches.len(), 2);
        let failure = report.failure.unwrap().to_string();
        assert!(
            failure.contains(":4: a time in seconds") && failure.contains("not x"),
            "{failure}"
        );
        let (batches, report) = played(text, "--time-column ts --skip-bad 2");
        assert_eq!((batches.len(), report.bad_lines), (3, 2));
        assert!(report.failure.is_none());
    }

    #[test]
    fn a_time_that_goes_back_is_refused_or_sent_at_once() {
        let text = "ts,symbol\n5,A\n9,A\n3,A\n9.5,A\n";
        let (_, report) = played(text, "--time-column ts");
        let failure = report.failure.unwrap().to_string();
        assert!(failure.contains(":4: a time not before") && failure.contains("6000 ms earlier"));
        let (batches, report) = played(text, "--time-column ts --allow-disorder");
        let due: Vec<u64> = batches.iter().map(|batch| batch.due_ns / 1_000_000).collect();
        assert_eq!((due, report.disordered), (vec![0, 4000, 4500], 1));
    }

    #[test]
    fn at_max_nothing_is_due_later_and_no_time_is_needed() {
        let (batches, report) = played(FEED, "--speed max --records-per-batch 2");
        assert!(batches.iter().all(|batch| batch.due_ns == 0));
        assert_eq!((batches.len(), report.records), (3, 5));
    }
}
