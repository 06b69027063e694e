//! Which broker leads which partition, and the connections to those brokers.

use crate::cli::client::Client;
use crate::cli::error::{CliError, check};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

/// How long a topic that is being created may take to get its leaders.
const LEADERS_WITHIN: Duration = Duration::from_secs(10);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// One topic, as its leaders are reached.
pub(crate) struct Leaders {
    pub topic: MetadataResponseTopic,
    addresses: BTreeMap<i32, String>,
    clients: BTreeMap<i32, Client>,
}

/// Asks a broker about one topic; `may_create` lets it make a missing one if it is so configured.
pub(crate) fn describe(
    client: &mut Client,
    topic: &str,
    may_create: bool,
) -> Result<MetadataResponse, CliError> {
    let named = MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() };
    let request = MetadataRequest {
        topics: Some(vec![named]),
        allow_auto_topic_creation: may_create,
        ..MetadataRequest::default()
    };
    client.call(&request)
}

impl Leaders {
    /// Finds the leaders of a topic's partitions, in partition order.
    ///
    /// # Errors
    /// The topic is not there, or has no leaders within ten seconds.
    #[allow(
        clippy::disallowed_methods,
        reason = "a command waits on the wall clock; no simulator runs it"
    )]
    pub(crate) fn find(
        bootstrap: &str,
        topic: &str,
        may_create: bool,
    ) -> Result<Leaders, CliError> {
        let mut client = Client::connect(bootstrap)?;
        let give_up = Instant::now() + LEADERS_WITHIN;
        loop {
            let answer = describe(&mut client, topic, may_create)?;
            let addresses =
                answer.brokers.iter().map(|b| (b.node_id, format!("{}:{}", b.host, b.port)));
            let addresses = addresses.collect();
            let Some(mut found) = answer.topics.into_iter().next() else {
                return Err(CliError::NoTopic { topic: topic.to_owned() });
            };
            let code = KafkaCode::from_number(found.error_code);
            match code {
                Some(KafkaCode::None) => {
                    found.partitions.sort_by_key(|partition| partition.partition_index);
                    return Ok(Leaders { topic: found, addresses, clients: BTreeMap::new() });
                }
                Some(KafkaCode::UnknownTopicOrPartition) if !may_create => {
                    return Err(CliError::NoTopic { topic: topic.to_owned() });
                }
                Some(code) if code.is_retriable() && Instant::now() < give_up => {
                    std::thread::sleep(ASK_AGAIN_AFTER);
                }
                _ => return check(topic, found.error_code, None).map(|()| unreachable!()),
            }
        }
    }

    /// Number of partitions.
    pub(crate) fn count(&self) -> usize {
        self.topic.partitions.len()
    }

    /// Checks a partition number that the user gave.
    pub(crate) fn require(&self, topic: &str, partition: i32) -> Result<(), CliError> {
        if usize::try_from(partition).is_ok_and(|index| index < self.count()) {
            return Ok(());
        }
        let topic = topic.to_owned();
        Err(CliError::NoPartition { topic, partition, count: self.count() })
    }

    /// The connection to a partition's leader; opened on first use.
    ///
    /// # Errors
    /// It has no leader now, or that does not answer.
    pub(crate) fn client(&mut self, partition: i32) -> Result<&mut Client, CliError> {
        let mut partitions = self.topic.partitions.iter();
        let leader = partitions
            .find(|known| known.partition_index == partition)
            .map_or(-1, |known| known.leader_id);
        let Some(address) = self.addresses.get(&leader) else {
            let topic = self.topic.name.clone().unwrap_or_default();
            return Err(CliError::NoLeader { topic, partition });
        };
        match self.clients.entry(leader) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(Client::connect(address)?)),
        }
    }
}
