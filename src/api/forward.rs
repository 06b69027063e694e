//! Requests that the active controller answers, passed on to it whole by whichever broker a client
//! asked (KIP-590).

use crate::api::dispatch::Call;
use crate::protocol::api_key::ApiKey;
use crate::protocol::part::Part;
use crate::protocol::peer::PEER_CLIENT;
use crate::shard::peers;
use crate::storage::disk::Disk;
use bytes::Bytes;

/// What only the active controller decides or knows.
pub(super) const FORWARDED: &[ApiKey] = &[
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::CreatePartitions,
    ApiKey::AlterConfigs,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::ElectLeaders,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::UnregisterBroker,
    ApiKey::UpdateFeatures,
    ApiKey::DescribeQuorum,
    ApiKey::AddRaftVoter,
    ApiKey::RemoveRaftVoter,
    ApiKey::DescribeBrokers,
];

/// The controller's answer; `None` where the request is to be answered here, also because the
/// controller cannot be asked: then the answer is that this broker is not it.
pub(super) async fn to_controller<D: Disk>(call: &Call<D>) -> Option<Vec<Part>> {
    if !FORWARDED.contains(&call.key) {
        return None;
    }
    let context = &call.context;
    // What another broker passes on goes no further, and nobody speaks in a broker's name.
    if context.is_peer() || context.client_id == PEER_CLIENT {
        return None;
    }
    let (to, timeout_ms) = {
        let shard = context.shard.borrow();
        let own = shard.image.local();
        let to = shard.metadata.controller().filter(|active| *active != own)?;
        (to, shard.config.cluster.request_timeout_ms)
    };
    let frame = framed(&call.frame)?;
    match peers::forward(&context.shard, to, frame, timeout_ms).await {
        Ok(answer) => framed(&answer),
        Err(error) => {
            tracing::debug!(%error, api = call.key.name(), "not passed on to the controller");
            None
        }
    }
}

/// With its length in front.
fn framed(frame: &Bytes) -> Option<Vec<Part>> {
    let length = i32::try_from(frame.len()).ok()?;
    let prefix = Bytes::copy_from_slice(&length.to_be_bytes());
    Some(vec![prefix.into(), frame.clone().into()])
}
