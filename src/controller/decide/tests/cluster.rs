//! Decisions about more than one broker.

use super::*;
use crate::controller::records::{Availability, LeaderRecovery};
use crate::model::ids::LeaderEpoch;
use crate::model::limits::{BROKER_LISTENERS_MAX, BROKER_TEXT_BYTES_MAX};

impl Controller {
    /// Three brokers of one core, and a topic with replicas on all of them in turn.
    fn trio(configs: &[(&str, &str)]) -> Controller {
        let mut controller = Controller::with(&[(1, 1), (2, 1), (3, 1)]);
        let configs = configs.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned())));
        let new = NewTopic { configs: configs.collect(), ..assigned("a", &[(0, &[1, 2, 3])]) };
        assert_eq!(controller.create(new), "a x1 rf3");
        controller
    }

    fn state(&self) -> &PartitionState {
        &self.image.topic_by_name("a").unwrap().partitions[0].state
    }

    fn id(&self) -> TopicPartition {
        let topic = self.image.topic_by_name("a").unwrap().id;
        TopicPartition { topic, partition: PartitionId(0) }
    }

    /// `leader@leader epoch isr [elr]`, and `recovering` or `adding removing` where there are.
    fn shown(&self) -> String {
        let state = self.state();
        let numbers = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect::<Vec<i32>>();
        let leader = state.leader.map_or(-1, |leader| leader.0);
        let mut text = format!("{leader}@{} {:?}", state.leader_epoch.0, numbers(&state.isr));
        if !state.elr.is_empty() {
            text += &format!(" elr {:?}", numbers(&state.elr));
        }
        if state.recovery == LeaderRecovery::Recovering {
            text += " recovering";
        }
        if !(state.adding.is_empty() && state.removing.is_empty()) {
            text += &format!(" +{:?} -{:?}", numbers(&state.adding), numbers(&state.removing));
        }
        text
    }

    fn fence(&mut self, ids: &[i32]) {
        let epoch = |id: &i32| (BrokerId(*id), self.image.broker(BrokerId(*id)).unwrap().epoch());
        let brokers = ids.iter().map(epoch).collect();
        self.ask(Change::FenceAbsent { brokers });
    }

    /// The leader asks for these members; `NONE` or the code of the refusal.
    fn alter(&mut self, isr: &[i32]) -> &'static str {
        let epochs = (self.state().leader_epoch, self.state().partition_epoch);
        self.alter_at(isr, epochs, LeaderRecovery::Recovered)
    }

    fn alter_at(
        &mut self,
        isr: &[i32],
        epochs: (LeaderEpoch, i32),
        recovery: LeaderRecovery,
    ) -> &'static str {
        let epoch = |id: BrokerId| self.image.broker(id).map(|broker| broker.epoch());
        let member = |id: &i32| (BrokerId(*id), epoch(BrokerId(*id)));
        let change = IsrChange {
            partition: self.id(),
            leader_epoch: epochs.0,
            partition_epoch: epochs.1,
            isr: isr.iter().map(member).collect(),
            recovery,
        };
        let leader = self.state().leader.unwrap();
        let leader = (leader, epoch(leader).unwrap());
        let reply = self.ask(Change::AlterIsr { leader, changes: vec![change] }).reply;
        let ChangeReply::AlteredIsr(Ok(outcomes)) = reply else { panic!("{reply:?}") };
        outcomes[0].1.as_ref().map_or_else(|code| code.name(), |_| "NONE")
    }

    fn elect(&mut self, kind: ElectionKind) -> &'static str {
        let partitions = Some(vec![("a".to_owned(), vec![0])]);
        self.outcome(Change::ElectLeaders { kind, partitions })
    }

    fn reassign(&mut self, target: Option<&[i32]>) -> &'static str {
        let target = target.map(|ids| ids.iter().copied().map(BrokerId).collect());
        let topics = vec![("a".to_owned(), vec![(0, target)])];
        let factor = FactorChange::Allowed;
        self.outcome(Change::AlterReassignments { topics, factor })
    }

    fn outcome(&mut self, change: Change) -> &'static str {
        let reply = self.ask(change).reply;
        let ChangeReply::ByPartition(outcomes) = reply else { panic!("{reply:?}") };
        outcomes[0].1[0].1.as_ref().map_or_else(|refusal| refusal.code.name(), |()| "NONE")
    }
}

