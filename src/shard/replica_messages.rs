//! What other brokers' replicas say, on the core that owns the partition.
//!
//! Foreign bytes: a message that cannot be read ends its frame, and a batch that does not check is
//! never appended. Either costs the stream, which is then opened anew.

use crate::model::errors::KafkaCode;
use crate::model::ids::{Offset, TopicPartition};
use crate::protocol::record_batch::CheckedBatch;
use crate::replication::follower::{LogEnds, OpenStep, PushVerdict};
use crate::replication::messages::{
    self, Ack, Body, Close, HighWatermark, Open, OpenOutcome, OpenReply, PushHead,
};
use crate::shard::damage;
use crate::shard::peers::PeerId;
use crate::shard::replicas::{Following, Role};
use crate::shard::shard::{PartitionIndex, Shard, ShardRef};
use crate::shard::truncation::{self, CutOutcome};
use crate::storage::append_check::{AppendContext, AppendError, AppendOrigin};
use crate::storage::disk::Disk;
use crate::storage::partition_log::Cut;
use bytes::Bytes;

/// What is left to do that takes a task.
enum Errand {
    Truncate { id: TopicPartition, to: Offset, restarts: bool },
    Mend { id: TopicPartition },
}

/// Handles the messages of one frame.
pub(super) fn on_message<D: Disk>(shard: &ShardRef<D>, from: PeerId, payload: &Bytes) {
    let mut payload = payload.clone();
    loop {
        match messages::decode(&mut payload) {
            Ok(Some(message)) => {
                let errand = shard.borrow_mut().on_replica_message(from, message);
                match errand {
                    Some(Errand::Truncate { id, to, restarts }) => {
                        let task = truncate(shard.clone(), id, to, restarts);
                        shard.borrow_mut().outbox.spawn(task);
                    }
                    Some(Errand::Mend { id }) => {
                        shard.borrow_mut().outbox.spawn(damage::mend(shard.clone(), id));
                    }
                    None => {}
                }
            }
            Ok(None) => return,
            Err(error) => {
                let broker = from.broker.0;
                let message = format!("a message of broker {broker} about replicas: {error}");
                shard.borrow_mut().complain_of(broker, KafkaCode::CorruptMessage, &message);
                return;
            }
        }
    }
}

impl<D: Disk> Shard<D> {
    /// Tells the leader what is safe here, if that is news.
    pub(super) fn acknowledge(&mut self, index: PartitionIndex) {
        self.grant(index);
        let partition = &mut self.partitions[index];
        let ends = LogEnds {
            log_start: partition.log.log_start(),
            received: partition.log.log_end(),
            flushed: partition.safe_end(),
        };
        let Role::Follower(following) = &mut partition.role else { return };
        let leader = (following.leader, following.core);
        if let Some(ack) = following.replica.on_ends(ends) {
            let id = partition.id;
            self.tell_core(id, leader, Body::Ack(ack));
        }
    }

    fn on_replica_message(
        &mut self,
        from: PeerId,
        messages::Message { partition: id, body }: messages::Message,
    ) -> Option<Errand> {
        let index = self.partition_index(&id);
        match (body, index) {
            (Body::Open(open), index) => self.on_open(from, id, index, &open),
            (_, None) => {}
            (Body::Ack(ack), Some(index)) => self.on_ack(from, index, &ack),
            // The rest are a leader's words, and this one is not whom it follows.
            (_, Some(index)) if !self.partitions[index].role.follows(from.broker) => {}
            (Body::OpenReply(reply), Some(index)) => return self.on_open_reply(index, &reply),
            (Body::Push(head, batches), Some(index)) => self.on_push(index, &head, batches),
            (Body::HighWatermark(beat), Some(index)) => self.on_beat(index, &beat),
            (Body::Close(close), Some(index)) => self.on_close(index, &close),
        }
        None
    }

    fn on_open(
        &mut self,
        from: PeerId,
        id: TopicPartition,
        index: Option<PartitionIndex>,
        open: &Open,
    ) {
        let now = self.now;
        let mut reply = OpenReply {
            leader_epoch: open.leader_epoch,
            stream: open.stream,
            outcome: OpenOutcome::NotLeader,
        };
        if let Some(index) = index {
            let partition = &mut self.partitions[index];
            let role = std::mem::replace(&mut partition.role, Role::Leaderless);
            partition.role = match role {
                Role::Leader(mut leader) => {
                    leader.on_local(partition.log.log_end(), partition.safe_end());
                    reply = partition.with_view(|log| leader.on_open(from.broker, open, log, now));
                    Role::Leader(leader)
                }
                other => other,
            };
        }
        self.tell_core(id, (from.broker, from.core), Body::OpenReply(reply));
        if let Some(index) = index {
            self.queue_push(index);
        }
    }

