//! What members of share groups ask of the core that owns a partition: records, and what became of
//! those they have.
//!
//! A share partition is taken into use by the first call for it: its state is read from the
//! coordinator, and where nobody has chosen a start offset yet, that is done here and written
//! before any record is given out.

use crate::coordinator::share::partition::{AckBatch, AcquiredRange, Acquisition};
use crate::coordinator::share::{
    ShareAnswer, ShareKey, SharePartition, ShareRequest, ShareState, StateWrite,
};
use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, LeaderEpoch, Offset, PartitionId, TopicId, TopicPartition};
use crate::model::limits::{SHARE_OPEN_WAIT_MS, SHARE_READS_PER_CALL, SHARE_WRITE_RETRY_MS};
use crate::model::share_config::{OffsetReset, ShareIsolation};
use crate::shard::mesh::Isolation;
use crate::shard::questions::{self, OffsetQuery, Question, Reply, ask};
use crate::shard::shard::{Shard, ShardRef};
use crate::shard::share_batches::{self, FoundBatch};
use crate::shard::share_host::ask_share_state_for;
use crate::shard::share_session::{EndedSession, ShareMember};
use crate::shard::share_table::OpenShare;
use crate::shard::share_watches::ShareWatch;
use crate::storage::disk::Disk;
use crate::storage::partition_log::ReadPlan;
use bytes::Bytes;
use futures::future::join_all;
use std::rc::Rc;

/// What may be asked of the core that owns partitions.
#[derive(Debug)]
pub enum ShareCall {
    Acquire(AcquireCall),
    /// What a member says of its records, by partition.
    Acknowledge {
        of: ShareMember,
        parts: Vec<(TopicPartition, Vec<AckBatch>)>,
    },
    /// The member's session has ended.
    Release {
        of: ShareMember,
        session: u64,
        partitions: Vec<TopicPartition>,
    },
    /// The state of a share partition was set anew.
    Forget {
        group: String,
        partition: TopicPartition,
    },
}

/// A member wants records.
#[derive(Debug, Clone)]
pub struct AcquireCall {
    pub of: ShareMember,
    pub session: u64,
    /// In the order of their turns.
    pub partitions: Vec<TopicPartition>,
    /// The first batch found may exceed it.
    pub bytes_max: usize,
    pub records_max: usize,
    pub batch_size: usize,
    /// Less than this is left for later, unless this is the last look.
    pub bytes_min: usize,
    pub is_last: bool,
    /// Whom to tell of news.
    pub watch: ShareWatch,
    /// The member's session begins: the state may have been set anew since the last one did.
    pub begins_session: bool,
}

/// What may come back.
#[derive(Debug)]
pub enum ShareReply {
    Acquired(Acquired),
    /// One code for each part, in their order.
    Acknowledged(Vec<KafkaCode>),
    Done,
}

/// What one core had for a member.
#[derive(Debug, Default)]
pub struct Acquired {
    pub parts: Vec<AcquiredPart>,
    /// True when there may be more right now, though nothing was found: look again.
    pub is_unfinished: bool,
}

/// One partition with records, or with an error.
#[derive(Debug)]
pub struct AcquiredPart {
    pub partition: TopicPartition,
    pub code: KafkaCode,
    /// The batches that hold acquired records, as stored.
    pub records: Vec<Bytes>,
    pub ranges: Vec<AcquiredRange>,
}

impl AcquiredPart {
    fn refused(partition: TopicPartition, code: KafkaCode) -> AcquiredPart {
        AcquiredPart { partition, code, records: Vec::new(), ranges: Vec::new() }
    }

    /// Bytes of records.
    pub fn size(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }

    /// Records acquired.
    pub fn record_count(&self) -> usize {
        let counts = self.ranges.iter().map(|range| range.last - range.first + 1);
        usize::try_from(counts.sum::<u64>()).unwrap_or(usize::MAX)
    }
}

/// Puts a call to a core.
pub async fn call<D: Disk>(shard: &ShardRef<D>, core: CoreId, call: ShareCall) -> ShareReply {
    match ask(shard, core, Question::Share(Box::new(call))).await {
        Reply::Share(reply) => *reply,
        other => unreachable!("a share call is not answered by {other:?}"),
    }
}

