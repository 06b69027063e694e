//! A producer's seat in a group: it transforms what it consumes, and commits the offsets of what it
//! has consumed in the transaction of what it writes (KIP-447). Whoever has lost its seat must not
//! commit them, though its transactional id is its own.

use super::history::Input;
use super::{INPUTS, TOPIC, WORKERS};
use highwater::protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, ConsumerGroupTopicPartitions,
};
use highwater::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use highwater::sim::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// How often a seat is confirmed, in microseconds.
const INTERVAL_US: u64 = 5_000;

#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) member: String,
    pub(crate) epoch: i32,
    owned: BTreeSet<i32>,
    /// Where to go on in a partition, once that was asked for.
    positions: BTreeMap<i32, i64>,
    due_us: u64,
    /// It says everything, since an answer may have been lost.
    is_full: bool,
}

impl Seat {
    pub(crate) fn new(number: usize) -> Seat {
        Seat {
            member: format!("worker-{number}"),
            epoch: 0,
            owned: BTreeSet::new(),
            positions: BTreeMap::new(),
            due_us: 0,
            is_full: true,
        }
    }

    /// Nobody knows how far the work went: positions are to be asked for.
    pub(crate) fn forget_positions(&mut self) {
        self.positions.clear();
    }

    /// The last answer may not have arrived.
    pub(crate) fn doubt(&mut self) {
        self.is_full = true;
    }

    /// It owns nothing, and joins again.
    pub(crate) fn lose(&mut self) {
        self.epoch = 0;
        self.owned.clear();
        self.positions.clear();
        self.is_full = true;
        self.due_us = 0;
    }

    /// It has nothing to consume.
    pub(crate) fn is_idle(&self) -> bool {
        self.owned.is_empty()
    }

    pub(crate) fn is_due(&self, now_us: u64) -> bool {
        self.owned.is_empty() || now_us >= self.due_us
    }

    /// Whether the seat still gives what a transaction consumes.
    pub(crate) fn covers(&self, (partition, ..): Input) -> bool {
        self.owned.contains(&partition)
    }

    pub(crate) fn beat(&mut self, topic_id: Uuid, now_us: u64) -> ConsumerGroupHeartbeatRequest {
        self.due_us = now_us + INTERVAL_US;
        let partitions: Vec<i32> = self.owned.iter().copied().collect();
        let owned = match partitions.is_empty() {
            true => Vec::new(),
            false => vec![ConsumerGroupTopicPartitions { topic_id, partitions }],
        };
        ConsumerGroupHeartbeatRequest {
            group_id: WORKERS.to_owned(),
            member_id: self.member.clone(),
            member_epoch: self.epoch,
            rebalance_timeout_ms: if self.is_full { 60_000 } else { -1 },
            subscribed_topic_names: self.is_full.then(|| vec![TOPIC.to_owned()]),
            topic_partitions: Some(owned),
            ..Default::default()
        }
    }

    pub(crate) fn take(&mut self, answer: &ConsumerGroupHeartbeatResponse) {
        self.epoch = answer.member_epoch;
        self.is_full = false;
        if let Some(assignment) = &answer.assignment {
            let topics = assignment.topic_partitions.iter();
            self.owned = topics.flat_map(|topic| topic.partitions.iter().copied()).collect();
            self.positions.retain(|partition, _| self.owned.contains(partition));
        }
    }

    /// One of its partitions, and whether it knows where to go on.
    pub(crate) fn choose(&self, random: &mut Random) -> Option<(i32, Option<i64>)> {
        let owned: Vec<i32> = self.owned.iter().copied().collect();
        if owned.is_empty() {
            return None;
        }
        let partition = owned[random.index(owned.len())];
        Some((partition, self.positions.get(&partition).copied()))
    }

    pub(crate) fn go_on_at(&mut self, partition: i32, position: i64) {
        if self.owned.contains(&partition) {
            self.positions.insert(partition, position.max(0));
        }
    }
}

/// Asks where the group stands, and waits for transactions that may still move it.
pub(crate) fn positions_request() -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopics {
        name: TOPIC.to_owned(),
        partition_indexes: (0..INPUTS).collect(),
    };
    let group = OffsetFetchRequestGroup {
        group_id: WORKERS.to_owned(),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() }
}

/// The code that says most, and positions by partition.
pub(crate) fn positions(answer: &OffsetFetchResponse) -> (i16, Vec<(i32, i64)>) {
    let group = &answer.groups[0];
    let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
    let codes = partitions.clone().map(|one| one.error_code).chain([group.error_code]);
    let code = codes.max().unwrap();
    (code, partitions.map(|one| (one.partition_index, one.committed_offset)).collect())
}
