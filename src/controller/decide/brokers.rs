//! Brokers come, stay and go (KIP-631), and so do controllers by themselves, which have no more
//! than a registration (KIP-919).

use crate::controller::decide::draft::Draft;
use crate::controller::decide::features;
use crate::controller::decide::placement::core_moves;
use crate::controller::decide::{ChangeReply, Decision, Refusal};
use crate::controller::image::MetadataImage;
use crate::controller::records::{
    Availability, BrokerEndpoint, BrokerRegistration, FeatureRange, MetadataRecord, PartitionState,
};
use crate::model::base64url;
use crate::model::cluster_config::Roles;
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerEpoch, BrokerId};
use crate::model::limits::{BROKER_FEATURES_MAX, BROKER_LISTENERS_MAX, BROKER_TEXT_BYTES_MAX};
use crate::model::topic_config::Durability;
use std::sync::Arc;
use uuid::Uuid;

/// A broker's process that wants to belong to the cluster (BrokerRegistration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBroker {
    pub id: BrokerId,
    /// Of this process.
    pub incarnation: Uuid,
    /// Of its data directory, which one process at a time can hold.
    pub directory: Uuid,
    pub endpoints: Vec<BrokerEndpoint>,
    pub rack: Option<String>,
    /// Shards, from 1.
    pub cores: u16,
    pub roles: Roles,
    pub features: Vec<FeatureRange>,
    /// Epoch of the process before, where that one ended in order (KIP-966).
    pub previous_epoch: Option<BrokerEpoch>,
}

/// What a broker says from time to time (BrokerHeartbeat).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    pub id: BrokerId,
    pub epoch: BrokerEpoch,
    /// Position of the last metadata record that it has applied.
    pub position: i64,
    pub wants_fence: bool,
    pub wants_shutdown: bool,
    /// All others know that it stops: nobody goes on to send to it.
    pub is_shutdown_known: bool,
}

/// What a broker is told in return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerStanding {
    /// Its own registration has reached it.
    pub is_caught_up: bool,
    pub availability: Availability,
    /// It leads nothing and may end.
    pub should_shut_down: bool,
}

pub(super) fn register(image: &MetadataImage, broker: NewBroker, has_session: bool) -> Decision {
    let mut draft = Draft::new(image);
    let result = try_register(&mut draft, broker, has_session);
    Decision { records: draft.records, reply: ChangeReply::Registered(result) }
}

/// A broker by itself founds its cluster or comes back to it: nobody else is to be asked, and
/// what it led it leads.
pub(super) fn open_alone(image: &MetadataImage, cluster: Uuid, broker: NewBroker) -> Decision {
    let mut draft = Draft::new(image);
    if let Err(refusal) = features::check_supported(image, &broker) {
        return Decision { records: Vec::new(), reply: ChangeReply::Registered(Err(refusal)) };
    }
    if image.cluster_id().is_none() {
        draft.push(MetadataRecord::ClusterId(cluster));
        features::found(&mut draft);
    }
    let (id, directory, cores) = (broker.id, broker.directory, broker.cores);
    let registration = registration(&draft, broker);
    let epoch = registration.epoch;
    let is_broker = registration.roles.broker;
    if !is_broker && let Err(refusal) = check_holds_nothing(image, id) {
        return Decision { records: Vec::new(), reply: ChangeReply::Registered(Err(refusal)) };
    }
    draft.push(MetadataRecord::RegisterBroker(Arc::new(registration)));
    if !is_broker {
        return Decision { records: draft.records, reply: ChangeReply::Registered(Ok(epoch)) };
    }
    draft.set_availability(id, epoch, Availability::Active);
    for record in core_moves(&draft.image, id, cores) {
        draft.push(record);
    }
    assert!(draft.image.is_active(id));
    // Data directories of before brokers were registered have partitions of other directories.
    let is_foreign = |state: &PartitionState| {
        state.replicas.iter().any(|one| one.broker == id && one.directory != directory)
    };
    for partition in draft.partitions_where(is_foreign) {
        draft.change(partition, |change| {
            for one in change.state.replicas.iter_mut().filter(|one| one.broker == id) {
                one.directory = directory;
            }
        });
    }
    for partition in draft.partitions_where(|state| state.leader.is_none()) {
        draft.change(partition, |_| {});
    }
    Decision { records: draft.records, reply: ChangeReply::Registered(Ok(epoch)) }
}