#[test]
fn a_silent_broker_leaves_and_the_next_replica_in_sync_leads() {
    let mut controller = Controller::trio(&[]);
    assert_eq!(controller.shown(), "1@0 [1, 2, 3]");
    controller.fence(&[2]);
    assert_eq!(controller.shown(), "1@0 [1, 3]", "a follower that leaves changes no leader");
    controller.fence(&[1]);
    assert_eq!(controller.shown(), "3@1 [3]");
    controller.fence(&[3]);
    assert_eq!(controller.shown(), "-1@2 [3]", "the last member stays, and does not lead");
    controller.beat(2);
    assert_eq!(controller.shown(), "-1@2 [3]", "who was not in sync does not lead");
    controller.beat(3);
    assert_eq!(controller.shown(), "3@3 [3]");
}

#[test]
fn an_eligible_replica_leads_where_the_last_member_is_gone() {
    let mut controller = Controller::trio(&[("min.insync.replicas", "2")]);
    controller.fence(&[3]);
    controller.fence(&[1]);
    assert_eq!(controller.shown(), "2@1 [2] elr [1]");
    controller.fence(&[2]);
    assert_eq!(controller.shown(), "-1@2 [2] elr [1]");
    controller.beat(3);
    assert_eq!(controller.shown(), "-1@2 [2] elr [1]");
    controller.beat(1);
    assert_eq!(controller.shown(), "1@3 [1] elr [2]");
    assert_eq!(controller.alter(&[1, 3]), "NONE");
    assert_eq!(controller.shown(), "1@3 [1, 3]", "enough are in sync: nobody else is eligible");
}

#[test]
fn all_brokers_at_once_are_fenced_in_one_frame_and_nothing_is_lost() {
    let mut controller = Controller::trio(&[("min.insync.replicas", "2")]);
    controller.fence(&[1, 2, 3]);
    assert_eq!(controller.shown(), "-1@3 [3] elr [2]");
    for (back, expected) in
        [(1, "-1@3 [3] elr [2]"), (2, "2@4 [2] elr [3]"), (3, "2@4 [2] elr [3]")]
    {
        controller.beat(back);
        assert_eq!(controller.shown(), expected);
    }
}

#[test]
fn an_unclean_election_takes_whoever_is_there_and_says_so() {
    let mut controller = Controller::trio(&[]);
    controller.fence(&[2, 3]);
    controller.fence(&[1]);
    controller.beat(2);
    assert_eq!(controller.shown(), "-1@1 [1]");
    assert_eq!(controller.elect(ElectionKind::Preferred), "PREFERRED_LEADER_NOT_AVAILABLE");
    assert_eq!(controller.elect(ElectionKind::Unclean), "NONE");
    assert_eq!(controller.shown(), "2@2 [2] recovering");
    assert_eq!(controller.elect(ElectionKind::Unclean), "ELECTION_NOT_NEEDED");
    let epochs = (controller.state().leader_epoch, controller.state().partition_epoch);
    controller.beat(1);
    let recovering = LeaderRecovery::Recovering;
    assert_eq!(controller.alter_at(&[1, 2], epochs, recovering), "INVALID_REQUEST");
    assert_eq!(controller.alter(&[1, 2]), "NONE");
    assert_eq!(controller.shown(), "2@2 [1, 2]");
}

#[test]
fn a_topic_that_allows_it_is_led_uncleanly_without_being_asked() {
    use ConfigOp::Set;
    let mut controller = Controller::trio(&[]);
    controller.fence(&[2, 3]);
    controller.fence(&[1]);
    controller.beat(3);
    assert_eq!(controller.shown(), "-1@1 [1]");
    let key = "unclean.leader.election.enable";
    assert_eq!(controller.set(topic_resource("a"), &[(key, Set, "true")]), "ok");
    assert_eq!(controller.shown(), "3@2 [3] recovering");
}

#[test]
fn a_smaller_min_insync_makes_nobody_else_eligible() {
    use ConfigOp::Set;
    let mut controller = Controller::trio(&[("min.insync.replicas", "2")]);
    controller.fence(&[1]);
    controller.fence(&[2]);
    assert_eq!(controller.shown(), "3@2 [3] elr [2]");
    controller.set(topic_resource("a"), &[("min.insync.replicas", Set, "1")]);
    assert_eq!(controller.shown(), "3@2 [3]", "from now on records are committed without them");
}

