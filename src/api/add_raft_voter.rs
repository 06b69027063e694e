//! AddRaftVoter: an observer of the metadata quorum gets a vote (KIP-853).
//!
//! Where it is reached its registration says; the request's listeners are of no use here.

use crate::api::answers::outcome;
use crate::api::context::RequestContext;
use crate::controller::decide::Refusal;
use crate::model::base64url::encode_uuid;
use crate::model::errors::KafkaCode;
use crate::model::ids::BrokerId;
use crate::protocol::messages::add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};
use crate::shard::voters::{self, VoterChange, VoterKey};
use crate::storage::disk::Disk;

/// Answers AddRaftVoter.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: AddRaftVoterRequest,
) -> AddRaftVoterResponse {
    let (error_code, error_message) = outcome(&add(&context, request).await);
    AddRaftVoterResponse { error_code, error_message, ..AddRaftVoterResponse::default() }
}

async fn add<D: Disk>(
    context: &RequestContext<D>,
    request: AddRaftVoterRequest,
) -> Result<(), Refusal> {
    check_cluster(context, request.cluster_id.as_deref())?;
    let id = BrokerId(request.voter_id);
    let voter = VoterKey { id, directory: request.voter_directory_id };
    // Whoever passed the request on waits no longer than this for the answer.
    let longest_ms = context.shard.borrow().config.cluster.request_timeout_ms / 3 * 2;
    let timeout_ms = u64::try_from(request.timeout_ms).unwrap_or(0).min(longest_ms);
    voters::change(&context.shard, VoterChange::Add { voter, timeout_ms }).await
}

/// Refuses what is meant for another cluster.
pub(super) fn check_cluster<D: Disk>(
    context: &RequestContext<D>,
    asked: Option<&str>,
) -> Result<(), Refusal> {
    let own = {
        let shard = context.shard.borrow();
        encode_uuid(shard.image.cluster_id().unwrap_or(shard.cluster_id))
    };
    match asked.filter(|asked| *asked != own) {
        None => Ok(()),
        Some(asked) => {
            let text = format!("The given id \"{asked}\" doesn't match the cluster id \"{own}\"");
            Err(Refusal::new(KafkaCode::InconsistentClusterId, text))
        }
    }
}
