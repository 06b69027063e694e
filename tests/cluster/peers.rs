//! What no broker of the cluster would say, at the live sockets of one: refused by name, logged
//! once, and nothing harmed.

use super::losses::Kept;
use bytes::{BufMut, Bytes, BytesMut};
use harness::{Broker, Cluster, Random, Wire};
use highwater::model::errors::KafkaCode;
use highwater::model::ids::{
    BrokerEpoch, BrokerId, CoreId, LeaderEpoch, Offset, PartitionId, TopicId, TopicPartition,
};
use highwater::protocol::messages::alter_partition::{
    AlterPartitionRequest, AlterPartitionResponse,
};
use highwater::protocol::messages::broker_heartbeat::BrokerHeartbeatRequest;
use highwater::protocol::messages::broker_registration::BrokerRegistrationRequest;
use highwater::protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use highwater::protocol::peer::{
    FrameHead, Hello, PEER_VERSION_MAX, PEER_VERSION_MIN, PeerKind, Welcome,
};
use highwater::replication::messages::{
    Ack, Body, Close, CloseReason, HighWatermark, Message, Open, PushHead, StreamId,
};
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use uuid::Uuid;

/// Each forged frame is sent so often: a complaint must not be.
const TIMES: usize = 5;
const FORGED: &str = "forged";
const EXIT_CONFIG: i32 = 78;

/// What a data directory says of itself.
fn property(broker: &Broker, key: &str) -> Uuid {
    let path = broker.data_directory().join("meta.properties");
    let text = fs::read_to_string(&path).expect("a data directory that was used");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
    let value = line.unwrap_or_else(|| panic!("no {key} in {text}"));
    highwater::model::base64url::decode_uuid(value).expect("an id")
}

/// A hello that would be welcome at broker `to`, from a broker `from`.
fn hello(cluster: &mut Cluster, from: i32, to: usize) -> Hello {
    Hello {
        version_min: PEER_VERSION_MIN,
        version_max: PEER_VERSION_MAX,
        cluster: property(cluster.broker(to), "cluster.id"),
        from: BrokerId(from),
        core: CoreId(0),
        broker_epoch: 0,
        directory: Uuid::from_u128(0xf0e6_ed00),
        to: BrokerId(i32::try_from(to).expect("a small id")),
    }
}

/// A connection that has said hello, and the answer.
fn call_on(broker: &Broker, hello: &Hello) -> io::Result<(Wire, Welcome)> {
    let mut wire = Wire::connect(&broker.bootstrap())?;
    wire.send_bytes(&hello.encode().into_bytes())?;
    let answer = wire.receive_frame()?;
    Ok((wire, Welcome::decode(&answer).expect("a welcome")))
}

fn frame(kind: PeerKind, payload: Bytes) -> Bytes {
    let head = FrameHead { kind, from: CoreId(0), to: CoreId(0) };
    head.encode(&[payload.into()]).expect("a small frame").into_bytes()
}

fn assert_refused(broker: &Broker, hello: &Hello, code: KafkaCode, words: &str) {
    for _ in 0..TIMES {
        let (mut wire, welcome) = call_on(broker, hello).unwrap_or_else(|error| {
            panic!("{hello:?}: {error}\n{}", broker.report());
        });
        assert_eq!(welcome.code, code, "{}", welcome.message);
        assert!(welcome.message.contains(words), "no {words:?} in {}", welcome.message);
        wire.receive_frame().expect_err("the connection is closed");
    }
    let log = broker.log();
    let complaints = log.lines().filter(|line| line.contains(code.name())).count();
    assert_eq!(complaints, 1, "{}: once for {TIMES} times\n{}", code.name(), broker.report());
}

#[test]
fn strangers_are_refused_by_name_and_logged_once() {
    let mut kept = Kept::start(3, "2");
    kept.write_some("records before");
    let good = hello(&mut kept.cluster, 9, 1);
    let directory = property(kept.cluster.broker(1), "directory.id");
    let broker = kept.cluster.broker(1);

    let other = Hello { cluster: Uuid::from_u128(7), ..good };
    assert_refused(broker, &other, KafkaCode::InconsistentClusterId, "belongs to cluster");
    let newer = PEER_VERSION_MAX + 1;
    let other = Hello { version_min: newer, version_max: newer, ..good };
    assert_refused(broker, &other, KafkaCode::UnsupportedVersion, "broker 9 speaks versions");
    let older = PEER_VERSION_MIN - 1;
    let other = Hello { version_min: older, version_max: older, ..good };
    let (_, welcome) = call_on(broker, &other).expect("an answer");
    assert_eq!(welcome.code, KafkaCode::UnsupportedVersion, "{}", welcome.message);
    let other = Hello { to: BrokerId(2), ..good };
    assert_refused(broker, &other, KafkaCode::InvalidRequest, "looked for broker 2");
    let other = Hello { directory, ..good };
    let code = KafkaCode::DuplicateBrokerRegistration;
    assert_refused(broker, &other, code, "a copy of its data directory");
    let other = Hello { from: BrokerId(1), ..good };
    let (_, welcome) = call_on(broker, &other).expect("an answer");
    assert_eq!(welcome.code, code, "{}", welcome.message);

    assert_not_invited(broker);
    let log = broker.log();
    let uninvited = log.lines().filter(|line| line.contains("a stranger at")).count();
    assert_eq!(uninvited, 1, "for both kinds of frames\n{log}");
    kept.write_some("records after");
    kept.assert_kept();
}

