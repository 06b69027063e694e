//! Transaction coordinators among the coordinators of a core, the way to them from any core, and
//! the markers that they have written.
//!
//! Invariant: of one transactional id at most one set of markers is known to be under way. A
//! request that was given up may still arrive: whoever writes markers knows it by when its
//! transaction was decided (markers.rs).

use crate::controller::image::TRANSACTIONS_TOPIC;
use crate::coordinator::replayed::{KeyValue, Waiter};
use crate::coordinator::transaction::metadata::{Outcome, Partitions};
use crate::coordinator::transaction::records::TransactionRecord;
use crate::coordinator::transaction::{
    MarkersToWrite, TransactionAnswer, TransactionCoordinator, TransactionRequest,
};
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, CoreId, LeaderEpoch, PartitionId, TopicPartition};
use crate::model::transaction_config::TransactionConfig;
use crate::protocol::primitive::{DecodeError, EncodeError};
use crate::shard::coordinator_host::{Birth, Host, Hosted, StepOf, coordinator_of};
use crate::shard::markers::MarkerOrder;
use crate::shard::questions::{Question, Reply, ask};
use crate::shard::remote_transactions::{Named, write_markers_at};
use crate::shard::shard::{Shard, ShardRef};
use crate::storage::disk::Disk;
use bytes::Bytes;
use futures::future::{join, join_all};
use hashbrown::HashSet;
use std::collections::{BTreeMap, VecDeque};

impl Hosted for TransactionCoordinator {
    type Record = TransactionRecord;
    type Request = TransactionRequest;
    type Answer = TransactionAnswer;
    type Order = MarkersToWrite;

    const TOPIC: &'static str = TRANSACTIONS_TOPIC;
    const NAME: &'static str = "transaction coordinator";

    fn host<D: Disk>(shard: &mut Shard<D>) -> &mut Host<Self> {
        &mut shard.transactions
    }

    fn begin(birth: Birth<'_>) -> Self {
        let record_bytes_max = birth.record_bytes_max;
        let config = TransactionConfig { record_bytes_max, ..birth.config.transactions };
        TransactionCoordinator::new(config, birth.leader_epoch)
    }

    fn encode(record: &TransactionRecord) -> Result<KeyValue, EncodeError> {
        record.encode()
    }

    fn replay(&mut self, key: &Bytes, value: Option<&Bytes>) -> Result<(), DecodeError> {
        if let Some(record) = TransactionRecord::decode(key, value)? {
            TransactionCoordinator::replay(self, record);
        }
        Ok(())
    }

    fn on_loaded(&mut self, now: Now) -> StepOf<Self> {
        TransactionCoordinator::on_loaded(self, now)
    }

    fn on_request(
        &mut self,
        request: TransactionRequest,
        waiter: Waiter,
        now: Now,
    ) -> StepOf<Self> {
        TransactionCoordinator::on_request(self, request, waiter, now)
    }

    fn on_tick(&mut self, now: Now) -> StepOf<Self> {
        TransactionCoordinator::on_tick(self, now)
    }

    fn next_deadline_us(&self) -> u64 {
        TransactionCoordinator::next_deadline_us(self)
    }

    fn take_waiters(&mut self) -> Vec<Waiter> {
        Vec::new() // Every request is answered by its own step.
    }

    fn may_write(request: &TransactionRequest) -> bool {
        request.may_write()
    }

    fn refused(code: KafkaCode) -> TransactionAnswer {
        TransactionAnswer::Refused(code)
    }

    fn carry_out<D: Disk>(shard: &mut Shard<D>, id: TopicPartition, order: MarkersToWrite) {
        shard.markers.orders.push_back((id, order));
        shard.signals.markers.raise();
    }
}

/// The markers that this core's transaction coordinators want written.
#[derive(Default)]
pub struct MarkerQueue {
    orders: VecDeque<(TopicPartition, MarkersToWrite)>,
    /// Transactional ids whose markers are under way.
    under_way: HashSet<String>,
}

