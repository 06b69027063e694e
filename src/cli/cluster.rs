//! `highwater cluster`: who decides about the metadata, and what to do when they are gone.
//!
//! `status`, `add`, `remove`, `decommission` and `unregister` talk to a broker as any client;
//! `format` and `recover` work on the data directory of a broker that does not run.

mod batches;
mod decommission;
mod inventory;
mod offline;
mod replacements;
mod status;

use crate::cli::args::Target;
use crate::cli::client::Client;
use crate::cli::error::{CliError, check};
use crate::model::base64url::{decode_uuid, encode_uuid};
use crate::protocol::messages::add_raft_voter::AddRaftVoterRequest;
use crate::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, DescribedPartition, ReplicaState,
    WantedPartition, WantedTopic,
};
use crate::protocol::messages::remove_raft_voter::RemoveRaftVoterRequest;
use crate::protocol::messages::unregister_broker::UnregisterBrokerRequest;
use clap::Subcommand;
use std::path::PathBuf;
use uuid::Uuid;

const METADATA_TOPIC: &str = "__cluster_metadata";
/// How long an observer may take to have all of the metadata, in milliseconds.
const ADD_TIMEOUT_MS: i32 = 30_000;

const STATUS_EXAMPLES: &str = "Examples:
  highwater cluster status
  highwater cluster status --json --bootstrap 10.0.0.1:9092";

const ADD_EXAMPLES: &str = "Examples:
  highwater cluster add 4       the broker runs already, as an observer";

const REMOVE_EXAMPLES: &str = "Examples:
  highwater cluster remove 3    whether it runs or not
  highwater cluster remove 3 --directory-id aRt4NCyzRs2HHZHY4OR7PA";

const DECOMMISSION_EXAMPLES: &str = "Examples:
  highwater cluster decommission 3 --dry-run    shows what would go where
  highwater cluster decommission 3              can be interrupted and started again";

const UNREGISTER_EXAMPLES: &str = "Examples:
  highwater cluster unregister 3            it was decommissioned, and has stopped
  highwater cluster unregister 3 --force    its disks are gone for good";

const FORMAT_EXAMPLES: &str = "Examples:
  highwater cluster format --dir data --node-id 4 --cluster-id aRt4NCyzRs2HHZHY4OR7PA
  highwater cluster format --dir data --node-id 1 --standalone
  highwater cluster format --dir data --node-id 1 --initial-voters 1@a:9092,2@b:9092,3@c:9092";

const RECOVER_EXAMPLES: &str = "Examples:
  highwater cluster recover --dir /var/lib/highwater    shows what it would go on with
  highwater cluster recover --dir /var/lib/highwater --accept-lost-metadata
  highwater cluster recover --dir /var/lib/highwater --accept-lost-metadata --rejoin";

/// What can be done with a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Voters, observers and brokers, and whether all partitions have their replicas
    #[command(after_help = STATUS_EXAMPLES)]
    Status {
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Give a running broker a vote about the metadata
    #[command(after_help = ADD_EXAMPLES)]
    Add {
        #[command(flatten)]
        voter: VoterArgs,
    },
    /// Take a broker's vote about the metadata away; it goes on as an observer
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        #[command(flatten)]
        voter: VoterArgs,
    },
    /// Move all replicas off a broker, so that it can be stopped for good
    #[command(after_help = DECOMMISSION_EXAMPLES)]
    Decommission(DecommissionOptions),
    /// Forget a broker that is gone for good
    #[command(after_help = UNREGISTER_EXAMPLES)]
    Unregister {
        id: i32,
        /// Although it holds replicas: they are given up
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Prepare a data directory; needs no broker
    #[command(after_help = FORMAT_EXAMPLES)]
    Format(FormatOptions),
    /// Go on without the majority of the voters; only when they are gone for good
    #[command(after_help = RECOVER_EXAMPLES)]
    Recover(RecoverOptions),
}

