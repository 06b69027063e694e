//! Decisions: (image, request) -> records and answers. Pure; the only writer of the metadata.
//!
//! Why the answer comes with the records: it may leave only when they are logged and applied. A
//! refused item writes nothing; items of one request do not depend on each other except that later
//! ones see what earlier ones took (names, cores).
//!
//! Error codes and texts are those of Apache Kafka 4.1's controller, since tools match on them.

mod brokers;
mod configs;
mod draft;
mod elections;
mod features;
mod isr;
mod placement;
mod reassignments;
mod room;
mod topic_name;
mod topics;
mod transition;

pub use brokers::{BrokerStanding, Heartbeat, NewBroker};
pub use configs::{AlterResource, ConfigChange, ConfigOp, ResourceName};
pub use elections::{ElectionKind, NamedPartitions, PartitionOutcomes};
pub use features::{FeatureUpdate, UpdateKind};
pub use isr::IsrChange;
pub use reassignments::{FactorChange, NamedMoves};
pub use topic_name::fault as topic_name_fault;
pub use topics::{Assignment, NewPartitions, NewTopic, TopicRef};

use crate::controller::image::{ConfigMap, MetadataImage};
use crate::controller::records::{MetadataRecord, PartitionState};
use crate::model::broker_config::BrokerConfig;
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerEpoch, BrokerId, ProducerId, TopicId, TopicPartition};
use crate::model::limits::PRODUCER_ID_BLOCK;
use std::collections::BTreeSet;
use uuid::Uuid;

/// What clients and the broker itself may ask of the controller.
#[derive(Debug, Clone)]
pub enum Change {
    CreateTopics {
        topics: Vec<NewTopic>,
        mode: Mode,
    },
    /// Topics that a Metadata or FindCoordinator request found missing; sizes are the broker's.
    AutoCreateTopics {
        names: Vec<String>,
    },
    DeleteTopics {
        topics: Vec<TopicRef>,
    },
    CreatePartitions {
        topics: Vec<NewPartitions>,
        mode: Mode,
    },
    /// KIP-339: each key by itself.
    IncrementalAlterConfigs {
        resources: Vec<AlterResource<ConfigChange>>,
        mode: Mode,
    },
    /// The old form: what is not named loses its override.
    AlterConfigs {
        resources: Vec<AlterResource<(String, Option<String>)>>,
        mode: Mode,
    },
    AllocateProducerIds,
    /// The first change of a new cluster's log.
    FoundCluster {
        id: Uuid,
    },
    /// A broker that nobody else has a say in starts: founds its cluster or comes back to it,
    /// registered and at once in use.
    OpenAlone {
        cluster: Uuid,
        broker: Box<NewBroker>,
    },
    RegisterBroker {
        broker: Box<NewBroker>,
        /// The process that has this id now was heard of within a session's time.
        has_session: bool,
    },
    Heartbeat(Heartbeat),
    /// Brokers that were not heard of for a session's time, or whose process has ended, by the
    /// epochs of their registrations.
    FenceAbsent {
        brokers: Vec<(BrokerId, BrokerEpoch)>,
    },
    UnregisterBroker {
        id: BrokerId,
    },
    /// A leader changes who is in sync.
    AlterIsr {
        leader: (BrokerId, BrokerEpoch),
        changes: Vec<IsrChange>,
    },
    /// A broker's replicas of these partitions are damaged.
    LoseReplicas {
        broker: (BrokerId, BrokerEpoch),
        partitions: Vec<TopicPartition>,
    },
    ElectLeaders {
        kind: ElectionKind,
        /// `None` is all there are.
        partitions: Option<NamedPartitions>,
    },
    /// Preferred replicas lead again where too many of them do not.
    BalanceLeaders,
    AlterReassignments {
        topics: NamedMoves,
        factor: FactorChange,
    },
    UpdateFeatures {
        updates: Vec<FeatureUpdate>,
        mode: Mode,
        /// Of the metadata, as the active controller's quorum has them.
        voters: BTreeSet<BrokerId>,
    },
}

