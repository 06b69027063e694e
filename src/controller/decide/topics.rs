//! Topics come, grow and go.

use crate::controller::decide::configs::checked_overrides;
use crate::controller::decide::placement::Placement;
use crate::controller::decide::{
    ChangeReply, Context, CreatedTopic, Decision, DeletedTopic, Refusal, TopicAnswer, topic_name,
};
use crate::controller::image::{
    ConfigMap, MetadataImage, OFFSETS_TOPIC, SHARE_STATE_TOPIC, TRANSACTIONS_TOPIC, TopicImage,
};
use crate::controller::records::{ConfigResource, MetadataRecord, PartitionState};
use crate::model::broker_config::{BrokerConfig, InternalTopic};
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, PartitionId, TopicId, TopicPartition};
use crate::model::limits::{PARTITIONS_MAX, PARTITIONS_PER_TOPIC_MAX};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The metadata log of Apache Kafka: reserved there, refused here.
const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// A topic to create, as CreateTopics has it.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    pub name: String,
    /// -1 is the broker's default.
    pub partition_count: i32,
    /// -1 is the broker's default.
    pub replication_factor: i16,
    /// Empty lets the controller place the replicas.
    pub assignments: Vec<Assignment>,
    pub configs: Vec<(String, Option<String>)>,
}

/// Where one partition's replicas shall live.
#[derive(Debug, Clone)]
pub struct Assignment {
    pub partition: PartitionId,
    pub brokers: Vec<BrokerId>,
}

