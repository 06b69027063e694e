//! How this broker belongs to its cluster: what it registers with, and whom it has heard of while
//! it is the active controller.
//!
//! A broker by itself decides about its own registration, in the frame that founds its cluster, so
//! that a start is one write to the metadata.

use crate::controller::decide::{Change, ChangeReply, NewBroker, Refusal};
use crate::controller::records::{Availability, BrokerEndpoint, FeatureRange};
use crate::controller::sessions::Sessions;
use crate::model::errors::KafkaCode;
use crate::model::features::FEATURES;
use crate::model::ids::{BrokerEpoch, BrokerId};
use crate::model::limits::PEER_REFUSALS_MAX;
use crate::model::listeners::{Endpoint, Listener};
use crate::protocol::peer::{PEER_VERSION_MAX, PEER_VERSION_MIN};
use crate::shard::metadata;
use crate::shard::shard::{Shard, ShardRef};
use crate::storage::disk::Disk;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Versions of the protocol between brokers, among the features that a broker registers.
pub const PEER_FEATURE: &str = "highwater.peer";
/// How many cores a broker has: the highest level of this feature.
pub const CORES_FEATURE: &str = "highwater.cores";
/// Whether a process may hold partitions: level 1 of this feature, and so it is where it is not
/// among the features.
pub const BROKER_FEATURE: &str = "highwater.broker";
/// Whether a broker votes about the metadata: level 1 of this feature.
pub const CONTROLLER_FEATURE: &str = "highwater.controller";

/// Registers a broker by itself and puts it to use; of a controller by itself only the first.
///
/// # Errors
/// The metadata cannot be written, or this process was a broker and holds partitions.
pub async fn open_alone<D: Disk>(shard: &ShardRef<D>) -> Result<(), Refusal> {
    let change = {
        let shard = shard.borrow();
        Change::OpenAlone { cluster: shard.cluster_id, broker: Box::new(shard.registration()) }
    };
    match metadata::change_here(shard, change).await {
        ChangeReply::Registered(result) => result.map(|_| ()),
        other => unreachable!("a registration is answered by an epoch, not by {other:?}"),
    }
}

/// Different reasons that the log is told of until the controller takes what this broker says.
const COMPLAINTS_MAX: usize = 16;

/// Why a broker is fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absence {
    /// Not heard of for a session's time.
    Silent,
    /// Its host closed its connections and refuses new ones.
    Gone,
}

/// What the controller's core knows of brokers beside the image.
#[derive(Debug, Default)]
pub struct Membership {
    sessions: Sessions,
    /// Of this process's registration, once it has one.
    pub(super) epoch: Option<BrokerEpoch>,
    /// Of the process before, where it ended in order.
    pub(super) previous_epoch: Option<BrokerEpoch>,
    /// What the log was told already, since the controller last took what this broker says.
    complaints: Vec<Refusal>,
    unregistered: Unregistered,
    /// Term in which this broker became the active controller, while it is.
    active_term: Option<u64>,
    balance_due_us: u64,
}

/// Why brokers are not registered, as the log was told last, each with the epoch that the broker
/// had then: another epoch means that it has registered since.
#[derive(Debug, Default)]
struct Unregistered(BTreeMap<BrokerId, (Option<BrokerEpoch>, String)>);

impl Unregistered {
    /// Whether the log has yet to be told. `epoch_of` says the current registrations.
    fn is_news(
        &mut self,
        broker: BrokerId,
        message: &str,
        epoch_of: impl Fn(BrokerId) -> Option<BrokerEpoch>,
    ) -> bool {
        self.0.retain(|id, (epoch, _)| *epoch == epoch_of(*id));
        if self.0.get(&broker).is_some_and(|(_, said)| said == message) {
            return false;
        }
        self.0.remove(&broker);
        // Rather told twice than not at all.
        if self.0.len() >= PEER_REFUSALS_MAX {
            self.0.pop_first();
        }
        self.0.insert(broker, (epoch_of(broker), message.to_owned()));
        assert!(self.0.len() <= PEER_REFUSALS_MAX);
        true
    }
}

impl Membership {
    /// What the log was told last of a broker that is not registered.
    #[cfg(test)]
    pub fn unregistered(&self, broker: BrokerId) -> Option<&str> {
        self.unregistered.0.get(&broker).map(|(_, message)| message.as_str())
    }

