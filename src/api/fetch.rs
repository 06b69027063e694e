//! Fetch: passes over the partitions' owners until there is enough, or time is up.
//!
//! A pass asks every owning core once and puts the parts back together in request order. Too little
//! found: each core watches its partitions, and the first rise of a readable end starts another
//! pass. Sessions (KIP-227) only change which partitions a request names and an answer mentions.

use crate::api::brokers::BrokerView;
use crate::api::dispatch;
use crate::api::produce::{find_leader, find_topic, topic_name};
use crate::controller::image::MetadataImage;
use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, PartitionId, TopicId, TopicPartition};
use crate::model::limits::FETCH_BYTES_MAX;
use crate::model::listeners::Endpoint;
use crate::protocol::frame::RequestHeader;
use crate::protocol::messages::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch,
    NodeEndpoint, PartitionData,
};
use crate::protocol::part::Part;
use crate::protocol::primitive::Reader;
use crate::protocol::schema::Message;
use crate::shard::connection::{ConnectionId, SlotId};
use crate::shard::fetch_plan::{FetchPart, FetchPlan, SessionUse};
use crate::shard::fetch_session::{EPOCH_FINAL, EPOCH_INITIAL, SessionPart, SessionRequest, Told};
use crate::shard::mesh::{
    Isolation, ParkedKey, ReadOrder, ReadOutcome, ReadPart, ReaderPlace, ShardMessage, WatchOrder,
};
use crate::shard::parked::{FetchPhase, ParkedFetch, TopicName};
use crate::shard::reads;
use crate::shard::shard::{Finished, Shard, ShardRef};
use crate::shard::stages::{Stage, Stamp};
use crate::storage::disk::Disk;
use std::collections::BTreeMap;
use std::sync::Arc;

/// First version whose clients read from followers (KIP-392).
const FIRST_WITH_RACKS: i16 = 11;
/// First version that tells of the leader that a client missed (KIP-951).
const FIRST_WITH_LEADERS: i16 = 16;

