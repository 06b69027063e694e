//! Share coordinators among the coordinators of a core, and the way to them from any core of any
//! broker.

use crate::controller::decide::Change;
use crate::controller::image::SHARE_STATE_TOPIC;
use crate::coordinator::replayed::{KeyValue, Waiter};
use crate::coordinator::share::records::ShareRecord;
use crate::coordinator::share::{Prune, ShareAnswer, ShareCoordinator, ShareKey, ShareRequest};
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, CoreId, Offset, TopicPartition};
use crate::model::limits::{
    SHARE_STATE_PAUSE_MS_MAX, SHARE_STATE_PAUSE_MS_MIN, SHARE_STATE_WAIT_MS,
};
use crate::protocol::primitive::{DecodeError, EncodeError};
use crate::shard::coordinator_host::{
    Birth, Host, Hosted, StepOf, coordinating_broker, coordinator_of,
};
use crate::shard::metadata;
use crate::shard::questions::{Question, Reply, ask};
use crate::shard::remote_shares::Remote;
use crate::shard::shard::{Shard, ShardRef};
use crate::storage::disk::Disk;
use bytes::Bytes;

impl Hosted for ShareCoordinator {
    type Record = ShareRecord;
    type Request = ShareRequest;
    type Answer = ShareAnswer;
    type Order = Prune;

    const TOPIC: &'static str = SHARE_STATE_TOPIC;
    const NAME: &'static str = "share coordinator";

    fn host<D: Disk>(shard: &mut Shard<D>) -> &mut Host<Self> {
        &mut shard.share_states
    }

    fn begin(birth: Birth<'_>) -> Self {
        ShareCoordinator::new(birth.config.share_updates_per_snapshot)
    }

    fn encode(record: &ShareRecord) -> Result<KeyValue, EncodeError> {
        record.encode()
    }

    fn replay(&mut self, key: &Bytes, value: Option<&Bytes>) -> Result<(), DecodeError> {
        if let Some(record) = ShareRecord::decode(key, value)? {
            ShareCoordinator::replay(self, record);
        }
        Ok(())
    }

    fn on_loaded(&mut self, now: Now) -> StepOf<Self> {
        ShareCoordinator::on_loaded(self, now);
        StepOf::<Self>::default()
    }

    fn on_request(&mut self, request: ShareRequest, waiter: Waiter, now: Now) -> StepOf<Self> {
        ShareCoordinator::on_request(self, request, waiter, now)
    }

    fn on_tick(&mut self, now: Now) -> StepOf<Self> {
        ShareCoordinator::on_tick(self, now)
    }

    fn on_appended(&mut self, first: Offset) {
        ShareCoordinator::on_appended(self, first);
    }

    fn next_deadline_us(&self) -> u64 {
        ShareCoordinator::next_deadline_us(self)
    }

    fn take_waiters(&mut self) -> Vec<Waiter> {
        Vec::new() // Every request is answered by its own step.
    }

    fn may_write(request: &ShareRequest) -> bool {
        request.may_write()
    }

    fn refused(code: KafkaCode) -> ShareAnswer {
        ShareAnswer::Refused(code)
    }

    /// The log's files go with the next look of retention, and its new start is durable before.
    fn carry_out<D: Disk>(shard: &mut Shard<D>, id: TopicPartition, Prune { before }: Prune) {
        if let Some(index) = shard.partition_index(&id) {
            shard.partitions[index].log.delete_records_before(before);
        }
    }
}

/// Puts a request to the coordinator of a share partition's state, on whichever broker and core it
/// lives; waits a while for one that is being loaded, moves or is not reached. The topic is made if
/// it is missing.
pub async fn ask_share_state<D: Disk>(
    shard: &ShardRef<D>,
    key: &ShareKey,
    request: ShareRequest,
) -> ShareAnswer {
    ask_share_state_for(shard, key, request, SHARE_STATE_WAIT_MS).await
}

