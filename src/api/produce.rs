//! Produce: batches to the partitions' owners, and one answer when all of them are safe enough.
//!
//! The connection's core checks each batch (length, CRC-32C) and hands it on; the owning core
//! appends. Appends of one connection reach a partition in the order of its requests.
//!
//! The request is read in place by a view that is parked with it and goes back to a pool, so a
//! request that succeeds allocates nothing but its answer.
//!
//! A request that names a transactional id goes the same way by another door of the owning core,
//! which sees to it that the transaction is open (shard/transactional.rs).

use crate::api::dispatch::{self, CallError};
use crate::controller::image::{MetadataImage, TopicImage};
use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, PartitionId, TopicId, TopicPartition};
use crate::model::limits::{PRODUCE_POOL_MAX, RECORD_ERRORS_PER_ANSWER_MAX};
use crate::protocol::api_key::ApiKey;
use crate::protocol::compression::Compression;
use crate::protocol::frame::ResponseHeader;
use crate::protocol::messages::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use crate::protocol::part::Part;
use crate::protocol::primitive::{DecodeError, Writer};
use crate::protocol::produce_view::{ProducePartition, ProduceResult, write_produce_response};
use crate::protocol::record_batch::CheckedBatch;
use crate::protocol::schema::Message;
use crate::shard::connection::ConnectionId;
use crate::shard::mesh::{Acks, AppendOutcome, AppendPart, ParkedKey, ShardMessage};
use crate::shard::parked::{ParkedProduce, TopicName};
use crate::shard::shard::{Finished, Shard, ShardRef};
use crate::shard::transactional::TransactionalAppend;
use crate::shard::verification::TransactionFlow;
use crate::storage::disk::Disk;
use crate::storage::record_rules::RecordFault;
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::Arc;

/// First version that names topics by id (KIP-516).
const FIRST_WITH_IDS: i16 = 13;
/// First version whose client knows TRANSACTION_ABORTABLE (KIP-890).
const FIRST_ABORTABLE: i16 = 11;
/// First version that makes partitions part of the transaction (KIP-890).
const FIRST_IMPLICIT: i16 = 12;

/// First version whose clients know zstd (KIP-110).
const FIRST_WITH_ZSTD: i16 = 7;

/// What a request's header says, and where in the frame its body begins.
#[derive(Debug, Clone, Copy)]
pub struct ProduceCall {
    pub version: i16,
    pub correlation_id: i32,
    pub body_at: usize,
}

/// What a request says for all of its batches.
#[derive(Debug, Clone, Copy)]
struct Terms {
    /// `None` where the number means nothing.
    acks: Option<Acks>,
    version: i16,
    has_transaction: bool,
}

/// Starts a produce: it is parked, and its parts are on their way when this returns.
pub fn start<D: Disk>(shard: &ShardRef<D>, id: ConnectionId, call: ProduceCall, frame: Bytes) {
    let ProduceCall { version, correlation_id, body_at } = call;
    if version < *ProduceRequest::VERSIONS.start() {
        // Advertised, and closed as Kafka 4 does it (KIP-896).
        let error = DecodeError::UnsupportedVersion { api: ApiKey::Produce.name(), version };
        return dispatch::refuse(shard, id, &error);
    }
    let mut parked = shard.borrow_mut().produce_pool.pop().unwrap_or_default();
    if let Err(error) = parked.request.read_frame(frame, body_at, version) {
        return dispatch::refuse(shard, id, &error);
    }
    parked.slot = Some(dispatch::open_slot(shard, id));
    parked.correlation_id = correlation_id;
    shard.borrow_mut().start_produce(parked);
}

fn acks_of(acks: i16) -> Option<Acks> {
    match acks {
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        -1 => Some(Acks::All),
        _ => None,
    }
}

impl<D: Disk> Shard<D> {
    fn start_produce(&mut self, mut parked: Box<ParkedProduce>) {
        let timeout_ms = u64::try_from(parked.request.timeout_ms()).unwrap_or(0);
        let acks = acks_of(parked.request.acks());
        let mut parts = std::mem::take(&mut self.part_buffer);
        let transaction: Option<Arc<str>> = parked.request.transactional_id().map(Arc::from);
        let version = parked.request.version();
        let terms = Terms { acks, version, has_transaction: transaction.is_some() };
        sort(&self.image, &mut parked, terms, &mut parts);
        parked.deadline_us = self.now.deadline_us(timeout_ms);
        parked.outstanding = u32::try_from(parts.len()).expect("a frame holds fewer");
        parked.is_answered = false;
        let key = self.produces.insert(parked);
        let acks = acks.unwrap_or(Acks::All);
        match transaction {
            _ if parts.is_empty() => self.finished.push(Finished::Produce(key.index as usize)),
            None => self.send_parts(key, acks, &mut parts),
            Some(id) => self.send_transactional((key, acks), id, flow_of(version), &mut parts),
        }
        self.part_buffer = parts;
    }