fn try_register(
    draft: &mut Draft,
    broker: NewBroker,
    has_session: bool,
) -> Result<BrokerEpoch, Refusal> {
    let id = broker.id;
    check_form(&broker)?;
    let known = draft.image.node(id).map(|known| Arc::clone(&known.registration));
    if let Some(known) = &known {
        if known.incarnation == broker.incarnation {
            return Ok(known.epoch);
        }
        // A data directory is locked by one process: who has it is the only one there is, unless
        // it is a copy. Then both run, and not at the same address.
        let is_same = known.directory == broker.directory && known.endpoints == broker.endpoints;
        if has_session && !is_same {
            let message = format!("Another broker is registered with that broker id {}.", id.0);
            return Err(Refusal::new(KafkaCode::DuplicateBrokerRegistration, message));
        }
    }
    if !broker.roles.broker {
        check_holds_nothing(&draft.image, id)?;
    }
    check_directory(&draft.image, &broker)?;
    features::check_supported(&draft.image, &broker)?;
    let registration = registration(draft, broker);
    let (epoch, cores, was_clean) =
        (registration.epoch, registration.cores, registration.was_clean);
    let directory = registration.directory;
    draft.push(MetadataRecord::RegisterBroker(Arc::new(registration)));
    forget_directory(draft, id, directory);
    leave_all(draft, id, if was_clean { Left::InOrder } else { Left::Crashed });
    for record in core_moves(&draft.image, id, cores) {
        draft.push(record);
    }
    Ok(epoch)
}

fn registration(draft: &Draft, broker: NewBroker) -> BrokerRegistration {
    let position = i64::try_from(draft.image.end()).expect("fewer than 2^63 records");
    let known = draft.image.node(broker.id);
    assert!(known.is_none_or(|known| known.epoch().0 < position), "epochs are positions");
    let was_clean = known.is_some_and(|known| broker.previous_epoch == Some(known.epoch()));
    BrokerRegistration {
        id: broker.id,
        epoch: BrokerEpoch(position),
        incarnation: broker.incarnation,
        directory: broker.directory,
        endpoints: broker.endpoints,
        rack: broker.rack,
        cores: broker.cores,
        roles: broker.roles,
        features: broker.features,
        was_clean,
    }
}

/// Every part of a registration is kept in the metadata: none is boundless.
fn check_form(broker: &NewBroker) -> Result<(), Refusal> {
    let id = broker.id.0;
    let listeners = broker.endpoints.iter().map(|known| &known.listener);
    let hosts = broker.endpoints.iter().map(|known| &known.endpoint.host);
    let features = broker.features.iter().map(|feature| &feature.name);
    let mut texts = listeners.chain(hosts).chain(features).chain(&broker.rack);
    let message = if id < 0 {
        format!("A broker's id is from 0 to {}, not {id}.", i32::MAX)
    } else if broker.cores == 0 {
        format!("Broker {id} has no core.")
    } else if !(1..=BROKER_LISTENERS_MAX).contains(&broker.endpoints.len()) {
        let count = broker.endpoints.len();
        format!("Broker {id} has {count} listeners, 1 to {BROKER_LISTENERS_MAX} are possible.")
    } else if broker.features.len() > BROKER_FEATURES_MAX {
        let count = broker.features.len();
        format!("Broker {id} has {count} features, up to {BROKER_FEATURES_MAX} are possible.")
    } else if let Some(long) = texts.find(|text| text.len() > BROKER_TEXT_BYTES_MAX) {
        let bytes = long.len();
        format!("Broker {id} has a name of {bytes} bytes, {BROKER_TEXT_BYTES_MAX} are possible.")
    } else {
        return Ok(());
    };
    Err(Refusal::new(KafkaCode::InvalidRegistration, message))
}

/// A broker that is started as a controller alone would leave its replicas without anybody to serve
/// them.
fn check_holds_nothing(image: &MetadataImage, id: BrokerId) -> Result<(), Refusal> {
    let partitions = image.topics().flat_map(|topic| topic.partitions());
    let is_held = |state: &PartitionState| state.replicas.iter().any(|one| one.broker == id);
    match partitions.filter(|(_, partition)| is_held(&partition.state)).count() {
        0 => Ok(()),
        count => {
            let message = format!(
                "Node {} holds {count} partition(s), which a controller cannot: start it with \
                 process.roles=broker,controller, move them away, and then give up the role.",
                id.0
            );
            Err(Refusal::new(KafkaCode::InvalidRegistration, message))
        }
    }
}

fn check_directory(image: &MetadataImage, broker: &NewBroker) -> Result<(), Refusal> {
    let mut others = image.nodes().filter(|known| known.id() != broker.id);
    match others.find(|known| known.registration.directory == broker.directory) {
        None => Ok(()),
        Some(other) => {
            let directory = base64url::encode_uuid(broker.directory);
            let message = format!(
                "Broker {} claims the data directory {directory}, which is broker {}'s.",
                broker.id.0,
                other.id().0
            );
            Err(Refusal::new(KafkaCode::DuplicateBrokerRegistration, message))
        }
    }
}

pub(super) fn heartbeat(image: &MetadataImage, beat: &Heartbeat) -> Decision {
    let mut draft = Draft::new(image);
    let result = try_heartbeat(&mut draft, beat);
    Decision { records: draft.records, reply: ChangeReply::Standing(result) }
}

