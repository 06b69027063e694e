//! All transactional ids of one `__transaction_state` partition, and the door to them.
//!
//! Sans-io: a request, a tick or news of markers goes in, a [`TransactionStep`] comes out. The
//! owner appends the step's records, and lets its answers and orders out when these are committed
//! ([`crate::coordinator::replayed`]). So a transaction is decided by one record in one log; the
//! markers that tell its partitions follow from that record, before or after a crash.
//!
//! Why there is no pending state beside the state, as Kafka has: memory moves at once and answers
//! wait, so whoever asks sees where the id is going. What Kafka answers while a record is under
//! way (CONCURRENT_TRANSACTIONS) is answered here while markers are.
//!
//! Invariants
//! - An id in a prepared state has markers under way or a wake that sends them again. Its
//!   `partitions` are those not told yet.
//! - Nothing but the last marker takes an id out of a prepared state.
//! - `wakes` holds one entry for each id, not later than its deadline, unless its markers are under
//!   way.

use super::calls::{
    DescribedTransaction, ListedTransaction, TopicPartitions, TransactionAnswer, TransactionFilter,
    TransactionRequest,
};
use super::metadata::{Flow, Outcome, Partitions, TransactionMetadata, TransactionState};
use super::records::TransactionRecord;
use super::turn::{MarkersToWrite, TransactionStep, Turn};
use crate::coordinator::replayed::Waiter;
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::ids::{LeaderEpoch, ProducerEpoch};
use crate::model::limits::{TRANSACTION_MARKERS_RETRY_MS, TRANSACTIONS_WOKEN_PER_TURN};
use crate::model::transaction_config::TransactionConfig;
use std::collections::{BTreeMap, BTreeSet};

/// One id as the coordinator keeps it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) metadata: TransactionMetadata,
    /// The entry in `wakes`.
    wake_us: Option<u64>,
    /// While prepared: when to have the markers written again; `None` while they are under way.
    retry_us: Option<u64>,
}

impl Entry {
    pub(super) fn new(metadata: TransactionMetadata) -> Entry {
        Entry { metadata, wake_us: None, retry_us: None }
    }
}

/// The transactional ids of one coordinator partition. One per partition of
/// `__transaction_state`, on the core that owns it.
#[derive(Debug)]
pub struct TransactionCoordinator {
    config: TransactionConfig,
    epoch: LeaderEpoch,
    pub(super) ids: BTreeMap<String, Entry>,
    /// When to look at which id, in monotonic microseconds; one entry per id at most.
    wakes: BTreeSet<(u64, String)>,
}

impl TransactionCoordinator {
    /// A coordinator that knows no id yet; feed it the partition with
    /// [`TransactionCoordinator::replay`], then call [`TransactionCoordinator::on_loaded`].
    pub fn new(config: TransactionConfig, epoch: LeaderEpoch) -> TransactionCoordinator {
        TransactionCoordinator { config, epoch, ids: BTreeMap::new(), wakes: BTreeSet::new() }
    }

    /// Applies a record of the log.
    pub fn replay(&mut self, record: TransactionRecord) {
        match record.metadata {
            Some(metadata) => self.ids.insert(record.transactional_id, Entry::new(metadata)),
            None => self.ids.remove(&record.transactional_id),
        };
    }

    /// The replay is complete: clocks begin, and transactions that were decided are carried out.
    pub fn on_loaded(&mut self, now: Now) -> TransactionStep {
        let config = self.config;
        let mut turn = Turn::new(now, &config);
        let ids: Vec<String> = self.ids.keys().cloned().collect();
        for id in ids {
            self.carry_on(&id, &mut turn);
        }
        turn.into_step()
    }

    /// Ids that this coordinator knows.
    pub fn id_count(&self) -> usize {
        self.ids.len()
    }

    /// One request, answered with this step.
    pub fn on_request(
        &mut self,
        request: TransactionRequest,
        waiter: Waiter,
        now: Now,
    ) -> TransactionStep {
        let config = self.config;
        let mut turn = Turn::new(now, &config);
        if let Err(code) = request.check() {
            turn.refuse(waiter, code);
            return turn.into_step();
        }
        let answer = match request {
            TransactionRequest::Init(init) => self.init(init, &mut turn),
            TransactionRequest::AddPartitions(add) => self.add_partitions(add, &mut turn),
            TransactionRequest::End(end) => self.end(end, &mut turn),
            TransactionRequest::Describe(id) => self.describe(&id),
            TransactionRequest::List(filter) => Ok(self.list(&filter, now)),
        };
        turn.answer(waiter, answer.unwrap_or_else(TransactionAnswer::Refused));
        turn.into_step()
    }

