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

use crate::api::brokers::BrokerView;
use crate::api::dispatch::{self, CallError};
use crate::controller::image::{MetadataImage, TopicImage};
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, CoreId, PartitionId, TopicId, TopicPartition};
use crate::model::limits::{PRODUCE_POOL_MAX, RECORD_ERRORS_PER_ANSWER_MAX};
use crate::model::listeners::Endpoint;
use crate::protocol::api_key::ApiKey;
use crate::protocol::compression::Compression;
use crate::protocol::frame::ResponseHeader;
use crate::protocol::messages::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use crate::protocol::part::Part;
use crate::protocol::primitive::{DecodeError, Writer};
use crate::protocol::produce_view::{
    ProducePartition, ProduceResult, ProduceTopic, write_produce_response,
};
use crate::protocol::record_batch::CheckedBatch;
use crate::protocol::schema::Message;
use crate::shard::connection::ConnectionId;
use crate::shard::mesh::{Acks, AppendOrder, AppendOutcome, AppendPart, ShardMessage};
use crate::shard::parked::{ParkedProduce, TopicName};
use crate::shard::shard::{Finished, Shard, ShardRef};
use crate::shard::stages::{Stage, Stamp};
use crate::shard::transactional::TransactionalAppend;
use crate::shard::verification::TransactionFlow;
use crate::storage::disk::Disk;
use crate::storage::record_rules::RecordFault;
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// First version that names topics by id (KIP-516).
const FIRST_WITH_IDS: i16 = 13;
/// First version whose client knows TRANSACTION_ABORTABLE (KIP-890).
const FIRST_ABORTABLE: i16 = 11;
/// First version that makes partitions part of the transaction (KIP-890).
const FIRST_IMPLICIT: i16 = 12;

/// First version that tells of the leader that a client missed (KIP-951).
const FIRST_WITH_LEADERS: i16 = 10;

/// First version whose clients know zstd (KIP-110).
const FIRST_WITH_ZSTD: i16 = 7;

/// What a request's header says, and where in the frame its body begins.
#[derive(Debug, Clone, Copy)]
pub struct ProduceCall {
    pub version: i16,
    pub correlation_id: i32,
    pub body_at: usize,
    pub stamp: Stamp,
}

/// What a request says for all of its batches.
#[derive(Debug, Clone, Copy)]
struct Terms {
    /// `None` where the number means nothing.
    acks: Option<Acks>,
    version: i16,
    has_transaction: bool,
    /// This broker.
    local: BrokerId,
}

/// Starts a produce: it is parked, and its parts are on their way when this returns.
pub fn start<D: Disk>(shard: &ShardRef<D>, id: ConnectionId, call: ProduceCall, frame: Bytes) {
    let ProduceCall { version, correlation_id, body_at, stamp } = call;
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
    parked.stamp = stamp;
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
        let (has_transaction, local) = (transaction.is_some(), self.image.local());
        let terms = Terms { acks, version, has_transaction, local };
        sort(&self.image, &mut parked, terms, &mut parts);
        parked.deadline_us = self.now.deadline_us(timeout_ms);
        parked.outstanding = u32::try_from(parts.len()).expect("a frame holds fewer");
        parked.is_answered = false;
        parked.stamp = self.stages.end(Stage::Parse, parked.stamp);
        let stamp = parked.stamp;
        let key = self.produces.insert(parked);
        let acks = acks.unwrap_or(Acks::All);
        let order = AppendOrder { origin: self.core, key, acks, stamp };
        match transaction {
            _ if parts.is_empty() => self.finished.push(Finished::Produce(key.index as usize)),
            None => self.send_parts(order, &mut parts),
            Some(id) => self.send_transactional(order, id, flow_of(version), &mut parts),
        }
        self.part_buffer = parts;
    }

    fn send_parts(&mut self, order: AppendOrder, parts: &mut Vec<(CoreId, AppendPart)>) {
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
            self.stages.count_route();
            self.send(core, ShardMessage::Append { order, parts });
        }
        self.append_parts(order, parts.drain(..).map(|(_, part)| part));
    }
}

