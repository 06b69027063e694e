//! What can be typed: sub-commands and flags, with the words that `--help` and completions show.

use crate::cli::cluster::ClusterCommand;
use crate::cli::dev_cluster::DevClusterOptions;
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

// Examples stand at the end of each --help; tests/command_line.rs parses every one.

const TOPIC_EXAMPLES: &str = "Examples:
  highwater topic create orders --partitions 8   make a topic
  highwater topic list                           see what there is
  highwater topic describe orders                partitions, offsets, configuration
  highwater topic alter orders --partitions 16   add partitions
  highwater topic delete orders                  remove it with its data";

const CREATE_EXAMPLES: &str = "Examples:
  highwater topic create orders
  highwater topic create orders --partitions 8 -c retention.ms=86400000
  highwater topic create ledger -c highwater.durability=flush -c min.insync.replicas=1
  highwater topic create orders --bootstrap broker.example:9092";

const LIST_EXAMPLES: &str = "Examples:
  highwater topic list
  highwater topic list --internal   the broker's own topics too
  highwater topic list --json       one JSON object per topic";

const DESCRIBE_EXAMPLES: &str = "Examples:
  highwater topic describe orders
  highwater topic describe orders --json";

const ALTER_EXAMPLES: &str = "Examples:
  highwater topic alter orders --set retention.ms=3600000
  highwater topic alter orders --unset retention.ms   back to the broker's default
  highwater topic alter orders --partitions 16        a topic can grow, never shrink";

const DELETE_EXAMPLES: &str = "Examples:
  highwater topic delete orders
  highwater topic delete orders payments   several at once";

const GROUP_EXAMPLES: &str = "Examples:
  highwater group list
  highwater group describe readers";

const GROUP_LIST_EXAMPLES: &str = "Examples:
  highwater group list
  highwater group list --state Stable --type consumer
  highwater group list --json   one JSON object per group";

const GROUP_DESCRIBE_EXAMPLES: &str = "Examples:
  highwater group describe readers
  highwater group describe readers --json";

const RESET_EXAMPLES: &str = "Examples:
  highwater group reset-offsets readers --topic orders --to-earliest   shows, changes nothing
  highwater group reset-offsets readers --topic orders:0,3 --shift-by -10 --execute
  highwater group reset-offsets readers --all-topics --to-datetime 2026-11-21T08:00:00Z --execute";

const GROUP_DELETE_EXAMPLES: &str = "Examples:
  highwater group delete readers
  highwater group delete readers writers   several at once";

const TXN_EXAMPLES: &str = "Examples:
  highwater txn list --state Ongoing   who has a transaction open
  highwater txn describe payments      its producer and partitions
  highwater txn abort payments         end it, and fence its producer";

const LATENCY_EXAMPLES: &str = "Examples:
  highwater latency                      p50, p99, p99.9 and longest of each stage
  highwater latency -o json              the same in nanoseconds";

const TXN_LIST_EXAMPLES: &str = "Examples:
  highwater txn list
  highwater txn list --state Ongoing --longer-than-ms 60000
  highwater txn list --json";

const TXN_DESCRIBE_EXAMPLES: &str = "Examples:
  highwater txn describe payments
  highwater txn describe payments --json";

const TXN_ABORT_EXAMPLES: &str = "Examples:
  highwater txn abort payments";

const PRODUCE_EXAMPLES: &str = "Examples:
  echo 'hello' | highwater produce orders
  echo 'k1:hello' | highwater produce orders -K:       key k1, value hello
  seq 1000 | highwater produce orders --key k1 -z zstd
  seq 1000 | highwater produce orders -p 0 --acks 1 -H source=seq";

const CONSUME_EXAMPLES: &str = "Examples:
  highwater consume orders                         everything there is, then end
  highwater consume orders --follow --from end     what comes from now on
  highwater consume orders --from -10              the last ten of each partition
  highwater consume orders -p 0 --from 42 -n 1     one record
  highwater consume orders --format '%p@%o=%v\\n'
  highwater consume orders --json";