#[test]
fn a_broker_stops_in_order_once_others_lead_and_all_know() {
    let mut controller = Controller::trio(&[]);
    let stop = |beat: &mut Heartbeat| beat.wants_shutdown = true;
    let standing = controller.beat_with(1, stop);
    assert_eq!(standing.availability, Availability::ControlledShutdown);
    assert!(!standing.should_shut_down);
    assert_eq!(controller.shown(), "2@1 [2, 3]");
    let standing = controller.beat_with(1, |beat| {
        stop(beat);
        beat.is_shutdown_known = false;
    });
    assert!(!standing.should_shut_down, "others may still send to it");
    assert!(controller.beat_with(1, stop).should_shut_down);
    assert!(controller.image.broker(BrokerId(1)).unwrap().is_fenced());
    assert!(controller.beat_with(1, stop).should_shut_down, "asked again");
}

#[test]
fn a_broker_is_in_use_once_it_has_applied_its_own_registration() {
    let mut controller = Controller::with(&[(1, 1)]);
    let epoch = controller.register(process(2, 1, 7)).unwrap();
    let behind = controller.beat_with(2, |beat| beat.position = epoch.0 - 1);
    assert_eq!((behind.is_caught_up, behind.availability), (false, Availability::Fenced));
    let caught_up = controller.beat_with(2, |beat| beat.position = epoch.0);
    assert_eq!((caught_up.is_caught_up, caught_up.availability), (true, Availability::Active));
    let beat = Heartbeat {
        id: BrokerId(2),
        epoch: BrokerEpoch(epoch.0 - 1),
        position: 99,
        wants_fence: false,
        wants_shutdown: false,
        is_shutdown_known: false,
    };
    let ChangeReply::Standing(Err(refusal)) = controller.ask(Change::Heartbeat(beat)).reply else {
        panic!("an old process is refused")
    };
    assert_eq!(refusal.code, KafkaCode::StaleBrokerEpoch);
}

#[test]
fn a_broker_that_crashed_keeps_what_it_had_synced_and_nothing_else() {
    for (durability, expected) in [("flush", "2@1 [2] elr [1]"), ("kernel", "2@1 [2]")] {
        let configs = [("min.insync.replicas", "2"), ("highwater.durability", durability)];
        let mut controller = Controller::trio(&configs);
        controller.fence(&[3]);
        let epoch = controller.register(process(1, 1, 2)).unwrap();
        assert_eq!(controller.shown(), expected, "{durability}");
        assert!(epoch.0 > 0 && controller.image.broker(BrokerId(1)).unwrap().is_fenced());
        let again = controller.register(process(1, 1, 2)).unwrap();
        assert_eq!(again, epoch, "the same process registers once");
    }
}

#[test]
fn an_emptied_disk_never_leads_where_it_was_the_last_in_sync() {
    let mut controller = Controller::trio(&[]);
    controller.fence(&[2, 3]);
    let mut emptied = process(1, 1, 2);
    emptied.directory = Uuid::from_u128(77);
    controller.register(emptied).unwrap();
    controller.beat(1);
    assert_eq!(controller.shown(), "-1@1 [1]");
    assert_eq!(controller.elect(ElectionKind::Unclean), "NONE", "records are given up by name");
    assert_eq!(controller.shown(), "1@2 [1] recovering");

    let mut controller = Controller::trio(&[]);
    let mut emptied = process(2, 1, 2);
    emptied.directory = Uuid::from_u128(77);
    controller.register(emptied).unwrap();
    controller.beat(2);
    assert_eq!(controller.shown(), "1@0 [1, 3]");
    assert_eq!(controller.alter(&[1, 2, 3]), "NONE", "it has fetched everything anew");
}

