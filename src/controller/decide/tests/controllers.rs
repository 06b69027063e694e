//! Controllers that are no brokers.

use super::*;
use crate::controller::image::BrokerImage;
use crate::controller::records::Availability;
use crate::model::cluster_config::parse_voters;

/// A process that is nothing but a controller.
fn controller(id: i32, incarnation: u128) -> NewBroker {
    NewBroker { roles: Roles { broker: false, controller: true }, ..process(id, 1, incarnation) }
}

fn ids<'a>(nodes: impl Iterator<Item = &'a Arc<BrokerImage>>) -> Vec<i32> {
    nodes.map(|node| node.id().0).collect()
}

#[test]
fn a_controller_by_itself_is_registered_and_is_no_broker() {
    let mut metadata = Controller::empty();
    let epoch = metadata.register(controller(1, 1)).unwrap();
    assert_eq!(metadata.register(controller(1, 1)), Ok(epoch), "the same process asks again");
    assert!(metadata.register(controller(1, 2)).unwrap() > epoch);
    metadata.register(process(2, 1, 1)).unwrap();
    metadata.beat(2);
    assert_eq!(ids(metadata.image.nodes()), [1, 2]);
    assert_eq!((ids(metadata.image.brokers()), ids(metadata.image.alive())), (vec![2], vec![2]));
    assert!(metadata.image.broker(BrokerId(1)).is_none());

    let mut beat = Heartbeat {
        id: BrokerId(1),
        epoch: metadata.image.node(BrokerId(1)).unwrap().epoch(),
        position: 100,
        wants_fence: false,
        wants_shutdown: false,
        is_shutdown_known: false,
    };
    for wants_fence in [false, true] {
        beat.wants_fence = wants_fence;
        let reply = metadata.ask(Change::Heartbeat(beat)).reply;
        let ChangeReply::Standing(Err(refusal)) = reply else { panic!("{reply:?}") };
        assert_eq!(refusal.code, KafkaCode::StaleBrokerEpoch);
    }
    let copy = NewBroker { directory: Uuid::from_u128(1), ..process(3, 1, 1) };
    let refusal = metadata.register(copy).unwrap_err();
    assert_eq!(refusal.code, KafkaCode::DuplicateBrokerRegistration);
    let gone = metadata.ask(Change::UnregisterBroker { id: BrokerId(1) }).reply;
    assert_eq!(gone, ChangeReply::Done(Ok(())));
    assert_eq!(ids(metadata.image.nodes()), [2]);
}

#[test]
fn a_controller_by_itself_is_given_no_replica() {
    let mut metadata = Controller::with(&[(2, 1)]);
    metadata.register(controller(1, 1)).unwrap();
    metadata.register(controller(3, 1)).unwrap();
    assert_eq!(metadata.create(sized("a", 4, 1)), "a x4 rf1");
    let partitions = &metadata.image.topic_by_name("a").unwrap().partitions;
    assert!(partitions.iter().all(|one| one.state.isr == [BrokerId(2)]));
    assert!(metadata.create(sized("b", 1, 2)).contains("only 1 broker(s) are registered"));
    let by_hand = metadata.create(assigned("c", &[(0, &[1])]));
    assert!(by_hand.starts_with("INVALID_REPLICA_ASSIGNMENT"), "{by_hand}");
}

#[test]
fn a_broker_becomes_a_controller_alone_only_without_partitions() {
    let mut metadata = Controller::with(&[(1, 1), (2, 1)]);
    assert_eq!(metadata.create(assigned("a", &[(0, &[1])])), "a x1 rf1");
    let refusal = metadata.register(controller(1, 2)).unwrap_err();
    assert_eq!(refusal.code, KafkaCode::InvalidRegistration);
    assert!(refusal.message.contains("holds 1 partition(s)"), "{}", refusal.message);
    metadata.register(controller(2, 2)).unwrap();
    assert_eq!(ids(metadata.image.brokers()), [1]);
    metadata.register(process(2, 1, 3)).unwrap();
    metadata.beat(2);
    assert_eq!(ids(metadata.image.alive()), [1, 2], "it may be a broker again");

    let broker = Box::new(controller(1, 4));
    let alone = Change::OpenAlone { cluster: Uuid::nil(), broker };
    let decision = metadata.ask(alone);
    assert!(matches!(decision.reply, ChangeReply::Registered(Err(_))), "{decision:?}");
    assert!(decision.records.is_empty());
}

#[test]
fn the_only_controller_founds_its_cluster_without_a_broker() {
    let mut metadata = Controller::empty();
    let (cluster, broker) = (Uuid::from_u128(7), Box::new(controller(1, 1)));
    let reply = metadata.ask(Change::OpenAlone { cluster, broker }).reply;
    assert!(matches!(reply, ChangeReply::Registered(Ok(_))), "{reply:?}");
    assert_eq!(metadata.image.cluster_id(), Some(cluster));
    let own = metadata.image.node(BrokerId(1)).unwrap();
    assert_eq!((own.is_broker(), own.availability), (false, Availability::Fenced));
    let replayed = metadata.create(sized("a", 1, 1));
    assert!(replayed.starts_with("INVALID_REPLICATION_FACTOR"), "{replayed}");
}

#[test]
fn internal_topics_wait_for_as_many_brokers_as_a_controller_was_told_to_expect() {
    let make = |metadata: &mut Controller| {
        let names = vec![OFFSETS_TOPIC.to_owned()];
        topics_text(&metadata.ask(Change::AutoCreateTopics { names }).reply)
    };
    let mut metadata = Controller::with(&[(2, 1)]);
    metadata.register(controller(1, 1)).unwrap();
    metadata.config.cluster.roles.broker = false;
    metadata.config.cluster.voters = parse_voters("1@a:1,3@b:1,4@c:1").unwrap();
    metadata.config.replication_factor = 2;
    assert!(make(&mut metadata).contains("INVALID_REPLICATION_FACTOR"));
    metadata.register(process(5, 1, 1)).unwrap();
    assert_eq!(make(&mut metadata), format!("{OFFSETS_TOPIC} x50 rf2"));
}
