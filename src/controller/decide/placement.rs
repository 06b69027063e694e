//! Which brokers and cores hold a partition's replicas.
//!
//! Brokers take turns as preferred leader, starting anywhere and from rack to rack, so that leaders
//! spread. The other replicas go to racks that have none of this partition yet, as far as there
//! are racks; who they are shifts with each round of leaders, so that the partitions of one leader
//! do not all follow to the same broker. On its broker a replica goes to the core with the fewest
//! replicas, the lowest core of equal ones.

use crate::controller::decide::{Context, Refusal};
use crate::controller::image::{BrokerImage, MetadataImage};
use crate::controller::records::{MetadataRecord, PartitionState, Replica};
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, CoreId, PartitionId};
use std::collections::BTreeMap;

/// Places the partitions of one request; remembers what it has placed.
pub(super) struct Placement<'a> {
    image: &'a MetadataImage,
    /// Brokers that may be given replicas, from rack to rack.
    usable: Vec<&'a BrokerImage>,
    /// Registered, but fenced: taken only where the others are too few.
    fenced: Vec<&'a BrokerImage>,
    placed: BTreeMap<(BrokerId, CoreId), usize>,
    /// Index of the broker that leads next.
    turn: usize,
    /// How far behind the leader the other replicas begin.
    shift: usize,
    first_turn: usize,
}

impl<'a> Placement<'a> {
    pub(super) fn new(image: &'a MetadataImage, context: &Context<'_>) -> Placement<'a> {
        let mut placement = Placement::of(image);
        if !placement.usable.is_empty() {
            let start = (context.random)().as_u128() % placement.usable.len() as u128;
            placement.turn = usize::try_from(start).expect("below the number of brokers");
            placement.first_turn = placement.turn;
        }
        placement
    }

    /// Without chance: for replicas whose brokers are chosen already.
    pub(super) fn of(image: &'a MetadataImage) -> Placement<'a> {
        let brokers = || image.brokers().map(AsRef::as_ref);
        Placement {
            image,
            usable: from_rack_to_rack(brokers().filter(|broker| broker.is_active())),
            fenced: from_rack_to_rack(brokers().filter(|broker| broker.is_fenced())),
            placed: BTreeMap::new(),
            turn: 0,
            shift: 0,
            first_turn: 0,
        }
    }

    /// Refuses a replication factor that these brokers cannot give.
    pub(super) fn check_factor(&self, factor: usize) -> Result<(), Refusal> {
        let refuse = |why: String| {
            let message = format!("Unable to replicate the partition {factor} time(s): {why}");
            Err(Refusal::new(KafkaCode::InvalidReplicationFactor, message))
        };
        let registered = self.usable.len() + self.fenced.len();
        if factor > registered {
            return refuse(format!(
                "The target replication factor of {factor} cannot be reached because only \
                 {registered} broker(s) are registered."
            ));
        }
        match self.usable.is_empty() {
            true => refuse("All brokers are currently fenced.".to_owned()),
            false => Ok(()),
        }
    }

    /// A partition on the next `factor` brokers.
    pub(super) fn next(&mut self, factor: usize) -> PartitionState {
        let count = self.usable.len();
        assert!((1..=count + self.fenced.len()).contains(&factor) && count > 0);
        let mut chosen: Vec<&BrokerImage> = vec![self.usable[self.turn]];
        while chosen.len() < factor {
            let next = self.next_replica(&chosen);
            chosen.push(next);
        }
        self.turn = (self.turn + 1) % count;
        if self.turn == self.first_turn {
            self.shift += 1;
        }
        assert!(chosen.len() == factor);
        let chosen: Vec<BrokerId> = chosen.into_iter().map(BrokerImage::id).collect();
        self.on(&chosen)
    }

    /// The broker in the least used rack that comes first behind the leader.
    fn next_replica(&self, chosen: &[&'a BrokerImage]) -> &'a BrokerImage {
        assert!(!chosen.is_empty(), "the leader is chosen first");
        let count = self.usable.len();
        let begin = self.turn + 1 + if count > 1 { self.shift % (count - 1) } else { 0 };
        let behind = (0..count).map(|offset| self.usable[(begin + offset) % count]);
        let candidates = behind.map(|broker| (false, broker));
        let reserve = self.fenced.iter().map(|broker| (true, *broker));
        let is_free = |(_, broker): &(bool, &BrokerImage)| {
            chosen.iter().all(|known| known.id() != broker.id())
        };
        let in_rack = |broker: &BrokerImage| {
            let rack = &broker.registration.rack;
            chosen.iter().filter(|known| known.registration.rack == *rack).count()
        };
        let free = candidates.chain(reserve).filter(is_free);
        let best = free.min_by_key(|(is_fenced, broker)| (*is_fenced, in_rack(broker)));
        best.expect("check_factor has counted the brokers").1
    }

    /// Partition `id` on exactly these brokers, the first one preferred (KIP-4 manual assignment).
    pub(super) fn manual(
        &mut self,
        id: PartitionId,
        brokers: &[BrokerId],
    ) -> Result<PartitionState, Refusal> {
        check_replicas(brokers, |broker| self.image.broker(broker).is_some())?;
        if !brokers.iter().any(|broker| self.image.is_active(*broker)) {
            let message = format!(
                "All brokers specified in the manual partition assignment for partition {} are \
                 fenced or in controlled shutdown.",
                id.0
            );
            return Err(Refusal::new(KafkaCode::InvalidReplicaAssignment, message));
        }
        Ok(self.on(brokers))
    }

    /// A replica on a registered broker, on the core that has the fewest.
    pub(super) fn replica_on(&mut self, id: BrokerId) -> Replica {
        let broker = self.image.broker(id).expect("callers look whether it is registered");
        let registration = &broker.registration;
        let core = self.emptiest_core(id, registration.cores);
        *self.placed.entry((id, core)).or_default() += 1;
        Replica { broker: id, core, directory: registration.directory }
    }

    fn on(&mut self, brokers: &[BrokerId]) -> PartitionState {
        let replicas: Vec<Replica> = brokers.iter().map(|id| self.replica_on(*id)).collect();
        let active = brokers.iter().filter(|id| self.image.is_active(**id));
        let isr: Vec<BrokerId> = active.copied().collect();
        assert!(!isr.is_empty(), "a new partition has a leader");
        assert!(isr.len() <= replicas.len());
        PartitionState { leader: isr.first().copied(), replicas, isr, ..PartitionState::default() }
    }

    fn emptiest_core(&self, broker: BrokerId, cores: u16) -> CoreId {
        (0..cores)
            .map(CoreId)
            .min_by_key(|core| {
                let placed = self.placed.get(&(broker, *core)).copied().unwrap_or(0);
                self.image.load(broker, *core) + placed
            })
            .expect("a broker has at least one core")
    }
}

/// The first broker of each rack, then the second of each, and so on.
fn from_rack_to_rack<'a>(brokers: impl Iterator<Item = &'a BrokerImage>) -> Vec<&'a BrokerImage> {
    let mut racks: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, &BrokerImage)> = brokers
        .map(|broker| {
            let seen = racks.entry(broker.registration.rack.as_deref()).or_default();
            *seen += 1;
            (*seen, broker)
        })
        .collect();
    ranked.sort_by_key(|(rank, broker)| (*rank, broker.registration.rack.clone(), broker.id()));
    ranked.into_iter().map(|(_, broker)| broker).collect()
}

