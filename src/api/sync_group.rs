//! SyncGroup: hands in the leader's assignment, and fetches a member's own part of it.

use crate::api::context::RequestContext;
use crate::coordinator::group::calls::{Sync, Synced};
use crate::coordinator::group::{GroupAnswer, GroupRequest};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::shard::group_host::ask_group;
use crate::storage::disk::Disk;

/// First version in which a member must name the protocol it expects (KIP-559).
const PROTOCOL_SINCE: i16 = 5;

/// Answers SyncGroup. Waits for the leader's assignment.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: SyncGroupRequest,
) -> SyncGroupResponse {
    let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if context.version >= PROTOCOL_SINCE && !names_protocol {
        return response_of(Synced::refused(KafkaCode::InconsistentGroupProtocol));
    }
    let group = request.group_id.clone();
    let assignments = request.assignments.into_iter();
    let sync = Sync {
        group: request.group_id,
        generation: request.generation_id,
        member: request.member_id,
        instance: request.group_instance_id,
        protocol_type: request.protocol_type,
        protocol: request.protocol_name,
        assignments: assignments.map(|own| (own.member_id, own.assignment)).collect(),
    };
    match ask_group(&context.shard, &group, GroupRequest::Sync(sync)).await {
        GroupAnswer::Sync(synced) => response_of(synced),
        other => response_of(Synced::refused(other.refusal())),
    }
}

fn response_of(synced: Synced) -> SyncGroupResponse {
    SyncGroupResponse {
        throttle_time_ms: 0,
        error_code: synced.code.number(),
        protocol_type: synced.protocol_type,
        protocol_name: synced.protocol,
        assignment: synced.assignment,
    }
}