/// A topic to grow, as CreatePartitions has it.
#[derive(Debug, Clone)]
pub struct NewPartitions {
    pub name: String,
    /// The total wanted, not the increase.
    pub count: i32,
    /// Brokers of each added partition; `None` lets the controller place them.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

/// A topic to delete; which of both is given depends on the client's version.
#[derive(Debug, Clone)]
pub struct TopicRef {
    pub name: Option<String>,
    /// All zeros when the name counts.
    pub id: TopicId,
}

pub(super) fn create(
    image: &MetadataImage,
    topics: Vec<NewTopic>,
    context: &Context<'_>,
) -> Decision {
    let asked = topics.len();
    let repeated = repeated(topics.iter().map(|topic| topic.name.as_str()));
    let mut creation = Creation::new(image, context);
    let mut answered = BTreeSet::new();
    let mut answers = Vec::with_capacity(topics.len());
    for topic in topics {
        let result = match repeated.contains(&topic.name) {
            true if !answered.insert(topic.name.clone()) => continue,
            true => Err(Refusal::new(KafkaCode::InvalidRequest, "Duplicate topic name.")),
            false => creation.create(&topic, context),
        };
        answers.push(TopicAnswer { name: topic.name, result });
    }
    assert!(answers.len() <= asked);
    Decision { records: creation.records, reply: ChangeReply::Topics(answers) }
}

pub(super) fn auto_create(
    image: &MetadataImage,
    names: Vec<String>,
    context: &Context<'_>,
) -> Decision {
    let mut creation = Creation::new(image, context);
    let mut answers = Vec::with_capacity(names.len());
    for name in names {
        let topic = sized_by_broker(image, name, context);
        let result = creation.create(&topic, context);
        answers.push(TopicAnswer { name: topic.name, result });
    }
    Decision { records: creation.records, reply: ChangeReply::Topics(answers) }
}

/// One broker cannot hold three replicas: its own topics take what there is, so that a broker
/// started by itself serves groups and transactions. In a cluster they wait for the voters that
/// have not come up yet, since a topic keeps the replicas that it began with. Where controllers are
/// apart, `default.replication.factor` says how many brokers there are at least.
fn sized_by_broker(image: &MetadataImage, name: String, context: &Context<'_>) -> NewTopic {
    let config = context.config;
    let is_broker = |id| image.node(id).is_none_or(|node| node.is_broker());
    let voters = config.cluster.voters.iter().filter(|voter| is_broker(voter.id)).count();
    let expected = match config.cluster.roles.broker {
        true => voters,
        false => usize::try_from(config.replication_factor).unwrap_or(0),
    };
    let brokers = i16::try_from(image.brokers().count().max(expected)).unwrap_or(i16::MAX);
    let internal = match name.as_str() {
        OFFSETS_TOPIC => config.offsets_topic,
        TRANSACTIONS_TOPIC => config.transactions_topic,
        SHARE_STATE_TOPIC => config.share_state_topic,
        _ => {
            let (partition_count, replication_factor) = (-1, -1);
            return NewTopic { name, partition_count, replication_factor, ..NewTopic::default() };
        }
    };
    NewTopic {
        partition_count: internal.partitions,
        replication_factor: internal.replication_factor.min(brokers),
        assignments: Vec::new(),
        configs: internal_configs(&name, internal, brokers),
        name,
    }
}

/// Smallest `segment.bytes` of a topic.
const INTERNAL_SEGMENT_BYTES_MIN: i32 = 1024 * 1024;

/// Records of share groups build upon each other, so compaction would lose some: their coordinator
/// drops what is superseded by itself, and nothing else does.
const SHARE_STATE_CONFIGS: [(&str, &str); 4] = [
    ("cleanup.policy", "delete"),
    ("compression.type", "producer"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
];
const TRANSACTIONS_CONFIGS: [(&str, &str); 3] = [
    ("cleanup.policy", "compact"),
    ("compression.type", "uncompressed"),
    ("unclean.leader.election.enable", "false"),
];
const OFFSETS_CONFIGS: [(&str, &str); 2] =
    [("cleanup.policy", "compact"), ("compression.type", "producer")];

fn internal_configs(
    name: &str,
    internal: InternalTopic,
    brokers: i16,
) -> Vec<(String, Option<String>)> {
    let segment_bytes = internal.segment_bytes.max(INTERNAL_SEGMENT_BYTES_MIN);
    let mut configs = vec![("segment.bytes".to_owned(), Some(segment_bytes.to_string()))];
    let own: &[(&str, &str)] = match name {
        SHARE_STATE_TOPIC => &SHARE_STATE_CONFIGS,
        TRANSACTIONS_TOPIC => &TRANSACTIONS_CONFIGS,
        _ => &OFFSETS_CONFIGS,
    };
    let own = own.iter();
    configs.extend(own.map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()))));
    if let Some(min_insync) = internal.min_insync_replicas {
        let min_insync = min_insync.min(brokers);
        configs.push(("min.insync.replicas".to_owned(), Some(min_insync.to_string())));
    }
    configs
}

/// The topics of one request, as far as they are decided.
struct Creation<'a> {
    image: &'a MetadataImage,
    placement: Placement<'a>,
    records: Vec<MetadataRecord>,
    names: BTreeSet<String>,
    partitions: usize,
}

