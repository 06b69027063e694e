//! Consumers that commit how far they are: what was acknowledged is never behind what is told
//! later.

use super::TOPIC;
use super::caller::{Caller, Net, RETRY_US};
use super::coordinated::{Coordinators, Kind, Turn, turn};
use super::producer::Place;
use highwater::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Its members commit without being assigned anything.
pub(crate) const GROUP: &str = "committers";
/// Longest pause between two commits, in microseconds.
const PAUSE_US_MAX: u64 = 150_000;

/// The committed offsets, by partition. One client commits those of a partition, each greater than
/// the one before.
#[derive(Debug, Default)]
pub(crate) struct Register {
    acked: BTreeMap<i32, i64>,
    sent: BTreeMap<i32, i64>,
    pub(crate) commits: usize,
}

impl Register {
    /// What `acked` says must have been so before the question was sent.
    fn committed_offsets_never_go_back(&self, partition: i32, acked: i64, told: i64) {
        assert!(told >= acked, "partition {partition}: {told} is told, {acked} was committed");
    }

    fn nothing_is_committed_that_nobody_sent(&self, partition: i32, told: i64) {
        let sent = self.sent.get(&partition).copied().unwrap_or(-1);
        assert!(told <= sent, "partition {partition}: {told} is told, {sent} was sent");
    }

    fn acked(&self, partition: i32) -> i64 {
        self.acked.get(&partition).copied().unwrap_or(-1)
    }
}

/// Commits offsets of one partition, and asks for them.
pub(crate) async fn commit(
    net: Net,
    place: Place,
    partition: i32,
    register: Rc<RefCell<Register>>,
) {
    let mut caller = Caller::new(&net);
    let mut coordinators = Coordinators::default();
    let mut offset = 0;
    while !net.is_over.get() {
        offset += 1;
        register.borrow_mut().sent.insert(partition, offset);
        commit_one(&mut caller, &mut coordinators, partition, offset).await;
        {
            let mut register = register.borrow_mut();
            register.acked.insert(partition, offset);
            register.commits += 1;
        }
        net.pause(PAUSE_US_MAX).await;
        look(&mut caller, &mut coordinators, place, &register).await;
        net.pause(PAUSE_US_MAX).await;
    }
}

/// Asks once; true when the offsets were told.
pub(crate) async fn look(
    caller: &mut Caller,
    coordinators: &mut Coordinators,
    place: Place,
    register: &Rc<RefCell<Register>>,
) -> bool {
    let before: BTreeMap<i32, i64> = {
        let register = register.borrow();
        (0..place.partitions).map(|partition| (partition, register.acked(partition))).collect()
    };
    let told = coordinators.committed(caller, GROUP, (TOPIC, place.partitions)).await;
    for (partition, offset) in told.iter().flatten() {
        let register = register.borrow();
        register.committed_offsets_never_go_back(*partition, before[partition], *offset);
        register.nothing_is_committed_that_nobody_sent(*partition, *offset);
    }
    told.is_some()
}

/// Until it is acknowledged, and no other request of it is under way: a late one would take the
/// place of the next commit, and the protocol has no number that would tell.
async fn commit_one(
    caller: &mut Caller,
    coordinators: &mut Coordinators,
    partition: i32,
    offset: i64,
) {
    loop {
        let Some(at) = coordinators.find(caller, Kind::Group, GROUP).await else { continue };
        let own = OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            ..Default::default()
        };
        let topic = OffsetCommitRequestTopic { name: TOPIC.to_owned(), partitions: vec![own] };
        let request = OffsetCommitRequest {
            group_id: GROUP.to_owned(),
            generation_id_or_member_epoch: -1,
            topics: vec![topic],
            ..Default::default()
        };
        let answer = caller.call_version(at, request, 9).await;
        let code = answer.map(|answer| answer.topics[0].partitions[0].error_code);
        if code.is_some_and(|code| turn(code) == Turn::Done) {
            return caller.until_gone().await;
        }
        coordinators.forget(Kind::Group, GROUP);
        caller.net.pause(RETRY_US).await;
    }
}