/// Starts a fetch: it is parked and its first pass is on its way when this returns.
pub fn start<D: Disk>(
    shard: &ShardRef<D>,
    id: ConnectionId,
    (header, stamp): (&RequestHeader<'_>, Stamp),
    mut reader: Reader<'_>,
) {
    let version = header.api_version;
    let request = match FetchRequest::decode(&mut reader, version) {
        Ok(request) => request,
        Err(error) => return dispatch::refuse(shard, id, &error),
    };
    let slot = dispatch::open_slot(shard, id);
    let key = {
        let mut shard = shard.borrow_mut();
        let place = shard.reader_place(id, &request, version);
        let planned = shard.plan_fetch(&request, (version, header.correlation_id), place);
        match planned {
            Ok(plan) => {
                let stamp = shard.stages.end(Stage::Parse, stamp);
                shard.park_fetch(slot, stamp, request.max_wait_ms, plan)
            }
            Err(code) => {
                let response =
                    FetchResponse { error_code: code.number(), ..FetchResponse::default() };
                let parts = encode(&response, version, header.correlation_id);
                shard.fill(slot, parts);
                return;
            }
        }
    };
    start_pass(shard, key);
}

impl<D: Disk> Shard<D> {
    /// Where a consumer is that says so, if that decides which replica it reads from (KIP-392).
    fn reader_place(
        &mut self,
        id: ConnectionId,
        request: &FetchRequest,
        version: i16,
    ) -> Option<Arc<ReaderPlace>> {
        let has_rack = version >= FIRST_WITH_RACKS && !request.rack_id.is_empty();
        if !has_rack || !self.config.cluster.reads_by_rack || is_of_replica(request) {
            return None;
        }
        let local = self.connection(id)?.local;
        let listener = self.config.listener_name(local).to_owned();
        Some(Arc::new(ReaderPlace { rack: request.rack_id.clone(), listener }))
    }

    fn plan_fetch(
        &mut self,
        request: &FetchRequest,
        (version, correlation_id): (i16, i32),
        place: Option<Arc<ReaderPlace>>,
    ) -> Result<FetchPlan, KafkaCode> {
        let asked = asked_parts(request, version);
        let now_us = self.now.monotonic_us;
        let (session, parts) = match (request.session_id, request.session_epoch) {
            (id, EPOCH_FINAL) => {
                self.sessions.close(id);
                (SessionUse::None, asked)
            }
            (id, EPOCH_INITIAL) => {
                self.sessions.close(id);
                match self.sessions.open(asked.clone(), now_us) {
                    Some(id) => (SessionUse::Opened(id), asked),
                    None => (SessionUse::None, asked),
                }
            }
            (id, epoch) => {
                let forgotten = forgotten_parts(request, version);
                let update = SessionRequest { id, epoch };
                let parts = self.sessions.update(update, asked, &forgotten, now_us)?;
                (SessionUse::Continued(id), parts)
            }
        };
        let isolation = match request.isolation_level {
            1 => Isolation::ReadCommitted,
            _ => Isolation::ReadUncommitted,
        };
        let bytes_max = self.config.fetch_bytes_max.min(FETCH_BYTES_MAX);
        let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(bytes_max);
        let from = match is_of_replica(request) {
            true => ReadFrom::Nobody,
            false if version < FIRST_WITH_RACKS => ReadFrom::Leaders,
            false => ReadFrom::AnyReplica,
        };
        Ok(FetchPlan {
            correlation_id,
            version,
            isolation,
            place,
            min_bytes: usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes),
            max_bytes,
            session,
            parts: parts.into_iter().map(|part| self.resolve_part(part, from)).collect(),
        })
    }

    fn resolve_part(&self, part: SessionPart, from: ReadFrom) -> FetchPart {
        let topic = find_topic(&self.image, &part.topic);
        let owner = match from {
            ReadFrom::Nobody => find_holder(&self.image, topic, part.partition)
                .and(Err(KafkaCode::NotLeaderOrFollower)),
            ReadFrom::Leaders => find_leader(&self.image, topic, part.partition),
            ReadFrom::AnyReplica => find_holder(&self.image, topic, part.partition),
        };
        FetchPart {
            topic: part.topic,
            partition: part.partition,
            owner,
            fetch_offset: part.fetch_offset,
            max_bytes: usize::try_from(part.max_bytes).unwrap_or(0),
            // Any negative number is "none" in Fetch.
            current_leader_epoch: part.current_leader_epoch.max(-1),
            last_fetched_epoch: part.last_fetched_epoch,
        }
    }

    fn park_fetch(
        &mut self,
        slot: SlotId,
        stamp: Stamp,
        max_wait_ms: i32,
        plan: FetchPlan,
    ) -> ParkedKey {
        let max_wait_ms = u64::try_from(max_wait_ms).unwrap_or(0);
        let outcomes = vec![None; plan.parts.len()];
        let deadline_us = self.now.deadline_us(max_wait_ms);
        self.fetches.insert(ParkedFetch {
            slot,
            phase: FetchPhase::Reading,
            pass: 0,
            outstanding: 0,
            deadline_us,
            stamp,
            settled: Stamp::NONE,
            outcomes,
            was_woken: false,
            request: Box::new(plan),
        })
    }
}

/// Whose replicas a fetch may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadFrom {
    /// Nobody fetches as a replica here: who says so is told as Kafka tells a stranger.
    Nobody,
    /// The client does not know that followers could serve it.
    Leaders,
    AnyReplica,
}

fn is_of_replica(request: &FetchRequest) -> bool {
    request.replica_id >= 0 || request.replica_state.replica_id >= 0
}

fn asked_parts(request: &FetchRequest, version: i16) -> Vec<SessionPart> {
    let mut parts = Vec::new();
    for topic in &request.topics {
        let name = topic_name(&topic.topic, topic.topic_id, version);
        parts.extend(topic.partitions.iter().map(|partition| SessionPart {
            topic: name.clone(),
            partition: partition.partition,
            fetch_offset: partition.fetch_offset,
            max_bytes: partition.partition_max_bytes,
            current_leader_epoch: partition.current_leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
            told: None,
        }));
    }
    parts
}

