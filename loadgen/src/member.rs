//! One member of a group, of either protocol: what it asks next, and what it holds.
//!
//! It behaves as Kafka's consumers do: it hears of a rebalance by a heartbeat, gives back at once
//! what it is to give back, and says so at once.
//!
//! Invariants
//! - A member has at most one request unanswered.
//! - `assigned` is what it holds in generation or member epoch `epoch`; `None` while it does not
//!   know.

use bytes::{BufMut, Bytes, BytesMut};
use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupTopicPartitions,
};
use highwater::protocol::messages::heartbeat::HeartbeatRequest;
use highwater::protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use highwater::protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use highwater::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use uuid::Uuid;

use crate::exchange::{Answer, Exchange};
use crate::failure::Failure;
use crate::group_args::GroupProtocol;

pub(crate) const MEMBER_ID_REQUIRED: i16 = KafkaCode::MemberIdRequired.number();
const REBALANCE_IN_PROGRESS: i16 = KafkaCode::RebalanceInProgress.number();
const UNKNOWN_MEMBER_ID: i16 = KafkaCode::UnknownMemberId.number();
const ILLEGAL_GENERATION: i16 = KafkaCode::IllegalGeneration.number();
const FENCED_MEMBER_EPOCH: i16 = KafkaCode::FencedMemberEpoch.number();

const SESSION_TIMEOUT_MS: i32 = 45_000;
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
const LEAVE_EPOCH: i32 = -1;
const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL_NAME: &str = "range";

/// What is the same for all members.
#[derive(Debug, Clone)]
pub(crate) struct GroupPlan {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) topic_id: Uuid,
    pub(crate) partitions: i32,
    pub(crate) protocol: GroupProtocol,
    pub(crate) heartbeat_ns: u64,
    pub(crate) versions: GroupVersions,
}

/// Versions on the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupVersions {
    pub(crate) join: i16,
    pub(crate) sync: i16,
    pub(crate) heartbeat: i16,
    pub(crate) leave: i16,
    /// 0 when the run does not need it.
    pub(crate) consumer: i16,
}

/// What an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Join,
    Sync,
    Heartbeat,
    /// The consumer protocol's one request.
    Consumer,
    Leave,
}

/// What a member does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It is in no group.
    Nothing,
    Join,
    Sync,
    Heartbeat,
}

/// See the module's header.
#[derive(Debug)]
pub(crate) struct Member {
    next: Next,
    due_ns: u64,
    is_asking: bool,
    is_leaving: bool,
    member_id: String,
    pub(crate) epoch: i32,
    pub(crate) assigned: Option<Vec<i32>>,
    /// Consumer protocol: whether the broker knows what is held.
    is_told: bool,
    /// Classic protocol, leader: what each member gets.
    handed_out: Vec<SyncGroupRequestAssignment>,
}

impl Member {
    /// In no group yet.
    pub(crate) fn new() -> Member {
        Member {
            next: Next::Nothing,
            due_ns: u64::MAX,
            is_asking: false,
            is_leaving: false,
            member_id: String::new(),
            epoch: 0,
            assigned: None,
            is_told: true,
            handed_out: Vec::new(),
        }
    }

    /// Joins with the next request, as member number `index` of the run.
    pub(crate) fn join(&mut self, plan: &GroupPlan, index: usize, now: u64) {
        self.member_id = match plan.protocol {
            GroupProtocol::Classic => String::new(),
            GroupProtocol::Consumer => {
                let index = u64::try_from(index).expect("usize fits in 64 bits");
                Uuid::from_u64_pair(now, index).to_string()
            }
        };
        self.rejoin(now);
    }

    fn rejoin(&mut self, now: u64) {
        self.next = Next::Join;
        self.due_ns = now;
        self.epoch = 0;
        self.assigned = None;
        self.is_told = true;
    }

    /// Leaves with the next request.
    pub(crate) fn leave(&mut self, now: u64) {
        self.is_leaving = true;
        self.due_ns = now;
    }

    /// Whether it is in no group, and wants to be in none.
    pub(crate) fn is_gone(&self) -> bool {
        self.next == Next::Nothing
    }

    /// Whether it holds what it was assigned, and the broker knows.
    pub(crate) fn is_stable(&self) -> bool {
        self.next == Next::Heartbeat && self.is_told && self.assigned.is_some()
    }

