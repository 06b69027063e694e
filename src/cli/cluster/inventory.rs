//! What a cluster has, as one broker tells it: brokers, and who holds which partition.
//!
//! Brokers and moves are told by the active controller, which whoever is asked passes the question
//! on to; a broker that knows of no controller tells what it last heard itself. So who goes by the
//! answer makes sure first that there is a controller (`describe_quorum`). Partitions are told by
//! the asked broker itself, which may be a moment behind.

use crate::cli::client::Client;
use crate::cli::cluster::describe_quorum;
use crate::cli::error::{CliError, check};
use crate::model::errors::KafkaCode;
use crate::model::limits::CORE_ID_STRIDE;
use crate::protocol::messages::describe_brokers::DescribeBrokersRequest;
use crate::protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponsePartition,
};
use crate::protocol::messages::list_partition_reassignments::ListPartitionReassignmentsRequest;
use std::collections::BTreeMap;

/// Partitions of one answer that are asked for; what Kafka's brokers give at most by default.
const PARTITIONS_PER_PAGE: i32 = 2000;
/// What ListPartitionReassignments may take.
const TIMEOUT_MS: i32 = 30_000;
/// `state` of a broker that may be given replicas (`describe_brokers.rs`).
const STATE_ACTIVE: i8 = 1;

/// A registered broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broker {
    pub id: i32,
    pub rack: Option<String>,
    /// Up, and not about to stop.
    pub is_live: bool,
    /// Replicas that it holds.
    pub replicas: usize,
}

/// A partition and where it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    pub topic: String,
    pub index: i32,
    pub has_leader: bool,
    /// In order of preference; while it moves, those that go are among them.
    pub replicas: Vec<i32>,
    pub moving: Moving,
}

/// Where a partition moves; both empty where it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Moving {
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
}

/// Moves under way, by topic and partition.
pub(super) type Moves = BTreeMap<(String, i32), Moving>;

/// All registered brokers.
pub(super) fn brokers(client: &mut Client) -> Result<Vec<Broker>, CliError> {
    let answer = client.call(&DescribeBrokersRequest { broker_id: -1 })?;
    check("the brokers", answer.error_code, None)?;
    let brokers = answer.brokers.into_iter().map(|broker| Broker {
        id: broker.broker_id,
        rack: broker.rack,
        is_live: broker.state == STATE_ACTIVE,
        replicas: usize::try_from(broker.replicas).unwrap_or(0),
    });
    Ok(brokers.collect())
}

/// The broker behind an id: where each core has a port of its own, clients see a broker's cores
/// under ids of their own.
pub(super) fn broker_of(id: i32, brokers: &[Broker]) -> i32 {
    let is_registered = |id: i32| brokers.iter().any(|broker| broker.id == id);
    let first_core = id % CORE_ID_STRIDE;
    if !is_registered(id) && is_registered(first_core) { first_core } else { id }
}

/// All partitions, page by page; none of them moves.
pub(super) fn partitions(
    client: &mut Client,
    brokers: &[Broker],
) -> Result<Vec<Partition>, CliError> {
    let mut request = DescribeTopicPartitionsRequest {
        response_partition_limit: PARTITIONS_PER_PAGE,
        ..DescribeTopicPartitionsRequest::default()
    };
    let mut partitions = Vec::new();
    loop {
        let answer = client.call(&request)?;
        for topic in answer.topics {
            let name = topic.name.unwrap_or_default();
            check(&format!("topic {name}"), topic.error_code, None)?;
            let of_topic = topic.partitions.into_iter();
            partitions.extend(of_topic.map(|found| partition(&name, &found, brokers)));
        }
        let Some(next) = answer.next_cursor else { return Ok(partitions) };
        let place = |cursor: &Cursor| (cursor.topic_name.clone(), cursor.partition_index);
        if request.cursor.as_ref().is_some_and(|last| place(&next) <= place(last)) {
            let what = "the partitions".to_owned();
            let text = "a page of them is followed by one before it".to_owned();
            return Err(CliError::Refused { what, code: KafkaCode::UnknownServerError, text });
        }
        request.cursor = Some(next);
    }
}

fn partition(
    topic: &str,
    found: &DescribeTopicPartitionsResponsePartition,
    brokers: &[Broker],
) -> Partition {
    Partition {
        topic: topic.to_owned(),
        index: found.partition_index,
        has_leader: found.leader_id >= 0,
        replicas: of_brokers(&found.replica_nodes, brokers),
        moving: Moving::default(),
    }
}

fn of_brokers(ids: &[i32], brokers: &[Broker]) -> Vec<i32> {
    ids.iter().map(|id| broker_of(*id, brokers)).collect()
}

/// All moves under way.
pub(super) fn moves(client: &mut Client, brokers: &[Broker]) -> Result<Moves, CliError> {
    let request = ListPartitionReassignmentsRequest { timeout_ms: TIMEOUT_MS, topics: None };
    let answer = client.call(&request)?;
    check("the partitions on the move", answer.error_code, answer.error_message.as_deref())?;
    let mut moves = Moves::new();
    for topic in answer.topics {
        for partition in topic.partitions {
            let moving = Moving {
                adding: of_brokers(&partition.adding_replicas, brokers),
                removing: of_brokers(&partition.removing_replicas, brokers),
            };
            moves.insert((topic.name.clone(), partition.partition_index), moving);
        }
    }
    Ok(moves)
}

/// What a broker holds: how many replicas, and of which partition one is.
pub(super) struct Held {
    pub count: usize,
    /// `None` where a controller is asked, which does not tell of partitions.
    pub example: Option<(String, i32)>,
}

/// What a broker holds. Kafka's brokers, which do not tell it, are asked for all partitions.
pub(super) fn held_by(client: &mut Client, id: i32) -> Result<Held, CliError> {
    // Without a controller the numbers would be those that the asked broker last heard of.
    describe_quorum(client)?;
    let known = match brokers(client) {
        Err(CliError::NotServed { .. }) => None,
        known => Some(known?),
    };
    let brokers = known.as_deref().unwrap_or_default();
    let id = broker_of(id, brokers);
    let told = brokers.iter().find(|broker| broker.id == id).map_or(0, |broker| broker.replicas);
    if known.is_some() && told == 0 {
        return Ok(Held { count: 0, example: None });
    }
    let found = match partitions(client, brokers) {
        Err(CliError::NotServed { .. }) if known.is_some() => Vec::new(),
        found => found?,
    };
    let mut held = found.into_iter().filter(|partition| partition.replicas.contains(&id));
    let example = held.next().map(|partition| (partition.topic, partition.index));
    let counted = usize::from(example.is_some()) + held.count();
    Ok(Held { count: if known.is_some() { told } else { counted }, example })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_core_names_its_broker_unless_a_broker_has_it() {
        let broker = |id| Broker { id, rack: None, is_live: true, replicas: 0 };
        let brokers = [broker(3), broker(4), broker(2_000_004)];
        for (id, named) in [(3, 3), (1_000_003, 3), (2_000_004, 2_000_004), (7, 7), (-1, -1)] {
            assert_eq!(broker_of(id, &brokers), named);
        }
    }
}
