//! Share coordinators among the coordinators of a core, and the way to them from any core.

use crate::controller::decide::Change;
use crate::controller::image::SHARE_STATE_TOPIC;
use crate::coordinator::replayed::{KeyValue, Waiter};
use crate::coordinator::share::records::ShareRecord;
use crate::coordinator::share::{Prune, ShareAnswer, ShareCoordinator, ShareKey, ShareRequest};
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, Offset, TopicPartition};
use crate::model::limits::{SHARE_STATE_PAUSE_MS, SHARE_STATE_WAIT_MS};
use crate::protocol::primitive::{DecodeError, EncodeError};
use crate::shard::coordinator_host::{Birth, Host, Hosted, StepOf, coordinator_of};
use crate::shard::metadata;
use crate::shard::questions::{Question, Reply, ask};
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

/// Puts a request to the coordinator of a share partition's state, on whichever core it lives;
/// waits a while for one that is being loaded. The topic is made if it is missing.
pub async fn ask_share_state<D: Disk>(
    shard: &ShardRef<D>,
    key: &ShareKey,
    request: ShareRequest,
) -> ShareAnswer {
    let Some(owner) = make_coordinator(shard, key).await else {
        return ShareAnswer::Refused(KafkaCode::CoordinatorNotAvailable);
    };
    let give_up_us = shard.borrow().now.deadline_us(SHARE_STATE_WAIT_MS);
    loop {
        let (partition, core) = owner;
        let question = Question::ShareState { partition, request: Box::new(request.clone()) };
        let answer = match ask(shard, core, question).await {
            Reply::ShareState(answer) => *answer,
            other => unreachable!("a share coordinator's answer is not {other:?}"),
        };
        if answer != ShareAnswer::Refused(KafkaCode::CoordinatorLoadInProgress) {
            return answer;
        }
        let pause = {
            let mut shard = shard.borrow_mut();
            let due_us = shard.now.deadline_us(SHARE_STATE_PAUSE_MS);
            if due_us > give_up_us {
                return answer;
            }
            shard.pauses.until(due_us)
        };
        if pause.await.is_err() {
            return answer;
        }
    }
}

async fn make_coordinator<D: Disk>(
    shard: &ShardRef<D>,
    key: &ShareKey,
) -> Option<(TopicPartition, CoreId)> {
    let key = key.text();
    let found = coordinator_of::<ShareCoordinator>(&shard.borrow().image, &key);
    if found.is_some() {
        return found;
    }
    let names = vec![SHARE_STATE_TOPIC.to_owned()];
    // Whatever became of the change, what counts is whether the topic is there now.
    let _ = metadata::change(shard, Change::AutoCreateTopics { names }).await;
    coordinator_of::<ShareCoordinator>(&shard.borrow().image, &key)
}