fn forgotten_parts(request: &FetchRequest, version: i16) -> Vec<(TopicName, i32)> {
    let mut parts = Vec::new();
    for topic in &request.forgotten_topics_data {
        let name = topic_name(&topic.topic, topic.topic_id, version);
        parts.extend(topic.partitions.iter().map(|partition| (name.clone(), *partition)));
    }
    parts
}

/// Asks every owning core for its parts.
fn start_pass<D: Disk>(shard: &ShardRef<D>, key: ParkedKey) {
    let orders = {
        let mut shard = shard.borrow_mut();
        let origin = shard.core;
        let Some(fetch) = shard.fetches.get_mut(key) else { return };
        fetch.pass += 1;
        fetch.phase = FetchPhase::Reading;
        fetch.was_woken = false;
        fetch.stamp = fetch.settled.or(fetch.stamp);
        let orders = read_orders(fetch, key, origin);
        fetch.outstanding = u32::try_from(orders.len()).expect("one order for each core");
        for (at, part) in fetch.request.parts.iter().enumerate() {
            if let Err(code) = part.owner {
                // As Kafka has it where there is no log: an empty list, not none.
                let aborted = (code != KafkaCode::NotLeaderOrFollower).then(Vec::new);
                fetch.outcomes[at] = Some(ReadOutcome { aborted, ..ReadOutcome::refused(code) });
            }
        }
        if orders.is_empty() {
            shard.finished.push(Finished::Fetch(key.index as usize));
            shard.outbox.raise();
        }
        orders
    };
    for (core, order) in orders {
        let is_own = core == shard.borrow().core;
        if is_own {
            reads::read(shard, order);
        } else {
            let mut shard = shard.borrow_mut();
            shard.stages.count_route();
            shard.send(core, ShardMessage::Read(order));
        }
    }
}

fn read_orders(fetch: &ParkedFetch, key: ParkedKey, origin: CoreId) -> Vec<(CoreId, ReadOrder)> {
    let plan = &fetch.request;
    let mut orders: Vec<(CoreId, ReadOrder)> = Vec::new();
    for (at, part) in plan.parts.iter().enumerate() {
        let Ok((partition, core)) = part.owner else { continue };
        let read = ReadPart {
            partition,
            fetch_offset: part.fetch_offset,
            max_bytes: part.max_bytes,
            current_leader_epoch: part.current_leader_epoch,
            last_fetched_epoch: part.last_fetched_epoch,
            part: u32::try_from(at).expect("a frame holds fewer"),
        };
        if let Some((_, order)) = orders.iter_mut().find(|(other, _)| *other == core) {
            order.parts.push(read);
            continue;
        }
        let order = ReadOrder {
            origin,
            key,
            pass: fetch.pass,
            stamp: fetch.stamp,
            isolation: plan.isolation,
            place: plan.place.clone(),
            max_bytes: plan.max_bytes,
            parts: vec![read],
        };
        orders.push((core, order));
    }
    orders
}

/// Moves a fetch on: answers it, sets its watches, or starts another pass.
pub fn advance<D: Disk>(shard: &ShardRef<D>, index: usize) {
    let next = shard.borrow_mut().next_step(index);
    match next {
        Step::Nothing => {}
        Step::Answer => shard.borrow_mut().answer_fetch(index),
        Step::Watch(key) => watch(shard, key),
        Step::ReadAgain(key) => start_pass(shard, key),
    }
}

enum Step {
    Nothing,
    Answer,
    Watch(ParkedKey),
    ReadAgain(ParkedKey),
}

