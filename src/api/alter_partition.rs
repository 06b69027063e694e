//! AlterPartition: a leader changes who is in sync (KIP-497, KIP-903). Between brokers only.

use crate::api::context::RequestContext;
use crate::controller::decide::{Change, ChangeReply, IsrChange};
use crate::controller::records::{LeaderRecovery, PartitionState};
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionId, TopicId, TopicPartition};
use crate::protocol::messages::alter_partition::{
    AlterPartitionRequest, AlterPartitionResponse, AlteredPartition, AlteredTopic,
    PartitionToAlter, TopicToAlter,
};
use crate::shard::metadata;
use crate::storage::disk::Disk;

/// First version that names the registrations of members.
const EPOCHS_SINCE: i16 = 3;
const RECOVERED: i8 = 0;
const RECOVERING: i8 = 1;

/// Answers AlterPartition.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: AlterPartitionRequest,
) -> AlterPartitionResponse {
    match alter(&context, request).await {
        Ok(topics) => AlterPartitionResponse { topics, ..AlterPartitionResponse::default() },
        Err(code) => AlterPartitionResponse {
            error_code: code.number(),
            ..AlterPartitionResponse::default()
        },
    }
}

async fn alter<D: Disk>(
    context: &RequestContext<D>,
    request: AlterPartitionRequest,
) -> Result<Vec<AlteredTopic>, KafkaCode> {
    context.check_peer(request.broker_id)?;
    let leader = (BrokerId(request.broker_id), BrokerEpoch(request.broker_epoch));
    let has_epochs = context.version >= EPOCHS_SINCE;
    let sizes: Vec<usize> = request.topics.iter().map(|topic| topic.partitions.len()).collect();
    let ids: Vec<_> = request.topics.iter().map(|topic| topic.topic_id).collect();
    let changes = request.topics.into_iter().flat_map(|topic| changes_of(topic, has_epochs));
    let changes = changes.collect::<Result<Vec<IsrChange>, KafkaCode>>()?;
    let change = Change::AlterIsr { leader, changes };
    let ChangeReply::AlteredIsr(result) = metadata::change(&context.shard, change).await else {
        unreachable!("changes of in-sync sets are answered by states");
    };
    let told_once = |refusal| context.refusal(leader.0.0, &refusal);
    let mut outcomes = result.map_err(told_once)?.into_iter();
    let topics = ids.into_iter().zip(sizes).map(|(topic_id, size)| AlteredTopic {
        topic_id,
        partitions: outcomes.by_ref().take(size).map(|(id, result)| told(id, result)).collect(),
    });
    Ok(topics.collect())
}

fn changes_of(
    topic: TopicToAlter,
    has_epochs: bool,
) -> impl Iterator<Item = Result<IsrChange, KafkaCode>> {
    let id = TopicId(topic.topic_id);
    topic.partitions.into_iter().map(move |wanted| change_of(id, wanted, has_epochs))
}

fn change_of(
    topic: TopicId,
    wanted: PartitionToAlter,
    has_epochs: bool,
) -> Result<IsrChange, KafkaCode> {
    let epoch = |epoch| Some(epoch).filter(|epoch| *epoch >= 0).map(BrokerEpoch);
    let isr = match has_epochs {
        true => {
            let members = wanted.new_isr_with_epochs.into_iter();
            members.map(|one| (BrokerId(one.broker_id), epoch(one.broker_epoch))).collect()
        }
        false => wanted.new_isr.into_iter().map(|id| (BrokerId(id), None)).collect(),
    };
    Ok(IsrChange {
        partition: TopicPartition { topic, partition: PartitionId(wanted.partition_index) },
        leader_epoch: LeaderEpoch(wanted.leader_epoch),
        partition_epoch: wanted.partition_epoch,
        isr,
        recovery: match wanted.leader_recovery_state {
            RECOVERED => LeaderRecovery::Recovered,
            RECOVERING => LeaderRecovery::Recovering,
            _ => return Err(KafkaCode::InvalidRequest),
        },
    })
}

fn told(id: TopicPartition, result: Result<PartitionState, KafkaCode>) -> AlteredPartition {
    let partition_index = id.partition.0;
    match result {
        Ok(state) => AlteredPartition {
            partition_index,
            error_code: KafkaCode::None.number(),
            leader_id: state.leader.map_or(-1, |leader| leader.0),
            leader_epoch: state.leader_epoch.0,
            isr: state.isr.iter().map(|member| member.0).collect(),
            leader_recovery_state: match state.recovery {
                LeaderRecovery::Recovered => RECOVERED,
                LeaderRecovery::Recovering => RECOVERING,
            },
            partition_epoch: state.partition_epoch,
        },
        Err(code) => AlteredPartition {
            partition_index,
            error_code: code.number(),
            ..AlteredPartition::default()
        },
    }
}
