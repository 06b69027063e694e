//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::batch_headers::CrcCheck;
use crate::compare::{Limits, parse_limits};
use crate::failover_args::FailoverArgs;
use crate::group_args::{CommitArgs, FirstOffsetsArgs, IdleArgs, RebalanceArgs, TransactArgs};
use crate::job_set::{Override, parse_override};
use crate::load_args::{LoadArgs, RunArgs};
use crate::null_broker::Stalls;
use crate::objective::{Ceiling, Objective, parse_ceiling, parse_objective};
use crate::replay_args::ReplayArgs;
use crate::units::{parse_config, parse_duration, parse_rate, parse_size};

const EXAMPLES: &str = "\
Examples:
  Latency at a rate, counted from the intended send time (open loop):
    loadgen produce --topic t --partitions 8 --connections 8 --rate 20k/s --out run1
  From the producer's intended send time to the consumer:
    loadgen e2e --topic t --partitions 8 --connections 8 --rate 20k/s
  The highest rate that holds a latency objective:
    loadgen sweep --topic t --partitions 8 --connections 8 --slo 'p99<5ms,errors=0' --from 10k
  Is anything lost, doubled, reordered or damaged? Kill the broker meanwhile:
    loadgen verify --topic v --partitions 4 --duration 60s
  How long are a dead broker's partitions without a leader? 4711 is its process:
    loadgen failover --topic f --bootstrap a:9092,b:9092,c:9092 --leader a:9092 --kill 4711
  A file of market data, ten times as fast as it was recorded:
    loadgen replay feed.csv --topic ticks --time-column ts --key-column symbol --speed 10x
  The UDP datagrams of a packet capture, at its own times:
    loadgen replay feed.pcapng --topic ticks --key-column destination
  Several jobs at once or in turn, with the flags in a file:
    loadgen run jobs.toml --out results
  Offset commits and transactions per second, and how long a group takes to rebalance:
    loadgen commit --topic t --partitions 8 --groups 100 --connections 16
    loadgen transact --topic t --partitions 8 --producers 16 --connections 16
    loadgen rebalance --topic r --partitions 1000 --members 100 --protocol consumer
  What can the generator itself do?
    loadgen calibrate --topic t --partitions 8 --connections 8
  Did a change make it slower? Exit code 1 says so:
    loadgen compare run1 run2 --fail-if 'p99>+10%,rate<-5%'
  One HTML page of a run:
    loadgen report run1 -o run1.html

Exit codes: 0 good; 1 refused or lost records, or a limit of compare; 3 INVALID, the generator was
the bottleneck; 65 a line of a feed; 74 network or files; 76 a peer that breaks the protocol; 78
wrong flags, job file or topic.";

/// Load for any broker that speaks the Kafka protocol, and honest latency figures.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, about, after_help = EXAMPLES)]
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
    /// Send at a rate and consume at once: latency from the intended send time to the consumer.
    #[command(name = "e2e")]
    EndToEnd(EndToEndArgs),
    /// Find loss, duplicates, reordering and corruption, while brokers come and go.
    Verify(VerifyArgs),
    /// Kill the broker that leads a topic, and time when its partitions take records again.
    Failover(FailoverArgs),
    /// Find the highest rate that holds a latency objective, and what limits it.
    Sweep(SweepArgs),
    /// Send the records of a file, at the times that it gives them or as fast as answers come.
    Replay(ReplayArgs),
    /// Run the jobs of a file, at once or in turn.
    Run(RunJobsArgs),
    /// Show what the generator itself can do, against a broker that stores nothing.
    Calibrate(CalibrateArgs),
    /// Compare two runs; exit code 1 when a limit is crossed.
    Compare(CompareArgs),
    /// Write a run as one HTML file with charts.
    Report(ReportArgs),
    /// Commit offsets of many groups, as fast as answers come.
    Commit(CommitArgs),
    /// Run transactions of many producers, as fast as answers come.
    Transact(TransactArgs),
    /// Time rebalances of one group: until each member has its share of a complete assignment.
    Rebalance(RebalanceArgs),
    /// Wait until the broker answers with every group's committed offsets, and print the
    /// milliseconds that took.
    FirstOffsets(FirstOffsetsArgs),
    /// Wait until the broker accepts a first record, and print the milliseconds that took.
    FirstProduce(FirstProduceArgs),
    /// Hold connections that do nothing, until standard input ends.
    Idle(IdleArgs),
    /// Serve as a broker that stores nothing: shows what the generator itself can do.
    NullBroker(NullBrokerArgs),
}