/// Carries a call out on the core that owns the partitions.
pub async fn answer_here<D: Disk>(shard: &ShardRef<D>, call: ShareCall) -> ShareReply {
    match call {
        ShareCall::Acquire(call) => {
            {
                let mut shard = shard.borrow_mut();
                for id in &call.partitions {
                    shard.shares.watches.watch(*id, &call.of.group, call.watch);
                }
            }
            if call.begins_session {
                forget_superseded(shard, &call).await;
            }
            let acquired = acquire(shard, &call).await;
            let mut shard = shard.borrow_mut();
            call.partitions.iter().for_each(|id| shard.pass_share_turn(*id, call.watch));
            ShareReply::Acquired(acquired)
        }
        ShareCall::Acknowledge { of, parts } => {
            let waits = parts.into_iter().map(|(id, batches)| acknowledge(shard, &of, id, batches));
            ShareReply::Acknowledged(join_all(waits).await)
        }
        ShareCall::Release { of, session, partitions } => {
            let waits = partitions.into_iter().map(|id| release_one(shard, &of, session, id));
            join_all(waits).await;
            ShareReply::Done
        }
        ShareCall::Forget { group, partition } => {
            let mut shard = shard.borrow_mut();
            shard.shares.remove(&ShareKey { group, partition }, KafkaCode::InvalidRecordState);
            shard.wake_shares(&partition);
            ShareReply::Done
        }
    }
}

/// Forgets share partitions whose state has another epoch by now. A group coordinator on this
/// broker says so by itself (`ShareCall::Forget`); one on another does not, and sets a state anew
/// only while its group has no members.
async fn forget_superseded<D: Disk>(shard: &ShardRef<D>, call: &AcquireCall) {
    if shard.borrow().image.brokers().nth(1).is_none() {
        return;
    }
    let forget = async |id: TopicPartition| {
        let key = ShareKey { group: call.of.group.clone(), partition: id };
        let known = shard.borrow_mut().shares.get(&key).map(|open| open.partition.state_epoch());
        let Some(known) = known else { return };
        let request = ShareRequest::Summary { key: key.clone() };
        let answer = ask_share_state_for(shard, &key, request, SHARE_OPEN_WAIT_MS).await;
        let ShareAnswer::Summary(summary) = answer else { return };
        let mut shard = shard.borrow_mut();
        let is_same = |open: &mut OpenShare| open.partition.state_epoch() == known;
        if summary.state_epoch != known && shard.shares.get(&key).is_some_and(is_same) {
            shard.shares.remove(&key, KafkaCode::InvalidRecordState);
        }
    };
    join_all(call.partitions.iter().map(|id| forget(*id))).await;
}

async fn acquire<D: Disk>(shard: &ShardRef<D>, call: &AcquireCall) -> Acquired {
    let mut acquired = Acquired::default();
    let mut opened = Vec::with_capacity(call.partitions.len());
    for id in &call.partitions {
        let key = ShareKey { group: call.of.group.clone(), partition: *id };
        match open(shard, &key).await {
            Ok(()) => opened.push(key),
            // Nothing to be had yet, and nothing for the client to do about it.
            Err(code) if is_transient(code) => {
                tracing::debug!(key = key.text(), code = code.name(), "share partition waits");
                wake_later(shard, *id);
            }
            Err(code) => acquired.parts.push(AcquiredPart::refused(*id, code)),
        }
    }
    if !call.is_last && call.bytes_min > 1 && bytes_ready(shard, call, &opened) < call.bytes_min {
        return acquired;
    }
    let (mut bytes, mut records) = (call.bytes_max, call.records_max);
    for key in opened {
        if records == 0 || bytes == 0 {
            break;
        }
        let is_first = acquired.parts.iter().all(|part| part.ranges.is_empty());
        let limits = AcquireLimits { bytes, records, is_first };
        let (part, is_unfinished) = acquire_one(shard, call, &key, limits).await;
        acquired.is_unfinished |= is_unfinished;
        if let Some(part) = part {
            bytes = bytes.saturating_sub(part.size());
            records = records.saturating_sub(part.record_count());
            acquired.parts.push(part);
        }
    }
    acquired
}

/// Has those who wait for a partition look again after a pause.
fn wake_later<D: Disk>(shard: &ShardRef<D>, id: TopicPartition) {
    let own = shard.clone();
    let mut shard = shard.borrow_mut();
    let due_us = shard.now.deadline_us(SHARE_WRITE_RETRY_MS);
    let pause = shard.pauses.until(due_us);
    shard.outbox.spawn(async move {
        if pause.await.is_ok() {
            own.borrow_mut().wake_shares(&id);
        }
    });
}

