//! Produce: batches to the partitions' owners, and one answer when all of them are safe enough.
//!
//! The connection's core checks each batch (length, CRC-32C) and hands it on; the owning core
//! appends. Appends of one connection reach a partition in the order of its requests.
//!
//! Left out until transactions are served: a transactional batch is refused with
//! INVALID_TXN_STATE, because no coordinator has opened its transaction.

use crate::api::dispatch;
use crate::controller::image::MetadataImage;
use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, PartitionId, TopicId, TopicPartition};
use crate::protocol::frame::RequestHeader;
use crate::protocol::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use crate::protocol::primitive::Reader;
use crate::protocol::record_batch::CheckedBatch;
use crate::protocol::records::Records;
use crate::protocol::schema::Message;
use crate::shard::connection::ConnectionId;
use crate::shard::mesh::{Acks, AppendOutcome, AppendPart, ParkedKey, ShardMessage};
use crate::shard::parked::{ParkedProduce, ProduceShape, TopicName};
use crate::shard::shard::{Finished, Shard, ShardRef};
use crate::storage::disk::Disk;
use bytes::Bytes;

/// A request sorted by owner: what can be appended, and what is refused already.
#[derive(Default)]
struct Sorted {
    shape: ProduceShape,
    outcomes: Vec<Option<AppendOutcome>>,
    parts: Vec<(CoreId, AppendPart)>,
}

/// Starts a produce: it is parked, and its parts are on their way when this returns.
pub fn start<D: Disk>(
    shard: &ShardRef<D>,
    id: ConnectionId,
    header: &RequestHeader<'_>,
    mut reader: Reader<'_>,
) {
    let version = header.api_version;
    if version < *ProduceRequest::VERSIONS.start() {
        return refuse_old(shard, id, header, &mut reader);
    }
    let request = match ProduceRequest::decode(&mut reader, version) {
        Ok(request) => request,
        Err(error) => return dispatch::refuse(shard, id, &error),
    };
    let slot = dispatch::open_slot(shard, id);
    let mut shard = shard.borrow_mut();
    let acks = acks_of(request.acks);
    let mut sorted = Sorted::default();
    sorted.sort(&shard.image, &request, version, acks.is_some());
    let outstanding = u32::try_from(sorted.parts.len()).expect("a frame holds fewer");
    let timeout_ms = u64::try_from(request.timeout_ms).unwrap_or(0);
    let deadline_us = shard.now.deadline_us(timeout_ms);
    let key = shard.produces.insert(ParkedProduce {
        slot,
        correlation_id: header.correlation_id,
        version,
        has_answer: acks != Some(Acks::None),
        deadline_us,
        shape: sorted.shape,
        outcomes: sorted.outcomes,
        outstanding,
        is_answered: false,
    });
    if outstanding == 0 {
        shard.finished.push(Finished::Produce(key.index as usize));
        return;
    }
    send_parts(&mut shard, key, acks.unwrap_or(Acks::All), sorted.parts);
}

fn acks_of(acks: i16) -> Option<Acks> {
    match acks {
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        -1 => Some(Acks::All),
        _ => None,
    }
}

fn send_parts<D: Disk>(
    shard: &mut Shard<D>,
    key: ParkedKey,
    acks: Acks,
    parts: Vec<(CoreId, AppendPart)>,
) {
    let own = shard.core;
    let mut local = Vec::with_capacity(parts.len());
    let mut remote: Vec<(CoreId, Vec<AppendPart>)> = Vec::new();
    for (core, part) in parts {
        if core == own {
            local.push(part);
        } else if let Some((_, list)) = remote.iter_mut().find(|(other, _)| *other == core) {
            list.push(part);
        } else {
            remote.push((core, vec![part]));
        }
    }
    for (core, parts) in remote {
        shard.send(core, ShardMessage::Append { origin: own, key, acks, parts });
    }
    shard.append_parts(own, key, acks, local);
}

impl Sorted {
    fn sort(
        &mut self,
        image: &MetadataImage,
        request: &ProduceRequest,
        version: i16,
        has_valid_acks: bool,
    ) {
        for topic in &request.topic_data {
            let name = topic_name(&topic.name, topic.topic_id, version);
            let found = find_topic(image, &name);
            self.shape.topics.push((name, self.shape.partitions.len()));
            for data in &topic.partition_data {
                let part = self.shape.partitions.len();
                self.shape.partitions.push(data.index);
                let checked = if has_valid_acks {
                    find_owner(image, found, data.index)
                        .map_err(|code| AppendOutcome::refused(code, None))
                        .and_then(|owner| check(&data.records).map(|batch| (owner, batch)))
                } else {
                    Err(AppendOutcome::refused(KafkaCode::InvalidRequiredAcks, None))
                };
                match checked {
                    Ok(((partition, core), batch)) => {
                        let part = u32::try_from(part).expect("a frame holds fewer");
                        self.outcomes.push(None);
                        self.parts.push((core, AppendPart { partition, batch, part }));
                    }
                    Err(refused) => self.outcomes.push(Some(refused)),
                }
            }
        }
    }
}