impl<D: Disk> Shard<D> {
    fn send_transactional(
        &mut self,
        order: AppendOrder,
        transactional_id: Arc<str>,
        flow: TransactionFlow,
        parts: &mut Vec<(CoreId, AppendPart)>,
    ) {
        let mut appends: Vec<(CoreId, TransactionalAppend)> = Vec::new();
        for (core, part) in parts.drain(..) {
            if let Some((_, append)) = appends.iter_mut().find(|(other, _)| *other == core) {
                append.parts.push(part);
                continue;
            }
            let transactional_id = Arc::clone(&transactional_id);
            let parts = vec![part];
            appends.push((core, TransactionalAppend { order, transactional_id, flow, parts }));
        }
        for (core, append) in appends {
            if core == self.core {
                self.append_transactional(append);
                continue;
            }
            self.stages.count_route();
            self.send(core, ShardMessage::AppendTransactional(Box::new(append)));
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
    // Before the in-sync set is looked at: only a client that hears of it looks for the leader.
    if known.state.leader != Some(terms.local) {
        return Err(refused(KafkaCode::NotLeaderOrFollower));
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

/// The partition of a topic found before, and the core of this broker that leads it.
///
/// # Errors
/// The topic's own error, UNKNOWN_TOPIC_OR_PARTITION for a partition it does not have, or
/// NOT_LEADER_OR_FOLLOWER.
pub fn find_leader(
    image: &MetadataImage,
    topic: Result<TopicId, KafkaCode>,
    partition: i32,
) -> Result<(TopicPartition, CoreId), KafkaCode> {
    let id = TopicPartition { topic: topic?, partition: PartitionId(partition) };
    Ok((id, image.leader_core(&id)?))
}

/// Answers a produce whose parts are all back or whose time is up.
pub fn finish<D: Disk>(shard: &ShardRef<D>, index: usize) {
    let mut shard = shard.borrow_mut();
    let Some((_, produce)) = shard.produces.at(index) else { return };
    let is_complete = produce.outstanding == 0;
    let missed_at = produce.slot.filter(|_| has_missed_leader(produce));
    let view = missed_at.and_then(|slot| BrokerView::of_connection(&mut shard, slot.connection));
    let Some((_, produce)) = shard.produces.at(index) else { return };
    if !produce.is_answered {
        produce.is_answered = true;
        let slot = produce.slot.expect("set when it was parked");
        let has_answer = produce.request.acks() != 0;
        let has_failed = produce.outcomes.iter().flatten().any(|one| one.code != KafkaCode::None);
        let encoded = if has_answer { encode(produce, view.as_ref()) } else { Ok(Vec::new()) };
        let is_unanswerable = encoded.is_err();
        let settled = if is_complete { produce.stamp } else { Stamp::NONE };
        shard.fill_settled(slot, encoded.unwrap_or_default(), settled);
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

/// Whether the answer has room for who leads now, and a reason to say it.
fn has_missed_leader(produce: &ParkedProduce) -> bool {
    produce.request.version() >= FIRST_WITH_LEADERS
        && produce.outcomes.iter().flatten().any(|one| one.code == KafkaCode::NotLeaderOrFollower)
}

fn encode(produce: &ParkedProduce, view: Option<&BrokerView>) -> Result<Vec<Part>, CallError> {
    let has_words = produce.outcomes.iter().flatten().any(|outcome| outcome.message.is_some());
    if has_words || view.is_some() {
        return encode_with_words(produce, view);
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

/// The answer with the texts that explain refusals (KIP-467) and the leaders that were missed
/// (KIP-951).
fn encode_with_words(
    produce: &ParkedProduce,
    view: Option<&BrokerView>,
) -> Result<Vec<Part>, CallError> {
    let mut outcomes = produce.outcomes.iter();
    let mut named_max = RECORD_ERRORS_PER_ANSWER_MAX;
    let mut nodes = BTreeMap::new();
    let responses = produce.request.topics().map(|topic| {
        let partitions = topic.partitions().map(|partition| partition.index).collect::<Vec<_>>();
        let answers = partitions.into_iter().zip(outcomes.by_ref());
        TopicProduceResponse {
            name: topic.name().into_owned(),
            topic_id: topic.topic_id(),
            partition_responses: answers
                .map(|(index, outcome)| {
                    let mut answer = answer_of(index, outcome, named_max);
                    named_max -= answer.record_errors.len();
                    let missed = view
                        .filter(|_| answer.error_code == KafkaCode::NotLeaderOrFollower.number());
                    let found = missed.zip(missed.and_then(|view| topic_of(view, &topic)));
                    if let Some((view, topic)) = found {
                        let id = TopicPartition { topic, partition: PartitionId(index) };
                        answer.current_leader = name_leader(view, &id, &mut nodes);
                    }
                    answer
                })
                .collect(),
        }
    });
    let responses = responses.collect();
    let node_endpoints = nodes.into_values().collect();
    let response = ProduceResponse { responses, node_endpoints, ..ProduceResponse::default() };
    dispatch::encode(&response, produce.request.version(), produce.correlation_id)
}

fn topic_of(view: &BrokerView, topic: &ProduceTopic<'_>) -> Option<TopicId> {
    match topic.topic_id() {
        id if !id.is_nil() => Some(TopicId(id)),
        _ => view.image().topic_by_name(&topic.name()).map(|topic| topic.id),
    }
}

fn name_leader(
    view: &BrokerView,
    id: &TopicPartition,
    nodes: &mut BTreeMap<i32, NodeEndpoint>,
) -> LeaderIdAndEpoch {
    let Some(leader) = view.leader(id) else { return LeaderIdAndEpoch::default() };
    if let Some(node) = leader.node {
        let (node_id, Endpoint { host, port }) = (node.id.0, node.endpoint);
        nodes.insert(node_id, NodeEndpoint { node_id, host, port: port.into(), rack: node.rack });
    }
    LeaderIdAndEpoch { leader_id: leader.id, leader_epoch: leader.epoch }
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
        let leader = Some(BrokerId(1));
        let state = PartitionState { replicas, isr, leader, ..PartitionState::default() };
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
        let local = image.local();
        let terms = Terms { acks, version: 13, has_transaction: false, local };
        let accepted = accept(Ok(topic), data, terms);
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