/// Who has not said hello is nobody to requests and frames between brokers.
fn assert_not_invited(broker: &Broker) {
    let refused = KafkaCode::ClusterAuthorizationFailed.number();
    let mut wire = Wire::connect(&broker.bootstrap()).expect("the broker runs");
    let beat = BrokerHeartbeatRequest { broker_id: 2, ..BrokerHeartbeatRequest::default() };
    assert_eq!(wire.call(&beat, 1).expect("an answer").error_code, refused);
    let alter = AlterPartitionRequest { broker_id: 2, ..AlterPartitionRequest::default() };
    assert_eq!(wire.call(&alter, 3).expect("an answer").error_code, refused);
    let register = BrokerRegistrationRequest { broker_id: 2, ..Default::default() };
    assert_eq!(wire.call(&register, 4).expect("an answer").error_code, refused);
    for kind in [PeerKind::Raft, PeerKind::Replication] {
        let mut wire = Wire::connect(&broker.bootstrap()).expect("the broker runs");
        wire.send_bytes(&frame(kind, Bytes::from_static(b"uninvited"))).expect("a connection");
        wire.receive_frame().expect_err("the connection is closed");
    }
}

#[test]
fn a_stale_broker_epoch_is_refused_by_every_request_between_brokers() {
    let mut kept = Kept::start(3, "2");
    kept.write_some("records before");
    let stale = KafkaCode::StaleBrokerEpoch.number();
    let mut codes = Vec::new();
    for to in 1..=3 {
        let hello = hello(&mut kept.cluster, 9, to);
        let from = if to == 2 { 3 } else { 2 };
        let hello = Hello { from: BrokerId(from), ..hello };
        let (mut wire, welcome) = call_on(kept.cluster.broker(to), &hello).expect("an answer");
        assert_eq!(welcome.code, KafkaCode::None, "{}", welcome.message);
        let beat =
            BrokerHeartbeatRequest { broker_id: from, broker_epoch: 0, ..Default::default() };
        codes.push(wire.call(&beat, 1).expect("an answer").error_code);
        let alter =
            AlterPartitionRequest { broker_id: from, broker_epoch: 0, ..Default::default() };
        let answer: AlterPartitionResponse = wire.call(&alter, 3).expect("an answer");
        codes.push(answer.error_code);
    }
    // Who is not the active controller passes it on, and is not whom it speaks for.
    let passed_on = KafkaCode::ClusterAuthorizationFailed.number();
    assert!(codes.iter().all(|code| [stale, passed_on].contains(code)), "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == stale).count(), 2, "{codes:?}");
    let logs: String = (1..=3).map(|id| kept.cluster.broker(id).log()).collect();
    let name = KafkaCode::StaleBrokerEpoch.name();
    let complaints = logs.lines().filter(|line| line.contains(name)).count();
    assert_eq!(complaints, 1, "by the controller, once for both requests\n{logs}");
    kept.write_some("records after");
    kept.assert_kept();
}

fn partition_of(cluster: &mut Cluster, topic: &str) -> (TopicPartition, LeaderEpoch) {
    let name = Some(topic.to_owned());
    let asked = MetadataRequestTopic { name, ..MetadataRequestTopic::default() };
    let request = MetadataRequest { topics: Some(vec![asked]), ..MetadataRequest::default() };
    let mut wire = Wire::connect(&cluster.broker(1).bootstrap()).expect("the broker runs");
    let answer = wire.call(&request, 12).expect("an answer");
    let found = &answer.topics[0];
    let partition = TopicPartition { topic: TopicId(found.topic_id), partition: PartitionId(0) };
    (partition, LeaderEpoch(found.partitions[0].leader_epoch))
}

fn forged_batch(base_offset: i64, epoch: i32) -> Bytes {
    let batch = super::losses::batch(FORGED);
    // Neither is covered by the checksum.
    let mut bytes = BytesMut::from(&batch[..]);
    bytes[0..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
    bytes.freeze()
}

/// Messages about a partition that nobody who may send them would, on streams that may be open.
fn forgeries(partition: TopicPartition, leader_epoch: LeaderEpoch, end: i64) -> Vec<Bytes> {
    let at_end = Offset::from_wire(end).expect("an offset");
    let far = at_end.advance(1_000_000);
    let broker_epoch = BrokerEpoch(0);
    let mut bodies = Vec::new();
    for stream in (0..20).map(StreamId) {
        let head =
            PushHead { leader_epoch, stream, from: at_end, high_watermark: far, log_start: at_end };
        bodies.push(Body::Push(head, forged_batch(end, leader_epoch.0)));
        let ack = Ack {
            leader_epoch,
            stream,
            broker_epoch,
            log_start: Offset::ZERO,
            received: far,
            flushed: far,
            taken_bytes: u64::MAX,
        };
        bodies.push(Body::Ack(ack));
        let beat = HighWatermark { leader_epoch, stream, high_watermark: far, log_start: far };
        bodies.push(Body::HighWatermark(beat));
        bodies.push(Body::Close(Close { leader_epoch, stream, reason: CloseReason::Resigned }));
        let last_epoch = Some(LeaderEpoch(leader_epoch.0 + 7));
        bodies.push(Body::Open(Open {
            leader_epoch,
            stream,
            broker_epoch,
            last_epoch,
            log_end: far,
        }));
    }
    bodies.into_iter().map(|body| Message { partition, body }.to_bytes()).collect()
}

/// Bytes that are no message, from one that is.
fn garbage(random: &mut Random, message: &Bytes) -> Bytes {
    let mut bytes = BytesMut::from(&message[..]);
    match random.below(3) {
        0 => bytes.truncate(random.index(bytes.len())),
        1 => {
            let at = random.index(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        _ => {
            bytes.clear();
            (0..random.below(500)).for_each(|_| bytes.put_u8(random.next_u64().to_be_bytes()[0]));
        }
    }
    bytes.freeze()
}

#[test]
fn forged_frames_and_garbage_change_nothing() {
    let mut kept = Kept::start(3, "2");
    kept.write_some("records before");
    let (partition, epoch) = partition_of(&mut kept.cluster, super::losses::TOPIC);
    let leader = kept.leader().expect("somebody leads");
    let end = kept.end();
    let mut random = Random::new(6);
    for to in 1..=3 {
        // Another replica, but not who leads.
        let id = i32::try_from(to).expect("a small id");
        let from = (1..=3).find(|from| *from != id && *from != leader).expect("there are three");
        let hello = hello(&mut kept.cluster, from, to);
        let broker = kept.cluster.broker(to);
        let forgeries = forgeries(partition, epoch, end);
        let (mut wire, welcome) = call_on(broker, &hello).expect("an answer");
        assert_eq!(welcome.code, KafkaCode::None, "{}", welcome.message);
        for forged in &forgeries {
            wire.send_bytes(&frame(PeerKind::Replication, forged.clone())).expect("a connection");
        }
        for forged in &forgeries {
            for kind in [PeerKind::Replication, PeerKind::Raft] {
                let bytes = frame(kind, garbage(&mut random, forged));
                wire.send_bytes(&bytes).expect("a connection that goes on");
            }
        }
        let noise: Vec<u8> = (0..10_000).map(|_| random.next_u64().to_be_bytes()[0]).collect();
        // It is closed at once or when its time is up; what counts is that all goes on.
        drop(wire.send_bytes(&noise));
        assert!(broker.is_running(), "{}", broker.report());
    }
    kept.cluster.wait_until_whole(&[super::losses::TOPIC]);
    kept.write_some("records after");
    for id in 1..=3 {
        let log = kept.cluster.broker(id).log();
        let codes =
            [KafkaCode::CorruptMessage, KafkaCode::InvalidRecord, KafkaCode::InvalidRequest];
        for code in codes {
            let complaints = log.lines().filter(|line| line.contains(code.name())).count();
            assert_eq!(complaints, 1, "{} at broker {id}\n{log}", code.name());
        }
    }
    kept.assert_kept();
    kept.assert_absent(FORGED);
    // What a follower has shows when it leads.
    kept.lose_the_leader();
    kept.wait_for_another_leader();
    kept.write_some("records of another leader");
    kept.assert_kept();
    kept.assert_absent(FORGED);
}

fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    command.arg("-a").arg(from).arg(to);
    assert!(command.status().expect("a system has cp").success(), "{from:?} is copied");
}

#[test]
fn a_copied_data_directory_is_refused_under_another_id_and_harmless_under_its_own() {
    let mut kept = Kept::start(3, "2");
    kept.write_some("records before");
    kept.cluster.broker(3).stop();
    let data = kept.cluster.broker(3).data_directory();
    let mut other = kept.cluster.prepare_another(4);
    other.set("process.roles=broker");
    copy(&data, &other.data_directory());
    let mut twin = kept.cluster.prepare_another(3);
    copy(&data, &twin.data_directory());
    kept.cluster.broker(3).restart();
    kept.cluster.wait_until_whole(&[super::losses::TOPIC]);

    let status = other.start_and_end();
    assert_eq!(status.code(), Some(EXIT_CONFIG), "{}", other.report());
    assert!(other.log().contains("node.id"), "{}", other.report());

    // Its address is not the one that the others know broker 3 by: nobody answers to it.
    twin.restart();
    for _ in 0..5 {
        kept.write_some("records beside a twin");
        kept.cluster.wait_until_whole(&[super::losses::TOPIC]);
    }
    kept.assert_kept();
    assert!(!twin.log().contains("registered"), "{}", twin.report());
    twin.kill();
    let log = kept.cluster.broker(3).log();
    assert_eq!(log.matches("registered").count(), 2, "once for each of its own starts\n{log}");
}