/// How fast a produce run goes.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("pace").required(true).args(["rate", "closed"]))]
pub(crate) struct ProduceArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Records per second that are sent whatever the broker does, as in 20k/s (open loop).
    #[arg(long, value_parser = parse_rate)]
    pub(crate) rate: Option<f64>,
    /// Send the next request when an answer comes (closed loop): shows capacity; its latency is not
    /// comparable with that of a rate.
    #[arg(long)]
    pub(crate) closed: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EndToEndArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Records per second that are sent whatever the broker does, as in 20k/s.
    #[arg(long, value_parser = parse_rate)]
    pub(crate) rate: f64,
    /// Consuming threads, beside those that produce.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) consumers: u16,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Brokers of the cluster, host:port,host:port: the first that answers is asked.
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
    /// Producers, each a thread that writes to every partition with acks=all.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) producers: u16,
    /// Records per second of all producers together, at most.
    #[arg(long, default_value = "10k", value_parser = parse_rate)]
    pub(crate) rate: f64,
    /// How long to produce.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub(crate) duration: u64,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) records_per_batch: u32,
    /// Size of a record's value; the stamp takes 32 bytes of it.
    #[arg(long, default_value = "100", value_parser = parse_size)]
    pub(crate) record_bytes: usize,
    /// Idempotent producers: the broker then has to leave out what is sent again, and a duplicate
    /// is a fault.
    #[arg(long)]
    pub(crate) idempotent: bool,
    /// How long a broker may be away before its records are given up as not acknowledged.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub(crate) patience: u64,
    /// Directory for verify.json and acknowledged.hgrm.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Print the verdict as JSON on standard output instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// What a rate must hold to count, as in p99<5ms,errors=0,backlog=0.
    #[arg(long, default_value = "p99<5ms,errors=0", value_parser = parse_objective)]
    pub(crate) slo: Objective,
    /// Rate to begin with, in records per second.
    #[arg(long, default_value = "10k", value_parser = parse_rate)]
    pub(crate) from: f64,
    /// Highest rate to try, or auto.
    #[arg(long, default_value = "auto", value_parser = parse_ceiling)]
    pub(crate) to: Ceiling,
    /// A rate that is wanted, in records per second: the plan says how many cores it takes (needs
    /// --server-pid).
    #[arg(long, value_parser = parse_rate)]
    pub(crate) target: Option<f64>,
    /// How long records are to be kept, as in 7d: the plan says whether the broker's disk has room
    /// for the rate found.
    #[arg(long, value_parser = parse_duration)]
    pub(crate) retention: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct RunJobsArgs {
    /// TOML with one table [jobs.NAME] for each job: its mode, and the same keys as the flags.
    pub(crate) file: PathBuf,
    /// A key of the file in another way, as in jobs.a.rate=50k or global.duration=10s; may be given
    /// several times.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_override)]
    pub(crate) overrides: Vec<Override>,
    /// Directory for jobs.json, and for a directory with the files of each job.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Print the results as JSON on standard output instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Core to pin the null broker to.
    #[arg(long)]
    pub(crate) null_core: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// summary.json, or the directory of a run, to compare with.
    pub(crate) before: PathBuf,
    /// summary.json, or the directory of a run, that is judged.
    pub(crate) after: PathBuf,
    /// Changes that end with exit code 1, as in 'p99>+10%,rate<-5%'.
    #[arg(long, value_parser = parse_limits)]
    pub(crate) fail_if: Option<Limits>,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// summary.json, or the directory of a run.
    pub(crate) run: PathBuf,
    /// The HTML file to write.
    #[arg(short, long, default_value = "report.html")]
    pub(crate) output: PathBuf,
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
    /// Wait until each partition of a topic that is there has accepted a record.
    #[arg(long)]
    pub(crate) all_partitions: bool,
    /// Replicas of a topic that is created: so many brokers must be there.
    #[arg(long, default_value_t = 1)]
    pub(crate) replication_factor: i16,
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
    /// Stand still for so long, beginning with the first Produce request: shows what a generator
    /// makes of a broker that stalls.
    #[arg(long, value_parser = parse_duration)]
    pub(crate) stall_for: Option<u64>,
    /// Stand still again so long after the start of the stall before.
    #[arg(long, default_value = "1s", value_parser = parse_duration, requires = "stall_for")]
    pub(crate) stall_every: u64,
    /// How often it stands still.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true, requires = "stall_for")]
    pub(crate) stalls: u64,
}

impl NullBrokerArgs {
    /// What the flags of stalls ask for.
    pub(crate) fn stalling(&self) -> Option<Stalls> {
        let (every_ns, count) = (self.stall_every, self.stalls);
        self.stall_for.map(|for_ns| Stalls { every_ns, for_ns, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variety::Sizes;

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
    fn every_command_that_the_help_and_the_guide_show_is_accepted() {
        let guide = include_str!("../../docs/loadgen.md");
        let lines = EXAMPLES.lines().chain(guide.lines()).map(str::trim);
        let commands: Vec<&str> = lines.filter(|line| line.starts_with("loadgen ")).collect();
        assert!(commands.len() > 12, "{commands:?}");
        for command in commands {
            let words = command.split_whitespace().map(|word| word.trim_matches('\''));
            if let Err(refusal) = Cli::try_parse_from(words) {
                panic!("{command}\n{refusal}");
            }
        }
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
        assert_eq!(args.load.record_bytes, Sizes::Fixed(1024));
        assert_eq!(args.load.run.duration, 60_000_000_000);
        assert_eq!(args.load.config[1], ("c".to_owned(), "d=e".to_owned()));
        assert_eq!(args.load.run.core, [1, 2]);
        assert_eq!(args.load.acks.to_wire(), -1);
    }
}