/// What of a call is left for the partitions at hand.
#[derive(Clone, Copy)]
struct AcquireLimits {
    bytes: usize,
    records: usize,
    /// Nothing is found yet: one batch may be larger than what is left.
    is_first: bool,
}

/// Records of one partition; also whether there was no end of what nobody gets.
async fn acquire_one<D: Disk>(
    shard: &ShardRef<D>,
    call: &AcquireCall,
    key: &ShareKey,
    limits: AcquireLimits,
) -> (Option<AcquiredPart>, bool) {
    let Some(turn) = shard.borrow_mut().shares.get(key).map(|open| Rc::clone(&open.turn)) else {
        return (None, true);
    };
    let _turn = turn.lock().await;
    let disk = shard.borrow().disk.clone();
    for _ in 0..SHARE_READS_PER_CALL {
        let Some(look) = shard.borrow_mut().look(key, limits.bytes, limits.is_first) else {
            return (None, false);
        };
        let batches = match look.plan {
            ReadPlan::Empty | ReadPlan::OutOfRange => return (None, false),
            ReadPlan::Memory(parts) => share_batches::split(parts),
            ReadPlan::File(plan) => {
                let cuts = plan.cuts();
                match plan.execute_in_memory(&disk).await {
                    Ok(bytes) => share_batches::split(vec![bytes]),
                    Err(error) => {
                        let failed = (cuts, &error);
                        let reader = "share fetch from disk";
                        shard.borrow_mut().on_read_failed(key.partition, failed, reader);
                        let code = error.kafka_code();
                        return (Some(AcquiredPart::refused(key.partition, code)), false);
                    }
                }
            }
        };
        if batches.is_empty() {
            return (None, false);
        }
        let mut shard = shard.borrow_mut();
        let aborted = |batch: &FoundBatch| look.aborted.iter().any(|one| batch.is_of(one));
        let Some(part) = shard.take(key, call, look.from, (limits.records, &batches), aborted)
        else {
            return (None, true);
        };
        if !part.ranges.is_empty() {
            return (Some(part), false);
        }
    }
    (None, true)
}

/// Where a share partition is read next.
struct Look<D: Disk> {
    from: Offset,
    plan: ReadPlan<D>,
    /// Whose records nobody gets.
    aborted: Vec<crate::storage::transactions::AbortedTransaction>,
}

impl<D: Disk> Shard<D> {
    fn look(&mut self, key: &ShareKey, bytes_max: usize, is_first: bool) -> Option<Look<D>> {
        self.follow_log_start(key);
        let rules = self.delivery_rules(&key.group);
        let isolation = self.share_config(&key.group).isolation;
        let from = self.shares.get(key)?.partition.next_fetch(&rules)?;
        let index = self.leader_index(&key.partition)?;
        let partition = &mut self.partitions[index];
        let is_committed = isolation == ShareIsolation::ReadCommitted;
        let up_to = partition.readable_end(match is_committed {
            true => Isolation::ReadCommitted,
            false => Isolation::ReadUncommitted,
        });
        if from >= up_to {
            return None;
        }
        let plan = partition.log.read(from, bytes_max, up_to, is_first);
        let aborted = match is_committed {
            true => partition.log.aborted_between(from, up_to.min(partition.log.read_end(from))),
            false => Vec::new(),
        };
        Some(Look { from, plan, aborted })
    }

    fn take(
        &mut self,
        key: &ShareKey,
        call: &AcquireCall,
        from: Offset,
        (records_max, batches): (usize, &[FoundBatch]),
        is_aborted: impl Fn(&FoundBatch) -> bool,
    ) -> Option<AcquiredPart> {
        let by = Acquisition {
            member: &call.of.member,
            session: call.session,
            records_max,
            batch_size: call.batch_size,
            now_us: self.now.monotonic_us,
            rules: self.delivery_rules(&key.group),
        };
        let spans: Vec<_> = batches.iter().map(|batch| batch.span(is_aborted(batch))).collect();
        let open = self.shares.get(key)?;
        let ranges = open.partition.acquire(from, &spans, &by);
        if !ranges.is_empty() {
            self.shares.note_due(by.now_us.saturating_add(by.rules.lock_us));
        }
        self.queue_share_write(key);
        let records = share_batches::with_any_of(batches, &ranges);
        let (partition, code) = (key.partition, KafkaCode::None);
        Some(AcquiredPart { partition, code, records, ranges })
    }
}

