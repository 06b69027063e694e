//! The metadata as one broker sees it: what all records up to here add up to.
//!
//! One per core, each applying the same records in the same order, so no core asks another what a
//! topic is. Cloning shares everything; the next record copies only what it touches.
//!
//! Invariants
//! - `names` and `topics` hold the same topics; a topic's partitions are numbered without holes.
//! - `load` counts each replica of each partition once, on its broker and core.
//! - A topic's `config` is its overrides resolved against the current broker defaults.

mod brokers;
mod features;

pub use brokers::BrokerImage;
pub use features::FeatureState;

use crate::controller::records::{ConfigResource, MetadataRecord, PartitionState};
use crate::model::config_keys::{ConfigValue, broker_key};
use crate::model::errors::KafkaCode;
use crate::model::ids::{
    BrokerEpoch, BrokerId, CoreId, LeaderEpoch, PartitionId, ProducerId, TopicId, TopicPartition,
};
use crate::model::topic_config::{TopicConfig, TopicDefaults};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// What a record of a configuration has beside key, value and the name of a group, in bytes.
const CONFIG_RECORD_BYTES: usize = 40;

/// The topics whose records are the broker's own.
pub const INTERNAL_TOPICS: [&str; 3] = [OFFSETS_TOPIC, TRANSACTIONS_TOPIC, SHARE_STATE_TOPIC];
/// Committed offsets and group state.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Transaction state.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";
/// Where share groups keep how the delivery of records stands (KIP-932).
pub const SHARE_STATE_TOPIC: &str = "__share_group_state";

/// Values by key.
pub type ConfigMap = BTreeMap<String, String>;

/// All metadata, from one broker's point of view.
#[derive(Debug, Clone)]
pub struct MetadataImage {
    local: BrokerId,
    /// What file, environment and flags of this broker set.
    static_config: Arc<ConfigMap>,
    cluster_id: Option<Uuid>,
    topics: Arc<BTreeMap<TopicId, Arc<TopicImage>>>,
    names: Arc<BTreeMap<Arc<str>, TopicId>>,
    /// Names that collide in metrics, by their form with '_' for '.'.
    collisions: Arc<BTreeMap<String, BTreeSet<Arc<str>>>>,
    /// Of brokers and groups.
    configs: Arc<BTreeMap<ConfigResource, ConfigMap>>,
    defaults: Arc<TopicDefaults>,
    /// Brokers and controllers.
    nodes: Arc<BTreeMap<BrokerId, Arc<BrokerImage>>>,
    /// By name.
    features: Arc<BTreeMap<String, FeatureState>>,
    next_producer_id: ProducerId,
    /// What all configurations take, by `config_bytes`.
    config_bytes: usize,
    load: Arc<BTreeMap<(BrokerId, CoreId), usize>>,
    partition_count: usize,
    /// Records applied so far: the end of the log that this is the image of.
    end: u64,
}

/// One topic.
#[derive(Debug, Clone)]
pub struct TopicImage {
    pub id: TopicId,
    pub name: Arc<str>,
    /// By partition number.
    pub partitions: Vec<PartitionImage>,
    /// What was set for this topic alone.
    pub overrides: ConfigMap,
    pub config: Arc<TopicConfig>,
    /// The broker writes it; clients may not.
    pub is_internal: bool,
}

/// One partition.
#[derive(Debug, Clone)]
pub struct PartitionImage {
    /// The core that owns the replica on this broker; core 0 where this broker holds none.
    pub core: CoreId,
    pub state: PartitionState,
}