    fn describe(&self, id: &str) -> Result<TransactionAnswer, KafkaCode> {
        let entry = self.ids.get(id).ok_or(KafkaCode::TransactionalIdNotFound)?;
        let metadata = &entry.metadata;
        let topics = metadata.partitions.iter().map(|(topic, numbers)| TopicPartitions {
            topic: topic.clone(),
            partitions: numbers.iter().copied().collect(),
        });
        Ok(TransactionAnswer::Describe(DescribedTransaction {
            producer_id: metadata.producer_id,
            producer_epoch: metadata.epoch,
            state: metadata.state,
            timeout_ms: metadata.timeout_ms,
            started_ms: metadata.started_ms,
            topics: topics.collect(),
        }))
    }

    fn list(&self, filter: &TransactionFilter, now: Now) -> TransactionAnswer {
        let lets_through = |id: &str, metadata: &TransactionMetadata| {
            let age_ms = now.wall_ms.saturating_sub(metadata.started_ms);
            (filter.states.is_empty() || filter.states.contains(&metadata.state))
                && (filter.producer_ids.is_empty()
                    || filter.producer_ids.contains(&metadata.producer_id.0))
                && filter.longer_than_ms.is_none_or(|least_ms| age_ms > least_ms)
                && filter.pattern.as_ref().is_none_or(|pattern| pattern.is_match(id))
        };
        let found = self.ids.iter().filter(|(id, entry)| lets_through(id, &entry.metadata));
        let listed = found.map(|(id, entry)| ListedTransaction {
            transactional_id: id.clone(),
            producer_id: entry.metadata.producer_id,
            state: entry.metadata.state,
        });
        TransactionAnswer::List(listed.collect())
    }

    /// News of markers: those of `told` are committed, or their partitions are gone. What is
    /// missing is sent again in a while.
    ///
    /// News of a transaction that is not under way any more is ignored: a coordinator before this
    /// one, on the same core, may hear from a leader as late as that call's time allows. The epoch
    /// does not tell a producer's transactions apart, the time of their decision does.
    pub fn on_markers_written(
        &mut self,
        order: &MarkersToWrite,
        told: &Partitions,
        now: Now,
    ) -> TransactionStep {
        let config = self.config;
        let mut turn = Turn::new(now, &config);
        let id = &*order.transactional_id;
        let Some(entry) = self.ids.get_mut(id) else { return turn.into_step() };
        let metadata = &mut entry.metadata;
        if !metadata.state.is_prepared() || !order.is_of(metadata) {
            return turn.into_step();
        }
        metadata.partitions.retain(|topic, numbers| {
            if let Some(told) = told.get(topic) {
                numbers.retain(|number| !told.contains(number));
            }
            !numbers.is_empty()
        });
        if metadata.partitions.is_empty() {
            self.complete(id, &mut turn);
        } else {
            entry.retry_us = Some(now.deadline_us(TRANSACTION_MARKERS_RETRY_MS));
            self.wake_in_time(id, &turn);
        }
        turn.into_step()
    }

    /// Decides a transaction and has its partitions told. Without partitions it is over at once.
    pub(super) fn prepare(&mut self, id: &str, outcome: Outcome, flow: Flow, turn: &mut Turn<'_>) {
        let entry = self.ids.get_mut(id).expect("the caller has just looked");
        let metadata = &mut entry.metadata;
        assert!(!metadata.state.is_prepared());
        if metadata.state != TransactionState::Ongoing {
            metadata.started_ms = turn.now.wall_ms;
        }
        metadata.decide(outcome, turn.now.wall_ms);
        metadata.flow = flow;
        turn.write(id, Some(metadata));
        self.carry_on(id, turn);
    }

    /// Every partition was told.
    fn complete(&mut self, id: &str, turn: &mut Turn<'_>) {
        let entry = self.ids.get_mut(id).expect("the caller has just looked");
        let metadata = &mut entry.metadata;
        let outcome = Outcome::of(metadata.state).expect("a prepared state has an outcome");
        assert!(metadata.state.is_prepared());
        assert!(metadata.partitions.is_empty());
        metadata.state = outcome.complete();
        metadata.touch(turn.now.wall_ms);
        metadata.previous_producer_id = Some(metadata.producer_id);
        if let Some(next) = metadata.next_producer_id.take() {
            metadata.producer_id = next;
            metadata.epoch = ProducerEpoch(0);
        }
        entry.retry_us = None;
        turn.write(id, Some(metadata));
        self.wake_in_time(id, turn);
    }