/// Bytes that could be acquired now, at least as many as are asked for or fewer.
fn bytes_ready<D: Disk>(shard: &ShardRef<D>, call: &AcquireCall, keys: &[ShareKey]) -> usize {
    let mut shard = shard.borrow_mut();
    let mut ready = 0_usize;
    for key in keys {
        let plan = shard.look(key, call.bytes_max, true).map(|look| look.plan);
        ready = ready.saturating_add(match plan {
            Some(ReadPlan::Memory(parts)) => parts.iter().map(Bytes::len).sum(),
            // Not known before it is read; where it lies in a file, there tends to be much.
            Some(ReadPlan::File(plan)) => plan.max_bytes(),
            Some(ReadPlan::Empty | ReadPlan::OutOfRange) | None => 0,
        });
    }
    ready
}

async fn acknowledge<D: Disk>(
    shard: &ShardRef<D>,
    of: &ShareMember,
    id: TopicPartition,
    batches: Vec<AckBatch>,
) -> KafkaCode {
    let key = ShareKey { group: of.group.clone(), partition: id };
    let receiver = {
        let mut shard = shard.borrow_mut();
        if shard.leader_index(&id).is_none() {
            return KafkaCode::NotLeaderOrFollower;
        }
        shard.follow_log_start(&key);
        let rules = shard.delivery_rules(&of.group);
        let Some(open) = shard.shares.get(&key) else { return KafkaCode::UnknownTopicOrPartition };
        match open.partition.acknowledge(&of.member, &batches, &rules) {
            Ok(number) => {
                let receiver = shard.shares.await_write(&key, number);
                shard.queue_share_write(&key);
                receiver
            }
            Err(code) => return code,
        }
    };
    written(receiver).await
}

/// What became of a write.
async fn written(
    receiver: Option<futures::channel::oneshot::Receiver<Result<(), KafkaCode>>>,
) -> KafkaCode {
    let Some(receiver) = receiver else { return KafkaCode::None };
    // A table that was dropped with its waiters has lost what is in memory.
    match receiver.await.unwrap_or(Err(KafkaCode::NotLeaderOrFollower)) {
        Ok(()) => KafkaCode::None,
        // The group's state was set anew: the records are not settled.
        Err(KafkaCode::InvalidRequest) => KafkaCode::InvalidRecordState,
        Err(KafkaCode::FencedLeaderEpoch | KafkaCode::FencedStateEpoch) => {
            KafkaCode::NotLeaderOrFollower
        }
        Err(code) => code,
    }
}

async fn release_one<D: Disk>(
    shard: &ShardRef<D>,
    of: &ShareMember,
    session: u64,
    id: TopicPartition,
) {
    let key = ShareKey { group: of.group.clone(), partition: id };
    let receiver = {
        let mut shard = shard.borrow_mut();
        let Some(open) = shard.shares.get(&key) else { return };
        let Some(number) = open.partition.release(&of.member, session) else { return };
        let receiver = shard.shares.await_write(&key, number);
        shard.queue_share_write(&key);
        receiver
    };
    // Refused: the locks end by themselves.
    let _ = written(receiver).await;
}

/// Lets a member's records go, wherever their partitions live.
pub async fn release<D: Disk>(shard: &ShardRef<D>, ended: &EndedSession) {
    let mut by_core: Vec<(CoreId, Vec<TopicPartition>)> = Vec::new();
    for (topic, partition) in &ended.partitions {
        let id = TopicPartition { topic: TopicId(*topic), partition: PartitionId(*partition) };
        let Some(core) = shard.borrow().image.leader_core(&id).ok() else { continue };
        match by_core.iter_mut().find(|(other, _)| *other == core) {
            Some((_, partitions)) => partitions.push(id),
            None => by_core.push((core, vec![id])),
        }
    }
    let calls = by_core.into_iter().map(|(core, partitions)| {
        let (of, session) = (ended.of.clone(), ended.id);
        call(shard, core, ShareCall::Release { of, session, partitions })
    });
    join_all(calls).await;
}

/// Takes a share partition into use.
async fn open<D: Disk>(shard: &ShardRef<D>, key: &ShareKey) -> Result<(), KafkaCode> {
    if shard.borrow_mut().shares.get(key).is_some() {
        return Ok(());
    }
    let turn = Rc::clone(shard.borrow_mut().shares.openings.entry(key.clone()).or_default());
    let result = {
        let _turn = turn.lock().await;
        let is_open = shard.borrow_mut().shares.get(key).is_some();
        if is_open { Ok(()) } else { open_alone(shard, key).await }
    };
    // The table's and ours: nobody else waits for the turn.
    if Rc::strong_count(&turn) == 2 {
        shard.borrow_mut().shares.openings.remove(key);
    }
    result
}