/// Whether a request is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Apply,
    /// `validateOnly`: answered as if, nothing is written.
    ValidateOnly,
}

/// The answer to a [`Change`], items in the request's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeReply {
    Topics(Vec<TopicAnswer>),
    DeletedTopics(Vec<DeletedTopic>),
    /// By topic name.
    Partitions(Vec<(String, Result<(), Refusal>)>),
    Configs(Vec<(ResourceName, Result<(), Refusal>)>),
    ProducerIds(Result<ProducerIdBlock, Refusal>),
    Registered(Result<BrokerEpoch, Refusal>),
    Standing(Result<BrokerStanding, Refusal>),
    /// The states that hold now, where the leader may ask at all.
    AlteredIsr(Result<IsrOutcomes, Refusal>),
    /// Whether each is out of the in-sync set, where the broker may ask at all.
    Lost(Result<LossOutcomes, Refusal>),
    ByPartition(PartitionOutcomes),
    /// Of changes that have nothing to tell.
    Done(Result<(), Refusal>),
}

/// What became of changes of in-sync sets.
pub type IsrOutcomes = Vec<(TopicPartition, Result<PartitionState, KafkaCode>)>;

/// What became of damaged replicas: EligibleLeadersNotAvailable says that nobody else is in sync.
pub type LossOutcomes = Vec<(TopicPartition, Result<(), KafkaCode>)>;

/// What became of one topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicAnswer {
    pub name: String,
    pub result: Result<CreatedTopic, Refusal>,
}

/// A topic that now exists, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// All zeros when it was only validated.
    pub id: TopicId,
    pub partition_count: i32,
    pub replication_factor: i16,
    /// What was set for it, as CreateTopics v5 answers.
    pub overrides: ConfigMap,
}

/// What became of one topic to delete. Name and id are filled in where they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedTopic {
    pub name: Option<String>,
    pub id: TopicId,
    pub result: Result<(), Refusal>,
}

/// Producer ids `first .. first + PRODUCER_ID_BLOCK` belong to the one who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdBlock {
    pub first: ProducerId,
}

/// Why one item was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: KafkaCode,
    /// For people, as the response carries it.
    pub message: String,
}

/// What a decision may know beside the image, handed in by the caller.
pub struct Context<'a> {
    pub config: &'a BrokerConfig,
    /// The only source of chance: topic ids and where placement starts.
    pub random: &'a dyn Fn() -> Uuid,
}

/// What to log, and what to answer once it is logged and applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// One frame of the metadata log; empty when nothing changes.
    pub records: Vec<MetadataRecord>,
    pub reply: ChangeReply,
}

/// Decides one request. Never fails as a whole: each item is answered.
pub fn decide(image: &MetadataImage, request: Change, context: &Context<'_>) -> Decision {
    room::within(image, decide_alone(image, request, context))
}

/// As if there were room for everything.
fn decide_alone(image: &MetadataImage, request: Change, context: &Context<'_>) -> Decision {
    match request {
        Change::CreateTopics { topics, mode } => {
            topics::create(image, topics, context).in_mode(mode)
        }
        Change::AutoCreateTopics { names } => topics::auto_create(image, names, context),
        Change::DeleteTopics { topics } => {
            topics::delete(image, topics, context.config.delete_topics)
        }
        Change::CreatePartitions { topics, mode } => {
            topics::create_partitions(image, topics, context).in_mode(mode)
        }
        Change::IncrementalAlterConfigs { resources, mode } => {
            let decision = configs::alter_incrementally(image, resources);
            elections::after_configs(image, decision).in_mode(mode)
        }
        Change::AlterConfigs { resources, mode } => {
            elections::after_configs(image, configs::replace(image, resources)).in_mode(mode)
        }
        Change::AllocateProducerIds => allocate_producer_ids(image),
        Change::FoundCluster { id } => found_cluster(image, id),
        Change::OpenAlone { cluster, broker } => brokers::open_alone(image, cluster, *broker),
        Change::RegisterBroker { broker, has_session } => {
            brokers::register(image, *broker, has_session)
        }
        Change::Heartbeat(beat) => brokers::heartbeat(image, &beat),
        Change::FenceAbsent { brokers } => brokers::fence(image, &brokers),
        Change::UnregisterBroker { id } => brokers::unregister(image, id),
        Change::AlterIsr { leader, changes } => isr::alter(image, leader, changes),
        Change::LoseReplicas { broker, partitions } => isr::lose(image, broker, partitions),
        Change::ElectLeaders { kind, partitions } => elections::elect(image, kind, partitions),
        Change::BalanceLeaders => {
            elections::balance(image, context.config.cluster.rebalance.percentage_max)
        }
        Change::AlterReassignments { topics, factor } => {
            reassignments::alter(image, topics, factor)
        }
        Change::UpdateFeatures { updates, mode, voters } => {
            features::update(image, updates, &voters).in_mode(mode)
        }
    }
}