/// A record that does not follow from the records before it: the log is not ours or not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("topic {id} is named a second time")]
    TopicExists { id: TopicId },
    #[error("topic name {name} is taken by another topic")]
    NameTaken { name: String },
    #[error("topic {id} does not exist")]
    NoTopic { id: TopicId },
    #[error("partition {id} comes before partition {expected} of its topic")]
    PartitionGap { id: TopicPartition, expected: usize },
    #[error("the leader epoch of {id} goes back from {now} to {next}")]
    EpochBack { id: TopicPartition, now: i32, next: i32 },
    #[error("producer ids go back from {now} to {next}")]
    ProducerIdsBack { now: i64, next: i64 },
    #[error("the cluster id changes")]
    ClusterIdChanges,
    #[error("broker {id} is registered with epoch {next} after {now}", id = .id.0)]
    BrokerEpochBack { id: BrokerId, now: i64, next: i64 },
    #[error("broker {id} is not registered with epoch {epoch}", id = .id.0, epoch = .epoch.0)]
    NoBroker { id: BrokerId, epoch: BrokerEpoch },
    #[error("the position in the metadata goes back from {now} to {next}")]
    EndBack { now: u64, next: u64 },
    #[error("the level of {name} at position {next} comes after that of position {now}")]
    FeatureEpochBack { name: String, now: i64, next: i64 },
}

impl MetadataImage {
    /// The image before the first record. `static_config` is what this broker was started with.
    pub fn new(local: BrokerId, static_config: Arc<ConfigMap>) -> MetadataImage {
        let mut image = MetadataImage {
            local,
            static_config,
            cluster_id: None,
            topics: Arc::default(),
            names: Arc::default(),
            collisions: Arc::default(),
            configs: Arc::default(),
            defaults: Arc::default(),
            nodes: Arc::default(),
            features: features::without_records(),
            next_producer_id: ProducerId(0),
            config_bytes: 0,
            load: Arc::default(),
            partition_count: 0,
            end: 0,
        };
        image.resolve_defaults();
        image
    }

    /// The broker from whose point of view this is.
    pub fn local(&self) -> BrokerId {
        self.local
    }

    /// The cluster's identity, once its record has been applied.
    pub fn cluster_id(&self) -> Option<Uuid> {
        self.cluster_id
    }

    pub fn topic_by_id(&self, id: &TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(id)
    }

    pub fn topic_by_name(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.names.get(name).and_then(|id| self.topics.get(id))
    }