    /// When it has something to say; `None` while an answer is awaited.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        let is_silent = self.is_asking || self.next == Next::Nothing;
        (!is_silent).then_some(self.due_ns)
    }

    /// Sends what is due.
    pub(crate) fn speak(
        &mut self,
        plan: &GroupPlan,
        exchange: &mut Exchange<(usize, Asked)>,
        index: usize,
    ) -> Result<(), Failure> {
        self.is_asking = true;
        let versions = plan.versions;
        let is_consumer = plan.protocol == GroupProtocol::Consumer;
        if is_consumer {
            let request = self.consumer_heartbeat(plan);
            let asked = if self.is_leaving { Asked::Leave } else { Asked::Consumer };
            return exchange.ask(index, &request, versions.consumer, (index, asked));
        }
        if self.is_leaving {
            let request = LeaveGroupRequest {
                group_id: plan.group.clone(),
                members: vec![MemberIdentity {
                    member_id: self.member_id.clone(),
                    ..MemberIdentity::default()
                }],
                ..LeaveGroupRequest::default()
            };
            return exchange.ask(index, &request, versions.leave, (index, Asked::Leave));
        }
        match self.next {
            Next::Join => {
                exchange.ask(index, &self.join_request(plan), versions.join, (index, Asked::Join))
            }
            Next::Sync => {
                let request = self.sync_request(plan);
                exchange.ask(index, &request, versions.sync, (index, Asked::Sync))
            }
            Next::Heartbeat | Next::Nothing => {
                let request = HeartbeatRequest {
                    group_id: plan.group.clone(),
                    generation_id: self.epoch,
                    member_id: self.member_id.clone(),
                    ..HeartbeatRequest::default()
                };
                exchange.ask(index, &request, versions.heartbeat, (index, Asked::Heartbeat))
            }
        }
    }

    fn consumer_heartbeat(&mut self, plan: &GroupPlan) -> ConsumerGroupHeartbeatRequest {
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: plan.group.clone(),
            member_id: self.member_id.clone(),
            member_epoch: if self.is_leaving { LEAVE_EPOCH } else { self.epoch },
            ..ConsumerGroupHeartbeatRequest::default()
        };
        if self.is_leaving {
            return request;
        }
        if self.next == Next::Join {
            request.rebalance_timeout_ms = REBALANCE_TIMEOUT_MS;
            request.subscribed_topic_names = Some(vec![plan.topic.clone()]);
            request.topic_partitions = Some(Vec::new());
        } else if !self.is_told {
            let held = ConsumerGroupTopicPartitions {
                topic_id: plan.topic_id,
                partitions: self.assigned.clone().unwrap_or_default(),
            };
            request.topic_partitions = Some(vec![held]);
        }
        self.is_told = true;
        request
    }

    fn join_request(&self, plan: &GroupPlan) -> JoinGroupRequest {
        JoinGroupRequest {
            group_id: plan.group.clone(),
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            member_id: self.member_id.clone(),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols: vec![JoinGroupRequestProtocol {
                name: PROTOCOL_NAME.to_owned(),
                metadata: subscription(&plan.topic),
            }],
            ..JoinGroupRequest::default()
        }
    }

    fn sync_request(&mut self, plan: &GroupPlan) -> SyncGroupRequest {
        SyncGroupRequest {
            group_id: plan.group.clone(),
            generation_id: self.epoch,
            member_id: self.member_id.clone(),
            protocol_type: Some(PROTOCOL_TYPE.to_owned()),
            protocol_name: Some(PROTOCOL_NAME.to_owned()),
            assignments: std::mem::take(&mut self.handed_out),
            ..SyncGroupRequest::default()
        }
    }

    /// Takes the answer to what it has `asked`.
    ///
    /// # Errors
    /// Bytes that cannot be read, or a refusal that a rebalance does not explain.
    pub(crate) fn hear(
        &mut self,
        plan: &GroupPlan,
        asked: Asked,
        answer: Answer<'_, '_>,
    ) -> Result<(), Failure> {
        self.is_asking = false;
        let (now, versions) = (answer.now_ns, plan.versions);
        match asked {
            Asked::Join => {
                let answer = answer.read::<JoinGroupRequest>(versions.join)?;
                return self.on_join(plan, answer, now);
            }
            Asked::Sync => {
                let answer = answer.read::<SyncGroupRequest>(versions.sync)?;
                if self.is_refused("SyncGroup", answer.error_code, now)? {
                    return Ok(());
                }
                self.assigned = Some(read_assignment(&answer.assignment).ok_or_else(bad)?);
                self.beat_after(plan, now);
            }
            Asked::Heartbeat => {
                let answer = answer.read::<HeartbeatRequest>(versions.heartbeat)?;
                if !self.is_refused("Heartbeat", answer.error_code, now)? {
                    self.beat_after(plan, now);
                }
            }
            Asked::Consumer => {
                let answer = answer.read::<ConsumerGroupHeartbeatRequest>(versions.consumer)?;
                if self.is_refused("ConsumerGroupHeartbeat", answer.error_code, now)? {
                    return Ok(());
                }
                self.epoch = answer.member_epoch;
                self.beat_after(plan, now);
                if let Some(assignment) = answer.assignment {
                    let topics = assignment.topic_partitions.into_iter();
                    self.assigned = Some(topics.flat_map(|topic| topic.partitions).collect());
                    self.is_told = false;
                    self.due_ns = now;
                }
            }
            Asked::Leave => {
                if plan.protocol == GroupProtocol::Classic {
                    answer.read::<LeaveGroupRequest>(versions.leave)?;
                }
                *self = Member::new();
            }
        }
        if self.is_leaving {
            self.due_ns = now;
        }
        Ok(())
    }

    fn beat_after(&mut self, plan: &GroupPlan, now: u64) {
        self.next = Next::Heartbeat;
        self.due_ns = now + plan.heartbeat_ns;
    }

    fn on_join(
        &mut self,
        plan: &GroupPlan,
        answer: JoinGroupResponse,
        now: u64,
    ) -> Result<(), Failure> {
        if answer.error_code == MEMBER_ID_REQUIRED {
            self.member_id = answer.member_id;
            return Ok(());
        }
        if self.is_refused("JoinGroup", answer.error_code, now)? {
            return Ok(());
        }
        self.member_id = answer.member_id;
        self.epoch = answer.generation_id;
        self.next = Next::Sync;
        self.due_ns = now;
        if answer.leader == self.member_id {
            let count = answer.members.len();
            let share = |(turn, member): (usize, &str)| SyncGroupRequestAssignment {
                member_id: member.to_owned(),
                assignment: assignment(&plan.topic, &shares(plan.partitions, turn, count)),
            };
            let ids = answer.members.iter().map(|member| member.member_id.as_str());
            self.handed_out = ids.enumerate().map(share).collect();
        }
        Ok(())
    }

    /// Whether `code` is a refusal; one that a rebalance explains makes it join again.
    fn is_refused(&mut self, api: &'static str, code: i16, now: u64) -> Result<bool, Failure> {
        match code {
            0 => return Ok(false),
            REBALANCE_IN_PROGRESS | ILLEGAL_GENERATION | FENCED_MEMBER_EPOCH => self.rejoin(now),
            UNKNOWN_MEMBER_ID => {
                // Classic members get a new id; those of the consumer protocol keep their own.
                if api != "ConsumerGroupHeartbeat" {
                    self.member_id.clear();
                }
                self.rejoin(now);
            }
            passing if crate::coordinators::is_passing(passing) => self.due_ns = now,
            code => return Err(Failure::Declined { api, code }),
        }
        Ok(true)
    }
}