    /// Fences the producer of an open transaction and aborts it (KIP-98, KIP-890).
    pub(super) fn fence(&mut self, id: &str, turn: &mut Turn<'_>) {
        let entry = self.ids.get_mut(id).expect("the caller has just looked");
        let metadata = &mut entry.metadata;
        assert!(metadata.state == TransactionState::Ongoing);
        metadata.last_epoch = metadata.epoch;
        metadata.epoch = metadata.bumped_epoch();
        self.prepare(id, Outcome::Abort, Flow::EpochPerTransaction, turn);
    }

    /// Goes on from the state that an id is in: orders markers, completes, or sets the clock.
    fn carry_on(&mut self, id: &str, turn: &mut Turn<'_>) {
        let entry = self.ids.get_mut(id).expect("the caller has just looked");
        if !entry.metadata.state.is_prepared() {
            return self.wake_in_time(id, turn);
        }
        entry.retry_us = None;
        if entry.metadata.partitions.is_empty() {
            self.complete(id, turn);
        } else {
            turn.order_markers(id, &entry.metadata, self.epoch);
        }
    }

    /// Keeps one entry for the id in `wakes`, not later than its deadline. A deadline that moved
    /// away leaves the entry where it is: it costs one look.
    pub(super) fn wake_in_time(&mut self, id: &str, turn: &Turn<'_>) {
        let entry = self.ids.get_mut(id).expect("the caller has just looked");
        let Some(deadline_us) = entry.deadline_us(turn) else { return };
        match entry.wake_us {
            Some(wake_us) if wake_us <= deadline_us => return,
            Some(wake_us) => {
                self.wakes.remove(&(wake_us, id.to_owned()));
            }
            None => {}
        }
        entry.wake_us = Some(deadline_us);
        self.wakes.insert((deadline_us, id.to_owned()));
    }

    /// The time of the next [`TransactionCoordinator::on_tick`], in monotonic microseconds.
    pub fn next_deadline_us(&self) -> u64 {
        self.wakes.first().map_or(u64::MAX, |(deadline_us, _)| *deadline_us)
    }

    /// Does what is due, a bounded bite of it: when more is due, the next deadline is past.
    pub fn on_tick(&mut self, now: Now) -> TransactionStep {
        let config = self.config;
        let mut turn = Turn::new(now, &config);
        for _ in 0..TRANSACTIONS_WOKEN_PER_TURN {
            let Some((deadline_us, id)) = self.wakes.pop_first() else { break };
            if deadline_us > now.monotonic_us {
                self.wakes.insert((deadline_us, id));
                break;
            }
            let Some(entry) = self.ids.get_mut(&id) else { continue };
            assert!(entry.wake_us == Some(deadline_us));
            entry.wake_us = None;
            self.on_wake(&id, &mut turn);
        }
        turn.into_step()
    }

    fn on_wake(&mut self, id: &str, turn: &mut Turn<'_>) {
        let entry = &self.ids[id];
        let is_due = entry.deadline_us(turn).is_some_and(|due_us| due_us <= turn.now.monotonic_us);
        if !is_due {
            return self.wake_in_time(id, turn);
        }
        match entry.metadata.state {
            TransactionState::Ongoing => self.fence(id, turn),
            state if state.is_prepared() => self.carry_on(id, turn),
            _ => {
                self.ids.remove(id);
                turn.write(id, None);
            }
        }
    }
}

impl Entry {
    /// When there is something to do about the id, in monotonic microseconds: its transaction's
    /// time is up, the id expires, or its markers are to be sent again.
    fn deadline_us(&self, turn: &Turn<'_>) -> Option<u64> {
        let metadata = &self.metadata;
        match metadata.state {
            TransactionState::Ongoing => {
                // Kafka lets a transaction be exactly as old as its timeout.
                Some(turn.deadline_at_us(metadata.timeout_at_ms().saturating_add(1)))
            }
            state if state.is_prepared() => self.retry_us,
            _ => {
                let expires_ms = metadata.updated_ms.saturating_add(turn.config.id_expiration_ms);
                Some(turn.deadline_at_us(expires_ms))
            }
        }
    }
}