/// Puts a request to the coordinator of `transactional_id`, on whichever core it lives.
pub async fn ask_transaction<D: Disk>(
    shard: &ShardRef<D>,
    transactional_id: &str,
    request: TransactionRequest,
) -> TransactionAnswer {
    let owner = coordinator_of::<TransactionCoordinator>(&shard.borrow().image, transactional_id);
    match owner {
        Some(owner) => ask_transactions_of(shard, owner, request).await,
        None => TransactionAnswer::Refused(KafkaCode::NotCoordinator),
    }
}

/// Puts a request to one coordinator.
pub async fn ask_transactions_of<D: Disk>(
    shard: &ShardRef<D>,
    (partition, core): (TopicPartition, CoreId),
    request: TransactionRequest,
) -> TransactionAnswer {
    let question = Question::Transaction { partition, request: Box::new(request) };
    match ask(shard, core, question).await {
        Reply::Transaction(answer) => *answer,
        other => unreachable!("a transaction's request is not answered by {other:?}"),
    }
}

/// Starts the writing of markers as they are ordered; ends with its executor.
pub async fn marker_loop<D: Disk>(shard: ShardRef<D>) {
    let signal = shard.borrow().signals.markers.clone();
    loop {
        signal.wait().await;
        start_markers(&shard);
    }
}

fn start_markers<D: Disk>(shard: &ShardRef<D>) {
    let mut borrowed = shard.borrow_mut();
    while let Some((id, order)) = borrowed.markers.orders.pop_front() {
        if borrowed.markers.under_way.insert(order.transactional_id.clone()) {
            borrowed.outbox.spawn(write_markers(shard.clone(), id, order));
        } else {
            // A coordinator that was loaded again orders what its predecessor has under way.
            borrowed.on_markers_written(id, &order, &Partitions::new());
        }
    }
}

async fn write_markers<D: Disk>(shard: ShardRef<D>, id: TopicPartition, order: MarkersToWrite) {
    let marker = MarkerOrder {
        producer_id: order.producer_id,
        producer_epoch: order.producer_epoch,
        coordinator_epoch: order.coordinator_epoch.0,
        decided_ms: Some(order.decided_ms),
        leader_epoch: None,
        is_commit: order.outcome == Outcome::Commit,
    };
    let places = shard.borrow().places_of(&order.partitions);
    let mut elsewhere: BTreeMap<BrokerId, Named> = BTreeMap::new();
    for place in &places {
        if let Owner::There(broker, epoch) = place.owner {
            let topics = elsewhere.entry(broker).or_default();
            topics.entry(place.topic.clone()).or_default().push((place.number, epoch));
        }
    }
    let calls = elsewhere.into_iter();
    let calls = calls.map(|(to, named)| write_markers_at(&shard, to, marker, named));
    let writes = places.iter().map(|place| write_marker(&shard, place.owner, marker));
    let (codes, answers) = join(join_all(writes), join_all(calls)).await;
    let mut told = Partitions::new();
    for (Place { topic, number, owner }, code) in places.into_iter().zip(codes) {
        let answered = || answers.iter().find_map(|codes| codes.get(&(topic.clone(), number)));
        let code = code.or_else(|| answered().copied()).unwrap_or(KafkaCode::NotLeaderOrFollower);
        if is_told(code, owner) {
            told.entry(topic).or_default().insert(number);
        } else {
            tracing::warn!(
                id = order.transactional_id,
                topic,
                number,
                code = code.name(),
                "a transaction's marker is not written yet"
            );
        }
    }
    let mut shard = shard.borrow_mut();
    shard.markers.under_way.remove(&order.transactional_id);
    shard.on_markers_written(id, &order, &told);
}