impl<'a> Creation<'a> {
    fn new(image: &'a MetadataImage, context: &Context<'a>) -> Creation<'a> {
        Creation {
            image,
            placement: Placement::new(image, context),
            records: Vec::new(),
            names: BTreeSet::new(),
            partitions: 0,
        }
    }

    fn create(&mut self, topic: &NewTopic, context: &Context<'_>) -> Result<CreatedTopic, Refusal> {
        self.check_name(&topic.name)?;
        let overrides = initial_overrides(self.image, &topic.configs)?;
        let states = self.place(topic, context.config)?;
        let id = fresh_id(self.image, context.random);
        let replication_factor = states.first().map_or(0, |state| state.replicas.len());
        let created = CreatedTopic {
            id,
            partition_count: i32::try_from(states.len()).expect("bounded by limits.rs"),
            replication_factor: i16::try_from(replication_factor).unwrap_or(i16::MAX),
            overrides,
        };
        assert!(created.partition_count > 0);
        self.partitions += states.len();
        self.names.insert(topic.name.clone());
        self.records.push(MetadataRecord::Topic { id, name: topic.name.clone() });
        let resource = ConfigResource::Topic(id);
        self.records.extend(created.overrides.iter().map(|(key, value)| MetadataRecord::Config {
            resource: resource.clone(),
            key: key.clone(),
            value: Some(value.clone()),
        }));
        self.records.extend(partition_records(id, 0, states));
        Ok(created)
    }

    fn check_name(&self, name: &str) -> Result<(), Refusal> {
        if let Some(fault) = topic_name::fault(name) {
            return Err(Refusal::new(KafkaCode::InvalidTopicException, fault));
        }
        if name == CLUSTER_METADATA_TOPIC {
            return Err(Refusal::new(
                KafkaCode::InvalidRequest,
                format!("Creation of internal topic {name} is prohibited."),
            ));
        }
        if self.image.topic_by_name(name).is_some() || self.names.contains(name) {
            return Err(Refusal::new(
                KafkaCode::TopicAlreadyExists,
                format!("Topic '{name}' already exists."),
            ));
        }
        let here =
            self.names.iter().find(|taken| taken.replace('.', "_") == name.replace('.', "_"));
        if let Some(other) = self.image.colliding_topic(name).or(here.map(String::as_str)) {
            return Err(Refusal::new(
                KafkaCode::InvalidTopicException,
                format!("Topic '{name}' collides with existing topic: {other}"),
            ));
        }
        Ok(())
    }

    fn place(
        &mut self,
        topic: &NewTopic,
        config: &BrokerConfig,
    ) -> Result<Vec<PartitionState>, Refusal> {
        if !topic.assignments.is_empty() {
            return self.place_manually(topic);
        }
        let factor = match topic.replication_factor {
            -1 => config.replication_factor,
            factor => factor,
        };
        if factor < 1 {
            return Err(Refusal::new(
                KafkaCode::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            ));
        }
        let count = match topic.partition_count {
            -1 => config.partitions,
            count => count,
        };
        if count < 1 {
            return Err(Refusal::new(
                KafkaCode::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value.",
            ));
        }
        let factor = usize::try_from(factor).expect("at least 1, checked above");
        self.placement.check_factor(factor)?;
        check_total(self.image, self.partitions, 0, count)?;
        Ok((0..count).map(|_| self.placement.next(factor)).collect())
    }

    fn place_manually(&mut self, topic: &NewTopic) -> Result<Vec<PartitionState>, Refusal> {
        if topic.replication_factor != -1 {
            return Err(Refusal::new(
                KafkaCode::InvalidRequest,
                "A manual partition assignment was specified, but replication factor was not set to -1.",
            ));
        }
        if topic.partition_count != -1 {
            return Err(Refusal::new(
                KafkaCode::InvalidRequest,
                "A manual partition assignment was specified, but numPartitions was not set to -1.",
            ));
        }
        let count = i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX);
        check_total(self.image, self.partitions, 0, count)?;
        let refuse = |message: String| Refusal::new(KafkaCode::InvalidReplicaAssignment, message);
        let mut states = BTreeMap::new();
        let mut factor = None;
        for assignment in &topic.assignments {
            let state = self.placement.manual(assignment.partition, &assignment.brokers)?;
            check_same_factor(&mut factor, state.replicas.len())?;
            if states.insert(assignment.partition, state).is_some() {
                return Err(refuse(format!(
                    "Found multiple manual partition assignments for partition {}",
                    assignment.partition.0
                )));
            }
        }
        if !states.keys().copied().eq((0..count).map(PartitionId)) {
            return Err(refuse(
                "partitions should be a consecutive 0-based integer sequence".to_owned(),
            ));
        }
        assert!(states.len() == topic.assignments.len());
        Ok(states.into_values().collect())
    }
}