/// How a request of this version names a topic.
pub fn topic_name(name: &str, id: uuid::Uuid, version: i16) -> TopicName {
    const FIRST_WITH_IDS: i16 = 13;
    if version >= FIRST_WITH_IDS {
        TopicName::Id(id)
    } else {
        TopicName::Name(Bytes::copy_from_slice(name.as_bytes()))
    }
}

/// The topic that a client means.
///
/// # Errors
/// UNKNOWN_TOPIC_OR_PARTITION for a name, UNKNOWN_TOPIC_ID for an id (KIP-516).
pub fn find_topic(image: &MetadataImage, name: &TopicName) -> Result<TopicId, KafkaCode> {
    match name {
        TopicName::Name(name) => std::str::from_utf8(name)
            .ok()
            .and_then(|name| image.topic_by_name(name))
            .map(|topic| topic.id)
            .ok_or(KafkaCode::UnknownTopicOrPartition),
        TopicName::Id(id) => image
            .topic_by_id(&TopicId(*id))
            .map(|topic| topic.id)
            .ok_or(KafkaCode::UnknownTopicId),
    }
}

/// The partition of a topic found before, and the core that owns it.
///
/// # Errors
/// The topic's own error, or UNKNOWN_TOPIC_OR_PARTITION for a partition it does not have.
pub fn find_owner(
    image: &MetadataImage,
    topic: Result<TopicId, KafkaCode>,
    partition: i32,
) -> Result<(TopicPartition, CoreId), KafkaCode> {
    let id = TopicPartition { topic: topic?, partition: PartitionId(partition) };
    let core = image.owner_of(&id).ok_or(KafkaCode::UnknownTopicOrPartition)?;
    Ok((id, core))
}

fn check(records: &Records) -> Result<CheckedBatch, AppendOutcome> {
    let bytes = records.parts().first().cloned().unwrap_or_default();
    let batch = CheckedBatch::check(bytes)
        .map_err(|error| AppendOutcome::refused(error.kafka_code(), Some(error.to_string())))?;
    if batch.is_transactional() {
        let message = "transactions are not served yet: the producer has no open transaction";
        let message = Some(message.to_owned());
        return Err(AppendOutcome::refused(KafkaCode::InvalidTxnState, message));
    }
    Ok(batch)
}

/// Answers a produce whose parts are all back or whose time is up.
pub fn finish<D: Disk>(shard: &ShardRef<D>, index: usize) {
    let mut shard = shard.borrow_mut();
    let Some((_, produce)) = shard.produces.at(index) else { return };
    let is_complete = produce.outstanding == 0;
    let slot = produce.slot;
    if !produce.is_answered {
        produce.is_answered = true;
        let has_answer = produce.has_answer;
        let has_failed = produce.outcomes.iter().flatten().any(|one| one.code != KafkaCode::None);
        let parts = if has_answer { encode(produce) } else { Vec::new() };
        shard.fill(slot, parts);
        if !has_answer && has_failed {
            // Nobody reads an error after acks=0; a closed connection is how Kafka says it.
            shard.close_connection(slot.connection);
        }
    }
    if is_complete {
        shard.produces.remove(index);
    }
}

fn encode(produce: &ParkedProduce) -> Vec<Bytes> {
    let shape = &produce.shape;
    let mut responses = Vec::with_capacity(shape.topics.len());
    for (place, (name, first)) in shape.topics.iter().enumerate() {
        let end = shape.topics.get(place + 1).map_or(shape.partitions.len(), |(_, next)| *next);
        let partitions = (*first..end).map(|at| answer_of(shape.partitions[at], &produce.outcomes[at]));
        let (name, topic_id) = match name {
            TopicName::Name(name) => (String::from_utf8_lossy(name).into_owned(), uuid::Uuid::nil()),
            TopicName::Id(id) => (String::new(), *id),
        };
        responses.push(TopicProduceResponse {
            name,
            topic_id,
            partition_responses: partitions.collect(),
        });
    }
    let response = ProduceResponse { responses, ..ProduceResponse::default() };
    dispatch::encode(&response, produce.version, produce.correlation_id)
        .expect("names came from a frame of this version, and every error text is short")
}

fn answer_of(index: i32, outcome: &Option<AppendOutcome>) -> PartitionProduceResponse {
    let Some(outcome) = outcome else {
        return PartitionProduceResponse {
            index,
            error_code: KafkaCode::RequestTimedOut.number(),
            base_offset: -1,
            ..PartitionProduceResponse::default()
        };
    };
    PartitionProduceResponse {
        index,
        error_code: outcome.code.number(),
        base_offset: outcome.base_offset,
        log_append_time_ms: outcome.log_append_time_ms,
        log_start_offset: outcome.log_start_offset,
        error_message: outcome.message.clone(),
        ..PartitionProduceResponse::default()
    }
}