/// Writes a marker for a partition of this broker; `None` where another one leads it.
async fn write_marker<D: Disk>(
    shard: &ShardRef<D>,
    owner: Owner,
    marker: MarkerOrder,
) -> Option<KafkaCode> {
    let (partition, core) = match owner {
        Owner::Here(partition, core) => (partition, core),
        Owner::There(..) => return None,
        Owner::Nowhere(code) => return Some(code),
    };
    match ask(shard, core, Question::WriteMarker { partition, marker }).await {
        Reply::MarkerWritten(code) => Some(code),
        other => unreachable!("a marker is not answered by {other:?}"),
    }
}

/// Whether a partition needs no marker any more: it has it, it is gone, or it has seen a newer
/// epoch of the producer, which is given out only after this transaction's end.
///
/// That it is gone is for this broker to know. Another one that does not know it may have
/// forgotten its metadata; without the marker the records would join the next transaction there.
fn is_told(code: KafkaCode, owner: Owner) -> bool {
    match code {
        KafkaCode::None
        | KafkaCode::InvalidProducerEpoch
        | KafkaCode::TransactionCoordinatorFenced => true,
        KafkaCode::UnknownTopicOrPartition => !matches!(owner, Owner::There(..)),
        _ => false,
    }
}

/// Who leads a partition.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Here(TopicPartition, CoreId),
    /// The leader, and its epoch.
    There(BrokerId, LeaderEpoch),
    /// The topic was deleted meanwhile, or nobody leads at the moment.
    Nowhere(KafkaCode),
}

/// A partition of a transaction and its leader.
struct Place {
    topic: String,
    number: i32,
    owner: Owner,
}

impl<D: Disk> Shard<D> {
    fn places_of(&self, partitions: &Partitions) -> Vec<Place> {
        let mut places = Vec::new();
        for (topic, numbers) in partitions {
            let image = self.image.topic_by_name(topic);
            places.extend(numbers.iter().map(|number| {
                let id = |topic| TopicPartition { topic, partition: PartitionId(*number) };
                let id = image.map(|image| id(image.id));
                let owner = id.map_or(Owner::Nowhere(KafkaCode::UnknownTopicOrPartition), |id| {
                    self.leader_of(id)
                });
                Place { topic: topic.clone(), number: *number, owner }
            }));
        }
        places
    }

    fn leader_of(&self, id: TopicPartition) -> Owner {
        match self.image.leader_core(&id) {
            Ok(core) => Owner::Here(id, core),
            Err(KafkaCode::NotLeaderOrFollower) => {
                let state = self.image.partition(&id).map(|known| &known.state);
                let leader = state.and_then(|state| Some((state.leader?, state.leader_epoch)));
                leader.map_or(Owner::Nowhere(KafkaCode::NotLeaderOrFollower), |(leader, epoch)| {
                    Owner::There(leader, epoch)
                })
            }
            Err(code) => Owner::Nowhere(code),
        }
    }

    fn on_markers_written(
        &mut self,
        id: TopicPartition,
        order: &MarkersToWrite,
        told: &Partitions,
    ) {
        let now = self.now;
        // Without a coordinator the news is lost; the next one orders markers when it is loaded.
        let Some(coordinator) = self.transactions.active(&id) else { return };
        let step = coordinator.on_markers_written(order, told, now);
        self.take_step::<TransactionCoordinator>(id, step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulation seed 667: a broker whose metadata was damaged said that it knew no such topic. So
    /// the marker was given up, and the next transaction committed what had been aborted.
    #[test]
    fn a_marker_is_owed_to_a_partition_that_only_its_leader_does_not_know() {
        let code = KafkaCode::UnknownTopicOrPartition;
        assert!(!is_told(code, Owner::There(BrokerId(1), LeaderEpoch(0))));
        assert!(is_told(code, Owner::Nowhere(code)));
        assert!(is_told(KafkaCode::None, Owner::There(BrokerId(1), LeaderEpoch(0))));
    }
}