/// A voter that comes or goes.
#[derive(Debug, clap::Args)]
pub(crate) struct VoterArgs {
    /// The broker's node.id
    pub id: i32,
    /// Its data directory; the one that the cluster knows unless given
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub directory_id: Option<Uuid>,
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `cluster decommission`.
#[derive(Debug, clap::Args)]
pub(crate) struct DecommissionOptions {
    /// The broker's node.id
    pub id: i32,
    /// Show what would be moved, and move nothing
    #[arg(long)]
    pub dry_run: bool,
    /// One document a line: the plan, or progress and its end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `cluster format`.
#[derive(Debug, clap::Args)]
pub(crate) struct FormatOptions {
    /// The data directory, as log.dirs will name it
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub node_id: i32,
    /// 16 bytes in base64url, the same for all brokers; by chance unless given
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub cluster_id: Option<Uuid>,
    /// 16 bytes in base64url, of this directory alone; by chance unless given
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub directory_id: Option<Uuid>,
    /// Voters of a new cluster; without it the broker joins one
    #[arg(long, value_name = "ID@HOST:PORT,...", conflicts_with = "standalone")]
    pub initial_voters: Option<String>,
    /// A new cluster of this broker alone, to which others can be added
    #[arg(long)]
    pub standalone: bool,
}

/// Flags of `cluster recover`.
#[derive(Debug, clap::Args)]
pub(crate) struct RecoverOptions {
    /// The data directory of a broker that does not run
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Do it: changes of metadata that only the lost voters had are lost
    #[arg(long)]
    pub accept_lost_metadata: bool,
    /// Forget this broker's metadata and vote, keep its records: for the other brokers of a cluster
    /// that was recovered
    #[arg(long)]
    pub rejoin: bool,
}

fn parse_id(text: &str) -> Result<Uuid, String> {
    decode_uuid(text).ok_or_else(|| "an id is 16 bytes in base64url, 22 characters".to_owned())
}

/// Runs one of the commands.
pub(crate) fn run(command: &ClusterCommand) -> Result<(), CliError> {
    match command {
        ClusterCommand::Status { json, target } => status::run(target, *json),
        ClusterCommand::Add { voter } => add(voter),
        ClusterCommand::Remove { voter } => remove(voter),
        ClusterCommand::Decommission(options) => decommission::run(options),
        ClusterCommand::Unregister { id, force, target } => unregister(*id, *force, target),
        ClusterCommand::Format(options) => offline::format(options),
        ClusterCommand::Recover(options) => offline::recover(options),
    }
}

fn add(voter: &VoterArgs) -> Result<(), CliError> {
    let mut client = Client::connect(&voter.target.bootstrap)?;
    let (_, quorum) = describe_quorum(&mut client)?;
    // Where it is a voter already the broker refuses, with the reason.
    let known =
        find(&quorum.observers, voter.id).or_else(|| find(&quorum.current_voters, voter.id));
    let request = AddRaftVoterRequest {
        cluster_id: None,
        timeout_ms: ADD_TIMEOUT_MS,
        voter_id: voter.id,
        voter_directory_id: directory(voter, known, "an observer")?,
        listeners: Vec::new(),
    };
    let answer = client.call(&request)?;
    check(&format!("add voter {}", voter.id), answer.error_code, answer.error_message.as_deref())?;
    println!("broker {} is a voter", voter.id);
    Ok(())
}

fn remove(voter: &VoterArgs) -> Result<(), CliError> {
    let mut client = Client::connect(&voter.target.bootstrap)?;
    let (_, quorum) = describe_quorum(&mut client)?;
    let known = find(&quorum.current_voters, voter.id);
    let request = RemoveRaftVoterRequest {
        cluster_id: None,
        voter_id: voter.id,
        voter_directory_id: directory(voter, known, "a voter")?,
    };
    let answer = client.call(&request)?;
    let what = format!("remove voter {}", voter.id);
    check(&what, answer.error_code, answer.error_message.as_deref())?;
    println!("broker {} is no voter any more", voter.id);
    Ok(())
}

/// Kafka's controller forgets a broker whatever that holds, and so does ours: a replica is missing
/// from then on. So the command looks first.
fn unregister(id: i32, is_forced: bool, target: &Target) -> Result<(), CliError> {
    let mut client = Client::connect(&target.bootstrap)?;
    if !is_forced {
        let held = inventory::held_by(&mut client, id)?;
        if held.count > 0 {
            return Err(CliError::StillHolds { id, count: held.count, example: held.example });
        }
    }
    let answer = client.call(&UnregisterBrokerRequest { broker_id: id })?;
    let what = format!("unregister broker {id}");
    check(&what, answer.error_code, answer.error_message.as_deref())?;
    println!("broker {id} is forgotten");
    Ok(())
}

/// The data directory that is meant: the one given, else the one that the cluster knows.
fn directory(
    voter: &VoterArgs,
    known: Option<&ReplicaState>,
    wanted: &'static str,
) -> Result<Uuid, CliError> {
    let known = known.map(|known| known.replica_directory_id);
    let not_there = || CliError::NotInQuorum { id: voter.id, wanted };
    voter.directory_id.or(known).ok_or_else(not_there)
}

fn find(replicas: &[ReplicaState], id: i32) -> Option<&ReplicaState> {
    replicas.iter().find(|replica| replica.replica_id == id)
}

/// The quorum as its leader sees it; whoever is asked passes the question on.
fn describe_quorum(
    client: &mut Client,
) -> Result<(DescribeQuorumResponse, DescribedPartition), CliError> {
    let partitions = vec![WantedPartition { partition_index: 0 }];
    let topic = WantedTopic { topic_name: METADATA_TOPIC.to_owned(), partitions };
    let answer = client.call(&DescribeQuorumRequest { topics: vec![topic] })?;
    check("the metadata quorum", answer.error_code, answer.error_message.as_deref())?;
    let topic = answer.topics.first();
    let partition = topic.and_then(|topic| topic.partitions.first()).cloned().unwrap_or_default();
    let text = match partition.error_code {
        NOT_LEADER_OR_FOLLOWER => Some("no active controller is known: see `cluster recover`"),
        _ => partition.error_message.as_deref(),
    };
    check("the metadata quorum", partition.error_code, text)?;
    Ok((answer, partition))
}

const NOT_LEADER_OR_FOLLOWER: i16 = 6;

/// An id for people; `-` where there is none.
fn shown(id: Uuid) -> String {
    if id.is_nil() { "-".to_owned() } else { encode_uuid(id) }
}