/// The same, for so many milliseconds at most.
pub(super) async fn ask_share_state_for<D: Disk>(
    shard: &ShardRef<D>,
    key: &ShareKey,
    request: ShareRequest,
    wait_ms: u64,
) -> ShareAnswer {
    let key = key.text();
    let give_up_us = shard.borrow().now.deadline_us(wait_ms);
    let mut pause_ms = SHARE_STATE_PAUSE_MS_MIN;
    loop {
        let answer = match seat_of(shard, &key).await {
            Some(Seat::Here(partition, core)) => {
                let request = Box::new(request.clone());
                ask_core(shard, core, Question::ShareState { partition, request }).await
            }
            Some(Seat::At(to)) => {
                let left_us = give_up_us.saturating_sub(shard.borrow().now.monotonic_us);
                let timeout_ms = (left_us / 1000).max(SHARE_STATE_PAUSE_MS_MAX);
                Remote { shard, to, timeout_ms }.ask(request.clone()).await
            }
            None => ShareAnswer::Refused(KafkaCode::CoordinatorNotAvailable),
        };
        let pause = {
            let mut shard = shard.borrow_mut();
            let due_us = shard.now.deadline_us(pause_ms);
            if !shard.may_come_back(&answer) || due_us > give_up_us {
                return answer;
            }
            shard.pauses.until(due_us)
        };
        if pause.await.is_err() {
            return answer;
        }
        pause_ms = (2 * pause_ms).min(SHARE_STATE_PAUSE_MS_MAX);
    }
}

/// Puts another broker's request to the coordinator, if that lives here.
pub async fn ask_here<D: Disk>(
    shard: &ShardRef<D>,
    key: &ShareKey,
    request: ShareRequest,
) -> ShareAnswer {
    let seat = coordinator_of::<ShareCoordinator>(&shard.borrow().image, &key.text());
    let Some((partition, core)) = seat else {
        return ShareAnswer::Refused(KafkaCode::NotCoordinator);
    };
    ask_core(shard, core, Question::ShareState { partition, request: Box::new(request) }).await
}

async fn ask_core<D: Disk>(shard: &ShardRef<D>, core: CoreId, question: Question) -> ShareAnswer {
    match ask(shard, core, question).await {
        Reply::ShareState(answer) => *answer,
        other => unreachable!("a share coordinator's answer is not {other:?}"),
    }
}

/// Where a coordinator lives.
enum Seat {
    Here(TopicPartition, CoreId),
    At(BrokerId),
}

/// `None` while nobody leads its partition.
async fn seat_of<D: Disk>(shard: &ShardRef<D>, key: &str) -> Option<Seat> {
    let find = || {
        let shard = shard.borrow();
        let here = coordinator_of::<ShareCoordinator>(&shard.image, key);
        let here = here.map(|(partition, core)| Seat::Here(partition, core));
        here.or_else(|| coordinating_broker::<ShareCoordinator>(&shard.image, key).map(Seat::At))
    };
    if shard.borrow().image.topic_by_name(SHARE_STATE_TOPIC).is_none() {
        let names = vec![SHARE_STATE_TOPIC.to_owned()];
        // Whatever became of the change, what counts is whether the topic is there now.
        let _ = metadata::change(shard, Change::AutoCreateTopics { names }).await;
    }
    find()
}

impl<D: Disk> Shard<D> {
    /// Whether the same question may have another answer in a moment. The coordinator of a lone
    /// broker does not move: only its loading ends by itself.
    fn may_come_back(&self, answer: &ShareAnswer) -> bool {
        let ShareAnswer::Refused(code) = answer else { return false };
        match code {
            KafkaCode::CoordinatorLoadInProgress => true,
            KafkaCode::NotCoordinator | KafkaCode::CoordinatorNotAvailable => {
                self.image.brokers().nth(1).is_some()
            }
            _ => false,
        }
    }
}