pub(super) fn delete(image: &MetadataImage, topics: Vec<TopicRef>, is_enabled: bool) -> Decision {
    let mut records = Vec::new();
    let mut answers: Vec<DeletedTopic> = Vec::with_capacity(topics.len());
    let mut counts: BTreeMap<(Option<String>, TopicId), usize> = BTreeMap::new();
    let known: Vec<_> = topics.iter().map(|wanted| known_as(image, wanted)).collect();
    assert!(known.len() == topics.len());
    for topic in &known {
        *counts.entry(topic.clone()).or_default() += 1;
    }
    for (wanted, (name, id)) in topics.into_iter().zip(known) {
        // Named more than once, by name or by id: refused, once.
        let is_single = match counts.get_mut(&(name.clone(), id)) {
            Some(0) | None => continue,
            Some(count) => std::mem::take(count) == 1,
        };
        let result = match (is_enabled, is_single) {
            (false, _) => Err(KafkaCode::TopicDeletionDisabled.into()),
            (true, false) => Err(Refusal::new(KafkaCode::InvalidRequest, "Duplicate topic name.")),
            (true, true) => find(image, &wanted)
                .map(|topic| records.push(MetadataRecord::RemoveTopic { id: topic.id })),
        };
        answers.push(DeletedTopic { name: name.or(wanted.name), id, result });
    }
    assert!(records.len() == answers.iter().filter(|answer| answer.result.is_ok()).count());
    Decision { records, reply: ChangeReply::DeletedTopics(answers) }
}

/// What a topic is called by name and id, whichever of both it was asked for by.
fn known_as(image: &MetadataImage, wanted: &TopicRef) -> (Option<String>, TopicId) {
    let topic = find(image, wanted).ok();
    let name = topic.map(|topic| topic.name.to_string());
    (name.or_else(|| wanted.name.clone()), topic.map_or(wanted.id, |topic| topic.id))
}

fn find<'a>(image: &'a MetadataImage, wanted: &TopicRef) -> Result<&'a TopicImage, Refusal> {
    let has_id = wanted.id != TopicId::default();
    let topic = match (&wanted.name, has_id) {
        (Some(_), true) => {
            return Err(Refusal::new(
                KafkaCode::InvalidRequest,
                "Topic name and topic ID can not both be specified.",
            ));
        }
        (None, false) => {
            return Err(Refusal::new(
                KafkaCode::InvalidRequest,
                "Neither topic name nor id were specified.",
            ));
        }
        (Some(name), false) => image.topic_by_name(name).ok_or_else(unknown_name)?,
        (None, true) => image.topic_by_id(&wanted.id).ok_or_else(unknown_id)?,
    };
    Ok(topic)
}

pub(super) fn create_partitions(
    image: &MetadataImage,
    topics: Vec<NewPartitions>,
    context: &Context<'_>,
) -> Decision {
    let repeated = repeated(topics.iter().map(|topic| topic.name.as_str()));
    let mut placement = Placement::new(image, context);
    let mut records = Vec::new();
    let mut answered = BTreeSet::new();
    let mut answers = Vec::with_capacity(topics.len());
    let mut added_so_far = 0;
    for topic in topics {
        let result = match repeated.contains(&topic.name) {
            true if !answered.insert(topic.name.clone()) => continue,
            true => Err(Refusal::new(KafkaCode::InvalidRequest, "Duplicate topic name.")),
            false => grow(image, &topic, &mut placement, added_so_far).map(|added| {
                added_so_far += added.len();
                records.extend(added);
            }),
        };
        answers.push((topic.name, result));
    }
    Decision { records, reply: ChangeReply::Partitions(answers) }
}