    /// Says in the log why the controller takes no part of this broker; once for each reason.
    pub(super) fn complain(&mut self, refusal: Refusal) {
        if self.complaints.len() < COMPLAINTS_MAX && !self.complaints.contains(&refusal) {
            let (code, cause) = (refusal.code.name(), &refusal.message);
            tracing::warn!(code, cause, "the controller does not take this broker yet");
            self.complaints.push(refusal);
        }
    }

    /// The controller takes what this broker says.
    pub(super) fn on_taken(&mut self) {
        self.complaints.clear();
    }
}

impl<D: Disk> Shard<D> {
    /// Says in the log why another broker is not registered, again only for another reason or after
    /// it was. What passes by itself is not worth a line, and what another controller refused is in
    /// that one's log.
    pub fn on_registration_refused(&mut self, broker: BrokerId, refusal: &Refusal) {
        let image = &self.image;
        if refusal.code.is_retriable() || self.metadata.controller() != Some(image.local()) {
            return;
        }
        let epoch_of = |id| image.node(id).map(|node| node.epoch());
        if self.membership.unregistered.is_news(broker, &refusal.message, epoch_of) {
            let (code, id) = (refusal.code.name(), broker.0);
            tracing::error!(code, "broker {id} is not registered: {}", refusal.message);
        }
    }

    /// The change with what sessions and the quorum have to say to it; a heartbeat is heard here.
    pub(super) fn with_sessions(&mut self, change: Change) -> Change {
        self.tick_sessions();
        let now = self.now;
        let now_us = now.monotonic_us;
        let timeout_ms = self.config.cluster.session_timeout_ms;
        let sessions = &mut self.membership.sessions;
        match change {
            Change::RegisterBroker { broker, .. } => {
                let has_session = sessions.is_valid(broker.id, now_us, timeout_ms);
                self.peers.on_heard(broker.id, now);
                Change::RegisterBroker { broker, has_session }
            }
            Change::Heartbeat(mut beat) => {
                let known = self.image.broker(beat.id).filter(|known| known.epoch() == beat.epoch);
                if let Some(known) = known {
                    self.peers.on_heard(beat.id, now);
                    sessions.hear(beat.id, beat.epoch, beat.position, now_us);
                    if known.availability == Availability::ControlledShutdown {
                        let end = i64::try_from(self.image.end()).unwrap_or(i64::MAX);
                        sessions.begin_shutdown(beat.id, end - 1);
                    }
                }
                beat.is_shutdown_known = sessions.is_shutdown_known(&self.image, beat.id);
                Change::Heartbeat(beat)
            }
            Change::UpdateFeatures { updates, mode, .. } => {
                let voters = self.quorum.view().role.members.voters;
                Change::UpdateFeatures { updates, mode, voters }
            }
            other => other,
        }
    }

    /// Whether a controller by itself has still to register: it has not yet, or was forgotten.
    /// It does not fight for its id with another process that took it.
    pub(super) fn must_register(&mut self) -> bool {
        let Some(epoch) = self.membership.epoch else { return true };
        match self.image.node(self.image.local()).map(|own| own.epoch()) {
            None => i64::try_from(self.image.end()).unwrap_or(i64::MAX) > epoch.0,
            Some(known) => {
                if known > epoch {
                    self.membership.complain(KafkaCode::DuplicateBrokerRegistration.into());
                }
                false
            }
        }
    }

    /// Says that the controller's core runs: as long as it does not, nobody can be heard.
    pub(super) fn tick_sessions(&mut self) {
        let now_us = self.now.monotonic_us;
        self.membership.sessions.on_awake(now_us);
    }

    /// Whether this broker is a cluster of its own.
    pub(super) fn is_by_itself(&self) -> bool {
        self.quorum.is_alone() && self.config.cluster.is_alone(self.image.local())
    }

    /// Brokers to fence and why, where this is the active controller. One that has just become it
    /// lets everybody have a session's time, but for those whose process has ended.
    pub(super) fn absent_brokers(&mut self) -> Vec<(BrokerId, BrokerEpoch, Absence)> {
        let now_us = self.now.monotonic_us;
        self.tick_sessions();
        if !self.quorum.is_active() || self.is_by_itself() {
            self.membership.active_term = None;
            return Vec::new();
        }
        let term = self.quorum.view().role.term;
        let image = Arc::clone(&self.image);
        let membership = &mut self.membership;
        if membership.active_term.replace(term) != Some(term) {
            membership.sessions.restart(&image, now_us);
        }
        let timeout_ms = self.config.cluster.session_timeout_ms;
        let silent = membership.sessions.silent(&image, now_us, timeout_ms);
        let mut absent: Vec<(BrokerId, BrokerEpoch, Absence)> =
            silent.into_iter().map(|(id, epoch)| (id, epoch, Absence::Silent)).collect();
        for broker in image.alive().filter(|broker| broker.id() != image.local()) {
            let (id, epoch) = (broker.id(), broker.epoch());
            let is_new = absent.iter().all(|(known, ..)| *known != id);
            if is_new && self.peers.is_gone(id, epoch) {
                absent.push((id, epoch, Absence::Gone));
            }
        }
        absent
    }

