//! Brokers and controllers as the metadata has them.
//!
//! A process that is nothing but a controller registers as brokers do, so that others know where it
//! is and what its data directory is; but it is no broker: it is never put to use, and whoever asks
//! for brokers does not see it. Those who ask for *nodes* do.
//!
//! Invariant: a broker's epoch only grows, and a state belongs to the registration it names.

use crate::controller::image::{ApplyError, MetadataImage};
use crate::controller::records::{Availability, BrokerRegistration, MetadataRecord};
use crate::model::ids::{BrokerEpoch, BrokerId};
use crate::model::listeners::Endpoint;
use std::sync::Arc;

/// One registered broker, or a controller by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerImage {
    pub registration: Arc<BrokerRegistration>,
    pub availability: Availability,
}

impl BrokerImage {
    pub fn id(&self) -> BrokerId {
        self.registration.id
    }

    pub fn epoch(&self) -> BrokerEpoch {
        self.registration.epoch
    }

    /// Whether the controller takes it for dead: clients are not told of it.
    pub fn is_fenced(&self) -> bool {
        self.availability == Availability::Fenced
    }

    /// Whether it may lead, join in-sync sets and be given replicas: neither fenced nor stopping.
    pub fn is_active(&self) -> bool {
        self.availability == Availability::Active
    }

    /// Whether it holds partitions and serves clients; else it only votes.
    pub fn is_broker(&self) -> bool {
        self.registration.roles.broker
    }

    /// Where other processes of the cluster reach it: at the listener of this name, else at the
    /// first it has, which is the one that it uses between brokers itself.
    pub fn peer_endpoint(&self, listener: &str) -> Option<&Endpoint> {
        let first = || self.registration.endpoints.first().map(|first| &first.endpoint);
        self.endpoint(listener).or_else(first)
    }

    /// Where its listener of this name is reached.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        let mut endpoints = self.registration.endpoints.iter();
        endpoints.find(|known| known.listener == listener).map(|known| &known.endpoint)
    }
}

impl MetadataImage {
    /// Every registered broker, sorted by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<BrokerImage>> {
        self.nodes().filter(|node| node.is_broker())
    }

    pub fn broker(&self, id: BrokerId) -> Option<&Arc<BrokerImage>> {
        self.node(id).filter(|node| node.is_broker())
    }

    /// Every registered process, brokers and controllers by themselves, sorted by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<BrokerImage>> {
        self.nodes.values()
    }

    pub fn node(&self, id: BrokerId) -> Option<&Arc<BrokerImage>> {
        self.nodes.get(&id)
    }

    /// True when nothing about brokers differs from an earlier or later image of the same log.
    pub fn has_same_brokers(&self, other: &MetadataImage) -> bool {
        Arc::ptr_eq(&self.nodes, &other.nodes)
    }

    /// Brokers that are not fenced, sorted by id.
    pub fn alive(&self) -> impl Iterator<Item = &Arc<BrokerImage>> {
        self.brokers().filter(|broker| !broker.is_fenced())
    }

    /// Whether the broker is registered and may lead.
    pub fn is_active(&self, id: BrokerId) -> bool {
        self.broker(id).is_some_and(|broker| broker.is_active())
    }

    /// Whether the broker is registered and not fenced.
    pub fn is_alive(&self, id: BrokerId) -> bool {
        self.broker(id).is_some_and(|broker| !broker.is_fenced())
    }

    pub(super) fn register(
        &mut self,
        registration: &Arc<BrokerRegistration>,
    ) -> Result<(), ApplyError> {
        let (id, next) = (registration.id, registration.epoch.0);
        if let Some(now) = self.node(id).map(|known| known.epoch().0)
            && next <= now
        {
            return Err(ApplyError::BrokerEpochBack { id, now, next });
        }
        let registration = Arc::clone(registration);
        let broker = BrokerImage { registration, availability: Availability::Fenced };
        assert!(broker.registration.cores > 0, "a broker has at least one core");
        Arc::make_mut(&mut self.nodes).insert(id, Arc::new(broker));
        assert!(!self.is_active(id), "a registration begins fenced");
        Ok(())
    }

    pub(super) fn set_availability(
        &mut self,
        id: BrokerId,
        epoch: BrokerEpoch,
        availability: Availability,
    ) -> Result<(), ApplyError> {
        self.check_registered(id, epoch)?;
        let broker = Arc::make_mut(&mut self.nodes).get_mut(&id).expect("just looked up");
        assert!(broker.id() == id, "brokers are found by their id");
        Arc::make_mut(broker).availability = availability;
        Ok(())
    }

    pub(super) fn unregister(
        &mut self,
        id: BrokerId,
        epoch: BrokerEpoch,
    ) -> Result<(), ApplyError> {
        self.check_registered(id, epoch)?;
        let removed = Arc::make_mut(&mut self.nodes).remove(&id);
        assert!(removed.is_some_and(|broker| broker.epoch() == epoch));
        Ok(())
    }

    /// What a snapshot does not count one by one.
    pub(super) fn move_end(&mut self, end: u64) -> Result<(), ApplyError> {
        if end < self.end {
            return Err(ApplyError::EndBack { now: self.end, next: end });
        }
        self.end = end;
        Ok(())
    }

    pub(super) fn push_brokers(&self, records: &mut Vec<MetadataRecord>) {
        for broker in self.nodes() {
            let (id, epoch, availability) = (broker.id(), broker.epoch(), broker.availability);
            records.push(MetadataRecord::RegisterBroker(Arc::clone(&broker.registration)));
            if availability != Availability::Fenced {
                records.push(MetadataRecord::BrokerState { id, epoch, availability });
            }
        }
    }

    fn check_registered(&self, id: BrokerId, epoch: BrokerEpoch) -> Result<(), ApplyError> {
        match self.node(id).is_some_and(|broker| broker.epoch() == epoch) {
            true => Ok(()),
            false => Err(ApplyError::NoBroker { id, epoch }),
        }
    }
}
