//! Decisions: (image, request) -> records and answers. Pure; the only writer of the metadata.
//!
//! Why the answer comes with the records: it may leave only when they are logged and applied. A
//! refused item writes nothing; items of one request do not depend on each other except that later
//! ones see what earlier ones took (names, cores).
//!
//! Error codes and texts are those of Apache Kafka 4.1's controller, since tools match on them.

mod configs;
mod placement;
mod topic_name;
mod topics;

pub use configs::{AlterResource, ConfigChange, ConfigOp, ResourceName};
pub use placement::check_replicas;
pub use topic_name::fault as topic_name_fault;
pub use topics::{Assignment, NewPartitions, NewTopic, TopicRef};

use crate::controller::image::{ConfigMap, MetadataImage};
use crate::controller::records::MetadataRecord;
use crate::model::broker_config::BrokerConfig;
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, ProducerId, TopicId};
use crate::model::limits::PRODUCER_ID_BLOCK;
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
    /// The broker starts with this many cores: what lived on others must move.
    FitCores {
        cores: u16,
    },
    /// The first change of a fresh log.
    FoundCluster {
        id: Uuid,
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
    /// Of changes that have nothing to tell.
    Done(Result<(), Refusal>),
}

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

/// A broker that may hold replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveBroker {
    pub id: BrokerId,
    /// Shards it runs, at least 1.
    pub cores: u16,
    /// Identity of its data directory.
    pub directory: Uuid,
}

/// What a decision may know beside the image, handed in by the caller.
pub struct Context<'a> {
    /// Sorted by id, never empty; the deciding broker is among them.
    pub brokers: &'a [LiveBroker],
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
    assert!(!context.brokers.is_empty(), "the broker that decides is alive");
    assert!(context.brokers.iter().all(|broker| broker.cores > 0));
    let (decision, mode) = match request {
        Change::CreateTopics { topics, mode } => (topics::create(image, topics, context), mode),
        Change::AutoCreateTopics { names } => {
            (topics::auto_create(image, names, context), Mode::Apply)
        }
        Change::DeleteTopics { topics } => {
            (topics::delete(image, topics, context.config.delete_topics), Mode::Apply)
        }
        Change::CreatePartitions { topics, mode } => {
            (topics::create_partitions(image, topics, context), mode)
        }
        Change::IncrementalAlterConfigs { resources, mode } => {
            (configs::alter_incrementally(image, resources), mode)
        }
        Change::AlterConfigs { resources, mode } => (configs::replace(image, resources), mode),
        Change::AllocateProducerIds => (allocate_producer_ids(image), Mode::Apply),
        Change::FitCores { cores } => {
            let records = placement::reassign_cores(image, cores);
            (Decision { records, reply: ChangeReply::Done(Ok(())) }, Mode::Apply)
        }
        Change::FoundCluster { id } => (found_cluster(image, id), Mode::Apply),
    };
    match mode {
        Mode::Apply => decision,
        Mode::ValidateOnly => decision.without_effect(),
    }
}

fn found_cluster(image: &MetadataImage, id: Uuid) -> Decision {
    let records = match image.cluster_id() {
        None => vec![MetadataRecord::ClusterId(id)],
        Some(_) => Vec::new(),
    };
    Decision { records, reply: ChangeReply::Done(Ok(())) }
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
    fn without_effect(mut self) -> Decision {
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
    /// The answer when the decision could not be logged: nothing of it holds.
    #[must_use]
    pub fn failed(mut self) -> ChangeReply {
        let refusal = || Refusal::from(KafkaCode::KafkaStorageError);
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