#[test]
fn ids_and_directories_in_use_are_refused() {
    let mut controller = Controller::with(&[(1, 1), (2, 1)]);
    let mut ask = |broker: NewBroker, has_session| {
        let broker = Box::new(broker);
        match controller.ask(Change::RegisterBroker { broker, has_session }).reply {
            ChangeReply::Registered(result) => {
                result.map_or_else(|refusal| refusal.code.name(), |_| "NONE")
            }
            other => panic!("{other:?}"),
        }
    };
    let other_disk = |id| NewBroker { directory: Uuid::from_u128(99), ..process(id, 1, 5) };
    assert_eq!(ask(other_disk(1), true), "DUPLICATE_BROKER_REGISTRATION");
    assert_eq!(ask(process(1, 1, 6), true), "NONE", "its own directory has one process at a time");
    assert_eq!(ask(other_disk(1), false), "NONE");
    let copied = NewBroker { directory: Uuid::from_u128(2), ..process(3, 1, 5) };
    assert_eq!(ask(copied, false), "DUPLICATE_BROKER_REGISTRATION");
    assert_eq!(ask(process(3, 0, 5), false), "INVALID_REGISTRATION");
}

#[test]
fn in_sync_sets_change_by_compare_and_set_only() {
    let mut controller = Controller::trio(&[]);
    controller.fence(&[3]);
    let (leader_epoch, partition_epoch) =
        (controller.state().leader_epoch, controller.state().partition_epoch);
    let next = LeaderEpoch(leader_epoch.0 + 1);
    let recovered = LeaderRecovery::Recovered;
    for (isr, epochs, expected) in [
        (&[1, 2][..], (next, partition_epoch), "NOT_CONTROLLER"),
        (&[1, 2], (leader_epoch, partition_epoch + 1), "NOT_CONTROLLER"),
        (&[1], (leader_epoch, partition_epoch - 1), "INVALID_UPDATE_VERSION"),
        (&[2], (leader_epoch, partition_epoch), "INVALID_REQUEST"),
        (&[1, 1], (leader_epoch, partition_epoch), "INVALID_REQUEST"),
        (&[1, 4], (leader_epoch, partition_epoch), "INVALID_REQUEST"),
        (&[1, 3], (leader_epoch, partition_epoch), "INELIGIBLE_REPLICA"),
        (&[1], (leader_epoch, partition_epoch), "NONE"),
    ] {
        assert_eq!(controller.alter_at(isr, epochs, recovered), expected, "{isr:?} {epochs:?}");
    }
    assert_eq!(controller.shown(), "1@0 [1]");
    assert_eq!(controller.alter(&[1]), "NONE", "nothing changes");
    assert_eq!(controller.alter(&[2, 1]), "NONE");
    controller.fence(&[1]);
    assert_eq!(controller.alter_at(&[2], (leader_epoch, 99), recovered), "NOT_CONTROLLER");
    let (partition_epoch, old) = (controller.state().partition_epoch, leader_epoch);
    assert_eq!(controller.alter_at(&[2], (old, partition_epoch), recovered), "FENCED_LEADER_EPOCH");
}

