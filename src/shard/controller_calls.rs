//! What this broker itself wants of the active controller when that is another broker.
//!
//! What clients want is forwarded as they framed it (`api/forward.rs`); these are the few changes
//! that begin here: who is in sync, blocks of producer ids, topics that a client asked for and
//! nobody had made.

use crate::controller::decide::{
    BrokerStanding, Change, ChangeReply, Heartbeat, IsrChange, LossOutcomes, NewBroker,
    ProducerIdBlock, Refusal, TopicAnswer,
};
use crate::controller::records::{
    Availability, BrokerEndpoint, FeatureRange, LeaderRecovery, PartitionState,
};
use crate::model::base64url::encode_uuid;
use crate::model::errors::KafkaCode;
use crate::model::ids::{
    BrokerEpoch, BrokerId, LeaderEpoch, PartitionId, ProducerId, TopicId, TopicPartition,
};
use crate::model::limits::PRODUCER_ID_BLOCK;
use crate::protocol::messages::allocate_producer_ids::AllocateProducerIdsRequest;
use crate::protocol::messages::alter_partition::{
    AlterPartitionRequest, AlteredPartition, IsrMember, PartitionToAlter, TopicToAlter,
};
use crate::protocol::messages::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, DirectoryToAssign, LOST_DIRECTORY, PartitionToAssign,
    TopicToAssign,
};
use crate::protocol::messages::broker_heartbeat::BrokerHeartbeatRequest;
use crate::protocol::messages::broker_registration::{
    BrokerRegistrationRequest, RegisteredFeature, RegisteredListener,
};
use crate::protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::shard::peers::{self, PeerError};
use crate::shard::shard::ShardRef;
use crate::storage::disk::Disk;

/// Heartbeats that may be lost before a session ends.
const HEARTBEATS_PER_SESSION: u64 = 3;

/// Has the controller `to` carry out a change. Gives one back that only clients ask for.
pub(super) async fn carry<D: Disk>(
    shard: &ShardRef<D>,
    to: BrokerId,
    change: Change,
) -> Result<ChangeReply, Change> {
    match change {
        Change::RegisterBroker { broker, .. } => {
            Ok(ChangeReply::Registered(register(shard, to, *broker).await))
        }
        Change::Heartbeat(beat) => Ok(ChangeReply::Standing(heartbeat(shard, to, beat).await)),
        Change::AlterIsr { leader, changes } => {
            Ok(ChangeReply::AlteredIsr(alter_isr(shard, to, leader, changes).await))
        }
        Change::LoseReplicas { broker, partitions } => {
            Ok(ChangeReply::Lost(lose_replicas(shard, to, broker, &partitions).await))
        }
        Change::AllocateProducerIds => {
            Ok(ChangeReply::ProducerIds(allocate_producer_ids(shard, to).await))
        }
        Change::AutoCreateTopics { names } => {
            Ok(ChangeReply::Topics(auto_create(shard, to, names).await))
        }
        other => Err(other),
    }
}

fn timeout_ms<D: Disk>(shard: &ShardRef<D>) -> u64 {
    shard.borrow().config.cluster.request_timeout_ms
}

fn refusal_of(error: &PeerError) -> Refusal {
    Refusal::new(KafkaCode::NotController, error.to_string())
}

/// NONE, or the refusal that an answer's number says.
fn check(error_code: i16) -> Result<(), Refusal> {
    match KafkaCode::from_number(error_code) {
        Some(KafkaCode::None) => Ok(()),
        code => Err(Refusal::from(code.unwrap_or(KafkaCode::UnknownServerError))),
    }
}