fn found_cluster(image: &MetadataImage, id: Uuid) -> Decision {
    let mut draft = draft::Draft::new(image);
    if image.cluster_id().is_none() {
        draft.push(MetadataRecord::ClusterId(id));
        features::found(&mut draft);
    }
    Decision { records: draft.records, reply: ChangeReply::Done(Ok(())) }
}

fn allocate_producer_ids(image: &MetadataImage) -> Decision {
    let first = image.next_producer_id();
    let next = ProducerId(first.0.checked_add(PRODUCER_ID_BLOCK).expect("2^63 producer ids"));
    assert!(next.0 > first.0);
    Decision {
        records: vec![MetadataRecord::ProducerIds { next }],
        reply: ChangeReply::ProducerIds(Ok(ProducerIdBlock { first })),
    }
}

impl Decision {
    fn in_mode(mut self, mode: Mode) -> Decision {
        if mode == Mode::Apply {
            return self;
        }
        self.records.clear();
        if let ChangeReply::Topics(answers) = &mut self.reply {
            for created in answers.iter_mut().filter_map(|answer| answer.result.as_mut().ok()) {
                created.id = TopicId::default();
            }
        }
        self
    }
}

impl ChangeReply {
    /// The answer when the decision was not logged, as far as is known here.
    #[must_use]
    pub fn failed(mut self, why: impl Into<Refusal>) -> ChangeReply {
        let why = why.into();
        let refusal = || why.clone();
        match &mut self {
            ChangeReply::Topics(answers) => {
                for answer in answers.iter_mut().filter(|answer| answer.result.is_ok()) {
                    answer.result = Err(refusal());
                }
            }
            ChangeReply::DeletedTopics(answers) => {
                for answer in answers.iter_mut().filter(|answer| answer.result.is_ok()) {
                    answer.result = Err(refusal());
                }
            }
            ChangeReply::Partitions(answers) => {
                for (_, result) in answers.iter_mut().filter(|(_, result)| result.is_ok()) {
                    *result = Err(refusal());
                }
            }
            ChangeReply::Configs(answers) => {
                for (_, result) in answers.iter_mut().filter(|(_, result)| result.is_ok()) {
                    *result = Err(refusal());
                }
            }
            ChangeReply::ProducerIds(result) => *result = Err(refusal()),
            ChangeReply::Registered(result) => *result = Err(refusal()),
            ChangeReply::Standing(result) => *result = Err(refusal()),
            ChangeReply::AlteredIsr(result) => *result = Err(refusal()),
            ChangeReply::Lost(result) => *result = Err(refusal()),
            ChangeReply::ByPartition(topics) => {
                let results = topics.iter_mut().flat_map(|(_, results)| results);
                for (_, result) in results.filter(|(_, result)| result.is_ok()) {
                    *result = Err(refusal());
                }
            }
            ChangeReply::Done(result) => *result = Err(refusal()),
        }
        self
    }
}

impl Refusal {
    /// With the text Kafka gives for this case.
    pub fn new(code: KafkaCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }
}

impl From<KafkaCode> for Refusal {
    /// With the code's own text.
    fn from(code: KafkaCode) -> Refusal {
        Refusal::new(code, code.message())
    }
}

#[cfg(test)]
mod tests;
