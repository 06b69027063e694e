//! A member of the classic protocol: it joins, asks for its assignment, says that it is there, and
//! leads when it is made the leader.

use super::member::{Member, Phase, Scene};
use super::network::{Ask, Endpoint, Sight};
use super::wire::{self, Subscription};
use super::{GROUP, PARTITIONS, SESSION_MS};
use bytes::Bytes;
use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::heartbeat::HeartbeatRequest;
use highwater::protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use highwater::protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use highwater::protocol::messages::sync_group::{
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const PROTOCOL_TYPE: &str = "consumer";

/// The next request; true when another is to follow at once.
pub(crate) async fn step(
    scene: &Scene,
    endpoint: &mut Endpoint,
    member: &Rc<RefCell<Member>>,
) -> bool {
    let phase = member.borrow().phase.clone();
    match phase {
        Phase::Out => join(scene, endpoint, member).await,
        Phase::Joined { subscriptions } => sync(scene, endpoint, member, subscriptions).await,
        Phase::In => beat(scene, endpoint, member).await,
    }
}

fn protocol_name(scene: &Scene) -> &'static str {
    if scene.habits.is_cooperative { "cooperative-sticky" } else { "range" }
}

fn join_request(scene: &Scene, member: &mut Member) -> JoinGroupRequest {
    let is_cooperative = scene.habits.is_cooperative;
    if !is_cooperative {
        let owned = std::mem::take(&mut member.owned);
        scene.history.borrow_mut().release(member.holder, &owned);
    }
    let subscription = Subscription { owned: member.owned.clone(), generation: member.generation };
    JoinGroupRequest {
        group_id: GROUP.to_owned(),
        session_timeout_ms: i32::try_from(SESSION_MS).unwrap(),
        rebalance_timeout_ms: scene.habits.rebalance_timeout_ms,
        member_id: member.id.clone(),
        group_instance_id: member.instance.clone(),
        protocol_type: PROTOCOL_TYPE.to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: protocol_name(scene).to_owned(),
            metadata: subscription.encode(),
        }],
        reason: None,
    }
}

async fn join(scene: &Scene, endpoint: &mut Endpoint, member: &Rc<RefCell<Member>>) -> bool {
    let request = join_request(scene, &mut member.borrow_mut());
    let (sent_us, before) = (scene.now_us(), scene.history.borrow().generation_max());
    let ask = Ask { request, version: 9, patience: scene.habits.join_patience, is_resent: true };
    let Some(answer) = endpoint.call(ask).await else { return true };
    let mut member = member.borrow_mut();
    match KafkaCode::from_number(answer.error_code).unwrap() {
        KafkaCode::None => {
            let history = &mut *scene.history.borrow_mut();
            history.generations_never_go_back(before, answer.generation_id);
            history.renew(member.holder, scene.lease_us(sent_us), scene.now_us());
            member.id.clone_from(&answer.member_id);
            member.enter(answer.generation_id);
            member.phase = Phase::Joined { subscriptions: led(answer) };
            true
        }
        KafkaCode::MemberIdRequired => {
            member.id = answer.member_id;
            true
        }
        KafkaCode::UnknownMemberId => {
            member.lose(scene, true);
            true
        }
        KafkaCode::FencedInstanceId => {
            member.die(scene);
            false
        }
        KafkaCode::RebalanceInProgress | KafkaCode::InconsistentGroupProtocol => false,
        code => {
            assert!(code.is_retriable(), "{code:?}");
            false
        }
    }
}

/// What the members of the group own, when this one leads and is to assign.
fn led(answer: JoinGroupResponse) -> Option<BTreeMap<String, Subscription>> {
    if answer.leader != answer.member_id || answer.skip_assignment {
        return None;
    }
    let members = answer.members.into_iter();
    Some(members.map(|one| (one.member_id, Subscription::decode(one.metadata))).collect())
}

/// Shares partitions out evenly. Members that say what they own keep it, as far as it is not too
/// much, and nobody is given what another one still has.
fn assign(
    members: &BTreeMap<String, Subscription>,
    is_cooperative: bool,
) -> BTreeMap<String, BTreeSet<i32>> {
    let mut shares: BTreeMap<String, BTreeSet<i32>> =
        members.keys().map(|id| (id.clone(), BTreeSet::new())).collect();
    let most = usize::try_from(PARTITIONS).unwrap().div_ceil(members.len());
    let mut free = Vec::new();
    for partition in 0..PARTITIONS {
        let claims = members.iter().filter(|(_, own)| own.owned.contains(&partition));
        // Of two that say they have it, the one that was told later is right.
        let owner = claims.max_by_key(|(_, own)| own.generation).map(|(id, _)| id);
        match owner {
            Some(owner) if is_cooperative => {
                let share = shares.get_mut(owner).unwrap();
                if share.len() < most {
                    share.insert(partition);
                }
            }
            _ => free.push(partition),
        }
    }
    for partition in free {
        let least = shares.values().map(BTreeSet::len).min().unwrap();
        let share = shares.values_mut().find(|share| share.len() == least).unwrap();
        share.insert(partition);
    }
    shares
}

