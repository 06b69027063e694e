//! ConsumerGroupDescribe: epochs, members and assignments of groups of the consumer protocol
//! (KIP-848). A classic group is GROUP_ID_NOT_FOUND: clients fall back to DescribeGroups.

use crate::api::answers::{ALL_GROUP_OPERATIONS, NO_OPERATIONS};
use crate::api::consumer_group_heartbeat::check_served;
use crate::api::context::RequestContext;
use crate::coordinator::group::consumer::calls::{
    DescribedConsumer, DescribedConsumerGroup, DescribedTopic,
};
use crate::coordinator::group::rebalances::Rebalance;
use crate::coordinator::group::{GroupAnswer, GroupRequest};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupDescribed,
    ConsumerGroupDescribedAssignment, ConsumerGroupDescribedMember,
    ConsumerGroupDescribedPartitions, ConsumerGroupRebalance,
};
use crate::shard::group_host::ask_group;
use crate::storage::disk::Disk;

/// Numbers of `member_type` (KIP-1099).
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

/// Answers ConsumerGroupDescribe.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let operations = match request.include_authorized_operations {
        true => ALL_GROUP_OPERATIONS,
        false => NO_OPERATIONS,
    };
    let mut groups = Vec::with_capacity(request.group_ids.len());
    for group in request.group_ids {
        groups.push(describe(&context, group, operations).await);
    }
    ConsumerGroupDescribeResponse { throttle_time_ms: 0, groups }
}

async fn describe<D: Disk>(
    context: &RequestContext<D>,
    group_id: String,
    operations: i32,
) -> ConsumerGroupDescribed {
    if let Err(code) = check_served(context) {
        let error_code = code.number();
        return ConsumerGroupDescribed { error_code, group_id, ..Default::default() };
    }
    let request = GroupRequest::DescribeConsumer(vec![group_id.clone()]);
    let (code, message) = match ask_group(&context.shard, &group_id, request).await {
        GroupAnswer::DescribeConsumer(mut groups) => {
            match groups.pop().expect("one group was asked for") {
                Ok(group) => return described(group, operations),
                Err(refusal) => (refusal.code, refusal.message),
            }
        }
        other => (other.refusal(), other.refusal().message().to_owned()),
    };
    ConsumerGroupDescribed {
        error_code: code.number(),
        error_message: Some(message),
        group_id,
        ..Default::default()
    }
}

fn described(group: DescribedConsumerGroup, operations: i32) -> ConsumerGroupDescribed {
    ConsumerGroupDescribed {
        error_code: KafkaCode::None.number(),
        error_message: None,
        group_id: group.group,
        group_state: group.state.to_owned(),
        group_epoch: group.epoch,
        assignment_epoch: group.target_epoch,
        assignor_name: group.assignor,
        members: group.members.into_iter().map(member).collect(),
        authorized_operations: operations,
        rebalances: group
            .rebalances
            .into_iter()
            .map(|Rebalance { at_ms, from, reason }| ConsumerGroupRebalance { at_ms, from, reason })
            .collect(),
    }
}

fn member(own: DescribedConsumer) -> ConsumerGroupDescribedMember {
    ConsumerGroupDescribedMember {
        member_id: own.member,
        instance_id: own.instance,
        rack_id: own.rack,
        member_epoch: own.epoch,
        client_id: own.client_id,
        client_host: own.client_host,
        subscribed_topic_names: own.topics,
        // As Kafka says "none" here.
        subscribed_topic_regex: Some(own.regex.unwrap_or_default()),
        assignment: assignment(own.assigned),
        target_assignment: assignment(own.target),
        member_type: if own.is_classic { CLASSIC_MEMBER } else { CONSUMER_MEMBER },
    }
}

fn assignment(topics: Vec<DescribedTopic>) -> ConsumerGroupDescribedAssignment {
    let topic = |own: DescribedTopic| ConsumerGroupDescribedPartitions {
        topic_id: own.id.0,
        topic_name: own.name,
        partitions: own.partitions,
    };
    ConsumerGroupDescribedAssignment { topic_partitions: topics.into_iter().map(topic).collect() }
}