    /// Lets a follower look at its log.
    fn as_follower<T>(
        &mut self,
        index: PartitionIndex,
        act: impl FnOnce(&mut Following, &crate::replication::LogView<'_>) -> T,
    ) -> Option<T> {
        let partition = &mut self.partitions[index];
        match std::mem::replace(&mut partition.role, Role::Leaderless) {
            Role::Follower(mut following) => {
                let result = partition.with_view(|log| act(&mut following, log));
                partition.role = Role::Follower(following);
                Some(result)
            }
            other => {
                partition.role = other;
                None
            }
        }
    }

    fn on_open_reply(&mut self, index: PartitionIndex, reply: &OpenReply) -> Option<Errand> {
        let step =
            self.as_follower(index, |following, log| following.replica.on_open_reply(reply, log))?;
        let id = self.partitions[index].id;
        if step != OpenStep::Wait && self.partitions[index].log.is_damaged() {
            self.as_follower(index, |following, _| following.replica.await_mending());
            return Some(Errand::Mend { id });
        }
        let (to, is_below_high_watermark, restarts) = match step {
            OpenStep::Wait => return None,
            OpenStep::Stream => {
                self.settle_partition(index);
                return None;
            }
            OpenStep::Truncate { to, is_below_high_watermark } => {
                (to, is_below_high_watermark, false)
            }
            OpenStep::Restart { at, is_below_high_watermark } => {
                (at, is_below_high_watermark, true)
            }
        };
        if is_below_high_watermark {
            tracing::error!(partition = %id, %to,
                "cut below the high watermark: the leader was elected uncleanly");
        }
        Some(Errand::Truncate { id, to, restarts })
    }

    fn on_push(&mut self, index: PartitionIndex, head: &PushHead, batches: Bytes) {
        let log_end = self.partitions[index].log.log_end();
        let Role::Follower(following) = &mut self.partitions[index].role else { return };
        match following.replica.on_push(head, batches.len(), log_end) {
            PushVerdict::Append => {}
            PushVerdict::Stale => return,
            PushVerdict::Reopen => return self.tick_follower(index),
        }
        let before = self.partitions[index].log.appended_bytes();
        let appended = self.append_pushed(index, head, batches);
        let size = self.partitions[index].log.appended_bytes() - before;
        self.commit.unwritten_bytes += usize::try_from(size).expect("a push fits in memory");
        let now = self.now;
        let (id, log_end) = (self.partitions[index].id, self.partitions[index].log.log_end());
        let Role::Follower(following) = &mut self.partitions[index].role else { return };
        match appended {
            Ok(()) => {
                following.replica.on_appended(head, log_end);
            }
            Err(error) => {
                following.replica.on_append_failed(now);
                let leader = following.leader.0;
                tracing::error!(%error, partition = %id, leader, "a pushed batch is refused");
            }
        }
        if size > 0 {
            self.mark_dirty(index);
        }
        self.follow_leader_start(index);
        self.settle_partition(index);
    }

    fn append_pushed(
        &mut self,
        index: PartitionIndex,
        head: &PushHead,
        batches: Bytes,
    ) -> Result<(), AppendError> {
        let context = AppendContext {
            leader_epoch: head.leader_epoch,
            now: self.now,
            origin: AppendOrigin::Replication,
        };
        let mut rest = batches;
        while !rest.is_empty() {
            let batch = CheckedBatch::check_first(&mut rest)?;
            self.partitions[index].log.append(batch, context, &mut self.arena)?;
        }
        Ok(())
    }

    fn on_ack(&mut self, from: PeerId, index: PartitionIndex, ack: &Ack) {
        let now = self.now;
        let Role::Leader(leader) = &mut self.partitions[index].role else { return };
        leader.on_ack(from.broker, ack, now);
        self.settle_partition(index);
        self.queue_push(index);
    }

    fn on_beat(&mut self, index: PartitionIndex, beat: &HighWatermark) {
        let log_end = self.partitions[index].log.log_end();
        let Role::Follower(following) = &mut self.partitions[index].role else { return };
        following.replica.on_high_watermark(beat, log_end);
        self.follow_leader_start(index);
        self.settle_partition(index);
    }

    fn on_close(&mut self, index: PartitionIndex, close: &Close) {
        let now = self.now;
        let opened = self.as_follower(index, |following, log| {
            let open = following.replica.on_close(close, log, now)?;
            Some((following.leader, following.core, open))
        });
        if let Some((leader, core, open)) = opened.flatten() {
            let id = self.partitions[index].id;
            self.tell_core(id, (leader, core), Body::Open(open));
        }
    }

    /// What the leader has deleted may go here too.
    fn follow_leader_start(&mut self, index: PartitionIndex) {
        let partition = &mut self.partitions[index];
        let Role::Follower(following) = &partition.role else { return };
        let start = following.replica.leader_log_start().min(partition.high_watermark());
        if start > partition.log.log_start() {
            partition.log.delete_records_before(start);
        }
    }

    /// The log was cut: the follower asks to be fed from its new end.
    fn on_truncated(&mut self, id: TopicPartition) {
        let Some(index) = self.partition_index(&id) else { return };
        let now = self.now;
        assert!(!self.partitions[index].is_cutting);
        let opened = self.as_follower(index, |following, log| {
            let open = following.replica.on_truncated(log, now);
            (following.leader, following.core, open)
        });
        if let Some((leader, core, open)) = opened {
            self.tell_core(id, (leader, core), Body::Open(open));
        }
    }
}

/// Cuts a follower's log, all of it where it `restarts`, and goes on from there.
pub(super) async fn truncate<D: Disk>(
    shard: ShardRef<D>,
    id: TopicPartition,
    to: Offset,
    restarts: bool,
) {
    let index = {
        let mut shard = shard.borrow_mut();
        let Some(index) = shard.partition_index(&id) else { return };
        shard.partitions[index].is_cutting = true;
        index
    };
    let cut = if restarts { Cut::Anew(to) } else { Cut::From(to) };
    let result = truncation::cut_log(&shard, (index, id), cut).await;
    if let Err(error) = &result {
        tracing::error!(%error, partition = %id, "a log cannot be cut");
    }
    let mut shard = shard.borrow_mut();
    if shard.partition_index(&id) != Some(index) {
        return;
    }
    shard.partitions[index].is_cutting = false;
    match result {
        Ok(CutOutcome::Done) => shard.on_truncated(id),
        Ok(CutOutcome::NotNow) | Err(_) => {
            let now = shard.now;
            if let Role::Follower(following) = &mut shard.partitions[index].role {
                following.replica.on_cut_failed(now);
            }
        }
    }
    shard.retake_role(index);
}