    fn send_parts(&mut self, key: ParkedKey, acks: Acks, parts: &mut Vec<(CoreId, AppendPart)>) {
        let own = self.core;
        let mut remote: Vec<(CoreId, Vec<AppendPart>)> = Vec::new();
        let is_remote = |(core, _): &mut (CoreId, AppendPart)| *core != own;
        for (core, part) in parts.extract_if(.., is_remote) {
            match remote.iter_mut().find(|(other, _)| *other == core) {
                Some((_, list)) => list.push(part),
                None => remote.push((core, vec![part])),
            }
        }
        for (core, parts) in remote {
            self.send(core, ShardMessage::Append { origin: own, key, acks, parts });
        }
        self.append_parts(own, key, acks, parts.drain(..).map(|(_, part)| part));
    }
}

impl<D: Disk> Shard<D> {
    fn send_transactional(
        &mut self,
        (key, acks): (ParkedKey, Acks),
        transactional_id: Arc<str>,
        flow: TransactionFlow,
        parts: &mut Vec<(CoreId, AppendPart)>,
    ) {
        let origin = self.core;
        let mut orders: Vec<(CoreId, TransactionalAppend)> = Vec::new();
        for (core, part) in parts.drain(..) {
            if let Some((_, order)) = orders.iter_mut().find(|(other, _)| *other == core) {
                order.parts.push(part);
                continue;
            }
            let transactional_id = Arc::clone(&transactional_id);
            let parts = vec![part];
            let order = TransactionalAppend { origin, key, acks, transactional_id, flow, parts };
            orders.push((core, order));
        }
        for (core, order) in orders {
            match core == origin {
                true => self.append_transactional(order),
                false => self.send(core, ShardMessage::AppendTransactional(Box::new(order))),
            }
        }
    }
}

fn flow_of(version: i16) -> TransactionFlow {
    match version {
        FIRST_IMPLICIT.. => TransactionFlow::Implicit,
        FIRST_ABORTABLE => TransactionFlow::ExplicitAbortable,
        _ => TransactionFlow::Explicit,
    }
}

/// Sorts a request's batches by owner; what is refused already gets its outcome.
fn sort(
    image: &MetadataImage,
    parked: &mut ParkedProduce,
    terms: Terms,
    parts: &mut Vec<(CoreId, AppendPart)>,
) {
    let ParkedProduce { request, outcomes, .. } = parked;
    outcomes.clear();
    for topic in request.topics() {
        let found = if request.version() >= FIRST_WITH_IDS {
            image.topic_by_id(&TopicId(topic.topic_id())).ok_or(KafkaCode::UnknownTopicId)
        } else {
            image.topic_by_name(&topic.name()).ok_or(KafkaCode::UnknownTopicOrPartition)
        };
        for data in topic.partitions() {
            let part = u32::try_from(outcomes.len()).expect("a frame holds fewer");
            match accept(found.map(|topic| &**topic), data, terms) {
                Ok((core, partition, batch)) => {
                    outcomes.push(None);
                    parts.push((core, AppendPart { partition, batch, part }));
                }
                Err(refused) => outcomes.push(Some(refused)),
            }
        }
    }
}