const LOG_EXAMPLES: &str = "Examples:
  highwater log dump highwater-data/topics";

const DUMP_EXAMPLES: &str = "Examples:
  highwater log dump highwater-data/topics             all segments below a folder
  highwater log dump --records --json 00000000000000000000.log";

const EXPLAIN_EXAMPLES: &str = "Examples:
  highwater explain E0008
  highwater explain list   every code with its title";

const DEV_CLUSTER_EXAMPLES: &str = "Examples:
  highwater dev-cluster 3                          127.0.0.1:9092, 9093 and 9094
  highwater dev-cluster 3 --port 19092 --dir /tmp/trial
  highwater dev-cluster 5 --override min.insync.replicas=1";

const CLUSTER_EXAMPLES: &str = "Examples:
  highwater cluster status      who decides, who follows, who is missing
  highwater cluster remove 3    take a broken broker's vote away
  highwater cluster add 4       give another one a vote";

const COMPLETIONS_EXAMPLES: &str = "Examples:
  highwater completions bash > ~/.local/share/bash-completion/completions/highwater
  highwater completions zsh > ~/.zfunc/_highwater
  highwater completions fish > ~/.config/fish/completions/highwater.fish";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "highwater",
    version,
    about = "A Kafka-compatible broker. Without a sub-command it starts one.",
    long_about = "A Kafka-compatible broker for bare-metal Linux, one pinned executor per core.\n\n\
        Without a sub-command it starts a broker on 127.0.0.1:9092 with its data in \
        ./highwater-data. Configuration is Kafka's: a properties file, KAFKA_* environment \
        variables and --override, the later one winning.",
    after_help = "Examples:\n  \
        highwater                                        start a broker\n  \
        highwater --config server.properties             start with Kafka's configuration file\n  \
        highwater topic create orders --partitions 8     make a topic\n  \
        echo 'k1:hello' | highwater produce orders -K:   one record, key k1\n  \
        highwater consume orders --from start --json     read it back"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub start: StartOptions,
}

/// Flags of a broker's start.
#[derive(Debug, clap::Args)]
pub(crate) struct StartOptions {
    /// Kafka's server.properties, or any file of that form
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One configuration key, stronger than file and environment; may be repeated
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// What the broker is tuned for: the key highwater.profile
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
}

/// What a broker is tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    Default,
    /// Cores spin: for processors that are kept for the broker alone
    Latency,
}

impl Profile {
    /// As `highwater.profile` has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Profile::Default => "default",
            Profile::Latency => "latency",
        }
    }
}

/// The sub-commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create, list, describe, alter and delete topics
    #[command(subcommand, after_help = TOPIC_EXAMPLES)]
    Topic(TopicCommand),
    /// List, describe, reset offsets of and delete consumer groups
    #[command(subcommand, after_help = GROUP_EXAMPLES)]
    Group(GroupCommand),
    /// List, describe and abort transactions
    #[command(subcommand, after_help = TXN_EXAMPLES)]
    Txn(TxnCommand),
    /// Send standard input to a topic, one record per line
    #[command(after_help = PRODUCE_EXAMPLES)]
    Produce(ProduceOptions),
    /// Print the records of a topic
    #[command(after_help = CONSUME_EXAMPLES)]
    Consume(ConsumeOptions),
    /// Show where the time of requests goes, stage by stage on each core
    #[command(after_help = LATENCY_EXAMPLES)]
    Latency(LatencyOptions),
    /// Look into segment files; needs no broker
    #[command(subcommand, after_help = LOG_EXAMPLES)]
    Log(LogCommand),
    /// Who votes about the metadata: show, change, and recover
    #[command(subcommand, after_help = CLUSTER_EXAMPLES)]
    Cluster(ClusterCommand),
    /// Start several brokers on this machine that form a cluster, and break them
    #[command(after_help = DEV_CLUSTER_EXAMPLES)]
    DevCluster(DevClusterOptions),
    /// Explain an error code that the broker printed, such as E0003
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain {
        /// The code; `list` shows all
        code: String,
    },
    /// Print completions for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions { shell: clap_complete::Shell },
}