/// Moves a broker's replicas off cores that no longer exist onto those that do, when it starts
/// with fewer cores than before. Logs and journals move with them: the caller's duty.
pub(super) fn core_moves(
    image: &MetadataImage,
    broker: BrokerId,
    cores: u16,
) -> Vec<MetadataRecord> {
    assert!(cores > 0);
    let mut load: Vec<usize> = (0..cores).map(|core| image.load(broker, CoreId(core))).collect();
    let mut records = Vec::new();
    for (id, partition) in image.topics().flat_map(|topic| topic.partitions()) {
        let is_stranded = |replica: &Replica| replica.broker == broker && replica.core.0 >= cores;
        if !partition.state.replicas.iter().any(is_stranded) {
            continue;
        }
        let core = (0..cores).min_by_key(|core| load[usize::from(*core)]).expect("cores > 0");
        load[usize::from(core)] += 1;
        assert!(core < cores);
        let mut state = partition.state.clone();
        for replica in state.replicas.iter_mut().filter(|replica| replica.broker == broker) {
            replica.core = CoreId(core);
        }
        state.partition_epoch += 1;
        records.push(MetadataRecord::Partition { id, state });
    }
    records
}

/// Whether a partition may be put on exactly these brokers.
///
/// # Errors
/// INVALID_REPLICA_ASSIGNMENT for no broker, one named twice, or one that is not registered.
pub(super) fn check_replicas(
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
