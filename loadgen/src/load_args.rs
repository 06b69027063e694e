//! The flags that every kind of load shares.

use std::path::PathBuf;

use clap::Args;
use highwater::protocol::compression::Compression;

use crate::record_pool::PoolSpec;
use crate::recorder::Waiting;
use crate::schedule::{Arrivals, parse_arrivals};
use crate::units::{parse_compression, parse_config, parse_duration};
use crate::variety::{Keys, Sizes, parse_compressibility, parse_keys, parse_sizes};

/// What every kind of run needs.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// Any broker of the cluster, host:port.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub(crate) bootstrap: String,
    #[arg(long)]
    pub(crate) topic: String,
    /// TCP connections, spread over the brokers that lead the topic's partitions.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connections: u16,
    /// How long figures count, after the warm-up.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub(crate) duration: u64,
    /// How long load runs before figures count; rounded up to whole seconds.
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    pub(crate) warmup: u64,
    /// Threads; connections are divided among them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: u16,
    /// Cores to pin the threads to, in turn; without it threads are not pinned.
    #[arg(long, value_delimiter = ',')]
    pub(crate) core: Vec<usize>,
    /// Look for answers without sleeping: wake-ups of the generator stay out of the latency, and
    /// each thread uses a whole core.
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

impl RunArgs {
    /// Threads that get connections.
    pub(crate) fn threads_used(&self) -> u16 {
        self.threads.min(self.connections)
    }

    /// Somebody may read of the run later, so it tells of what it ran on.
    pub(crate) fn is_kept(&self) -> bool {
        self.json || self.out.is_some()
    }

    /// What `--spin` asks for.
    pub(crate) fn waiting(&self) -> Waiting {
        if self.spin { Waiting::Spin } else { Waiting::Block }
    }
}

/// The load itself, whatever decides its pace.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// How requests of a rate are spaced: constant, poisson, burst(on,off,peak) as in
    /// burst(100ms,900ms,5), ramp(from,to) as in ramp(0.5,1.5), or trace(file) with one gap in each
    /// line as in 250us; factors are of the rate, and a trace is stretched to it.
    #[arg(long, default_value = "poisson", value_parser = parse_arrivals)]
    pub(crate) arrivals: Arrivals,
    /// Create the topic with so many partitions when it is missing.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) partitions: Option<u32>,
    /// Delete the topic first when it exists.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Replicas of a topic that is created.
    #[arg(long, default_value_t = 1)]
    pub(crate) replication_factor: i16,
    /// Config of a topic that is created, key=value; may be given several times.
    #[arg(long, value_parser = parse_config)]
    pub(crate) config: Vec<(String, String)>,
    /// Requests that one connection may have unanswered.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) in_flight: u16,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) records_per_batch: u32,
    /// Size of a record's value, as in 100 or 1KiB, or uniform(min,max) or zipf(min,max).
    #[arg(long, default_value = "100", value_parser = parse_sizes)]
    pub(crate) record_bytes: Sizes,
    /// Keys of records: none, sequential(n), uniform(n), zipf(n) or zipf(n,s), over n keys.
    #[arg(long, default_value = "none", value_parser = parse_keys)]
    pub(crate) keys: Keys,
    /// Which partition a record with a key goes to: that of Kafka's default partitioner, or any.
    #[arg(long, value_enum, default_value = "key")]
    pub(crate) partitioner: Partitioner,
    /// Part of each value that is random, in percent; the rest is zeros. Decides how far records
    /// can be compressed.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) random_percent: u8,
    /// Part of each value that compression takes away, 0.0 to 1.0: another way to say
    /// --random-percent.
    #[arg(long, value_parser = parse_compressibility, conflicts_with = "random_percent")]
    pub(crate) compressibility: Option<u8>,
    /// Partitions that one request carries a batch for.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) partitions_per_request: u16,
    #[arg(long, value_enum, default_value = "all", allow_hyphen_values = true)]
    pub(crate) acks: Acks,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(long, default_value = "none", value_parser = parse_compression)]
    pub(crate) compression: Compression,
    /// Seed of arrivals and payload.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

impl LoadArgs {
    /// The records that these flags ask for.
    pub(crate) fn pool_spec(&self) -> PoolSpec {
        PoolSpec {
            records_per_batch: u64::from(self.records_per_batch),
            sizes: self.record_bytes.clone(),
            keys: self.keys.clone(),
            random_percent: self.compressibility.unwrap_or(self.random_percent),
            compression: self.compression,
            seed: self.seed,
        }
    }
}

/// What chooses the partition of records with keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Partitioner {
    /// The key, as in Kafka's default partitioner (murmur2).
    Key,
    /// Partitions take turns, whatever the key.
    Turn,
}

/// What the broker has done when it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Acks {
    /// Nothing: there is no answer, a request counts when it is sent.
    #[value(name = "0")]
    None,
    /// The leader has it.
    #[value(name = "1")]
    Leader,
    /// Every in-sync replica has it.
    #[value(name = "all", alias = "-1")]
    All,
}

impl Acks {
    /// As the Produce request carries it.
    pub(crate) fn to_wire(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}
