//! Requests that a coordinator answers, wherever it is, and what its answers mean.

use super::caller::{Caller, RETRY_US};
use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::find_coordinator::FindCoordinatorRequest;
use highwater::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use highwater::sim::cluster::NodeId;
use std::collections::BTreeMap;

/// What a coordinator coordinates: `key_type` of FindCoordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Group,
    Transaction,
}

/// What an answer means to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Done,
    Again,
    /// Its client is not any more what it was.
    Lost,
}

/// # Panics
/// The code is none that a client gets which does what it may.
pub(crate) fn turn(code: i16) -> Turn {
    match KafkaCode::from_number(code).unwrap() {
        KafkaCode::None => Turn::Done,
        KafkaCode::ProducerFenced
        | KafkaCode::InvalidProducerEpoch
        | KafkaCode::InvalidTxnState
        | KafkaCode::InvalidProducerIdMapping
        | KafkaCode::OutOfOrderSequenceNumber
        | KafkaCode::TransactionAbortable => Turn::Lost,
        code if code.is_retriable() => Turn::Again,
        code => panic!("{code:?}"),
    }
}

/// Where a client believes its coordinators.
#[derive(Default)]
pub(crate) struct Coordinators {
    known: BTreeMap<(Kind, String), NodeId>,
}

impl Coordinators {
    /// The coordinator of a key; `None` when nobody says so at the moment.
    pub(crate) async fn find(
        &mut self,
        caller: &mut Caller,
        kind: Kind,
        key: &str,
    ) -> Option<NodeId> {
        let place = (kind, key.to_owned());
        if let Some(known) = self.known.get(&place) {
            return Some(*known);
        }
        let request = FindCoordinatorRequest {
            key_type: i8::from(kind == Kind::Transaction),
            coordinator_keys: vec![key.to_owned()],
            ..Default::default()
        };
        let at = caller.net.any_broker();
        let answer = caller.call_version(at, request, 4).await?;
        let found = &answer.coordinators[0];
        if turn(found.error_code) == Turn::Done {
            self.known.insert(place, found.node_id);
            return Some(found.node_id);
        }
        caller.net.pause(RETRY_US).await;
        None
    }

    /// Whoever was believed to be the coordinator is not, or does not answer.
    pub(crate) fn forget(&mut self, kind: Kind, key: &str) {
        self.known.remove(&(kind, key.to_owned()));
    }

    /// Committed offsets of a topic's partitions, once no transaction may still change them;
    /// `None` when they cannot be had at the moment.
    pub(crate) async fn committed(
        &mut self,
        caller: &mut Caller,
        group: &str,
        (topic, partitions): (&str, i32),
    ) -> Option<BTreeMap<i32, i64>> {
        let at = self.find(caller, Kind::Group, group).await?;
        let answer = caller.call_version(at, offset_fetch(group, topic, partitions), 9).await;
        let found = answer.map(|answer| positions(&answer));
        if let Some((code, positions)) = found
            && turn(code) == Turn::Done
        {
            return Some(positions);
        }
        self.forget(Kind::Group, group);
        caller.net.pause(RETRY_US).await;
        None
    }
}

fn offset_fetch(group: &str, topic: &str, partitions: i32) -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopics {
        name: topic.to_owned(),
        partition_indexes: (0..partitions).collect(),
    };
    let group = OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() }
}

/// The code that says most, and positions by partition.
fn positions(answer: &OffsetFetchResponse) -> (i16, BTreeMap<i32, i64>) {
    let group = &answer.groups[0];
    let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
    let codes = partitions.clone().map(|one| one.error_code).chain([group.error_code]);
    let code = codes.max().unwrap();
    (code, partitions.map(|one| (one.partition_index, one.committed_offset)).collect())
}
