//! BrokerHeartbeat: a broker is alive, and asks what it may do (KIP-631). Between brokers only.

use crate::api::context::RequestContext;
use crate::controller::decide::{BrokerStanding, Change, ChangeReply, Heartbeat};
use crate::controller::records::Availability;
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerEpoch, BrokerId};
use crate::protocol::messages::broker_heartbeat::{
    BrokerHeartbeatRequest, BrokerHeartbeatResponse,
};
use crate::shard::metadata;
use crate::storage::disk::Disk;

/// Answers BrokerHeartbeat.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: BrokerHeartbeatRequest,
) -> BrokerHeartbeatResponse {
    match beat(&context, &request).await {
        Ok(standing) => BrokerHeartbeatResponse {
            is_caught_up: standing.is_caught_up,
            is_fenced: standing.availability == Availability::Fenced,
            should_shut_down: standing.should_shut_down,
            ..BrokerHeartbeatResponse::default()
        },
        Err(code) => BrokerHeartbeatResponse {
            error_code: code.number(),
            ..BrokerHeartbeatResponse::default()
        },
    }
}

async fn beat<D: Disk>(
    context: &RequestContext<D>,
    request: &BrokerHeartbeatRequest,
) -> Result<BrokerStanding, KafkaCode> {
    context.check_peer(request.broker_id)?;
    // A broker has one directory: where it has failed nothing is left to serve.
    let wants_fence = request.want_fence || !request.offline_log_dirs.is_empty();
    let change = Change::Heartbeat(Heartbeat {
        id: BrokerId(request.broker_id),
        epoch: BrokerEpoch(request.broker_epoch),
        position: request.current_metadata_offset,
        wants_fence,
        wants_shutdown: request.want_shut_down,
        is_shutdown_known: false,
    });
    match metadata::change(&context.shard, change).await {
        ChangeReply::Standing(result) => {
            result.map_err(|refusal| context.refusal(request.broker_id, &refusal))
        }
        other => unreachable!("a heartbeat is answered by a standing, not by {other:?}"),
    }
}