/// One batch and where it goes. The order of the checks is Kafka's: a batch with two faults gets
/// the same code.
fn accept(
    topic: Result<&TopicImage, KafkaCode>,
    data: ProducePartition,
    terms: Terms,
) -> Result<(CoreId, TopicPartition, CheckedBatch), AppendOutcome> {
    let refused = |code| AppendOutcome::refused(code, None);
    let topic = topic.map_err(refused)?;
    let partition = PartitionId(data.index);
    let known = topic.partition(partition);
    let known = known.ok_or_else(|| refused(KafkaCode::UnknownTopicOrPartition))?;
    let batch = check(data.records, terms.has_transaction)?;
    let is_zstd = batch.header().attributes().compression().is_ok_and(|it| it == Compression::Zstd);
    if is_zstd && terms.version < FIRST_WITH_ZSTD {
        let message = format!("zstd needs Produce v{FIRST_WITH_ZSTD} or later");
        let code = KafkaCode::UnsupportedCompressionType;
        return Err(AppendOutcome::refused(code, Some(message)));
    }
    let acks = terms.acks.ok_or_else(|| refused(KafkaCode::InvalidRequiredAcks))?;
    if topic.is_internal {
        // Only coordinators write there: what they replay at a start is their own.
        let message = format!("cannot append to internal topic {}", topic.name);
        return Err(AppendOutcome::refused(KafkaCode::InvalidTopicException, Some(message)));
    }
    let count = |list: usize| u32::try_from(list).unwrap_or(u32::MAX);
    // Never more than there are replicas (KIP-966).
    let needed = topic.config.min_insync_replicas.min(count(known.state.replicas.len()));
    if acks == Acks::All && count(known.state.isr.len()) < needed {
        return Err(refused(KafkaCode::NotEnoughReplicas));
    }
    Ok((known.core, TopicPartition { topic: topic.id, partition }, batch))
}

fn check(records: Bytes, has_transaction: bool) -> Result<CheckedBatch, AppendOutcome> {
    let batch = CheckedBatch::check_produced(records).map_err(|error| {
        AppendOutcome::refused(KafkaCode::from(&error), Some(error.to_string()))
    })?;
    if batch.header().attributes().is_transactional() && !has_transaction {
        let message = "a transactional batch in a request without a transactional id";
        let code = KafkaCode::TransactionalIdAuthorizationFailed;
        return Err(AppendOutcome::refused(code, Some(message.to_owned())));
    }
    Ok(batch)
}