fn bad() -> Failure {
    Failure::Unreadable {
        address: "the group's leader".to_owned(),
        api: "SyncGroup",
        reason: "not an assignment".to_owned(),
    }
}

/// What member number `turn` of `count` gets: every `count`th partition.
fn shares(partitions: i32, turn: usize, count: usize) -> Vec<i32> {
    let turn = i32::try_from(turn).unwrap_or(i32::MAX);
    (turn..partitions).step_by(count.max(1)).collect()
}

/// ConsumerProtocolSubscription version 0: one topic.
pub(crate) fn subscription(topic: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    put_topic(&mut bytes, topic);
    bytes.put_i32(-1);
    bytes.freeze()
}

/// ConsumerProtocolAssignment version 0: partitions of one topic.
fn assignment(topic: &str, partitions: &[i32]) -> Bytes {
    let mut bytes = BytesMut::new();
    put_topic(&mut bytes, topic);
    bytes.put_i32(i32::try_from(partitions.len()).unwrap_or(i32::MAX));
    partitions.iter().for_each(|partition| bytes.put_i32(*partition));
    bytes.put_i32(-1);
    bytes.freeze()
}

/// Version 0, an array of one, and the topic's name.
fn put_topic(bytes: &mut BytesMut, topic: &str) {
    bytes.put_i16(0);
    bytes.put_i32(1);
    bytes.put_i16(i16::try_from(topic.len()).unwrap_or(i16::MAX));
    bytes.put_slice(topic.as_bytes());
}

/// The partitions of what [`assignment`] has made.
fn read_assignment(bytes: &[u8]) -> Option<Vec<i32>> {
    let name_size = usize::from(u16::from_be_bytes(*bytes.get(6..)?.first_chunk()?));
    let rest = bytes.get(8 + name_size..)?;
    let count = usize::try_from(i32::from_be_bytes(*rest.first_chunk()?)).ok()?;
    let partitions = rest.get(4..)?.chunks_exact(4).take(count);
    let partitions: Option<Vec<i32>> =
        partitions.map(|chunk| Some(i32::from_be_bytes(*chunk.first_chunk()?))).collect();
    partitions.filter(|partitions| partitions.len() == count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_comes_back_as_it_was_handed_out() {
        for partitions in [vec![], vec![7], (0..1000).collect()] {
            let bytes = assignment("orders", &partitions);
            assert_eq!(read_assignment(&bytes), Some(partitions));
            assert_eq!(read_assignment(&bytes[..bytes.len() - 5]), None);
        }
        assert_eq!(read_assignment(b""), None);
    }

    #[test]
    fn shares_are_complete_and_even() {
        for (partitions, members) in [(1000, 100), (1000, 99), (3, 5)] {
            let all: Vec<Vec<i32>> =
                (0..members).map(|turn| shares(partitions, turn, members)).collect();
            let sizes = || all.iter().map(Vec::len);
            assert!(sizes().max().unwrap() - sizes().min().unwrap() <= 1);
            let mut flat = all.concat();
            flat.sort_unstable();
            assert_eq!(flat, (0..partitions).collect::<Vec<i32>>());
        }
    }
}