impl<D: Disk> Shard<D> {
    fn next_step(&mut self, index: usize) -> Step {
        let now_us = self.now.monotonic_us;
        let Some((key, fetch)) = self.fetches.at(index) else { return Step::Nothing };
        let is_due = fetch.deadline_us <= now_us;
        match fetch.phase {
            FetchPhase::Reading if fetch.outstanding > 0 => Step::Nothing,
            FetchPhase::Reading if is_due || fetch.has_enough() => Step::Answer,
            FetchPhase::Reading => {
                // What it waits for from here on is in no stage.
                fetch.settled = Stamp::NONE;
                Step::Watch(key)
            }
            FetchPhase::Watching if is_due => Step::Answer,
            FetchPhase::Watching if fetch.was_woken => Step::ReadAgain(key),
            FetchPhase::Watching => Step::Nothing,
        }
    }

    fn answer_fetch(&mut self, index: usize) {
        let Some(fetch) = self.fetches.remove(index) else { return };
        let settled = fetch.settled;
        let plan = *fetch.request;
        let has_missed = plan.version >= FIRST_WITH_LEADERS
            && fetch.outcomes.iter().flatten().any(|outcome| has_missed_leader(outcome.code));
        let connection = fetch.slot.connection;
        let view = has_missed.then(|| BrokerView::of_connection(self, connection)).flatten();
        let response = self.fetch_response(&plan, fetch.outcomes, view.as_ref());
        let parts = encode(&response, plan.version, plan.correlation_id);
        self.fill_settled(fetch.slot, parts, settled);
    }

    fn fetch_response(
        &mut self,
        plan: &FetchPlan,
        outcomes: Vec<Option<ReadOutcome>>,
        view: Option<&BrokerView>,
    ) -> FetchResponse {
        let mut responses: Vec<FetchableTopicResponse> = Vec::new();
        let mut nodes = BTreeMap::new();
        let mut budget = plan.max_bytes;
        for (part, outcome) in plan.parts.iter().zip(outcomes) {
            let mut outcome =
                outcome.unwrap_or_else(|| ReadOutcome::refused(KafkaCode::RequestTimedOut));
            if outcome.size() > budget && budget < plan.max_bytes {
                outcome.records.clear();
            }
            budget = budget.saturating_sub(outcome.size());
            if self.is_left_out(plan.session, part, &outcome) {
                continue;
            }
            let missed = view.filter(|_| has_missed_leader(outcome.code));
            let mut data = partition_data(part.partition, outcome);
            if let Some(view) = missed {
                data.current_leader = name_leader(view, part, &mut nodes);
            }
            push_partition(&mut responses, &part.topic, data);
        }
        let (session_id, node_endpoints) = (plan.session.id(), nodes.into_values().collect());
        FetchResponse { session_id, responses, node_endpoints, ..FetchResponse::default() }
    }

    /// True for a partition that an incremental answer need not mention.
    fn is_left_out(&mut self, used: SessionUse, part: &FetchPart, outcome: &ReadOutcome) -> bool {
        if used == SessionUse::None {
            return false;
        }
        let told = Told {
            high_watermark: outcome.high_watermark,
            log_start_offset: outcome.log_start_offset,
            last_stable_offset: outcome.last_stable_offset,
        };
        let id = used.id();
        let is_news = self.sessions.is_news(id, &part.topic, part.partition, told);
        if !outcome.records.is_empty() {
            self.sessions.served(id, &part.topic, part.partition);
        }
        let is_quiet = outcome.records.is_empty()
            && outcome.code == KafkaCode::None
            && outcome.preferred.is_none()
            && outcome.diverging.is_none();
        matches!(used, SessionUse::Continued(_)) && is_quiet && !is_news
    }
}

/// Whether a client is told who leads now (KIP-951).
fn has_missed_leader(code: KafkaCode) -> bool {
    matches!(code, KafkaCode::NotLeaderOrFollower | KafkaCode::FencedLeaderEpoch)
}

fn name_leader(
    view: &BrokerView,
    part: &FetchPart,
    nodes: &mut BTreeMap<i32, NodeEndpoint>,
) -> LeaderIdAndEpoch {
    let topic = find_topic(view.image(), &part.topic);
    let id = topic.map(|topic| TopicPartition { topic, partition: PartitionId(part.partition) });
    let leader = id.ok().and_then(|id| view.leader(&id));
    let Some(leader) = leader else { return LeaderIdAndEpoch::default() };
    if let Some(node) = leader.node {
        let (node_id, Endpoint { host, port }) = (node.id.0, node.endpoint);
        nodes.insert(node_id, NodeEndpoint { node_id, host, port: port.into(), rack: node.rack });
    }
    LeaderIdAndEpoch { leader_id: leader.id, leader_epoch: leader.epoch }
}

