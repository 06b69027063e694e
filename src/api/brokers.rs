//! Which brokers a client sees, and which of them leads a partition: the one place that says so.
//!
//! Where each core has a port of its own (`highwater.listeners.per.core`), each core is a broker to
//! clients, so that they send what concerns a partition straight to the core that owns it. The
//! first core has the id of the broker itself, each further one an id `CORE_ID_STRIDE` above the
//! one before. Only what clients are told knows these ids: records, placement and configuration
//! name the broker, so two replicas of a partition are never two cores of one broker.

use crate::api::context::RequestContext;
use crate::controller::decide::ResourceName;
use crate::controller::image::{BrokerImage, MetadataImage};
use crate::controller::records::{PartitionState, Replica};
use crate::model::broker_config::BrokerConfig;
use crate::model::ids::{BrokerId, CoreId, TopicPartition};
use crate::model::limits::CORE_ID_STRIDE;
use crate::model::listeners::Endpoint;
use crate::shard::connection::ConnectionId;
use crate::shard::shard::Shard;
use crate::storage::disk::Disk;
use std::net::SocketAddr;
use std::sync::Arc;

/// A broker as the asking client shall reach it.
#[derive(Debug)]
pub struct Reachable {
    pub id: BrokerId,
    pub endpoint: Endpoint,
    pub rack: Option<String>,
}

/// The ids under which clients know brokers.
#[derive(Debug, Clone, Copy)]
pub struct BrokerNames {
    local: BrokerId,
    /// Cores of the local broker that are brokers to clients; 0 where none is.
    cores: u16,
}

impl BrokerNames {
    /// The names that clients use in a broker of `cores` cores.
    pub fn new(local: BrokerId, cores: u16) -> BrokerNames {
        BrokerNames { local, cores }
    }

    /// What a core of a broker is called.
    pub fn of_core(self, broker: BrokerId, core: CoreId) -> BrokerId {
        match broker == self.local && core.0 < self.cores {
            true => BrokerId(broker.0 + i32::from(core.0) * CORE_ID_STRIDE),
            false => broker,
        }
    }

    /// The broker that a client means.
    pub fn broker(self, named: BrokerId) -> BrokerId {
        let is_core = |core: &u16| self.of_core(self.local, CoreId(*core)) == named;
        if (0..self.cores).any(|core| is_core(&core)) { self.local } else { named }
    }

    /// The resource that a client means.
    pub fn resource(self, named: ResourceName) -> ResourceName {
        match named {
            ResourceName::Broker(id) => ResourceName::Broker(self.broker(id)),
            other => other,
        }
    }

    /// Who leads the partition.
    pub fn leader(self, state: &PartitionState) -> Option<BrokerId> {
        state.leader.map(|leader| self.holder(state, leader))
    }

    /// The leader's number as the wire has it, -1 for none.
    pub fn leader_number(self, state: &PartitionState) -> i32 {
        self.leader(state).map_or(-1, |leader| leader.0)
    }

    /// Numbers of all that hold the partition.
    pub fn replicas(self, state: &PartitionState) -> Vec<i32> {
        let name = |replica: &Replica| self.of_core(replica.broker, replica.core).0;
        state.replicas.iter().map(name).collect()
    }

    /// Numbers of some that hold the partition, or did.
    pub fn numbers(self, state: &PartitionState, brokers: &[BrokerId]) -> Vec<i32> {
        brokers.iter().map(|broker| self.holder(state, *broker).0).collect()
    }

    fn holder(self, state: &PartitionState, broker: BrokerId) -> BrokerId {
        state.core_on(broker).map_or(broker, |core| self.of_core(broker, core))
    }
}

/// Brokers as one client reaches them: by the listener that it came in by.
pub struct BrokerView {
    image: Arc<MetadataImage>,
    config: Arc<BrokerConfig>,
    names: BrokerNames,
    /// Our end of the client's connection.
    local: SocketAddr,
}

