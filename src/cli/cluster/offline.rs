//! `highwater cluster format` and `recover`: on the data directory of a broker that does not run.

use super::{FormatOptions, RecoverOptions};
use crate::cli::error::CliError;
use crate::cli::start::log_to_stderr;
use crate::model::base64url::encode_uuid;
use crate::model::cluster_config::parse_voters;
use crate::model::ids::BrokerId;
use crate::runtime::data_dir::{Format, Founding};
use crate::runtime::offline;
use crate::shard::quorum_rescue::Rescue;

const VOTERS_FORM: &str = "ID@HOST:PORT,... with each id once";

pub(super) fn format(options: &FormatOptions) -> Result<(), CliError> {
    let founding = match &options.initial_voters {
        Some(text) => {
            let voters = parse_voters(text).filter(|voters| !voters.is_empty());
            let wrong = || CliError::Usage {
                flag: "--initial-voters",
                value: text.clone(),
                expected: VOTERS_FORM,
            };
            Founding::With(voters.ok_or_else(wrong)?)
        }
        None if options.standalone => Founding::Alone,
        None => Founding::Joins,
    };
    let wanted = Format {
        node_id: BrokerId(options.node_id),
        cluster_id: options.cluster_id,
        directory_id: options.directory_id,
        founding,
    };
    let formatted = offline::format(&options.dir, &wanted)?;
    let how = if formatted.is_new { "formatted" } else { "was formatted so already" };
    println!(
        "{} {how}: cluster {}, node {}, directory {}",
        options.dir.display(),
        encode_uuid(formatted.cluster_id),
        formatted.node_id.0,
        encode_uuid(formatted.directory_id)
    );
    Ok(())
}

pub(super) fn recover(options: &RecoverOptions) -> Result<(), CliError> {
    log_to_stderr();
    match (options.rejoin, options.accept_lost_metadata) {
        (false, false) => {
            let (taken, found) = offline::inspect(&options.dir)?;
            println!("{}", outlook(taken.node_id, &found));
        }
        (false, true) => {
            let rescued = offline::rescue(&options.dir)?;
            println!(
                "the only voter now, with entry {} and all before it; start this broker, then see \
                 `highwater cluster status`.\nNever start a voter of before with its metadata: \
                 first run `highwater cluster recover --rejoin --accept-lost-metadata` on its data \
                 directory.",
                rescued.last_index
            );
        }
        (true, false) => {
            println!(
                "would forget this broker's metadata and its vote, and keep its records; the start \
                 after that waits for the cluster of controller.quorum.bootstrap.servers.\n\
                 Do it with --accept-lost-metadata."
            );
        }
        (true, true) => {
            let kept = offline::forget(&options.dir)?;
            println!(
                "metadata and vote are forgotten, a copy is in {}; set \
                 controller.quorum.bootstrap.servers to a broker of the recovered cluster and \
                 start this one",
                kept.display()
            );
        }
    }
    Ok(())
}

fn outlook(id: BrokerId, found: &Rescue) -> String {
    let others: Vec<i32> =
        found.voters.iter().filter(|voter| **voter != id).map(|voter| voter.0).collect();
    format!(
        "node {} would become the only voter, in place of the voters {others:?} and itself.
It goes on with entry {} of term {}: {} topics, {} brokers. Up to entry {} it knows that a majority
has the same.
What is lost for good: every change of metadata that only the other voters had, as topics, \
configurations,
in-sync sets and producer ids that were answered in the last moments before they were lost. A \
partition
whose in-sync set changed in a lost entry may lose records that were acknowledged.
Only when {others:?} will never run again with the data they have. Do it with \
--accept-lost-metadata.",
        id.0, found.last_index, found.term, found.topics, found.brokers, found.commit
    )
}
