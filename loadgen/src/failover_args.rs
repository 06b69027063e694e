//! The flags of `failover`.

use clap::Args;

use crate::units::{parse_config, parse_duration};

/// A leader's death, and when its partitions take records again.
#[derive(Debug, Clone, Args)]
pub(crate) struct FailoverArgs {
    /// Brokers of the cluster, host:port and commas between; those beside --leader are asked while
    /// it is away.
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) bootstrap: Vec<String>,
    /// Made anew, with all partitions led by --leader; one of that name is deleted first.
    #[arg(long)]
    pub(crate) topic: String,
    /// The broker that is killed, as clients reach it.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) leader: String,
    /// Its process on this machine, which gets SIGKILL.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) kill: u32,
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) partitions: u32,
    /// Replicas of each partition: so many brokers have to be there before the kill.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=100))]
    pub(crate) replication_factor: u16,
    /// Config of the topic, key=value; may be given several times.
    #[arg(long, value_parser = parse_config)]
    pub(crate) config: Vec<(String, String)>,
    /// How long to produce before the kill.
    #[arg(long, default_value = "3s", value_parser = parse_duration)]
    pub(crate) warmup: u64,
    /// Pause between two requests, before the kill and after it: figures are as exact as this.
    #[arg(long, default_value = "5ms", value_parser = parse_duration)]
    pub(crate) pause: u64,
    /// How long brokers may take to be there, and partitions to take records again.
    #[arg(long, default_value = "2m", value_parser = parse_duration)]
    pub(crate) within: u64,
    /// Print the result as JSON on standard output instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
}
