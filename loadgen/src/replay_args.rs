//! The flags of `replay`.

use std::path::PathBuf;

use clap::Args;
use highwater::protocol::compression::Compression;

use crate::feed::{FeedFormat, FeedShape};
use crate::feed_time::TimeUnit;
use crate::load_args::{Acks, RunArgs};
use crate::units::{parse_compression, parse_config, parse_duration};

/// How fast a file is played.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    /// So many times as fast as its own times say (open loop).
    Factor(f64),
    /// As fast as answers come (closed loop).
    Max,
}

/// Reads `1x`, `10x`, `0.5x` or `max`.
///
/// # Errors
/// Names the text and shows examples.
pub(crate) fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.strip_suffix('x').map(str::parse::<f64>) {
        Some(Ok(factor)) if factor.is_finite() && factor > 0.0 => Ok(Speed::Factor(factor)),
        _ => Err(format!("{text}: a speed is as in 1x, 10x, 0.5x or max")),
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ReplayArgs {
    /// CSV with a line of names, NDJSON, or a capture (pcapng, pcap) whose UDP payloads are the
    /// records; read as a stream, whatever its size.
    pub(crate) file: PathBuf,
    /// Any broker of the cluster, host:port.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub(crate) bootstrap: String,
    #[arg(long)]
    pub(crate) topic: String,
    /// Create the topic with so many partitions when it is missing.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) partitions: Option<u32>,
    /// Replicas of a topic that is created.
    #[arg(long, default_value_t = 1)]
    pub(crate) replication_factor: i16,
    /// Config of a topic that is created, key=value; may be given several times.
    #[arg(long, value_parser = parse_config)]
    pub(crate) config: Vec<(String, String)>,
    /// 1x plays the file by its own times, 10x ten times as fast, max as fast as answers come.
    #[arg(long, default_value = "1x", value_parser = parse_speed)]
    pub(crate) speed: Speed,
    /// By default as the file's name ends.
    #[arg(long, value_enum)]
    pub(crate) format: Option<FeedFormat>,
    /// Between the columns of CSV.
    #[arg(long, default_value_t = ',')]
    pub(crate) delimiter: char,
    /// Column or field with the time of a record; not needed at max, nor by a capture.
    #[arg(long)]
    pub(crate) time_column: Option<String>,
    /// What times are in.
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) time_unit: TimeUnit,
    /// Column or field with the key; records of one key stay in order, in the partition that
    /// Kafka's own producers choose for it. Of a capture, source or destination: address:port.
    #[arg(long)]
    pub(crate) key_column: Option<String>,
    /// Column or field that becomes the value; by default the whole line.
    #[arg(long)]
    pub(crate) value_column: Option<String>,
    /// Play the file so many times, one behind the other.
    #[arg(long = "loop", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rounds: u64,
    /// Pauses in the file that are longer last so long.
    #[arg(long, value_parser = parse_duration)]
    pub(crate) max_gap: Option<u64>,
    /// Send a record whose time is before that of the line before at once, instead of refusing it.
    #[arg(long)]
    pub(crate) allow_disorder: bool,
    /// Leave out so many bad lines before the run ends; each is shown.
    #[arg(long, default_value_t = 0)]
    pub(crate) skip_bad: u64,
    /// TCP connections, spread over the brokers that lead the topic's partitions.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connections: u16,
    /// Requests that one connection may have unanswered.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) in_flight: u16,
    /// Most records of a batch. Records of one time and partition share a batch.
    #[arg(
        long, default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
    )]
    pub(crate) records_per_batch: u32,
    /// How long a batch waits for more records; the wait is part of their latency.
    #[arg(long, default_value = "0ms", value_parser = parse_duration)]
    pub(crate) linger: u64,
    #[arg(long, value_enum, default_value = "all", allow_hyphen_values = true)]
    pub(crate) acks: Acks,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(long, default_value = "none", value_parser = parse_compression)]
    pub(crate) compression: Compression,
    /// Keep the file's times as the records' own; by default they get those of their sending.
    #[arg(long)]
    pub(crate) keep_times: bool,
    /// End after so long, even when the file has more.
    #[arg(long, value_parser = parse_duration)]
    pub(crate) duration: Option<u64>,
    /// Figures do not count for so long at the start; rounded up to whole seconds.
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    pub(crate) warmup: u64,
    /// Core to pin the sending thread to.
    #[arg(long)]
    pub(crate) core: Option<usize>,
    /// Look for answers without sleeping.
    #[arg(long)]
    pub(crate) spin: bool,
    /// Process ids of the brokers that run on this machine, commas between: adds their CPU time and
    /// memory.
    #[arg(long, value_delimiter = ',')]
    pub(crate) server_pid: Vec<u32>,
    /// Directory for summary.json, timeseries.csv, latency.hlog and one .hgrm per latency.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Print the summary as JSON on standard output instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A file may play for so long: ten years.
const ALL_OF_IT_NS: u64 = 10 * 365 * 24 * 3600 * crate::clock::SECOND_NS;

impl ReplayArgs {
    /// As runs of other kinds have them.
    pub(crate) fn run(&self) -> RunArgs {
        RunArgs {
            bootstrap: self.bootstrap.clone(),
            topic: self.topic.clone(),
            connections: self.connections,
            duration: self.duration.unwrap_or(ALL_OF_IT_NS),
            warmup: self.warmup,
            threads: 1,
            core: self.core.into_iter().collect(),
            spin: self.spin,
            server_pid: self.server_pid.clone(),
            out: self.out.clone(),
            json: self.json,
        }
    }

    /// How the file is laid out; `None` when neither flag nor name says it.
    pub(crate) fn shape(&self) -> Option<FeedShape> {
        Some(FeedShape {
            format: self.format.or_else(|| FeedFormat::of(&self.file))?,
            delimiter: self.delimiter,
            is_timed: self.speed != Speed::Max || self.keep_times,
            time_column: self.time_column.clone(),
            unit: self.time_unit,
            key_column: self.key_column.clone(),
            value_column: self.value_column.clone(),
        })
    }
}
