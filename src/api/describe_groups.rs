//! DescribeGroups: state and members of classic groups. A group that is not there is `Dead`, and
//! from v6 on GROUP_ID_NOT_FOUND as well (KIP-1043): Kafka's group tool falls back upon that.

use crate::api::answers::{ALL_GROUP_OPERATIONS, NO_OPERATIONS};
use crate::api::context::RequestContext;
use crate::coordinator::group::calls;
use crate::coordinator::group::rebalances::Rebalance;
use crate::coordinator::group::{GroupAnswer, GroupRequest};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
    GroupRebalance,
};
use crate::shard::group_host::ask_group;
use crate::storage::disk::Disk;

/// First version that says GROUP_ID_NOT_FOUND.
const MISSING_GROUP_SINCE: i16 = 6;

/// Answers DescribeGroups.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let operations =
        if request.include_authorized_operations { ALL_GROUP_OPERATIONS } else { NO_OPERATIONS };
    let mut groups = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        let mut described = describe(&context, group).await;
        if described.error_code == KafkaCode::None.number() {
            described.authorized_operations = operations;
        }
        groups.push(described);
    }
    DescribeGroupsResponse { throttle_time_ms: 0, groups }
}

async fn describe<D: Disk>(context: &RequestContext<D>, group: String) -> DescribedGroup {
    let request = GroupRequest::Describe(vec![group.clone()]);
    let described = match ask_group(&context.shard, &group, request).await {
        GroupAnswer::Describe(mut groups) => groups.pop(),
        other => {
            return DescribedGroup {
                error_code: other.refusal().number(),
                group_id: group,
                ..Default::default()
            };
        }
    };
    let described = described.expect("one group was asked for");
    let is_missing = described.code == KafkaCode::GroupIdNotFound;
    if is_missing && context.version >= MISSING_GROUP_SINCE {
        return DescribedGroup {
            error_code: described.code.number(),
            error_message: Some(format!("Group {group} not found.")),
            group_id: group,
            group_state: described.state.to_owned(),
            ..Default::default()
        };
    }
    DescribedGroup {
        error_code: KafkaCode::None.number(),
        error_message: None,
        group_id: group,
        group_state: described.state.to_owned(),
        protocol_type: described.protocol_type,
        protocol_data: described.protocol,
        members: described.members.into_iter().map(member).collect(),
        authorized_operations: NO_OPERATIONS,
        rebalances: described
            .rebalances
            .into_iter()
            .map(|Rebalance { at_ms, from, reason }| GroupRebalance { at_ms, from, reason })
            .collect(),
    }
}

fn member(own: calls::DescribedMember) -> DescribedGroupMember {
    DescribedGroupMember {
        member_id: own.member,
        group_instance_id: own.instance,
        client_id: own.client_id,
        client_host: own.client_host,
        member_metadata: own.metadata,
        member_assignment: own.assignment,
    }
}