fn partition_data(partition_index: i32, outcome: ReadOutcome) -> PartitionData {
    let diverging_epoch = outcome.diverging.map_or_else(EpochEndOffset::default, |at| {
        EpochEndOffset { epoch: at.0, end_offset: at.1 }
    });
    PartitionData {
        partition_index,
        error_code: outcome.code.number(),
        high_watermark: outcome.high_watermark,
        last_stable_offset: outcome.last_stable_offset,
        log_start_offset: outcome.log_start_offset,
        diverging_epoch,
        aborted_transactions: outcome.aborted,
        preferred_read_replica: outcome.preferred.map_or(-1, |broker| broker.0),
        records: outcome.records.into_iter().collect(),
        ..PartitionData::default()
    }
}

/// Neighbouring partitions of one topic share an entry of the answer.
fn push_partition(
    responses: &mut Vec<FetchableTopicResponse>,
    topic: &TopicName,
    data: PartitionData,
) {
    let (name, topic_id) = match topic {
        TopicName::Name(name) => (String::from_utf8_lossy(name).into_owned(), uuid::Uuid::nil()),
        TopicName::Id(id) => (String::new(), *id),
    };
    match responses.last_mut() {
        Some(last) if last.topic == name && last.topic_id == topic_id => last.partitions.push(data),
        _ => {
            responses.push(FetchableTopicResponse { topic: name, topic_id, partitions: vec![data] })
        }
    }
}

/// The partition of a topic found before, and the core of this broker that holds a replica of it:
/// followers serve readers too, up to what they know to be committed (KIP-392).
fn find_holder(
    image: &MetadataImage,
    topic: Result<TopicId, KafkaCode>,
    partition: i32,
) -> Result<(TopicPartition, CoreId), KafkaCode> {
    let id = TopicPartition { topic: topic?, partition: PartitionId(partition) };
    let state = &image.partition(&id).ok_or(KafkaCode::UnknownTopicOrPartition)?.state;
    let core = state.core_on(image.local()).ok_or(KafkaCode::NotLeaderOrFollower)?;
    Ok((id, core))
}

/// Has each owning core tell us of the next rise.
fn watch<D: Disk>(shard: &ShardRef<D>, key: ParkedKey) {
    let mut shard = shard.borrow_mut();
    let origin = shard.core;
    let Some(fetch) = shard.fetches.get_mut(key) else { return };
    fetch.phase = FetchPhase::Watching;
    fetch.was_woken = false;
    let mut orders: Vec<(CoreId, WatchOrder)> = Vec::new();
    let plan = &fetch.request;
    for (part, outcome) in plan.parts.iter().zip(&fetch.outcomes) {
        let (Ok((partition, core)), Some(outcome)) = (part.owner, outcome) else { continue };
        let end = match plan.isolation {
            Isolation::ReadUncommitted => outcome.high_watermark,
            Isolation::ReadCommitted => outcome.last_stable_offset,
        };
        if let Some((_, order)) = orders.iter_mut().find(|(other, _)| *other == core) {
            order.seen.push((partition, end));
            continue;
        }
        let (pass, isolation) = (fetch.pass, plan.isolation);
        orders.push((
            core,
            WatchOrder { origin, key, pass, isolation, seen: vec![(partition, end)] },
        ));
    }
    for (core, order) in orders {
        if core == origin {
            shard.watch(order);
        } else {
            shard.send(core, ShardMessage::Watch(order));
        }
    }
}

fn encode(response: &FetchResponse, version: i16, correlation_id: i32) -> Vec<Part> {
    dispatch::encode(response, version, correlation_id)
        .expect("names came from a frame of this version, and FETCH_BYTES_MAX bounds the rest")
}