async fn open_alone<D: Disk>(shard: &ShardRef<D>, key: &ShareKey) -> Result<(), KafkaCode> {
    let leader_epoch = {
        let shard = shard.borrow();
        let index = shard.leader_index(&key.partition).ok_or(KafkaCode::NotLeaderOrFollower)?;
        shard.partitions[index].leader_epoch
    };
    let request = ShareRequest::Read { key: key.clone(), leader_epoch: leader_epoch.0 };
    let state = match ask_share_state_for(shard, key, request, SHARE_OPEN_WAIT_MS).await {
        ShareAnswer::State(state) => state,
        // No group has begun with the partition.
        ShareAnswer::Refused(KafkaCode::InvalidRequest) => {
            return Err(KafkaCode::UnknownServerError);
        }
        // Another broker leads the partition by now, and has begun to serve it.
        ShareAnswer::Refused(KafkaCode::FencedLeaderEpoch) => {
            return Err(KafkaCode::NotLeaderOrFollower);
        }
        ShareAnswer::Refused(code) => return Err(code),
        other => unreachable!("a read is not answered by {other:?}"),
    };
    let start = first_start(shard, key, &state).await?;
    let mut partition = SharePartition::new(&state, start);
    if state.start_offset < 0 {
        write_start(shard, key, &mut partition, leader_epoch).await?;
    }
    let mut shard = shard.borrow_mut();
    let index = shard.leader_index(&key.partition).ok_or(KafkaCode::NotLeaderOrFollower)?;
    if shard.partitions[index].leader_epoch != leader_epoch {
        return Err(KafkaCode::NotLeaderOrFollower);
    }
    match shard.shares.insert(key.clone(), partition, leader_epoch) {
        true => Ok(()),
        false => Err(KafkaCode::CoordinatorNotAvailable),
    }
}

/// Where a group begins that has no start offset yet (`share.auto.offset.reset`).
async fn first_start<D: Disk>(
    shard: &ShardRef<D>,
    key: &ShareKey,
    state: &ShareState,
) -> Result<Offset, KafkaCode> {
    if state.start_offset >= 0 {
        return Ok(Offset::ZERO);
    }
    let find = async |query| {
        let isolation = Isolation::ReadUncommitted;
        questions::list_offset(shard, key.partition, query, isolation, -1).await
    };
    let (reset, now_ms) = {
        let shard = shard.borrow();
        (shard.share_config(&key.group).offset_reset, shard.now.wall_ms)
    };
    let found = match reset {
        OffsetReset::Latest => find(OffsetQuery::Latest).await?,
        OffsetReset::Earliest => find(OffsetQuery::Earliest).await?,
        OffsetReset::ByDuration { ms } => {
            let since_ms = now_ms.saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX)).max(0);
            let found = find(OffsetQuery::At(since_ms)).await?;
            // Nothing is that new.
            if found.offset < 0 { find(OffsetQuery::Latest).await? } else { found }
        }
    };
    Ok(Offset::from_wire(found.offset).unwrap_or_default())
}

async fn write_start<D: Disk>(
    shard: &ShardRef<D>,
    key: &ShareKey,
    partition: &mut SharePartition,
    leader_epoch: LeaderEpoch,
) -> Result<(), KafkaCode> {
    let write = partition.begin_write().expect("its start is not durable");
    let change = StateWrite {
        state_epoch: write.state_epoch,
        leader_epoch: leader_epoch.0,
        start_offset: write.start_offset,
        batches: write.batches,
    };
    let request = ShareRequest::Write { key: key.clone(), write: change };
    match ask_share_state_for(shard, key, request, SHARE_OPEN_WAIT_MS).await {
        ShareAnswer::Done => {
            partition.on_written(write.number, true);
            Ok(())
        }
        ShareAnswer::Refused(code) => Err(code),
        other => unreachable!("a write is not answered by {other:?}"),
    }
}

/// Whether waiting helps; a client knows none of these.
fn is_transient(code: KafkaCode) -> bool {
    matches!(
        code,
        KafkaCode::CoordinatorNotAvailable
            | KafkaCode::CoordinatorLoadInProgress
            | KafkaCode::NotCoordinator
            | KafkaCode::FencedStateEpoch
            | KafkaCode::OffsetNotAvailable
            | KafkaCode::InvalidRequest
    )
}