impl BrokerView {
    fn new<D: Disk>(shard: &Shard<D>, local: SocketAddr) -> BrokerView {
        let has_ports = shard.config.listeners.advertised_core(local, CoreId(0)).is_some();
        BrokerView {
            image: Arc::clone(&shard.image),
            config: Arc::clone(&shard.config),
            names: BrokerNames::new(shard.config.node_id, if has_ports { shard.cores } else { 0 }),
            local,
        }
    }

    /// As the client on a connection reaches them; `None` when it is gone.
    pub fn of_connection<D: Disk>(shard: &mut Shard<D>, id: ConnectionId) -> Option<BrokerView> {
        let local = shard.connection(id)?.local;
        Some(BrokerView::new(shard, local))
    }

    /// The broker at the shared address of this connection's listener.
    fn this_broker(&self) -> Reachable {
        Reachable {
            id: self.config.node_id,
            endpoint: self.config.advertised(self.local),
            rack: self.config.rack.clone(),
        }
    }

    fn this_core(&self, core: CoreId) -> Reachable {
        let broker = self.this_broker();
        let own = self.config.listeners.advertised_core(self.local, core);
        Reachable {
            id: self.names.of_core(broker.id, core),
            endpoint: own.unwrap_or(broker.endpoint),
            rack: broker.rack,
        }
    }

    /// Another broker at the listener that the client came in by; `None` where it has no such one.
    fn another(&self, broker: &BrokerImage) -> Option<Reachable> {
        let endpoint = broker.endpoint(self.config.listener_name(self.local))?.clone();
        Some(Reachable { id: broker.id(), endpoint, rack: broker.registration.rack.clone() })
    }

    fn holder(&self, state: &PartitionState, broker: BrokerId) -> Option<Reachable> {
        if broker != self.image.local() {
            return self.another(self.image.broker(broker).filter(|known| !known.is_fenced())?);
        }
        let core = state.core_on(broker)?;
        Some(match self.names.cores {
            0 => self.this_broker(),
            _ => self.this_core(core),
        })
    }

    /// Who leads a partition now, in which epoch, and where (KIP-951). `None` for a partition that
    /// is not known here.
    pub fn leader(&self, partition: &TopicPartition) -> Option<CurrentLeader> {
        let state = &self.image.partition(partition)?.state;
        Some(CurrentLeader {
            id: self.names.leader_number(state),
            epoch: state.leader_epoch.0,
            node: state.leader.and_then(|leader| self.holder(state, leader)),
        })
    }

    /// The image that this is a view of.
    pub fn image(&self) -> &MetadataImage {
        &self.image
    }
}

/// Who leads a partition, for a client that asked another broker.
pub struct CurrentLeader {
    /// -1 where nobody leads.
    pub id: i32,
    pub epoch: i32,
    /// `None` where the leader has no address that the client could use.
    pub node: Option<Reachable>,
}

fn view<D: Disk>(context: &RequestContext<D>) -> BrokerView {
    BrokerView::new(&context.shard.borrow(), context.local)
}

/// The names that the asking client uses.
pub fn names<D: Disk>(context: &RequestContext<D>) -> BrokerNames {
    view(context).names
}

/// All brokers that are not fenced, in order of their ids: this one with its cores, the others at
/// the listener of the same name.
pub fn brokers<D: Disk>(context: &RequestContext<D>) -> Vec<Reachable> {
    let view = view(context);
    let mut all = match view.names.cores {
        0 => vec![view.this_broker()],
        cores => (0..cores).map(|core| view.this_core(CoreId(core))).collect(),
    };
    let others = view.image.alive().filter(|broker| broker.id() != view.image.local());
    all.extend(others.filter_map(|broker| view.another(broker)));
    all.sort_by_key(|broker| broker.id);
    all
}

/// Registered brokers that are fenced, in order of their ids (KIP-1073).
pub fn fenced_brokers<D: Disk>(context: &RequestContext<D>) -> Vec<Reachable> {
    let view = view(context);
    let fenced = view.image.brokers().filter(|broker| broker.is_fenced());
    let fenced = fenced.filter(|broker| broker.id() != view.image.local());
    fenced.filter_map(|broker| view.another(broker)).collect()
}