fn sync_request(
    scene: &Scene,
    member: &Member,
    subscriptions: Option<BTreeMap<String, Subscription>>,
) -> SyncGroupRequest {
    let is_cooperative = scene.habits.is_cooperative;
    let assignments = subscriptions.map_or_else(BTreeMap::new, |members| {
        scene.history.borrow_mut().decide(&assign(&members, is_cooperative))
    });
    let pair = |(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment };
    SyncGroupRequest {
        group_id: GROUP.to_owned(),
        generation_id: member.generation,
        member_id: member.id.clone(),
        group_instance_id: member.instance.clone(),
        protocol_type: Some(PROTOCOL_TYPE.to_owned()),
        protocol_name: Some(protocol_name(scene).to_owned()),
        assignments: assignments.into_iter().map(pair).collect(),
    }
}

async fn sync(
    scene: &Scene,
    endpoint: &mut Endpoint,
    member: &Rc<RefCell<Member>>,
    subscriptions: Option<BTreeMap<String, Subscription>>,
) -> bool {
    let request = sync_request(scene, &member.borrow(), subscriptions);
    let (holder, generation) = (member.borrow().holder, request.generation_id);
    let (watched, id, sent_us) = (scene.clone(), request.member_id.clone(), scene.now_us());
    let instance = request.group_instance_id.clone();
    let witness = move |_, sight: Sight<'_, SyncGroupResponse>| {
        let Sight::Answered(answer) = sight else { return };
        if answer.error_code == 0 {
            let history = &mut *watched.history.borrow_mut();
            let who = (&*id, instance.as_deref());
            history.assignments_are_relayed_untouched(who, generation, &answer.assignment);
            let (told, _) = wire::decode_assignment(answer.assignment.clone());
            history.tell(holder, &id, generation, &told, watched.now_us());
        }
    };
    let ask = Ask { request, version: 5, patience: scene.habits.patience, is_resent: true };
    let Some(answer) = endpoint.call_seen(ask, Rc::new(witness)).await else { return true };
    let mut member = member.borrow_mut();
    match KafkaCode::from_number(answer.error_code).unwrap() {
        KafkaCode::None => {
            scene.history.borrow_mut().renew(holder, scene.lease_us(sent_us), scene.now_us());
            take_assignment(scene, &mut member, answer.assignment, sent_us)
        }
        code => on_refusal(scene, &mut member, code),
    }
}

/// True when the member has given something up, so that another one can have it.
fn take_assignment(scene: &Scene, member: &mut Member, bytes: Bytes, sent_us: u64) -> bool {
    let (told, _) = wire::decode_assignment(bytes);
    let gives_up = !member.owned.is_subset(&told);
    member.own(scene, told, sent_us);
    member.phase = if gives_up { Phase::Out } else { Phase::In };
    gives_up
}

async fn beat(scene: &Scene, endpoint: &mut Endpoint, member: &Rc<RefCell<Member>>) -> bool {
    let request = {
        let member = member.borrow();
        HeartbeatRequest {
            group_id: GROUP.to_owned(),
            generation_id: member.generation,
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
        }
    };
    let sent_us = scene.now_us();
    let ask = Ask { request, version: 4, patience: scene.habits.patience, is_resent: true };
    let Some(answer) = endpoint.call(ask).await else { return true };
    let mut member = member.borrow_mut();
    match KafkaCode::from_number(answer.error_code).unwrap() {
        KafkaCode::None => {
            scene.history.borrow_mut().renew(
                member.holder,
                scene.lease_us(sent_us),
                scene.now_us(),
            );
            false
        }
        code => on_refusal(scene, &mut member, code),
    }
}

/// True when the member is to join again at once.
fn on_refusal(scene: &Scene, member: &mut Member, code: KafkaCode) -> bool {
    match code {
        KafkaCode::RebalanceInProgress => member.phase = Phase::Out,
        KafkaCode::IllegalGeneration => member.lose(scene, false),
        KafkaCode::UnknownMemberId => member.lose(scene, true),
        KafkaCode::FencedInstanceId => {
            member.die(scene);
            return false;
        }
        code => {
            assert!(code.is_retriable(), "{code:?}");
            return false;
        }
    }
    true
}

/// Leaves; a member with an instance id is named by it.
pub(crate) async fn leave(scene: &Scene, endpoint: &mut Endpoint, member: &Rc<RefCell<Member>>) {
    let request = {
        let member = member.borrow();
        let leaving = MemberIdentity {
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
            reason: None,
        };
        LeaveGroupRequest {
            group_id: GROUP.to_owned(),
            members: vec![leaving],
            ..Default::default()
        }
    };
    let ask = Ask { request, version: 5, patience: scene.habits.patience, is_resent: true };
    endpoint.call(ask).await;
}
