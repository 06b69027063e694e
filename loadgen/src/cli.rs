//! The command line.

use clap::{Args, Parser, Subcommand};
use highwater::protocol::compression::Compression;

use crate::batch_headers::CrcCheck;
use crate::recorder::Waiting;
use crate::schedule::Arrivals;
use crate::units::{parse_compression, parse_config, parse_duration, parse_rate, parse_size};

/// Load for any broker that speaks the Kafka protocol, and honest latency figures.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send batches: at a rate (latency counts from the intended send time) or as fast as answers
    /// come.
    Produce(ProduceArgs),
    /// Fetch from the start of each partition and count what comes.
    Consume(ConsumeArgs),
    /// Wait until the broker accepts a first record, and print the milliseconds that took.
    FirstProduce(FirstProduceArgs),
    /// Serve as a broker that stores nothing: shows what the generator itself can do.
    NullBroker(NullBrokerArgs),
}

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
    /// Process id of the broker, when it runs on this machine: adds its CPU time and memory.
    #[arg(long)]
    pub(crate) server_pid: Option<u32>,
    /// Print the summary as JSON on standard output instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
}

impl RunArgs {
    /// Threads that get connections.
    pub(crate) fn threads_used(&self) -> u16 {
        self.threads.min(self.connections)
    }

    /// What `--spin` asks for.
    pub(crate) fn waiting(&self) -> Waiting {
        if self.spin { Waiting::Spin } else { Waiting::Block }
    }
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("pace").required(true).args(["rate", "closed"]))]
pub(crate) struct ProduceArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Records per second that are sent whatever the broker does, as in 20k/s (open loop).
    #[arg(long, value_parser = parse_rate)]
    pub(crate) rate: Option<f64>,
    /// Send the next request when an answer comes (closed loop): shows capacity; its latency is not
    /// comparable with that of a rate.
    #[arg(long)]
    pub(crate) closed: bool,
    /// How requests of a rate are spaced.
    #[arg(long, value_enum, default_value = "poisson")]
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
    /// Size of a record's value, as in 100 or 1KiB.
    #[arg(long, default_value = "100", value_parser = parse_size)]
    pub(crate) record_bytes: usize,
    /// Part of each value that is random, in percent; the rest is zeros. Decides how far records
    /// can be compressed.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) random_percent: u8,
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

#[derive(Debug, Args)]
pub(crate) struct ConsumeArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Partitions to read, as in 0,3; all by default.
    #[arg(long, value_delimiter = ',')]
    pub(crate) partition: Vec<i32>,
    /// Most bytes that one answer may bring for a partition.
    #[arg(long, default_value = "1MiB", value_parser = parse_size)]
    pub(crate) max_bytes: usize,
    /// Start again at a partition's end; without it the run ends when all was read.
    #[arg(long = "loop")]
    pub(crate) repeat: bool,
    /// Check every batch's checksum.
    #[arg(long)]
    pub(crate) check_crc: bool,
}

impl ConsumeArgs {
    /// What `--check-crc` asks for.
    pub(crate) fn crc(&self) -> CrcCheck {
        if self.check_crc { CrcCheck::Verify } else { CrcCheck::Skip }
    }
}

#[derive(Debug, Args)]
pub(crate) struct FirstProduceArgs {
    /// host:port of a broker that is about to start.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub(crate) bootstrap: String,
    /// Created with one partition when missing.
    #[arg(long, default_value = "loadgen-first-produce")]
    pub(crate) topic: String,
    /// How long to go on trying.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub(crate) within: u64,
}

#[derive(Debug, Args)]
pub(crate) struct NullBrokerArgs {
    /// host:port; port 0 takes a free one. The address is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: String,
    /// Core to pin it to.
    #[arg(long)]
    pub(crate) core: Option<usize>,
    /// Where partitions end for fetches.
    #[arg(long, default_value_t = 10_000_000)]
    pub(crate) end_offset: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> String {
        Cli::try_parse_from(line.split_whitespace()).unwrap_err().to_string()
    }

    #[test]
    fn a_produce_run_needs_a_rate_or_a_closed_loop() {
        assert!(refusal("loadgen produce --topic t").contains("--rate"));
        assert!(refusal("loadgen produce --topic t --rate 5 --closed").contains("--closed"));
        assert!(Cli::try_parse_from("loadgen produce --topic t --closed".split(' ')).is_ok());
    }

    #[test]
    fn a_wrong_value_names_the_flag_and_an_example() {
        let text = refusal("loadgen produce --topic t --rate fast");
        assert!(text.contains("--rate") && text.contains("as in 200"), "{text}");
        let text = refusal("loadgen consume --topic t --max-bytes 1.5MB");
        assert!(text.contains("--max-bytes") && text.contains("as in 100"), "{text}");
        assert!(refusal("loadgen produce --topic t --closed --acks 2").contains("--acks"));
        assert!(
            refusal("loadgen produce --topic t --closed --in-flight 0").contains("--in-flight")
        );
    }

    #[test]
    fn quantities_arrive_in_their_units() {
        let line = "loadgen produce --topic t --rate 20k/s --record-bytes 1KiB --duration 1m \
                    --config a=b --config c=d=e --core 1,2 --acks -1";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Produce(args) = cli.command else {
            panic!("not a produce run");
        };
        assert_eq!(args.rate, Some(20_000.0));
        assert_eq!(args.record_bytes, 1024);
        assert_eq!(args.run.duration, 60_000_000_000);
        assert_eq!(args.config[1], ("c".to_owned(), "d=e".to_owned()));
        assert_eq!(args.run.core, [1, 2]);
        assert_eq!(args.acks.to_wire(), -1);
    }
}
