//! AddRaftVoter: an observer of the metadata quorum gets a vote (KIP-853).
//!
//! Where a voter is reached its registration says, and says anew after each start, so that there is
//! no UpdateRaftVoter here. Listeners that a request names must be those of the registration: else
//! whoever asks means another process, or expects the quorum to call it where it does not listen.

use crate::api::answers::outcome;
use crate::api::context::RequestContext;
use crate::controller::decide::Refusal;
use crate::controller::records::BrokerEndpoint;
use crate::model::base64url::encode_uuid;
use crate::model::errors::KafkaCode;
use crate::model::ids::BrokerId;
use crate::model::listeners::Endpoint;
use crate::protocol::messages::add_raft_voter::{
    AddRaftVoterRequest, AddRaftVoterResponse, VoterListener,
};
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
    check_listeners(context, id, &request.listeners)?;
    let voter = VoterKey { id, directory: request.voter_directory_id };
    // Whoever passed the request on waits no longer than this for the answer.
    let longest_ms = context.shard.borrow().config.cluster.request_timeout_ms / 3 * 2;
    let timeout_ms = u64::try_from(request.timeout_ms).unwrap_or(0).min(longest_ms);
    voters::change(&context.shard, VoterChange::Add { voter, timeout_ms }).await
}

/// Refuses listeners that are not those of the registration. Without a registration there is
/// nothing to compare with: the voter is refused for that.
fn check_listeners<D: Disk>(
    context: &RequestContext<D>,
    id: BrokerId,
    named: &[VoterListener],
) -> Result<(), Refusal> {
    let shard = context.shard.borrow();
    let Some(known) = shard.image.node(id).map(|known| &known.registration.endpoints) else {
        return Ok(());
    };
    for VoterListener { name, host, port } in named {
        let text = match known.iter().find(|own| own.listener.eq_ignore_ascii_case(name)) {
            Some(BrokerEndpoint { endpoint, .. })
                if endpoint.host.eq_ignore_ascii_case(host) && endpoint.port == *port =>
            {
                continue;
            }
            Some(BrokerEndpoint { listener, endpoint }) => {
                let meant = Endpoint { host: host.clone(), port: *port };
                format!(
                    "Listener {listener} of broker {} is registered at {endpoint}, not at {meant}.",
                    id.0
                )
            }
            None => {
                let names: Vec<&str> = known.iter().map(|own| own.listener.as_str()).collect();
                format!(
                    "Broker {} has registered no listener {name}, only {}.",
                    id.0,
                    names.join(", ")
                )
            }
        };
        return Err(Refusal::new(KafkaCode::InvalidRequest, text));
    }
    Ok(())
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
