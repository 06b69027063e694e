//! LeaveGroup: members go at once. One member up to v2, many with a code each from v3 (KIP-345).

use crate::api::context::RequestContext;
use crate::coordinator::group::calls::{Leave, LeavingMember, LeftMember};
use crate::coordinator::group::{GroupAnswer, GroupRequest};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
};
use crate::shard::group_host::ask_group;
use crate::storage::disk::Disk;

/// First version with many members.
const MANY_MEMBERS_SINCE: i16 = 3;

/// Answers LeaveGroup.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    let has_many = context.version >= MANY_MEMBERS_SINCE;
    let group = request.group_id.clone();
    let members = if has_many {
        let identity = |own: MemberIdentity| LeavingMember {
            member: own.member_id,
            instance: own.group_instance_id,
        };
        request.members.into_iter().map(identity).collect()
    } else {
        vec![LeavingMember { member: request.member_id, instance: None }]
    };
    let leave = Leave { group: request.group_id, members };
    let left = match ask_group(&context.shard, &group, GroupRequest::Leave(leave)).await {
        GroupAnswer::Leave(left) => left.members,
        other => return refused(other.refusal()),
    };
    if has_many {
        let members = left.into_iter().map(member_response).collect();
        return LeaveGroupResponse { members, ..Default::default() };
    }
    refused(left.first().map_or(KafkaCode::None, |member| member.code))
}

fn member_response(left: LeftMember) -> MemberResponse {
    MemberResponse {
        member_id: left.member,
        group_instance_id: left.instance,
        error_code: left.code.number(),
    }
}

fn refused(code: KafkaCode) -> LeaveGroupResponse {
    LeaveGroupResponse { error_code: code.number(), ..Default::default() }
}