fn try_heartbeat(draft: &mut Draft, beat: &Heartbeat) -> Result<BrokerStanding, Refusal> {
    let now = check_epoch(&draft.image, beat.id, beat.epoch)?;
    let is_caught_up = beat.position >= beat.epoch.0;
    let leads = || {
        let is_led = |state: &PartitionState| state.leader == Some(beat.id);
        !draft.partitions_where(is_led).is_empty()
    };
    let (next, should_shut_down) = match (now, beat.wants_fence, beat.wants_shutdown) {
        (Availability::Fenced, _, true) => (Availability::Fenced, true),
        (Availability::Fenced, false, false) if is_caught_up => (Availability::Active, false),
        (Availability::Fenced, ..) => (Availability::Fenced, false),
        (Availability::Active, true, wants_shutdown) => (Availability::Fenced, wants_shutdown),
        (Availability::Active, false, true) => match leads() {
            true => (Availability::ControlledShutdown, false),
            false => (Availability::Fenced, true),
        },
        (Availability::Active, false, false) => (Availability::Active, false),
        (Availability::ControlledShutdown, ..) => match !leads() && beat.is_shutdown_known {
            true => (Availability::Fenced, true),
            false => (Availability::ControlledShutdown, false),
        },
    };
    if next != now {
        draft.set_availability(beat.id, beat.epoch, next);
        match next {
            Availability::Active => welcome(draft),
            Availability::Fenced | Availability::ControlledShutdown => {
                leave_all(draft, beat.id, Left::InOrder);
            }
        }
    }
    Ok(BrokerStanding { is_caught_up, availability: next, should_shut_down })
}

/// What the broker may be used for now.
pub(super) fn check_epoch(
    image: &MetadataImage,
    id: BrokerId,
    epoch: BrokerEpoch,
) -> Result<Availability, Refusal> {
    let Some(known) = image.broker(id) else {
        let message = format!("No broker registration found for broker id {}", id.0);
        return Err(Refusal::new(KafkaCode::StaleBrokerEpoch, message));
    };
    match known.epoch() == epoch {
        true => Ok(known.availability),
        false => {
            let message = format!(
                "Expected broker epoch {}, but got broker epoch {}",
                known.epoch().0,
                epoch.0
            );
            Err(Refusal::new(KafkaCode::StaleBrokerEpoch, message))
        }
    }
}

/// Brokers that are not there any more; each is looked at as it is now.
pub(super) fn fence(image: &MetadataImage, absent: &[(BrokerId, BrokerEpoch)]) -> Decision {
    let mut draft = Draft::new(image);
    for (id, epoch) in absent {
        let known = draft.image.broker(*id);
        if known.is_some_and(|known| known.epoch() == *epoch && !known.is_fenced()) {
            draft.set_availability(*id, *epoch, Availability::Fenced);
            leave_all(&mut draft, *id, Left::InOrder);
            assert!(!draft.image.is_active(*id));
        }
    }
    Decision { records: draft.records, reply: ChangeReply::Done(Ok(())) }
}

pub(super) fn unregister(image: &MetadataImage, id: BrokerId) -> Decision {
    let mut draft = Draft::new(image);
    let reply = match image.node(id).map(|known| known.epoch()) {
        None => {
            let message = format!("Broker ID {} is not currently registered", id.0);
            Err(Refusal::new(KafkaCode::BrokerIdNotRegistered, message))
        }
        Some(epoch) => {
            draft.push(MetadataRecord::UnregisterBroker { id, epoch });
            leave_all(&mut draft, id, Left::ForGood);
            Ok(())
        }
    };
    Decision { records: draft.records, reply: ChangeReply::Done(reply) }
}

/// How a broker stopped being of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// What it has is on its disk.
    InOrder,
    /// What was not on stable storage may be gone.
    Crashed,
    /// It will not come back.
    ForGood,
}

/// Takes a broker out of in-sync sets and leaderships, all in one frame.
fn leave_all(draft: &mut Draft, id: BrokerId, left: Left) {
    let concerns = |state: &PartitionState| {
        state.isr.contains(&id)
            || state.leader == Some(id)
            || (left != Left::InOrder && state.elr.contains(&id))
    };
    for partition in draft.partitions_where(concerns) {
        let topic = draft.image.topic_by_id(&partition.topic).expect("the image has just had it");
        // What was acknowledged was synced, so a crash took nothing that counts.
        let is_durable = topic.config.durability == Durability::Flush;
        let has_lost = match left {
            Left::InOrder => false,
            Left::Crashed => !is_durable,
            Left::ForGood => true,
        };
        draft.change(partition, |change| {
            change.lost = has_lost.then_some(id);
            change.leave(id);
        });
    }
}

/// Takes a broker that comes with another directory out of all that it was part of: its replicas
/// are empty. Where it is the last that was in sync, the state goes on to name the directory that
/// had the records, so that it cannot lead without them.
fn forget_directory(draft: &mut Draft, id: BrokerId, directory: Uuid) {
    let is_foreign = |state: &PartitionState| {
        state.replicas.iter().any(|one| one.broker == id && one.directory != directory)
    };
    for partition in draft.partitions_where(is_foreign) {
        draft.change(partition, |change| {
            change.lost = Some(id);
            change.state.elr.retain(|member| *member != id);
            if change.state.isr != [id] {
                change.leave(id);
            }
        });
    }
}

/// A broker is back: partitions without a leader look again.
fn welcome(draft: &mut Draft) {
    for partition in draft.partitions_where(|state| state.leader.is_none()) {
        draft.change(partition, |_| {});
    }
}