    /// Whether preferred leaders should be looked at now.
    pub(super) fn is_balance_due(&mut self) -> bool {
        let rebalance = self.config.cluster.rebalance;
        if self.membership.active_term.is_none() || !rebalance.is_enabled {
            return false;
        }
        let is_due = self.membership.balance_due_us <= self.now.monotonic_us;
        if is_due {
            self.membership.balance_due_us = self.now.deadline_us(rebalance.check_interval_ms);
        }
        is_due
    }

    /// What this process tells the controller about itself.
    pub(super) fn registration(&self) -> NewBroker {
        let config = &self.config;
        let mut endpoints: Vec<BrokerEndpoint> = config.listeners.iter().map(endpoint).collect();
        // Those that do not know how brokers call the listener between them take the first one.
        endpoints.sort_by_key(|known| known.listener != config.cluster.peer_listener);
        NewBroker {
            id: config.node_id,
            incarnation: self.incarnation,
            directory: self.directory_id,
            endpoints,
            rack: config.rack.clone(),
            cores: self.cores,
            roles: config.cluster.roles,
            features: self.features(),
            previous_epoch: self.membership.previous_epoch,
        }
    }

    fn features(&self) -> Vec<FeatureRange> {
        let feature = |name: &str, min, max| FeatureRange { name: name.to_owned(), min, max };
        let cores = i16::try_from(self.cores).expect("at most 1024 cores");
        let own = [
            feature(PEER_FEATURE, PEER_VERSION_MIN, PEER_VERSION_MAX),
            feature(CORES_FEATURE, 1, cores),
            feature(BROKER_FEATURE, 0, i16::from(self.config.cluster.roles.broker)),
            feature(CONTROLLER_FEATURE, 0, i16::from(self.config.cluster.roles.controller)),
        ];
        let levels = FEATURES.iter().map(|known| feature(known.name, known.min, known.max));
        own.into_iter().chain(levels).collect()
    }
}

/// Where others reach a listener: as advertised, else where it is bound.
fn endpoint(listener: &Listener) -> BrokerEndpoint {
    let bound = || {
        let host = match listener.bind.host.as_str() {
            "" => "localhost",
            host => host,
        };
        Endpoint { host: host.to_owned(), port: listener.bind.port }
    };
    BrokerEndpoint {
        listener: listener.name.clone(),
        endpoint: listener.advertised.clone().unwrap_or_else(bound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: fn(BrokerId) -> Option<BrokerEpoch> = |_| None;

    #[test]
    fn a_refused_registration_is_news_for_another_reason_and_after_one_that_was_not() {
        let mut told = Unregistered::default();
        let broker = BrokerId(3);
        assert!(told.is_news(broker, "group.version", NEVER));
        assert!(!told.is_news(broker, "group.version", NEVER), "said");
        assert!(told.is_news(BrokerId(4), "group.version", NEVER), "of another broker");
        assert!(told.is_news(broker, "share.version", NEVER), "the next reason");
        assert!(told.is_news(broker, "group.version", NEVER), "the last one counts");
        let registered = |id| (id == broker).then_some(BrokerEpoch(7));
        assert!(told.is_news(broker, "group.version", registered), "it was registered since");
        assert!(!told.is_news(broker, "group.version", registered));
        assert!(!told.is_news(BrokerId(4), "group.version", registered), "that one was not");
    }

    #[test]
    fn refusals_of_more_brokers_than_are_remembered_are_news_all_the_same() {
        let mut told = Unregistered::default();
        let count = i32::try_from(PEER_REFUSALS_MAX).unwrap();
        for id in 0..=count {
            assert!(told.is_news(BrokerId(id), "reason", NEVER));
        }
        assert_eq!(told.0.len(), PEER_REFUSALS_MAX);
        assert!(!told.is_news(BrokerId(count), "reason", NEVER), "remembered");
        assert!(told.is_news(BrokerId(0), "reason", NEVER), "forgotten for it");
    }
}
