//! RemoveRaftVoter: a voter of the metadata quorum loses its vote (KIP-853). As a registered broker
//! it goes on as an observer.

use crate::api::add_raft_voter::check_cluster;
use crate::api::answers::outcome;
use crate::api::context::RequestContext;
use crate::controller::decide::Refusal;
use crate::model::ids::BrokerId;
use crate::protocol::messages::remove_raft_voter::{
    RemoveRaftVoterRequest, RemoveRaftVoterResponse,
};
use crate::shard::voters::{self, VoterChange, VoterKey};
use crate::storage::disk::Disk;

/// Answers RemoveRaftVoter.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: RemoveRaftVoterRequest,
) -> RemoveRaftVoterResponse {
    let (error_code, error_message) = outcome(&remove(&context, request).await);
    RemoveRaftVoterResponse { error_code, error_message, ..RemoveRaftVoterResponse::default() }
}

async fn remove<D: Disk>(
    context: &RequestContext<D>,
    request: RemoveRaftVoterRequest,
) -> Result<(), Refusal> {
    check_cluster(context, request.cluster_id.as_deref())?;
    let id = BrokerId(request.voter_id);
    let voter = VoterKey { id, directory: request.voter_directory_id };
    voters::change(&context.shard, VoterChange::Remove { voter }).await
}