    /// Every topic, sorted by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.names.values().filter_map(|id| self.topics.get(id))
    }

    /// Topics whose name is `from` or sorts behind it.
    pub fn topics_from<'a>(&'a self, from: &'a str) -> impl Iterator<Item = &'a Arc<TopicImage>> {
        self.names
            .range::<str, _>((std::ops::Bound::Included(from), std::ops::Bound::Unbounded))
            .filter_map(|(_, id)| self.topics.get(id))
    }

    pub fn partition(&self, id: &TopicPartition) -> Option<&PartitionImage> {
        self.topics.get(&id.topic)?.partition(id.partition)
    }

    /// The core of this broker that owns the partition's log; `None` where no replica is here.
    pub fn owner_of(&self, id: &TopicPartition) -> Option<CoreId> {
        self.partition(id)?.state.core_on(self.local)
    }

    /// The core of this broker that leads the partition.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION, or NOT_LEADER_OR_FOLLOWER where another broker leads or none.
    pub fn leader_core(&self, id: &TopicPartition) -> Result<CoreId, KafkaCode> {
        let partition = self.partition(id).ok_or(KafkaCode::UnknownTopicOrPartition)?;
        let is_led_here = partition.state.leader == Some(self.local);
        let core = partition.state.core_on(self.local).filter(|_| is_led_here);
        core.ok_or(KafkaCode::NotLeaderOrFollower)
    }

    pub fn leader_epoch(&self, id: &TopicPartition) -> Option<LeaderEpoch> {
        self.partition(id).map(|partition| partition.state.leader_epoch)
    }

    /// Partitions whose log lives on this core of this broker.
    pub fn partitions_of(&self, core: CoreId) -> impl Iterator<Item = TopicPartition> {
        self.topics
            .values()
            .flat_map(|topic| topic.partitions())
            .filter(move |(_, partition)| partition.state.core_on(self.local) == Some(core))
            .map(|(id, _)| id)
    }

    /// Number of topics.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Number of partitions of all topics.
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// Replicas that live on this core of this broker.
    pub fn load(&self, broker: BrokerId, core: CoreId) -> usize {
        self.load.get(&(broker, core)).copied().unwrap_or(0)
    }

    /// An existing topic whose name differs only in '.' against '_' (metrics would mix them up).
    pub fn colliding_topic(&self, name: &str) -> Option<&str> {
        let names = self.collisions.get(&unified(name)?)?;
        names.iter().next().map(|name| &**name)
    }

    /// What was set dynamically for a broker, for all brokers or for a group; `None` for nothing.
    pub fn config_of(&self, resource: &ConfigResource) -> Option<&ConfigMap> {
        self.configs.get(resource)
    }

    /// Groups with settings of their own.
    pub fn group_configs(&self) -> impl Iterator<Item = (&str, &ConfigMap)> {
        self.configs.iter().filter_map(|(resource, values)| match resource {
            ConfigResource::Group(id) => Some((id.as_str(), values)),
            ConfigResource::Topic(_) | ConfigResource::Broker(_) | ConfigResource::AllBrokers => {
                None
            }
        })
    }

    /// What file, environment and flags of this broker set.
    pub fn static_config(&self) -> &ConfigMap {
        &self.static_config
    }

    /// A broker key's value in force: set for this broker, for all of them, or at the start;
    /// `None` where nobody set it (KIP-226).
    pub fn broker_value(&self, key: &str) -> Option<&str> {
        let own = self.configs.get(&ConfigResource::Broker(self.local));
        let all = self.configs.get(&ConfigResource::AllBrokers);
        let layers = [own, all, Some(&*self.static_config)];
        layers.into_iter().flatten().find_map(|layer| layer.get(key)).map(String::as_str)
    }

    /// What topics without an override get.
    pub fn defaults(&self) -> &TopicDefaults {
        &self.defaults
    }

    /// What the configurations of all topics, brokers and groups take, in bytes of a snapshot.
    pub fn config_bytes(&self) -> usize {
        self.config_bytes
    }

    /// The first producer id that nobody has.
    pub fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    /// One past the position of the last record applied, counted in records since the cluster was
    /// founded; a snapshot keeps it, so it means the same on every broker.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Applies one record. An error leaves the image as it was.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        assert!(self.names.len() == self.topics.len());
        match record {
            MetadataRecord::ClusterId(id) => match self.cluster_id {
                Some(known) if known != *id => return Err(ApplyError::ClusterIdChanges),
                Some(_) | None => self.cluster_id = Some(*id),
            },
            MetadataRecord::Topic { id, name } => self.add_topic(*id, name)?,
            MetadataRecord::Partition { id, state } => self.set_partition(*id, state)?,
            MetadataRecord::RemoveTopic { id } => self.remove_topic(*id)?,
            MetadataRecord::Config { resource, key, value } => {
                self.set_config(resource, key, value.as_deref())?;
            }
            MetadataRecord::ProducerIds { next } => {
                let now = self.next_producer_id.0;
                if next.0 < now {
                    return Err(ApplyError::ProducerIdsBack { now, next: next.0 });
                }
                self.next_producer_id = *next;
            }
            MetadataRecord::RegisterBroker(registration) => self.register(registration)?,
            MetadataRecord::BrokerState { id, epoch, availability } => {
                self.set_availability(*id, *epoch, *availability)?;
            }
            MetadataRecord::UnregisterBroker { id, epoch } => self.unregister(*id, *epoch)?,
            MetadataRecord::Feature { name, level, epoch } => {
                self.set_feature(name, *level, *epoch)?;
            }
            MetadataRecord::SnapshotEnd { end } => return self.move_end(*end),
        }
        self.end += 1;
        assert!(self.names.len() == self.topics.len());
        Ok(())
    }

    /// The image as records: a snapshot, which applied to an empty image gives this one.
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let mut records: Vec<MetadataRecord> =
            self.cluster_id.map(MetadataRecord::ClusterId).into_iter().collect();
        self.push_brokers(&mut records);
        self.push_features(&mut records);
        for (resource, values) in self.configs.iter() {
            push_configs(&mut records, resource, values);
        }
        for topic in self.topics() {
            records.push(MetadataRecord::Topic { id: topic.id, name: topic.name.to_string() });
            push_configs(&mut records, &ConfigResource::Topic(topic.id), &topic.overrides);
            for (id, partition) in topic.partitions() {
                records.push(MetadataRecord::Partition { id, state: partition.state.clone() });
            }
        }
        if self.next_producer_id.0 > 0 {
            records.push(MetadataRecord::ProducerIds { next: self.next_producer_id });
        }
        records.push(MetadataRecord::SnapshotEnd { end: self.end });
        records
    }

    fn add_topic(&mut self, id: TopicId, name: &str) -> Result<(), ApplyError> {
        if self.topics.contains_key(&id) {
            return Err(ApplyError::TopicExists { id });
        }
        if self.names.contains_key(name) {
            return Err(ApplyError::NameTaken { name: name.to_owned() });
        }
        let name: Arc<str> = Arc::from(name);
        let overrides = ConfigMap::new();
        let topic = TopicImage {
            id,
            name: Arc::clone(&name),
            partitions: Vec::new(),
            config: Arc::new(TopicConfig::resolve(&overrides, &self.defaults).0),
            overrides,
            is_internal: INTERNAL_TOPICS.contains(&&*name),
        };
        Arc::make_mut(&mut self.topics).insert(id, Arc::new(topic));
        Arc::make_mut(&mut self.names).insert(Arc::clone(&name), id);
        if let Some(unified) = unified(&name) {
            Arc::make_mut(&mut self.collisions).entry(unified).or_default().insert(name);
        }
        Ok(())
    }

    fn set_partition(
        &mut self,
        id: TopicPartition,
        state: &PartitionState,
    ) -> Result<(), ApplyError> {
        let local = self.local;
        let Some(topic) = Arc::make_mut(&mut self.topics).get_mut(&id.topic) else {
            return Err(ApplyError::NoTopic { id: id.topic });
        };
        let expected = topic.partitions.len();
        let index = usize::try_from(id.partition.0).unwrap_or(usize::MAX);
        if index > expected {
            return Err(ApplyError::PartitionGap { id, expected });
        }
        if let Some(now) = topic.partitions.get(index).map(|known| known.state.leader_epoch.0)
            && now > state.leader_epoch.0
        {
            return Err(ApplyError::EpochBack { id, now, next: state.leader_epoch.0 });
        }
        let core = state.core_on(local).unwrap_or_default();
        let partition = PartitionImage { core, state: state.clone() };
        let topic = Arc::make_mut(topic);
        let replaced = match topic.partitions.get_mut(index) {
            Some(slot) => Some(std::mem::replace(slot, partition)),
            None => {
                topic.partitions.push(partition);
                self.partition_count += 1;
                None
            }
        };
        if let Some(replaced) = replaced {
            self.count(&replaced.state, Count::Less);
        }
        self.count(state, Count::More);
        assert!(self.partition_count > 0);
        Ok(())
    }

    fn remove_topic(&mut self, id: TopicId) -> Result<(), ApplyError> {
        let Some(topic) = Arc::make_mut(&mut self.topics).remove(&id) else {
            return Err(ApplyError::NoTopic { id });
        };
        let removed = Arc::make_mut(&mut self.names).remove(&*topic.name);
        assert!(removed == Some(id), "names and topics hold the same topics");
        if let Some(unified) = unified(&topic.name) {
            let collisions = Arc::make_mut(&mut self.collisions);
            let names = collisions.get_mut(&unified).expect("added with the topic");
            names.remove(&topic.name);
            if names.is_empty() {
                collisions.remove(&unified);
            }
        }
        let own = ConfigResource::Topic(id);
        let configs = topic.overrides.iter().map(|(key, value)| config_bytes(&own, key, value));
        self.config_bytes -= configs.sum::<usize>();
        for partition in &topic.partitions {
            self.count(&partition.state, Count::Less);
        }
        assert!(self.partition_count >= topic.partitions.len());
        self.partition_count -= topic.partitions.len();
        Ok(())
    }

    fn set_config(
        &mut self,
        resource: &ConfigResource,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), ApplyError> {
        match resource {
            ConfigResource::Topic(id) => {
                let Some(topic) = Arc::make_mut(&mut self.topics).get_mut(id) else {
                    return Err(ApplyError::NoTopic { id: *id });
                };
                let topic = Arc::make_mut(topic);
                let (less, more) = set(&mut topic.overrides, resource, (key, value));
                topic.config = Arc::new(TopicConfig::resolve(&topic.overrides, &self.defaults).0);
                self.config_bytes = self.config_bytes - less + more;
            }
            ConfigResource::Broker(_) | ConfigResource::AllBrokers | ConfigResource::Group(_) => {
                let configs = Arc::make_mut(&mut self.configs);
                let values = configs.entry(resource.clone()).or_default();
                let (less, more) = set(values, resource, (key, value));
                if values.is_empty() {
                    configs.remove(resource);
                }
                self.config_bytes = self.config_bytes - less + more;
                self.resolve_defaults();
            }
        }
        Ok(())
    }

    /// A numeric broker key as it is in force: this broker, all brokers, file and flags, default.
    ///
    /// # Panics
    /// Panics on a name that is no numeric key with a default: the caller names a row of the table.
    pub fn broker_number(&self, name: &str) -> i64 {
        let key = broker_key(name).expect("a row of the table");
        let own = self.configs.get(&ConfigResource::Broker(self.local));
        let all = self.configs.get(&ConfigResource::AllBrokers);
        let layers = [own, all, Some(&*self.static_config)];
        let set = layers.iter().flatten().filter_map(|layer| layer.get(name));
        let texts = set.map(String::as_str).chain(key.default);
        let mut numbers = texts.filter_map(|text| match key.parse(text) {
            Ok(ConfigValue::Number(number)) => Some(number),
            Ok(_) | Err(_) => None,
        });
        numbers.next().expect("the default is a number")
    }

    /// Broker keys in their precedence: this broker, all brokers, file and flags (KIP-226).
    fn resolve_defaults(&mut self) {
        let defaults = TopicDefaults::from_broker(|key| self.broker_value(key));
        if *self.defaults == defaults {
            return;
        }
        self.defaults = Arc::new(defaults);
        for topic in Arc::make_mut(&mut self.topics).values_mut() {
            let config = TopicConfig::resolve(&topic.overrides, &self.defaults).0;
            Arc::make_mut(topic).config = Arc::new(config);
        }
    }

    fn count(&mut self, state: &PartitionState, by: Count) {
        let load = Arc::make_mut(&mut self.load);
        for replica in &state.replicas {
            let count = load.entry((replica.broker, replica.core)).or_default();
            match by {
                Count::More => *count += 1,
                Count::Less => {
                    *count = count.checked_sub(1).expect("each replica was counted once");
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Count {
    More,
    Less,
}

impl TopicImage {
    pub fn partition(&self, id: PartitionId) -> Option<&PartitionImage> {
        usize::try_from(id.0).ok().and_then(|index| self.partitions.get(index))
    }

    /// Number of partitions as the wire has it.
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("partition numbers are i32")
    }

    /// Every partition with its identity.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicPartition, &PartitionImage)> {
        (0..)
            .map(PartitionId)
            .zip(&self.partitions)
            .map(|(partition, image)| (TopicPartition { topic: self.id, partition }, image))
    }
}

/// What one configured value takes in a snapshot at most, in bytes.
pub fn config_bytes(resource: &ConfigResource, key: &str, value: &str) -> usize {
    let name = match resource {
        ConfigResource::Group(name) => name.len(),
        ConfigResource::Topic(_) | ConfigResource::Broker(_) | ConfigResource::AllBrokers => 0,
    };
    name + key.len() + value.len() + CONFIG_RECORD_BYTES
}

/// Gives what the old value and the new one take.
fn set(
    values: &mut ConfigMap,
    resource: &ConfigResource,
    (key, value): (&str, Option<&str>),
) -> (usize, usize) {
    let more = value.map_or(0, |value| config_bytes(resource, key, value));
    let before = match value {
        Some(value) => values.insert(key.to_owned(), value.to_owned()),
        None => values.remove(key),
    };
    (before.map_or(0, |before| config_bytes(resource, key, &before)), more)
}

fn push_configs(records: &mut Vec<MetadataRecord>, resource: &ConfigResource, values: &ConfigMap) {
    records.extend(values.iter().map(|(key, value)| MetadataRecord::Config {
        resource: resource.clone(),
        key: key.clone(),
        value: Some(value.clone()),
    }));
}

/// The name as metrics show it; `None` where it cannot collide.
fn unified(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

#[cfg(test)]
mod tests;