async fn register<D: Disk>(
    shard: &ShardRef<D>,
    to: BrokerId,
    broker: NewBroker,
) -> Result<BrokerEpoch, Refusal> {
    let cluster = {
        let shard = shard.borrow();
        shard.image.cluster_id().unwrap_or(shard.cluster_id)
    };
    let listener = |one: BrokerEndpoint| RegisteredListener {
        name: one.listener,
        host: one.endpoint.host,
        port: one.endpoint.port,
        security_protocol: 0,
    };
    let feature = |one: FeatureRange| RegisteredFeature {
        name: one.name,
        min_supported_version: one.min,
        max_supported_version: one.max,
    };
    let request = BrokerRegistrationRequest {
        broker_id: broker.id.0,
        cluster_id: encode_uuid(cluster),
        incarnation_id: broker.incarnation,
        listeners: broker.endpoints.into_iter().map(listener).collect(),
        features: broker.features.into_iter().map(feature).collect(),
        rack: broker.rack,
        log_dirs: vec![broker.directory],
        previous_broker_epoch: broker.previous_epoch.map_or(-1, |epoch| epoch.0),
        ..BrokerRegistrationRequest::default()
    };
    let answer = peers::call(shard, to, &request, timeout_ms(shard)).await;
    let answer = answer.map_err(|error| refusal_of(&error))?;
    check(answer.error_code)?;
    Ok(BrokerEpoch(answer.broker_epoch))
}

async fn heartbeat<D: Disk>(
    shard: &ShardRef<D>,
    to: BrokerId,
    beat: Heartbeat,
) -> Result<BrokerStanding, Refusal> {
    let request = BrokerHeartbeatRequest {
        broker_id: beat.id.0,
        broker_epoch: beat.epoch.0,
        current_metadata_offset: beat.position,
        want_fence: beat.wants_fence,
        want_shut_down: beat.wants_shutdown,
        ..BrokerHeartbeatRequest::default()
    };
    let timeout_ms = shard.borrow().config.cluster.session_timeout_ms / HEARTBEATS_PER_SESSION;
    let answer = peers::call(shard, to, &request, timeout_ms).await;
    let answer = answer.map_err(|error| refusal_of(&error))?;
    check(answer.error_code)?;
    Ok(BrokerStanding {
        is_caught_up: answer.is_caught_up,
        availability: match answer.is_fenced {
            true => Availability::Fenced,
            false => Availability::Active,
        },
        should_shut_down: answer.should_shut_down,
    })
}

async fn alter_isr<D: Disk>(
    shard: &ShardRef<D>,
    to: BrokerId,
    (local, epoch): (BrokerId, BrokerEpoch),
    changes: Vec<IsrChange>,
) -> Result<Vec<(TopicPartition, Result<PartitionState, KafkaCode>)>, Refusal> {
    let topics = changes.into_iter().map(|change| TopicToAlter {
        topic_id: change.partition.topic.0,
        partitions: vec![PartitionToAlter {
            partition_index: change.partition.partition.0,
            leader_epoch: change.leader_epoch.0,
            new_isr_with_epochs: change.isr.iter().map(member).collect(),
            partition_epoch: change.partition_epoch,
            leader_recovery_state: i8::from(change.recovery == LeaderRecovery::Recovering),
            ..PartitionToAlter::default()
        }],
    });
    let request = AlterPartitionRequest {
        broker_id: local.0,
        broker_epoch: epoch.0,
        topics: topics.collect(),
    };
    let answer = peers::call(shard, to, &request, timeout_ms(shard)).await;
    let answer = answer.map_err(|error| refusal_of(&error))?;
    check(answer.error_code)?;
    let outcomes = answer.topics.into_iter().flat_map(|topic| {
        let id = TopicId(topic.topic_id);
        topic.partitions.into_iter().map(move |partition| {
            let number = PartitionId(partition.partition_index);
            (TopicPartition { topic: id, partition: number }, state_of(&partition))
        })
    });
    Ok(outcomes.collect())
}

fn member((id, epoch): &(BrokerId, Option<BrokerEpoch>)) -> IsrMember {
    IsrMember { broker_id: id.0, broker_epoch: epoch.map_or(-1, |epoch| epoch.0) }
}

