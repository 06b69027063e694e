//! Fetch: passes over the partitions' owners until there is enough, or time is up.
//!
//! A pass asks every owning core once and puts the parts back together in request order. Too little
//! found: each core watches its partitions, and the first rise of a readable end starts another
//! pass. Sessions (KIP-227) only change which partitions a request names and an answer mentions.

use crate::api::dispatch;
use crate::api::produce::{find_owner, find_topic, topic_name};
use crate::model::errors::KafkaCode;
use crate::model::ids::CoreId;
use crate::model::limits::FETCH_BYTES_MAX;
use crate::protocol::frame::RequestHeader;
use crate::protocol::messages::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use crate::protocol::part::Part;
use crate::protocol::primitive::Reader;
use crate::protocol::schema::Message;
use crate::shard::connection::{ConnectionId, SlotId};
use crate::shard::fetch_plan::{FetchPart, FetchPlan, SessionUse};
use crate::shard::fetch_session::{EPOCH_FINAL, EPOCH_INITIAL, SessionPart, SessionRequest, Told};
use crate::shard::mesh::{
    Isolation, ParkedKey, ReadOrder, ReadOutcome, ReadPart, ShardMessage, WatchOrder,
};
use crate::shard::parked::{FetchPhase, ParkedFetch, TopicName};
use crate::shard::reads;
use crate::shard::shard::{Finished, Shard, ShardRef};
use crate::storage::disk::Disk;

/// Starts a fetch: it is parked and its first pass is on its way when this returns.
pub fn start<D: Disk>(
    shard: &ShardRef<D>,
    id: ConnectionId,
    header: &RequestHeader<'_>,
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
        let planned = shard.plan_fetch(&request, version, header.correlation_id);
        match planned {
            Ok(plan) => shard.park_fetch(slot, request.max_wait_ms, plan),
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
    fn plan_fetch(
        &mut self,
        request: &FetchRequest,
        version: i16,
        correlation_id: i32,
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
        let is_replica = request.replica_id >= 0 || request.replica_state.replica_id >= 0;
        Ok(FetchPlan {
            correlation_id,
            version,
            isolation,
            min_bytes: usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes),
            max_bytes,
            session,
            parts: parts.into_iter().map(|part| self.resolve_part(part, is_replica)).collect(),
        })
    }

    /// Nobody is a replica of anything here: who says so is told as Kafka tells a stranger.
    fn resolve_part(&self, part: SessionPart, is_replica: bool) -> FetchPart {
        let owner = find_owner(&self.image, find_topic(&self.image, &part.topic), part.partition);
        let owner = match is_replica {
            true => owner.and(Err(KafkaCode::NotLeaderOrFollower)),
            false => owner,
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

    fn park_fetch(&mut self, slot: SlotId, max_wait_ms: i32, plan: FetchPlan) -> ParkedKey {
        let max_wait_ms = u64::try_from(max_wait_ms).unwrap_or(0);
        let outcomes = vec![None; plan.parts.len()];
        let deadline_us = self.now.deadline_us(max_wait_ms);
        self.fetches.insert(ParkedFetch {
            slot,
            phase: FetchPhase::Reading,
            pass: 0,
            outstanding: 0,
            deadline_us,
            outcomes,
            was_woken: false,
            request: Box::new(plan),
        })
    }
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
            shard.borrow_mut().send(core, ShardMessage::Read(order));
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
            isolation: plan.isolation,
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
            FetchPhase::Reading => Step::Watch(key),
            FetchPhase::Watching if is_due => Step::Answer,
            FetchPhase::Watching if fetch.was_woken => Step::ReadAgain(key),
            FetchPhase::Watching => Step::Nothing,
        }
    }

    fn answer_fetch(&mut self, index: usize) {
        let Some(fetch) = self.fetches.remove(index) else { return };
        let plan = *fetch.request;
        let response = self.fetch_response(&plan, fetch.outcomes);
        let parts = encode(&response, plan.version, plan.correlation_id);
        self.fill(fetch.slot, parts);
    }

    fn fetch_response(
        &mut self,
        plan: &FetchPlan,
        outcomes: Vec<Option<ReadOutcome>>,
    ) -> FetchResponse {
        let mut responses: Vec<FetchableTopicResponse> = Vec::new();
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
            let data = partition_data(part.partition, outcome);
            push_partition(&mut responses, &part.topic, data);
        }
        FetchResponse { session_id: plan.session.id(), responses, ..FetchResponse::default() }
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
            && outcome.diverging.is_none();
        matches!(used, SessionUse::Continued(_)) && is_quiet && !is_news
    }
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
