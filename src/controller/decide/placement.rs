//! Which brokers and cores hold a partition's replicas.
//!
//! Brokers take turns as preferred leader, starting anywhere, so that leaders spread. On its
//! broker a replica goes to the core with the fewest replicas, the lowest core of equal ones.

use crate::controller::decide::{Context, LiveBroker, Refusal};
use crate::controller::image::MetadataImage;
use crate::controller::records::{MetadataRecord, PartitionState, Replica};
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, CoreId};
use std::collections::BTreeMap;

/// Places the partitions of one request; remembers what it has placed.
pub(super) struct Placement<'a> {
    image: &'a MetadataImage,
    brokers: &'a [LiveBroker],
    placed: BTreeMap<(BrokerId, CoreId), usize>,
    /// Index of the broker that leads next.
    turn: usize,
}

impl<'a> Placement<'a> {
    pub(super) fn new(image: &'a MetadataImage, context: &Context<'a>) -> Placement<'a> {
        let brokers = context.brokers;
        let start = (context.random)().as_u128() % brokers.len() as u128;
        let turn = usize::try_from(start).expect("below the number of brokers");
        assert!(turn < brokers.len());
        Placement { image, brokers, placed: BTreeMap::new(), turn }
    }

    /// Refuses a replication factor that these brokers cannot give.
    pub(super) fn check_factor(&self, factor: usize) -> Result<(), Refusal> {
        if factor <= self.brokers.len() {
            return Ok(());
        }
        Err(Refusal::new(
            KafkaCode::InvalidReplicationFactor,
            format!(
                "Unable to replicate the partition {factor} time(s): The target replication \
                 factor of {factor} cannot be reached because only {} broker(s) are registered.",
                self.brokers.len()
            ),
        ))
    }

    /// A partition on the next `factor` brokers.
    pub(super) fn next(&mut self, factor: usize) -> PartitionState {
        assert!((1..=self.brokers.len()).contains(&factor));
        let chosen: Vec<LiveBroker> = (0..factor)
            .map(|offset| self.brokers[(self.turn + offset) % self.brokers.len()])
            .collect();
        self.turn = (self.turn + 1) % self.brokers.len();
        assert!(chosen.len() == factor);
        self.on(&chosen)
    }

    /// A partition on exactly these brokers, the first one preferred (KIP-4 manual assignment).
    pub(super) fn manual(&mut self, brokers: &[BrokerId]) -> Result<PartitionState, Refusal> {
        check_replicas(brokers, |broker| self.brokers.iter().any(|live| live.id == broker))?;
        let chosen: Vec<LiveBroker> = brokers
            .iter()
            .filter_map(|broker| self.brokers.iter().find(|live| live.id == *broker).copied())
            .collect();
        assert!(chosen.len() == brokers.len());
        Ok(self.on(&chosen))
    }

    fn on(&mut self, brokers: &[LiveBroker]) -> PartitionState {
        assert!(!brokers.is_empty(), "a partition has a leader");
        let mut replicas = Vec::with_capacity(brokers.len());
        for broker in brokers {
            let core = self.emptiest_core(broker);
            *self.placed.entry((broker.id, core)).or_default() += 1;
            replicas.push(Replica { broker: broker.id, core, directory: broker.directory });
        }
        let isr: Vec<BrokerId> = brokers.iter().map(|broker| broker.id).collect();
        assert!(replicas.len() == isr.len());
        PartitionState { leader: isr.first().copied(), replicas, isr, ..PartitionState::default() }
    }

    fn emptiest_core(&self, broker: &LiveBroker) -> CoreId {
        (0..broker.cores)
            .map(CoreId)
            .min_by_key(|core| {
                let placed = self.placed.get(&(broker.id, *core)).copied().unwrap_or(0);
                self.image.load(broker.id, *core) + placed
            })
            .expect("a broker has at least one core")
    }
}

/// Moves the local replicas of cores that no longer exist onto those that do, when a broker starts
/// with fewer cores than before. Logs and journals move with them: the caller's duty.
pub(super) fn reassign_cores(image: &MetadataImage, cores: u16) -> Vec<MetadataRecord> {
    assert!(cores > 0);
    let local = image.local();
    let mut load: Vec<usize> = (0..cores).map(|core| image.load(local, CoreId(core))).collect();
    let mut records = Vec::new();
    for (id, partition) in image.topics().flat_map(|topic| topic.partitions()) {
        let mut state = partition.state.clone();
        let stranded = state
            .replicas
            .iter_mut()
            .find(|replica| replica.broker == local && replica.core.0 >= cores);
        let Some(replica) = stranded else { continue };
        let core = (0..cores).min_by_key(|core| load[usize::from(*core)]).expect("cores > 0");
        load[usize::from(core)] += 1;
        assert!(core < cores);
        replica.core = CoreId(core);
        state.partition_epoch += 1;
        records.push(MetadataRecord::Partition { id, state });
    }
    records
}

/// Whether a partition may be put on exactly these brokers.
///
/// # Errors
/// INVALID_REPLICA_ASSIGNMENT for no broker, one named twice, or one that is not registered.
pub fn check_replicas(
    brokers: &[BrokerId],
    is_registered: impl Fn(BrokerId) -> bool,
) -> Result<(), Refusal> {
    let refuse = |what: String| {
        let message = format!("The manual partition assignment includes {what}.");
        Err(Refusal::new(KafkaCode::InvalidReplicaAssignment, message))
    };
    if brokers.is_empty() {
        return refuse("an empty replica list".to_owned());
    }
    let mut sorted = brokers.to_vec();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return refuse(format!("the broker {} more than once", pair[0].0));
    }
    match brokers.iter().find(|broker| !is_registered(**broker)) {
        Some(unknown) => refuse(format!("broker {}, but no such broker is registered", unknown.0)),
        None => Ok(()),
    }
}