/// Replicas on brokers that are registered and fenced, or registered no more.
pub fn offline_replicas(
    image: &MetadataImage,
    names: BrokerNames,
    state: &PartitionState,
) -> Vec<i32> {
    let is_online = |replica: &&Replica| {
        let broker = image.broker(replica.broker);
        replica.broker == image.local() || broker.is_some_and(|known| !known.is_fenced())
    };
    let offline = state.replicas.iter().filter(|replica| !is_online(replica));
    offline.map(|replica| names.of_core(replica.broker, replica.core).0).collect()
}

/// A broker that takes changes of metadata. Each does, and passes them on to the active controller,
/// so a client is told of the one it talks to (KIP-590).
pub fn controller<D: Disk>(context: &RequestContext<D>) -> BrokerId {
    names(context).of_core(context.shard.borrow().config.node_id, CoreId(0))
}

/// The broker that leads a partition; `None` where nobody does.
pub fn leading<D: Disk>(
    context: &RequestContext<D>,
    partition: &TopicPartition,
) -> Option<Reachable> {
    view(context).leader(partition)?.node
}

/// The broker at the shared address of this connection's listener.
pub fn this_broker<D: Disk>(context: &RequestContext<D>) -> Reachable {
    view(context).this_broker()
}

/// True where the answer to this client tells of what `core` owns: one that came by the port of one
/// core asks every core by itself and adds the answers up.
pub fn tells_of<D: Disk>(context: &RequestContext<D>, core: CoreId) -> bool {
    let reached = context.shard.borrow().config.listeners.core_at(context.local);
    reached.is_none_or(|reached| reached == core)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::LeaderEpoch;
    use uuid::Uuid;

    const LOCAL: BrokerId = BrokerId(3);

    fn replica(broker: i32, core: u16) -> Replica {
        Replica { broker: BrokerId(broker), core: CoreId(core), directory: Uuid::nil() }
    }

    fn state() -> PartitionState {
        PartitionState {
            replicas: vec![replica(3, 1), replica(4, 1)],
            isr: vec![BrokerId(4), LOCAL],
            leader: Some(LOCAL),
            leader_epoch: LeaderEpoch(0),
            ..PartitionState::default()
        }
    }

    #[test]
    fn cores_with_ports_are_brokers_and_the_first_one_is_the_broker_itself() {
        let names = BrokerNames::new(LOCAL, 2);
        assert_eq!(names.of_core(LOCAL, CoreId(0)), LOCAL);
        assert_eq!(names.of_core(LOCAL, CoreId(1)), BrokerId(1_000_003));
        assert_eq!(names.leader(&state()), Some(BrokerId(1_000_003)));
        assert_eq!(names.replicas(&state()), [1_000_003, 4]);
        assert_eq!(names.numbers(&state(), &state().isr), [4, 1_000_003]);
        assert_eq!(names.numbers(&state(), &[BrokerId(9)]), [9], "it holds nothing any more");
    }

    #[test]
    fn what_a_client_calls_a_core_means_its_broker_and_others_are_left_alone() {
        let names = BrokerNames::new(LOCAL, 2);
        for (named, meant) in [(3, 3), (1_000_003, 3), (2_000_003, 2_000_003), (4, 4)] {
            assert_eq!(names.broker(BrokerId(named)), BrokerId(meant));
        }
        let core = ResourceName::Broker(BrokerId(1_000_003));
        assert_eq!(names.resource(core), ResourceName::Broker(LOCAL));
        assert_eq!(names.resource(ResourceName::AllBrokers), ResourceName::AllBrokers);
    }

    #[test]
    fn without_ports_of_cores_a_broker_has_its_own_name_only() {
        let names = BrokerNames::new(BrokerId(1_000_003), 0);
        assert_eq!(names.broker(BrokerId(1_000_003)), BrokerId(1_000_003));
        let names = BrokerNames::new(LOCAL, 0);
        assert_eq!(names.leader_number(&state()), 3);
        assert_eq!(names.leader_number(&PartitionState { leader: None, ..state() }), -1);
        assert_eq!(names.replicas(&state()), [3, 4]);
    }
}