/// Where the broker is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Target {
    /// Address of any broker of the cluster
    #[arg(short, long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    #[arg(env = "HIGHWATER_BOOTSTRAP")]
    pub bootstrap: String,
}

/// Flags of `latency`.
#[derive(Debug, clap::Args)]
pub(crate) struct LatencyOptions {
    /// Columns for people, or one JSON document
    #[arg(short, long, value_enum, default_value_t = OutputForm::Table)]
    pub output: OutputForm,
    #[command(flatten)]
    pub target: Target,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputForm {
    Table,
    Json,
}

/// What can be done with topics.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Make a topic
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        name: String,
        /// Number of partitions; the broker's num.partitions when left out
        #[arg(short, long)]
        partitions: Option<i32>,
        /// Number of replicas; the broker's default.replication.factor when left out
        #[arg(short, long)]
        replicas: Option<i16>,
        /// Topic configuration; may be repeated
        #[arg(short = 'c', long = "config", value_name = "KEY=VALUE")]
        configs: Vec<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Names, partitions and ids of all topics
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Show the broker's own topics too
        #[arg(long)]
        internal: bool,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Partitions, offsets and configuration of one topic
    #[command(after_help = DESCRIBE_EXAMPLES)]
    Describe {
        name: String,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Set or remove configuration, or add partitions
    #[command(after_help = ALTER_EXAMPLES)]
    Alter {
        name: String,
        /// Set a key; may be repeated
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Remove an override; may be repeated
        #[arg(long = "unset", value_name = "KEY")]
        unset: Vec<String>,
        /// New total number of partitions
        #[arg(short, long)]
        partitions: Option<i32>,
        #[command(flatten)]
        target: Target,
    },
    /// Delete topics and their data
    #[command(after_help = DELETE_EXAMPLES)]
    Delete {
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        target: Target,
    },
}

/// What can be done with consumer groups.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Names, types and states of all groups
    #[command(after_help = GROUP_LIST_EXAMPLES)]
    List {
        /// Only groups in this state, such as Stable; may be repeated
        #[arg(long = "state", value_name = "STATE")]
        states: Vec<String>,
        /// Only groups of this type, classic or consumer; may be repeated
        #[arg(long = "type", value_name = "TYPE")]
        types: Vec<String>,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Members, lag of each partition in records and seconds, and why the group rebalanced
    #[command(after_help = GROUP_DESCRIBE_EXAMPLES)]
    Describe {
        group: String,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Show where a group without members would begin, and set it with --execute
    #[command(after_help = RESET_EXAMPLES)]
    ResetOffsets(ResetOptions),
    /// Delete groups without members, and their offsets
    #[command(after_help = GROUP_DELETE_EXAMPLES)]
    Delete {
        #[arg(required = true)]
        groups: Vec<String>,
        #[command(flatten)]
        target: Target,
    },
}

/// Flags of `group reset-offsets`.
#[derive(Debug, clap::Args)]
#[command(group(
    clap::ArgGroup::new("goal")
        .required(true)
        .args(["to_earliest", "to_latest", "to_datetime", "shift_by", "to_offset"])
))]
#[command(group(clap::ArgGroup::new("scope").required(true).args(["topics", "all_topics"])))]
pub(crate) struct ResetOptions {
    pub group: String,
    /// A topic, or some of its partitions; may be repeated
    #[arg(short, long = "topic", value_name = "TOPIC[:P,P]")]
    pub topics: Vec<String>,
    /// Every topic that the group has offsets of
    #[arg(long)]
    pub all_topics: bool,
    /// The first record that is still there
    #[arg(long)]
    pub to_earliest: bool,
    /// The end: only what is written from now on
    #[arg(long)]
    pub to_latest: bool,
    /// The first record at or after a time: YYYY-MM-DDTHH:MM:SS.sss with Z or +HH:MM (else UTC), or
    /// @MS (milliseconds since 1970)
    #[arg(long, value_name = "TIME")]
    pub to_datetime: Option<String>,
    /// This many records further on; negative is back
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub shift_by: Option<i64>,
    #[arg(long, value_name = "OFFSET")]
    pub to_offset: Option<i64>,
    /// Only show what would be set; the default
    #[arg(long, conflicts_with = "execute")]
    pub dry_run: bool,
    /// Set the offsets
    #[arg(long)]
    pub execute: bool,
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub target: Target,
}

