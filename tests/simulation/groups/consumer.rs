//! A member of the consumer protocol (KIP-848): one request, by which it joins, says what it owns,
//! follows what it is told, and leaves.

use super::member::{Member, Scene};
use super::network::{Ask, Endpoint, Patience, Sight};
use super::{GROUP, TOPIC};
use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, ConsumerGroupTopicPartitions,
};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use uuid::Uuid;

const LEAVE_EPOCH: i32 = -1;
const LEAVE_STATIC_EPOCH: i32 = -2;

fn request(scene: &Scene, member: &mut Member) -> ConsumerGroupHeartbeatRequest {
    // Whoever may have missed an answer says everything, and is told everything.
    let is_full = member.generation == 0 || member.said.is_none();
    let is_news = member.said.as_ref() != Some(&member.owned);
    let says = is_news || scene.handle.random(|random| random.chance(20));
    if says {
        member.said = Some(member.owned.clone());
    }
    ConsumerGroupHeartbeatRequest {
        group_id: GROUP.to_owned(),
        member_id: member.id.clone(),
        member_epoch: member.generation,
        instance_id: member.instance.clone(),
        rebalance_timeout_ms: if is_full { scene.habits.rebalance_timeout_ms } else { -1 },
        subscribed_topic_names: is_full.then(|| vec![TOPIC.to_owned()]),
        topic_partitions: (says || is_full).then(|| partitions(scene.topic, &member.owned)),
        ..Default::default()
    }
}

fn partitions(topic_id: Uuid, owned: &BTreeSet<i32>) -> Vec<ConsumerGroupTopicPartitions> {
    let partitions: Vec<i32> = owned.iter().copied().collect();
    if partitions.is_empty() {
        return Vec::new();
    }
    vec![ConsumerGroupTopicPartitions { topic_id, partitions }]
}

fn assigned(answer: &ConsumerGroupHeartbeatResponse) -> Option<BTreeSet<i32>> {
    let topics = &answer.assignment.as_ref()?.topic_partitions;
    Some(topics.iter().flat_map(|topic| topic.partitions.iter().copied()).collect())
}

/// One heartbeat; true when the next is to follow at once.
pub(crate) async fn step(
    scene: &Scene,
    endpoint: &mut Endpoint,
    member: &Rc<RefCell<Member>>,
) -> bool {
    let request = request(scene, &mut member.borrow_mut());
    let (holder, id) = (member.borrow().holder, request.member_id.clone());
    let joins = request.member_epoch == 0;
    let (sent_us, before) = (scene.now_us(), scene.history.borrow().generation_max());
    let watched = scene.clone();
    let witness = move |_, sight: Sight<'_, ConsumerGroupHeartbeatResponse>| {
        let Sight::Answered(answer) = sight else { return };
        if answer.error_code == 0 {
            let mut history = watched.history.borrow_mut();
            let told = assigned(answer).unwrap_or_default();
            history.tell(holder, &id, answer.member_epoch, &told, watched.now_us());
        }
    };
    let patience = scene.habits.patience;
    let ask = Ask { request, version: 1, patience, is_resent: false };
    let answer = endpoint.call_seen(ask, Rc::new(witness)).await;
    let mut member = member.borrow_mut();
    let Some(answer) = answer else {
        member.said = None;
        return true;
    };
    if answer.error_code != 0 {
        // It may have been told something that whoever refuses it now had decided before.
        member.said = None;
    }
    match KafkaCode::from_number(answer.error_code).unwrap() {
        KafkaCode::None => {
            if joins && patience == Patience::UntilGone && member.instance.is_none() {
                let history = scene.history.borrow();
                history.generations_never_go_back(before, answer.member_epoch);
            }
            member.enter(answer.member_epoch);
            scene.history.borrow_mut().renew(holder, scene.lease_us(sent_us), scene.now_us());
            let told = assigned(&answer);
            let is_news = told.as_ref().is_some_and(|told| *told != member.owned);
            if let Some(told) = told {
                member.own(scene, told, sent_us);
            }
            is_news
        }
        KafkaCode::FencedMemberEpoch | KafkaCode::UnknownMemberId | KafkaCode::GroupIdNotFound => {
            member.lose(scene, false);
            false
        }
        KafkaCode::FencedInstanceId => {
            member.die(scene);
            false
        }
        KafkaCode::UnreleasedInstanceId => false,
        code => {
            assert!(code.is_retriable(), "{code:?}: {:?}", answer.error_message);
            false
        }
    }
}

/// Leaves for good, or for a while where the member has an instance id.
pub(crate) async fn leave(scene: &Scene, endpoint: &mut Endpoint, member: &Rc<RefCell<Member>>) {
    let request = {
        let member = member.borrow();
        let goes_for_a_while =
            member.instance.is_some() && scene.handle.random(|random| random.chance(50));
        ConsumerGroupHeartbeatRequest {
            group_id: GROUP.to_owned(),
            member_id: member.id.clone(),
            member_epoch: if goes_for_a_while { LEAVE_STATIC_EPOCH } else { LEAVE_EPOCH },
            instance_id: member.instance.clone(),
            ..Default::default()
        }
    };
    let is_final = request.member_epoch == LEAVE_EPOCH;
    let (watched, id) = (scene.clone(), request.member_id.clone());
    let witness = move |_, sight: Sight<'_, ConsumerGroupHeartbeatResponse>| {
        let Sight::Answered(answer) = sight else { return };
        if is_final && answer.error_code == 0 {
            watched.history.borrow_mut().depart(&id);
        }
    };
    let ask = Ask { request, version: 1, patience: scene.habits.patience, is_resent: true };
    endpoint.call_seen(ask, Rc::new(witness)).await;
}
