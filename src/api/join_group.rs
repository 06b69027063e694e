//! JoinGroup: enters a group's next generation. Waits until the rebalance is through: as long as
//! the members' rebalance timeout.

use crate::api::context::RequestContext;
use crate::coordinator::group::calls::{Join, Joined, JoinedMember, Protocol};
use crate::coordinator::group::{GroupAnswer, GroupRequest};
use crate::protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use crate::shard::group_host::ask_group;
use crate::storage::disk::Disk;

/// A dynamic member must know its id before it joins (KIP-394).
const MEMBER_ID_SINCE: i16 = 4;
/// A member can be told to lead without assigning (KIP-814).
const SKIP_ASSIGNMENT_SINCE: i16 = 9;
/// The protocol's name may be null in the answer (KIP-559).
const NULL_PROTOCOL_SINCE: i16 = 7;

/// Answers JoinGroup.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let version = context.version;
    let group = request.group_id.clone();
    let member = request.member_id.clone();
    let join = join_of(&context, request);
    let joined = match ask_group(&context.shard, &group, GroupRequest::Join(Box::new(join))).await {
        GroupAnswer::Join(joined) => joined,
        other => Joined::refused(other.refusal(), member),
    };
    response_of(joined, version)
}

fn join_of<D: Disk>(context: &RequestContext<D>, request: JoinGroupRequest) -> Join {
    let protocol = |JoinGroupRequestProtocol { name, metadata }| Protocol { name, metadata };
    Join {
        group: request.group_id,
        member: request.member_id,
        instance: request.group_instance_id,
        client_id: context.client_id.clone(),
        // As Java prints an address; tools show it.
        client_host: format!("/{}", context.peer.ip()),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        protocol_type: request.protocol_type,
        protocols: request.protocols.into_iter().map(protocol).collect(),
        needs_member_id: context.version >= MEMBER_ID_SINCE,
        knows_skip_assignment: context.version >= SKIP_ASSIGNMENT_SINCE,
        fresh: (context.shard.borrow().random)(),
    }
}

fn response_of(joined: Joined, version: i16) -> JoinGroupResponse {
    let member = |JoinedMember { member, instance, metadata }| JoinGroupResponseMember {
        member_id: member,
        group_instance_id: instance,
        metadata,
    };
    let protocol_name = match joined.protocol {
        None if version < NULL_PROTOCOL_SINCE => Some(String::new()),
        protocol => protocol,
    };
    JoinGroupResponse {
        throttle_time_ms: 0,
        error_code: joined.code.number(),
        generation_id: joined.generation,
        protocol_type: joined.protocol_type,
        protocol_name,
        leader: joined.leader,
        skip_assignment: joined.skip_assignment,
        member_id: joined.member,
        members: joined.members.into_iter().map(member).collect(),
    }
}