fn grow(
    image: &MetadataImage,
    wanted: &NewPartitions,
    placement: &mut Placement<'_>,
    added_so_far: usize,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let topic = image.topic_by_name(&wanted.name).ok_or_else(unknown_name)?;
    let now = topic.partition_count();
    if wanted.count == now {
        let message = format!("Topic already has {now} partition(s).");
        return Err(Refusal::new(KafkaCode::InvalidPartitions, message));
    }
    if wanted.count < now {
        let message = format!(
            "The topic {} currently has {now} partition(s); {} would not be an increase.",
            wanted.name, wanted.count
        );
        return Err(Refusal::new(KafkaCode::InvalidPartitions, message));
    }
    let additional = wanted.count - now;
    check_total(image, added_so_far, now, additional)?;
    let first = topic.partitions.first();
    let factor = first.map_or(1, |partition| partition.state.replicas.len());
    let states = match &wanted.assignments {
        None => {
            placement.check_factor(factor)?;
            (0..additional).map(|_| placement.next(factor)).collect()
        }
        Some(assignments) => {
            if i32::try_from(assignments.len()) != Ok(additional) {
                let message = format!(
                    "Attempted to add {additional} additional partition(s), but only {} \
                     assignment(s) were specified.",
                    assignments.len()
                );
                return Err(Refusal::new(KafkaCode::InvalidReplicaAssignment, message));
            }
            let mut states = Vec::with_capacity(assignments.len());
            for (id, brokers) in (now..).map(PartitionId).zip(assignments) {
                let state = placement.manual(id, brokers)?;
                check_same_factor(&mut Some(factor), state.replicas.len())?;
                states.push(state);
            }
            states
        }
    };
    Ok(partition_records(topic.id, now, states).collect())
}

fn unknown_name() -> Refusal {
    Refusal::new(
        KafkaCode::UnknownTopicOrPartition,
        "This server does not host this topic-partition.",
    )
}

fn unknown_id() -> Refusal {
    Refusal::new(KafkaCode::UnknownTopicId, "This server does not host this topic ID.")
}

fn partition_records(
    topic: TopicId,
    first: i32,
    states: Vec<PartitionState>,
) -> impl Iterator<Item = MetadataRecord> {
    (first..).map(PartitionId).zip(states).map(move |(partition, state)| {
        MetadataRecord::Partition { id: TopicPartition { topic, partition }, state }
    })
}

fn initial_overrides(
    image: &MetadataImage,
    configs: &[(String, Option<String>)],
) -> Result<ConfigMap, Refusal> {
    let nulls: Vec<&str> =
        configs.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key.as_str()).collect();
    if !nulls.is_empty() {
        return Err(Refusal::new(
            KafkaCode::InvalidConfig,
            format!("Null value not supported for topic configs: {}", nulls.join(",")),
        ));
    }
    let overrides = configs
        .iter()
        .filter_map(|(key, value)| value.clone().map(|value| (key.clone(), value)))
        .collect();
    checked_overrides(image, overrides)
}

fn check_same_factor(factor: &mut Option<usize>, replicas: usize) -> Result<(), Refusal> {
    let expected = *factor.get_or_insert(replicas);
    if expected == replicas {
        return Ok(());
    }
    let message = format!(
        "The manual partition assignment includes a partition with {replicas} replica(s), but \
         this is not consistent with previous partitions, which have {expected} replica(s)."
    );
    Err(Refusal::new(KafkaCode::InvalidReplicaAssignment, message))
}

/// Keeps a topic and the broker within limits.rs. `now` partitions grow by `additional`.
fn check_total(
    image: &MetadataImage,
    decided: usize,
    now: i32,
    additional: i32,
) -> Result<(), Refusal> {
    if additional > PARTITIONS_PER_TOPIC_MAX - now {
        let message = format!("A topic may have at most {PARTITIONS_PER_TOPIC_MAX} partitions.");
        return Err(Refusal::new(KafkaCode::InvalidPartitions, message));
    }
    let additional = usize::try_from(additional).expect("callers ask for an increase");
    let total = image.partition_count() + decided + additional;
    if total > PARTITIONS_MAX {
        let message = format!(
            "There would be {total} partitions; the cluster may have at most {PARTITIONS_MAX}."
        );
        return Err(Refusal::new(KafkaCode::InvalidPartitions, message));
    }
    Ok(())
}

/// An id that no topic has, and not the all zeros that mean none.
fn fresh_id(image: &MetadataImage, random: &dyn Fn() -> Uuid) -> TopicId {
    loop {
        let id = TopicId(random());
        if id.0 != Uuid::nil() && image.topic_by_id(&id).is_none() {
            return id;
        }
    }
}

/// Names that a request holds more than once.
fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).map(str::to_owned).collect()
}
