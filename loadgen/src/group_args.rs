//! The flags of runs with groups and transactions.

use clap::Args;

use crate::control::Control;
use crate::failure::Failure;
use crate::load_args::RunArgs;
use crate::topic::{NewTopic, Topic};
use crate::units::{parse_config, parse_duration, parse_size};

/// The topic that is committed for, written to, or assigned.
#[derive(Debug, Clone, Args)]
pub(crate) struct TopicArgs {
    /// Create the topic with so many partitions when it is missing.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) partitions: Option<u32>,
    /// Replicas of a topic that is created.
    #[arg(long, default_value_t = 1)]
    pub(crate) replication_factor: i16,
    /// Config of a topic that is created, key=value; may be given several times.
    #[arg(long, value_parser = parse_config)]
    pub(crate) config: Vec<(String, String)>,
}

impl TopicArgs {
    /// Finds or makes it.
    pub(crate) fn find(&self, control: &mut Control, name: &str) -> Result<Topic, Failure> {
        let partitions = self
            .partitions
            .map(|count| usize::try_from(count).expect("at most 100,000 by the flag"));
        let new = NewTopic {
            partitions,
            replication_factor: self.replication_factor,
            configs: self.config.clone(),
        };
        Topic::find_or_create(control, name, &new)
    }
}

fn group_count() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1_000_000)
}

/// Offset commits: how many groups, and how.
#[derive(Debug, Args)]
pub(crate) struct CommitArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) topic: TopicArgs,
    /// Groups that commit; each has a name of its own.
    #[arg(long, default_value_t = 100, value_parser = group_count())]
    pub(crate) groups: u32,
    /// Names of groups begin with this.
    #[arg(long, default_value = "loadgen-commit")]
    pub(crate) group_prefix: String,
    /// Partitions that one commit has offsets for.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) partitions_per_commit: u32,
    /// Commits that one connection may have unanswered; its groups take turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) in_flight: u16,
    /// Each group has a member (classic protocol) that commits in its generation; without it
    /// commits are those of consumers that assign partitions by themselves.
    #[arg(long)]
    pub(crate) joined: bool,
    /// Each group commits once, and the run ends.
    #[arg(long)]
    pub(crate) once: bool,
}

/// Waits for committed offsets after a start.
#[derive(Debug, Args)]
pub(crate) struct FirstOffsetsArgs {
    /// host:port of a broker that is about to start.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub(crate) bootstrap: String,
    /// The topic that `commit` has committed for.
    #[arg(long)]
    pub(crate) topic: String,
    /// Groups that have committed.
    #[arg(long, default_value_t = 100, value_parser = group_count())]
    pub(crate) groups: u32,
    /// Names of groups begin with this.
    #[arg(long, default_value = "loadgen-commit")]
    pub(crate) group_prefix: String,
    /// How long to go on trying.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub(crate) within: u64,
}

/// Transactions: who, how large, and what ends them.
#[derive(Debug, Args)]
pub(crate) struct TransactArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) topic: TopicArgs,
    /// Transactional producers, each with one transaction at a time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) producers: u32,
    /// Transactional ids begin with this.
    #[arg(long, default_value = "loadgen-transact")]
    pub(crate) id_prefix: String,
    /// Partitions that one transaction writes a batch to.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) partitions_per_transaction: u32,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) records_per_batch: u32,
    /// Size of a record's value, as in 100 or 1KiB.
    #[arg(long, default_value = "100", value_parser = parse_size)]
    pub(crate) record_bytes: usize,
    /// Each transaction commits offsets of a group too.
    #[arg(long)]
    pub(crate) offsets: bool,
    /// Part of the transactions that are aborted, in percent.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) abort_percent: u8,
    /// Which protocol: the one that the cluster has finalised (auto), 1 (partitions are added by
    /// the client) or 2 (KIP-890).
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) flow: FlowChoice,
    /// Pause before something is asked again that the broker was not ready for, as Kafka's client
    /// has it.
    #[arg(long, default_value = "20ms", value_parser = parse_duration)]
    pub(crate) backoff: u64,
}

/// What `--flow` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FlowChoice {
    Auto,
    #[value(name = "1")]
    One,
    #[value(name = "2")]
    Two,
}

/// Rebalances of one group.
#[derive(Debug, Args)]
pub(crate) struct RebalanceArgs {
    /// Any broker of the cluster, host:port.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub(crate) bootstrap: String,
    #[arg(long)]
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) new_topic: TopicArgs,
    /// Members, each on a connection of its own: a broker answers one request of a connection at
    /// a time, and a join waits for the others.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(2..=10_000))]
    pub(crate) members: u16,
    /// The group's name; a new one for each run by default.
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// classic, or consumer (KIP-848).
    #[arg(long, value_enum, default_value = "consumer")]
    pub(crate) protocol: GroupProtocol,
    /// What happens: one member leaves and then joins, or all leave and then all join.
    #[arg(long, value_enum, default_value = "one")]
    pub(crate) change: Change,
    /// How often it happens.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) repeats: u32,
    /// Time between heartbeats of a member that has nothing else to say: members learn of a
    /// rebalance by them. Kafka's clients have 3s (classic) and 5s (consumer).
    #[arg(long, default_value = "500ms", value_parser = parse_duration)]
    pub(crate) heartbeat: u64,
    /// A rebalance that takes longer ends the run.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub(crate) within: u64,
    /// Core to pin the thread to.
    #[arg(long)]
    pub(crate) core: Option<usize>,
    /// Process ids of the brokers that run on this machine, commas between: adds their CPU time and
    /// memory.
    #[arg(long, value_delimiter = ',')]
    pub(crate) server_pid: Vec<u32>,
    /// Directory for summary.json, timeseries.csv, latency.hlog and one .hgrm per latency.
    #[arg(long)]
    pub(crate) out: Option<std::path::PathBuf>,
    /// Print the summary as JSON on standard output instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `idle`: connections that do nothing.
#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    /// Any broker of the cluster, host:port; all connections go to it.
    #[arg(long, default_value = "127.0.0.1:9092")]
    pub(crate) bootstrap: String,
    /// Connections to hold.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) connections: u32,
}

/// How a group's members join and are assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum GroupProtocol {
    /// JoinGroup and SyncGroup; a member assigns.
    Classic,
    /// ConsumerGroupHeartbeat; the broker assigns (KIP-848).
    Consumer,
}

/// Who comes and goes in one repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Change {
    One,
    All,
}