/// How a request of this version names a topic.
pub fn topic_name(name: &str, id: uuid::Uuid, version: i16) -> TopicName {
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
        TopicName::Id(id) => {
            image.topic_by_id(&TopicId(*id)).map(|topic| topic.id).ok_or(KafkaCode::UnknownTopicId)
        }
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

/// Answers a produce whose parts are all back or whose time is up.
pub fn finish<D: Disk>(shard: &ShardRef<D>, index: usize) {
    let mut shard = shard.borrow_mut();
    let Some((_, produce)) = shard.produces.at(index) else { return };
    let is_complete = produce.outstanding == 0;
    if !produce.is_answered {
        produce.is_answered = true;
        let slot = produce.slot.expect("set when it was parked");
        let has_answer = produce.request.acks() != 0;
        let has_failed = produce.outcomes.iter().flatten().any(|one| one.code != KafkaCode::None);
        let encoded = if has_answer { encode(produce) } else { Ok(Vec::new()) };
        let is_unanswerable = encoded.is_err();
        shard.fill(slot, encoded.unwrap_or_default());
        if is_unanswerable || (!has_answer && has_failed) {
            // Nobody reads an error after acks=0; a closed connection is how Kafka says it. A name
            // that is no UTF-8 may have become too long to be told back.
            shard.close_connection(slot.connection);
        }
    }
    if is_complete && let Some(mut produce) = shard.produces.remove(index) {
        produce.request.clear();
        if shard.produce_pool.len() < PRODUCE_POOL_MAX {
            shard.produce_pool.push(produce);
        }
    }
}

fn encode(produce: &ParkedProduce) -> Result<Vec<Part>, CallError> {
    let has_words = produce.outcomes.iter().flatten().any(|outcome| outcome.message.is_some());
    if has_words {
        return encode_with_words(produce);
    }
    let results = produce.outcomes.iter().map(|outcome| match outcome {
        None => ProduceResult::refused(KafkaCode::RequestTimedOut),
        Some(outcome) => ProduceResult {
            error: outcome.code,
            base_offset: outcome.base_offset,
            log_append_time_ms: outcome.log_append_time_ms,
            log_start_offset: outcome.log_start_offset,
        },
    });
    let results: SmallVec<[ProduceResult; 1]> = results.collect();
    let mut writer = Writer::for_frame();
    let header = ResponseHeader { correlation_id: produce.correlation_id };
    header.encode(&mut writer, ApiKey::Produce, produce.request.version());
    write_produce_response(&mut writer, &produce.request, &results, 0)?;
    Ok(writer.finish()?.parts)
}

/// The answer with the texts that explain refusals (KIP-467).
fn encode_with_words(produce: &ParkedProduce) -> Result<Vec<Part>, CallError> {
    let mut outcomes = produce.outcomes.iter();
    let mut named_max = RECORD_ERRORS_PER_ANSWER_MAX;
    let responses = produce.request.topics().map(|topic| {
        let partitions = topic.partitions().map(|partition| partition.index).collect::<Vec<_>>();
        let answers = partitions.into_iter().zip(outcomes.by_ref());
        TopicProduceResponse {
            name: topic.name().into_owned(),
            topic_id: topic.topic_id(),
            partition_responses: answers
                .map(|(index, outcome)| {
                    let answer = answer_of(index, outcome, named_max);
                    named_max -= answer.record_errors.len();
                    answer
                })
                .collect(),
        }
    });
    let response = ProduceResponse { responses: responses.collect(), ..ProduceResponse::default() };
    dispatch::encode(&response, produce.request.version(), produce.correlation_id)
}

/// One partition's answer, with `named_max` records named at most.
fn answer_of(
    index: i32,
    outcome: &Option<AppendOutcome>,
    named_max: usize,
) -> PartitionProduceResponse {
    let timed_out = AppendOutcome::refused(KafkaCode::RequestTimedOut, None);
    let outcome = outcome.as_ref().unwrap_or(&timed_out);
    PartitionProduceResponse {
        index,
        error_code: outcome.code.number(),
        base_offset: outcome.base_offset,
        log_append_time_ms: outcome.log_append_time_ms,
        log_start_offset: outcome.log_start_offset,
        record_errors: outcome.record_errors.iter().take(named_max).map(record_error).collect(),
        error_message: outcome.message.clone(),
        ..PartitionProduceResponse::default()
    }
}

fn record_error((place, fault): &(i32, RecordFault)) -> BatchIndexAndErrorMessage {
    BatchIndexAndErrorMessage {
        batch_index: *place,
        batch_index_error_message: Some(fault.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::image::OFFSETS_TOPIC;
    use crate::controller::records::{ConfigResource, MetadataRecord, PartitionState, Replica};
    use crate::model::ids::BrokerId;
    use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
    use uuid::Uuid;

    const TOPIC: TopicId = TopicId(Uuid::from_u128(1));

    /// An image with one topic of one partition.
    fn image_with(name: &str) -> MetadataImage {
        let mut image = MetadataImage::new(BrokerId(1), std::sync::Arc::default());
        let replica =
            |id| Replica { broker: BrokerId(id), core: CoreId(0), directory: Uuid::nil() };
        let isr = vec![BrokerId(1)];
        let replicas = vec![replica(1), replica(2)];
        let state = PartitionState { replicas, isr, ..PartitionState::default() };
        let id = TopicPartition { topic: TOPIC, partition: PartitionId(0) };
        image.apply(&MetadataRecord::Topic { id: TOPIC, name: name.to_owned() }).unwrap();
        image.apply(&MetadataRecord::Partition { id, state }).unwrap();
        image
    }

    /// The code for a good batch.
    fn code(image: &MetadataImage, index: i32, acks: Option<Acks>) -> KafkaCode {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.push(&NewRecord::default()).unwrap();
        let data = ProducePartition { index, records: builder.build().unwrap() };
        let topic = image.topic_by_id(&TOPIC).unwrap();
        let accepted = accept(Ok(topic), data, Terms { acks, version: 13, has_transaction: false });
        accepted.map_or_else(|refused| refused.code, |_| KafkaCode::None)
    }

    #[test]
    fn acks_all_needs_as_many_in_sync_replicas_as_the_topic_says() {
        let mut image = image_with("a");
        assert_eq!(code(&image, 0, Some(Acks::All)), KafkaCode::None);
        let two = MetadataRecord::Config {
            resource: ConfigResource::Topic(TOPIC),
            key: "min.insync.replicas".to_owned(),
            value: Some("2".to_owned()),
        };
        image.apply(&two).unwrap();
        assert_eq!(code(&image, 0, Some(Acks::All)), KafkaCode::NotEnoughReplicas);
        assert_eq!(code(&image, 0, Some(Acks::Leader)), KafkaCode::None);
        assert_eq!(code(&image, 0, None), KafkaCode::InvalidRequiredAcks);
        let unknown = code(&image, 1, Some(Acks::Leader));
        assert_eq!(unknown, KafkaCode::UnknownTopicOrPartition);
    }

    #[test]
    fn internal_topics_are_written_by_coordinators_only() {
        let image = image_with(OFFSETS_TOPIC);
        assert_eq!(code(&image, 0, Some(Acks::Leader)), KafkaCode::InvalidTopicException);
    }
}
