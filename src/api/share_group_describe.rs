//! ShareGroupDescribe: epochs, members and assignments of share groups (KIP-932). A group of
//! another kind is GROUP_ID_NOT_FOUND.

use crate::api::answers::{ALL_GROUP_OPERATIONS, NO_OPERATIONS};
use crate::api::context::RequestContext;
use crate::api::share_requests;
use crate::coordinator::group::consumer::calls::DescribedTopic;
use crate::coordinator::group::rebalances::Rebalance;
use crate::coordinator::group::share::calls::{
    DescribedShareGroup, DescribedShareMember, ShareGroupAnswer, ShareGroupRequest,
};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::share_group_describe::{
    ShareGroupDescribeRequest, ShareGroupDescribeResponse, ShareGroupDescribed,
    ShareGroupDescribedAssignment, ShareGroupDescribedMember, ShareGroupDescribedPartitions,
    ShareGroupRebalance,
};
use crate::shard::share_groups::ask_share_group;
use crate::storage::disk::Disk;

/// Answers ShareGroupDescribe.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ShareGroupDescribeRequest,
) -> ShareGroupDescribeResponse {
    let operations = match request.include_authorized_operations {
        true => ALL_GROUP_OPERATIONS,
        false => NO_OPERATIONS,
    };
    let mut groups = Vec::with_capacity(request.group_ids.len());
    for group in request.group_ids {
        groups.push(describe(&context, group, operations).await);
    }
    ShareGroupDescribeResponse { throttle_time_ms: 0, groups }
}

async fn describe<D: Disk>(
    context: &RequestContext<D>,
    group_id: String,
    operations: i32,
) -> ShareGroupDescribed {
    if let Err(code) = share_requests::check_served(context) {
        let error_code = code.number();
        return ShareGroupDescribed { error_code, group_id, ..Default::default() };
    }
    if group_id.is_empty() {
        return refused(group_id, KafkaCode::InvalidGroupId, None);
    }
    let request = ShareGroupRequest::Describe(vec![group_id.clone()]);
    let (code, message) = match ask_share_group(&context.shard, &group_id, request).await {
        Ok(ShareGroupAnswer::Describe(mut groups)) => {
            match groups.pop().expect("one group was asked for") {
                Ok(group) => return described(group, operations),
                Err(refusal) => (refusal.code, refusal.message),
            }
        }
        Ok(other) => unreachable!("a description is not answered by {other:?}"),
        Err(code) => (code, code.message().to_owned()),
    };
    refused(group_id, code, Some(message))
}

fn refused(group_id: String, code: KafkaCode, message: Option<String>) -> ShareGroupDescribed {
    let error_message = message.or_else(|| Some(code.message().to_owned()));
    ShareGroupDescribed { error_code: code.number(), error_message, group_id, ..Default::default() }
}

fn described(group: DescribedShareGroup, operations: i32) -> ShareGroupDescribed {
    ShareGroupDescribed {
        error_code: KafkaCode::None.number(),
        error_message: None,
        group_id: group.group,
        group_state: group.state.to_owned(),
        group_epoch: group.epoch,
        assignment_epoch: group.target_epoch,
        assignor_name: group.assignor.to_owned(),
        members: group.members.into_iter().map(member).collect(),
        authorized_operations: operations,
        rebalances: group
            .rebalances
            .into_iter()
            .map(|Rebalance { at_ms, from, reason }| ShareGroupRebalance { at_ms, from, reason })
            .collect(),
    }
}

fn member(own: DescribedShareMember) -> ShareGroupDescribedMember {
    let topic = |own: DescribedTopic| ShareGroupDescribedPartitions {
        topic_id: own.id.0,
        topic_name: own.name,
        partitions: own.partitions,
    };
    let topic_partitions = own.assigned.into_iter().map(topic).collect();
    ShareGroupDescribedMember {
        member_id: own.member,
        rack_id: own.rack,
        member_epoch: own.epoch,
        client_id: own.client_id,
        client_host: own.client_host,
        subscribed_topic_names: own.topics,
        assignment: ShareGroupDescribedAssignment { topic_partitions },
    }
}
