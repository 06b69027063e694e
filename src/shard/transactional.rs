//! Batches of transactions on their way into this core's partitions.
//!
//! ```text
//!  batch ─► transaction open in the log? ── yes ─► append
//!                       │ no
//!                       ▼
//!      queue of (partition, producer) ─► coordinator asked once ─► append all, or refuse all
//! ```
//! The log remembers that a transaction is open, so only the first batch of a transaction in a
//! partition waits; batches behind it wait with it, in their order. Batches of other producers and
//! of no transaction never come here (appends.rs).
//!
//! Invariants
//! - A batch is appended only while its transaction is open in the log, or when its coordinator
//!   said yes and no marker of its producer came in between.
//! - Batches of one producer are appended to a partition in the order in which they came.

use crate::model::errors::KafkaCode;
use crate::model::ids::{ProducerEpoch, ProducerId, TopicPartition};
use crate::shard::mesh::{Acks, AppendOrder, AppendOutcome, AppendPart, PartToken};
use crate::shard::shard::{Shard, ShardRef};
use crate::shard::verification::{self, Claim, GuardKey, TransactionFlow, is_transient};
use crate::storage::append_check::AppendOrigin;
use crate::storage::disk::Disk;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Parts of a parked produce that names a transaction.
#[derive(Debug)]
pub struct TransactionalAppend {
    pub order: AppendOrder,
    pub transactional_id: Arc<str>,
    pub flow: TransactionFlow,
    pub parts: Vec<AppendPart>,
}

/// A batch that waits for its verification.
#[derive(Debug)]
struct Held {
    part: AppendPart,
    token: PartToken,
    acks: Acks,
    claim: Claim,
}

/// Batches of this core that wait for a coordinator.
#[derive(Debug, Default)]
pub struct HeldBatches {
    held: HashMap<GuardKey, VecDeque<Held>>,
    /// What nobody was asked about yet, in the order in which it came.
    due: Vec<GuardKey>,
}

impl HeldBatches {
    fn hold(&mut self, key: GuardKey, held: Held) {
        let queue = self.held.entry(key).or_default();
        if queue.is_empty() {
            self.due.push(key);
        }
        queue.push_back(held);
    }

    /// Everything due, by who claims it.
    fn take_due(&mut self) -> Vec<(Claim, Vec<GuardKey>)> {
        let mut groups: Vec<(Claim, Vec<GuardKey>)> = Vec::new();
        for key in std::mem::take(&mut self.due) {
            let Some(first) = self.held.get(&key).and_then(VecDeque::front) else { continue };
            match groups.iter_mut().find(|(claim, _)| *claim == first.claim) {
                Some((_, keys)) => keys.push(key),
                None => groups.push((first.claim.clone(), vec![key])),
            }
        }
        groups
    }
}

impl<D: Disk> Shard<D> {
    /// Appends what may be appended at once, and holds the rest until its coordinator is asked.
    pub fn append_transactional(&mut self, append: TransactionalAppend) {
        let TransactionalAppend { mut order, transactional_id, flow, parts } = append;
        for part in parts {
            let header = *part.batch.header();
            let claim = Claim {
                transactional_id: Arc::clone(&transactional_id),
                producer_id: ProducerId(header.producer_id()),
                producer_epoch: ProducerEpoch(header.producer_epoch()),
                flow,
            };
            let token = order.token(part.part);
            let held = Held { part, token, acks: order.acks, claim };
            let is_held = header.attributes().is_transactional() && self.must_hold(&held);
            if is_held {
                self.held.hold((held.part.partition, held.claim.producer_id), held);
                self.signals.verify.raise();
            } else {
                self.append_held(held);
            }
        }
    }

    fn must_hold(&self, held: &Held) -> bool {
        let key = (held.part.partition, held.claim.producer_id);
        self.held.held.contains_key(&key) || !self.is_transaction_open(&held.claim, &key.0)
    }

    /// True when the log has the transaction open, or there is no log to refuse it.
    pub(super) fn is_transaction_open(&self, claim: &Claim, id: &TopicPartition) -> bool {
        let Some(index) = self.partition_index(id) else { return true };
        let producers = self.partitions[index].log.producers();
        producers.has_open_transaction(claim.producer_id, claim.producer_epoch)
    }

    fn append_held(&mut self, held: Held) {
        let Held { part, token, acks, .. } = held;
        let from = AppendOrigin::Client;
        if let Some(outcome) = self.append_one(part.partition, part.batch, acks, token, from) {
            self.resolve(token, outcome);
        }
    }

    /// The coordinator has answered about the first batch of a queue.
    fn on_verified(&mut self, key: GuardKey, claim: &Claim, code: KafkaCode) {
        let Some(mut queue) = self.held.held.remove(&key) else { return };
        while let Some(held) = queue.pop_front() {
            let is_same = held.claim == *claim;
            if !is_same && !self.is_transaction_open(&held.claim, &key.0) {
                // Another epoch, or another version of the protocol: a question of its own.
                queue.push_front(held);
                self.held.due.push(key);
                self.held.held.insert(key, queue);
                return self.signals.verify.raise();
            }
            if is_same && code != KafkaCode::None {
                self.resolve(held.token, refused(code));
            } else {
                self.append_held(held);
            }
        }
    }

    /// A marker came between question and answer: both are void.
    fn verify_again(&mut self, key: GuardKey) {
        self.held.due.push(key);
        self.signals.verify.raise();
    }
}

fn refused(code: KafkaCode) -> AppendOutcome {
    if is_transient(code) {
        // Clients that do not know the code here retry after this one, without asking for metadata.
        let message = format!("the transaction cannot be verified yet: {}", code.name());
        return AppendOutcome::refused(KafkaCode::NotEnoughReplicas, Some(message));
    }
    let message = "the partition is not part of an open transaction of this producer";
    AppendOutcome::refused(code, Some(message.to_owned()))
}

/// Asks coordinators about the batches that are held; ends with its executor.
pub async fn verify_loop<D: Disk>(shard: ShardRef<D>) {
    let verify = shard.borrow().signals.verify.clone();
    loop {
        verify.wait().await;
        let mut borrowed = shard.borrow_mut();
        for (claim, keys) in borrowed.held.take_due() {
            let task = verify_keys(shard.clone(), claim, keys);
            borrowed.outbox.spawn(task);
        }
    }
}

async fn verify_keys<D: Disk>(shard: ShardRef<D>, claim: Claim, keys: Vec<GuardKey>) {
    let opened: Vec<u64> = {
        let mut shard = shard.borrow_mut();
        keys.iter().map(|key| shard.guards.open(*key)).collect()
    };
    let partitions: Vec<_> = keys.iter().map(|(partition, _)| *partition).collect();
    let codes = verification::verify(&shard, &claim, &partitions).await;
    let mut shard = shard.borrow_mut();
    for ((key, opened), code) in keys.into_iter().zip(opened).zip(codes) {
        let is_whole = shard.guards.close(&key, opened);
        if is_whole || code != KafkaCode::None {
            shard.on_verified(key, &claim, code);
        } else {
            shard.verify_again(key);
        }
    }
    shard.outbox.raise();
}