#[test]
fn a_partition_moves_in_two_steps_and_back_when_it_is_cancelled() {
    let mut controller = Controller::with(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
    controller.create(assigned("a", &[(0, &[1, 2])]));
    assert_eq!(controller.reassign(None), "NO_REASSIGNMENT_IN_PROGRESS");
    assert_eq!(controller.reassign(Some(&[9])), "INVALID_REPLICA_ASSIGNMENT");
    assert_eq!(controller.reassign(Some(&[3, 4])), "NONE");
    assert_eq!(controller.shown(), "1@0 [1, 2] +[3, 4] -[1, 2]");
    assert_eq!(controller.alter(&[1, 2, 3]), "NONE");
    assert_eq!(controller.shown(), "1@0 [1, 2, 3] +[3, 4] -[1, 2]");
    assert_eq!(controller.alter(&[1, 2, 3, 4]), "NEW_LEADER_ELECTED");
    assert_eq!(controller.shown(), "3@1 [3, 4]");
    assert_eq!(controller.state().replicas.len(), 2);

    assert_eq!(controller.reassign(Some(&[4, 1])), "NONE");
    assert_eq!(controller.shown(), "3@1 [3, 4] +[1] -[3]");
    assert_eq!(controller.alter(&[3, 4, 1]), "NEW_LEADER_ELECTED");
    assert_eq!(controller.shown(), "4@2 [4, 1]");

    assert_eq!(controller.reassign(Some(&[2, 3])), "NONE");
    assert_eq!(controller.alter(&[4, 1, 2]), "NONE");
    assert_eq!(controller.reassign(None), "NONE");
    assert_eq!(controller.shown(), "4@3 [4, 1]", "the added are gone");
    assert_eq!(controller.reassign(Some(&[1, 4])), "NONE");
    assert_eq!(controller.shown(), "4@3 [4, 1]", "another order is another preferred leader");
    assert_eq!(controller.elect(ElectionKind::Preferred), "NONE");
    assert_eq!(controller.shown(), "1@4 [4, 1]");
    let topics = vec![("a".to_owned(), vec![(0, Some(vec![BrokerId(1)]))])];
    let refused = Change::AlterReassignments { topics, factor: FactorChange::Refused };
    assert_eq!(controller.outcome(refused), "INVALID_REPLICATION_FACTOR");
    assert_eq!(controller.reassign(Some(&[1])), "NONE");
    assert_eq!(controller.shown(), "1@5 [1]");
    let twice = [1, 4].map(|id| (0, Some(vec![BrokerId(id)]))).to_vec();
    let topics = vec![("a".to_owned(), twice)];
    let reply =
        controller.ask(Change::AlterReassignments { topics, factor: FactorChange::Allowed });
    let ChangeReply::ByPartition(outcomes) = reply.reply else { panic!("{reply:?}") };
    let text = outcomes[0].1[1].1.as_ref().unwrap_err().message.as_str();
    assert_eq!(text, "Partition a:0 is named twice.");
}

#[test]
fn leaders_go_back_to_preferred_replicas_where_too_many_are_elsewhere() {
    let mut controller = Controller::trio(&[]);
    controller.fence(&[1]);
    controller.beat(1);
    assert_eq!(controller.shown(), "2@1 [2, 3]");
    assert_eq!(controller.ask(Change::BalanceLeaders).records, [], "it is not in sync");
    controller.alter(&[2, 3, 1]);
    controller.config.cluster.rebalance.percentage_max = 100;
    assert_eq!(controller.ask(Change::BalanceLeaders).records, []);
    controller.config.cluster.rebalance.percentage_max = 10;
    controller.ask(Change::BalanceLeaders);
    assert_eq!(controller.shown(), "1@2 [2, 3, 1]");
}

#[test]
fn a_broker_that_is_unregistered_is_eligible_for_nothing() {
    let mut controller = Controller::trio(&[("min.insync.replicas", "2")]);
    controller.fence(&[1]);
    controller.fence(&[2]);
    assert_eq!(controller.shown(), "3@2 [3] elr [2]");
    let reply = controller.ask(Change::UnregisterBroker { id: BrokerId(2) }).reply;
    assert_eq!(reply, ChangeReply::Done(Ok(())));
    assert_eq!(controller.shown(), "3@2 [3]");
    let reply = controller.ask(Change::UnregisterBroker { id: BrokerId(2) }).reply;
    let ChangeReply::Done(Err(refusal)) = reply else { panic!("{reply:?}") };
    assert_eq!(
        refused(&refusal),
        "BROKER_ID_NOT_REGISTERED: Broker ID 2 is not currently registered"
    );
}

#[test]
fn replicas_go_to_racks_that_have_none_yet() {
    let mut controller = Controller::empty();
    for id in 1..=6 {
        let rack = Some(format!("r{}", (id - 1) / 2));
        controller.register(NewBroker { rack, ..process(id, 1, 1) }).unwrap();
        controller.beat(id);
    }
    controller.create(sized("a", 60, 3));
    let topic = controller.image.topic_by_name("a").unwrap();
    let mut leaders = [0; 7];
    let mut pairs = std::collections::BTreeSet::new();
    for partition in &topic.partitions {
        let brokers: Vec<i32> = partition.state.replicas.iter().map(|one| one.broker.0).collect();
        let mut racks: Vec<i32> = brokers.iter().map(|id| (id - 1) / 2).collect();
        racks.sort_unstable();
        assert_eq!(racks, [0, 1, 2], "{brokers:?}");
        leaders[usize::try_from(brokers[0]).unwrap()] += 1;
        pairs.insert((brokers[0], brokers[1]));
    }
    assert_eq!(leaders, [0, 10, 10, 10, 10, 10, 10]);
    assert!(pairs.len() > 12, "followers of one leader differ: {pairs:?}");
}

#[test]
fn fenced_brokers_are_given_replicas_only_where_others_are_too_few() {
    let mut controller = Controller::with(&[(1, 1), (2, 1), (3, 1)]);
    controller.fence(&[2]);
    assert_eq!(controller.create(sized("a", 1, 3)), "a x1 rf3");
    assert!(!controller.state().isr.contains(&BrokerId(2)));
    controller.create(sized("b", 9, 2));
    let topic = controller.image.topic_by_name("b").unwrap();
    assert!(topic.partitions.iter().all(|one| one.state.core_on(BrokerId(2)).is_none()));
    controller.fence(&[1, 3]);
    assert_eq!(
        controller.create(sized("c", 1, 1)),
        "INVALID_REPLICATION_FACTOR: Unable to replicate the partition 1 time(s): All brokers are \
         currently fenced."
    );
    assert_eq!(
        controller.create(assigned("c", &[(0, &[1])])),
        "INVALID_REPLICA_ASSIGNMENT: All brokers specified in the manual partition assignment for \
         partition 0 are fenced or in controlled shutdown."
    );
}

#[test]
fn a_thousand_partitions_of_a_dead_broker_change_hands_in_one_frame() {
    let mut controller = Controller::with(&[(1, 2), (2, 2), (3, 2)]);
    controller.create(sized("a", 1000, 3));
    controller.create(sized("b", 2000, 3));
    let brokers = vec![(BrokerId(2), controller.image.broker(BrokerId(2)).unwrap().epoch())];
    let decision = controller.ask(Change::FenceAbsent { brokers });
    assert_eq!(decision.records.len(), 3001);
    let partitions = controller.image.topics().flat_map(|topic| topic.partitions());
    for (_, partition) in partitions {
        let leader = partition.state.leader.unwrap();
        assert!(leader != BrokerId(2) && !partition.state.isr.contains(&BrokerId(2)));
    }
}

proptest! {
    /// Whatever happens to brokers: what a partition's state must hold, it holds.
    #[test]
    fn any_history_of_brokers_keeps_what_a_state_must_hold(
        min_insync in 1..4u8,
        is_unclean in any::<bool>(),
        steps in prop::collection::vec((0..9u8, 1..5i32, 0..16u8), 0..60),
    ) {
        let min_insync = min_insync.to_string();
        let is_unclean = is_unclean.to_string();
        let mut controller = Controller::trio(&[
            ("min.insync.replicas", &min_insync),
            ("unclean.leader.election.enable", &is_unclean),
        ]);
        controller.register(process(4, 1, 1)).unwrap();
        let mut incarnation = 1;
        for (step, id, bits) in steps {
            let before = controller.state().clone();
            let some: Vec<i32> = (1..5).filter(|id| bits & (1 << (id - 1)) != 0).collect();
            let is_known = controller.image.broker(BrokerId(id)).is_some();
            match step {
                0 | 1 if is_known => controller.fence(&[id]),
                2 | 3 if is_known => { controller.beat(id); }
                4 => {
                    incarnation += 1;
                    let mut broker = process(id, 1, incarnation);
                    if bits == 0 {
                        broker.directory = Uuid::from_u128(1000 + incarnation);
                    }
                    prop_assert!(controller.register(broker).is_ok());
                }
                5 if is_known => {
                    controller.beat_with(id, |beat| beat.wants_shutdown = true);
                }
                6 if before.leader.is_some() => { controller.alter(&some); }
                7 => { controller.reassign(Some(some.as_slice()).filter(|_| bits != 15)); }
                8 => { controller.elect(ElectionKind::Preferred); }
                _ => {}
            }
            check(&controller.image, &before, controller.state());
        }
    }
}

/// The invariants of one partition's state after a step.
fn check(image: &MetadataImage, before: &PartitionState, state: &PartitionState) {
    assert!(!state.isr.is_empty(), "{state:?}");
    let is_replica = |broker: &BrokerId| state.core_on(*broker).is_some();
    assert!(state.isr.iter().all(is_replica), "{state:?}");
    assert!(state.elr.iter().all(is_replica), "{state:?}");
    assert!(!state.elr.iter().any(|broker| state.isr.contains(broker)), "{state:?}");
    if let Some(leader) = state.leader {
        assert!(state.isr.contains(&leader) && image.is_active(leader), "{state:?}");
    }
    assert!(state.leader_epoch >= before.leader_epoch);
    assert_eq!(state.partition_epoch > before.partition_epoch, state != before);
    if state.leader != before.leader {
        assert!(state.leader_epoch > before.leader_epoch, "{before:?} {state:?}");
    }
}

#[test]
fn a_registration_that_the_metadata_cannot_keep_is_refused_by_what_is_wrong_with_it() {
    let mut controller = Controller::with(&[(1, 1)]);
    let mut refusal = |adjust: &dyn Fn(&mut NewBroker)| {
        let mut broker = process(2, 1, 9);
        adjust(&mut broker);
        let refusal = controller.register(broker).unwrap_err();
        assert_eq!(refusal.code, KafkaCode::InvalidRegistration);
        refusal.message
    };
    let many = |broker: &mut NewBroker| {
        broker.endpoints = vec![broker.endpoints[0].clone(); BROKER_LISTENERS_MAX + 1];
    };
    assert_eq!(
        refusal(&|broker| broker.id = BrokerId(-2)),
        "A broker's id is from 0 to 2147483647, not -2."
    );
    assert_eq!(refusal(&|broker| broker.cores = 0), "Broker 2 has no core.");
    assert_eq!(refusal(&many), "Broker 2 has 65 listeners, 1 to 64 are possible.");
    assert_eq!(
        refusal(&|broker| broker.endpoints.clear()),
        "Broker 2 has 0 listeners, 1 to 64 are possible."
    );
    assert_eq!(
        refusal(&|broker| broker.rack = Some("r".repeat(BROKER_TEXT_BYTES_MAX + 1))),
        "Broker 2 has a name of 256 bytes, 255 are possible."
    );
}

#[test]
fn a_copy_of_a_data_directory_is_another_broker_while_the_first_one_is_heard_of() {
    let mut controller = Controller::with(&[(1, 1), (2, 1)]);
    let mut twin = process(2, 1, 9);
    twin.endpoints[0].endpoint.port += 1;
    let mut ask = |has_session| {
        let broker = Box::new(twin.clone());
        match controller.ask(Change::RegisterBroker { broker, has_session }).reply {
            ChangeReply::Registered(result) => result.map_err(|refusal| refusal.code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(true), Err(KafkaCode::DuplicateBrokerRegistration));
    assert!(ask(false).is_ok(), "its address may change once it was silent");
}

impl Controller {
    /// A broker says that its replica is damaged; `NONE` or the code of the refusal.
    fn lose(&mut self, id: i32) -> &'static str {
        let broker = (BrokerId(id), self.image.broker(BrokerId(id)).unwrap().epoch());
        let partitions = vec![self.id()];
        let reply = self.ask(Change::LoseReplicas { broker, partitions }).reply;
        let ChangeReply::Lost(Ok(outcomes)) = reply else { panic!("{reply:?}") };
        outcomes[0].1.map_or_else(|code| code.name(), |()| "NONE")
    }
}

#[test]
fn a_damaged_replica_is_no_member_and_eligible_for_nothing_unless_it_is_the_last() {
    let mut controller = Controller::trio(&[("min.insync.replicas", "2")]);
    assert_eq!((controller.lose(1), &*controller.shown()), ("NONE", "2@1 [2, 3]"));
    let before = (controller.state().leader_epoch, controller.state().partition_epoch);
    assert_eq!((controller.lose(1), &*controller.shown()), ("NONE", "2@1 [2, 3]"));
    let late = controller.alter_at(&[2, 3, 1], before, LeaderRecovery::Recovered);
    assert_eq!(late, "INVALID_UPDATE_VERSION", "what was on its way makes it no member");
    controller.fence(&[3]);
    assert_eq!(controller.shown(), "2@1 [2] elr [3]");
    assert_eq!((controller.lose(3), &*controller.shown()), ("NONE", "2@1 [2]"));
    let refused = "ELIGIBLE_LEADERS_NOT_AVAILABLE";
    assert_eq!((controller.lose(2), &*controller.shown()), (refused, "2@1 [2]"));
    assert_eq!(controller.alter(&[2, 1]), "NONE", "it was fetched anew");
    assert_eq!((controller.lose(2), &*controller.shown()), ("NONE", "1@2 [1]"));
}