/// What can be done with transactions.
#[derive(Debug, Subcommand)]
pub(crate) enum TxnCommand {
    /// Transactional ids with their states and producers
    #[command(after_help = TXN_LIST_EXAMPLES)]
    List {
        /// Only these states, such as Ongoing; may be repeated
        #[arg(long = "state", value_name = "STATE")]
        states: Vec<String>,
        /// Only transactions that began longer ago
        #[arg(long, value_name = "MS")]
        longer_than_ms: Option<i64>,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// State, producer and partitions of one transactional id
    #[command(after_help = TXN_DESCRIBE_EXAMPLES)]
    Describe {
        id: String,
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Abort what a transactional id has open, and fence its producer
    #[command(after_help = TXN_ABORT_EXAMPLES)]
    Abort {
        id: String,
        #[command(flatten)]
        target: Target,
    },
}

/// Compression of produced batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// How safe a produced record must be before it counts as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AcksArg {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    Leader,
    All,
}

/// Flags of `produce`.
#[derive(Debug, clap::Args)]
pub(crate) struct ProduceOptions {
    pub topic: String,
    /// Split each line into key and value at the first occurrence
    #[arg(short = 'K', long, value_name = "TEXT")]
    pub key_separator: Option<String>,
    /// One key for all records
    #[arg(short, long, conflicts_with = "key_separator")]
    pub key: Option<String>,
    /// Always this partition; else by key, else in turn
    #[arg(short, long)]
    pub partition: Option<i32>,
    #[arg(long, default_value = "all")]
    pub acks: AcksArg,
    #[arg(short = 'z', long, default_value = "none")]
    pub compression: Codec,
    /// A header for every record; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    pub headers: Vec<String>,
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `consume`.
#[derive(Debug, clap::Args)]
pub(crate) struct ConsumeOptions {
    pub topic: String,
    /// start, end, an offset, -N (the last N of each partition) or @MS (milliseconds since 1970)
    #[arg(short = 'o', long, default_value = "start", allow_hyphen_values = true)]
    pub from: String,
    /// Only these partitions; may be repeated
    #[arg(short, long)]
    pub partition: Vec<i32>,
    /// Stop after this many records
    #[arg(short = 'n', long)]
    pub count: Option<u64>,
    /// Go on waiting for new records at the end
    #[arg(short, long)]
    pub follow: bool,
    /// One JSON object per record
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// %t topic, %p partition, %o offset, %k key, %v value, %T timestamp in ms, %h headers, \n \t
    #[arg(long, value_name = "TEXT", default_value = "%v\\n")]
    pub format: String,
    #[command(flatten)]
    pub target: Target,
}

/// What can be done with segment files.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Print batches of segment files and check their CRC-32C; exit code 65 when any is damaged
    #[command(after_help = DUMP_EXAMPLES)]
    Dump {
        /// Segment files (*.log) or folders that hold them
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Print the records of each batch too
        #[arg(long)]
        records: bool,
        #[arg(long)]
        json: bool,
    },
}