/// What a leader needs of the state that holds now.
fn state_of(partition: &AlteredPartition) -> Result<PartitionState, KafkaCode> {
    match KafkaCode::from_number(partition.error_code) {
        Some(KafkaCode::None) => Ok(PartitionState {
            isr: partition.isr.iter().copied().map(BrokerId).collect(),
            leader: Some(BrokerId(partition.leader_id)),
            leader_epoch: LeaderEpoch(partition.leader_epoch),
            partition_epoch: partition.partition_epoch,
            ..PartitionState::default()
        }),
        code => Err(code.unwrap_or(KafkaCode::UnknownServerError)),
    }
}

async fn lose_replicas<D: Disk>(
    shard: &ShardRef<D>,
    to: BrokerId,
    (local, epoch): (BrokerId, BrokerEpoch),
    partitions: &[TopicPartition],
) -> Result<LossOutcomes, Refusal> {
    let topic = |id: &TopicPartition| TopicToAssign {
        topic_id: id.topic.0,
        partitions: vec![PartitionToAssign { partition_index: id.partition.0 }],
    };
    let topics = partitions.iter().map(topic).collect();
    let request = AssignReplicasToDirsRequest {
        broker_id: local.0,
        broker_epoch: epoch.0,
        directories: vec![DirectoryToAssign { id: LOST_DIRECTORY, topics }],
    };
    let answer = peers::call(shard, to, &request, timeout_ms(shard)).await;
    let answer = answer.map_err(|error| refusal_of(&error))?;
    check(answer.error_code)?;
    let topics = answer.directories.into_iter().flat_map(|directory| directory.topics);
    let outcomes = topics.flat_map(|topic| {
        let id = TopicId(topic.topic_id);
        topic.partitions.into_iter().map(move |partition| {
            let number = PartitionId(partition.partition_index);
            let told = check(partition.error_code).map_err(|refusal| refusal.code);
            (TopicPartition { topic: id, partition: number }, told)
        })
    });
    Ok(outcomes.collect())
}

async fn allocate_producer_ids<D: Disk>(
    shard: &ShardRef<D>,
    to: BrokerId,
) -> Result<ProducerIdBlock, Refusal> {
    let (broker_id, epoch) = {
        let image = &shard.borrow().image;
        let own = image.broker(image.local());
        (image.local().0, own.map_or(-1, |own| own.epoch().0))
    };
    let request = AllocateProducerIdsRequest { broker_id, broker_epoch: epoch };
    let answer = peers::call(shard, to, &request, timeout_ms(shard)).await;
    let answer = answer.map_err(|error| refusal_of(&error))?;
    let code = KafkaCode::from_number(answer.error_code).unwrap_or(KafkaCode::UnknownServerError);
    // Another version's blocks may be smaller than ours: what is not ours is not given out.
    let is_whole = i64::from(answer.producer_id_len) >= PRODUCER_ID_BLOCK;
    match code {
        KafkaCode::None if is_whole && answer.producer_id_start >= 0 => {
            Ok(ProducerIdBlock { first: ProducerId(answer.producer_id_start) })
        }
        KafkaCode::None => Err(Refusal::from(KafkaCode::UnknownServerError)),
        code => Err(Refusal::from(code)),
    }
}

/// The controller decides about sizes, as it does when a client finds a topic missing there.
async fn auto_create<D: Disk>(
    shard: &ShardRef<D>,
    to: BrokerId,
    names: Vec<String>,
) -> Vec<TopicAnswer> {
    let topic = |name: &String| CreatableTopic {
        name: name.clone(),
        num_partitions: -1,
        replication_factor: -1,
        ..CreatableTopic::default()
    };
    let topics = names.iter().map(topic).collect();
    let request = CreateTopicsRequest { topics, ..CreateTopicsRequest::default() };
    let answer = peers::call(shard, to, &request, timeout_ms(shard)).await;
    // Whoever asked looks into the metadata for the topic, and asks again until it is there.
    let code = match &answer {
        Ok(_) => KafkaCode::LeaderNotAvailable,
        Err(_) => KafkaCode::NotController,
    };
    let told = |name| TopicAnswer { name, result: Err(Refusal::from(code)) };
    names.into_iter().map(told).collect()
}
