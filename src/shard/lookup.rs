//! Who the active controller is, asked of others: for a broker that its quorum does not know yet,
//! or does not reach any more.
//!
//! Voters and bootstrap servers are asked in turn (DescribeQuorum), as any client would: of a
//! bootstrap server nothing but the address is known. Whoever is asked passes the question on to
//! the active controller, so one answer names it and says where it is.

use crate::model::ids::BrokerId;
use crate::model::limits::{LOOKUP_MS, QUORUM_MEMBERS_MAX};
use crate::model::listeners::Endpoint;
use crate::protocol::frame::{self, ResponseHeader};
use crate::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, WantedPartition, WantedTopic,
};
use crate::protocol::primitive::Reader;
use crate::protocol::schema::Message;
use crate::shard::peers;
use crate::shard::shard::{Shard, ShardRef};
use crate::storage::disk::Disk;

/// How the question introduces itself; not as a broker, so that it is passed on.
const CLIENT: &str = "highwater-lookup";
const METADATA_TOPIC: &str = "__cluster_metadata";

/// What this broker was told, and whom it asks next.
#[derive(Debug, Default)]
pub struct Lookup {
    asked: usize,
    due_us: u64,
}

/// Asks the next one that may know; `None` while nobody does.
pub(super) async fn controller<D: Disk>(shard: &ShardRef<D>) -> Option<BrokerId> {
    let to = shard.borrow_mut().next_to_ask()?;
    let version = *DescribeQuorumRequest::VERSIONS.end();
    let partitions = vec![WantedPartition { partition_index: 0 }];
    let topic = WantedTopic { topic_name: METADATA_TOPIC.to_owned(), partitions };
    let request = DescribeQuorumRequest { topics: vec![topic] };
    let sent = frame::encode_request(&request, version, 0, Some(CLIENT)).ok()?;
    let answer = peers::forward(shard, to, sent.parts, LOOKUP_MS).await.ok()?;
    let mut reader = Reader::new(&answer);
    ResponseHeader::decode(&mut reader, DescribeQuorumRequest::KEY, version).ok()?;
    let answer = DescribeQuorumResponse::decode(&mut reader, version).ok()?;
    shard.borrow_mut().learn(answer)
}

impl<D: Disk> Shard<D> {
    fn next_to_ask(&mut self) -> Option<BrokerId> {
        if self.lookup.due_us > self.now.monotonic_us {
            return None;
        }
        self.lookup.due_us = self.now.deadline_us(LOOKUP_MS);
        let own = self.image.local();
        let cluster = &self.config.cluster;
        let mut known: Vec<BrokerId> = cluster.voters.iter().map(|voter| voter.id).collect();
        known.extend(self.quorum.view().role.members.voters);
        known.sort_unstable();
        known.dedup();
        known.retain(|id| *id != own);
        known.extend((0..cluster.bootstrap.len()).map(peers::stranger));
        let next = known.get(self.lookup.asked % known.len().max(1)).copied();
        self.lookup.asked = self.lookup.asked.wrapping_add(1);
        next
    }

    /// Keeps where voters are reached; the leader, where the answer is that of one.
    fn learn(&mut self, answer: DescribeQuorumResponse) -> Option<BrokerId> {
        for node in answer.nodes.into_iter().take(QUORUM_MEMBERS_MAX) {
            let learnt = &self.peers.learnt;
            let id = BrokerId(node.node_id);
            if learnt.len() >= QUORUM_MEMBERS_MAX && !learnt.contains_key(&id) {
                continue;
            }
            if let Some(listener) = node.listeners.into_iter().next() {
                let endpoint = Endpoint { host: listener.host, port: listener.port };
                self.peers.learnt.insert(id, endpoint);
            }
        }
        let partition = answer.topics.into_iter().next()?.partitions.into_iter().next()?;
        let leader = BrokerId(partition.leader_id);
        let is_other = partition.error_code == 0 && leader != self.image.local();
        (is_other && leader.0 >= 0).then_some(leader)
    }
}
