//! The topic of a run: found or created, with the address of each partition's leader.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use highwater::protocol::messages::delete_topics::DeleteTopicsRequest;
use highwater::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use highwater::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use uuid::Uuid;

use crate::clock::{SECOND_NS, now_ns};
use crate::control::Control;
use crate::failure::Failure;

/// How long a new topic may take until every partition has a leader.
const LEADERS_WITHIN_NS: u64 = 30 * SECOND_NS;
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// A topic as the brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: String,
    /// Nil when the broker knows no topic ids.
    pub(crate) id: Uuid,
    /// Partitions that each broker leads, by its address; ascending.
    pub(crate) leaders: BTreeMap<String, Vec<i32>>,
}

/// How to create a topic that is missing.
#[derive(Debug, Clone)]
pub(crate) struct NewTopic {
    /// `None` asks for one partition, and accepts any number when the topic exists.
    pub(crate) partitions: Option<usize>,
    pub(crate) replication_factor: i16,
    pub(crate) configs: Vec<(String, String)>,
}

impl Topic {
    /// Number of partitions.
    pub(crate) fn partition_count(&self) -> usize {
        self.leaders.values().map(Vec::len).sum()
    }

    /// Describes an existing topic.
    pub(crate) fn find(control: &mut Control, name: &str) -> Result<Topic, Failure> {
        let topic = match look_up(control, name)? {
            LookUp::Ready(topic) => topic,
            LookUp::Missing => return Err(missing(control, name)),
            LookUp::Leaderless(_) => wait_for_leaders(control, name)?,
        };
        wait_until_led(control, &topic)?;
        Ok(topic)
    }

    /// Describes an existing topic as it is: partitions without a leader are left out.
    pub(crate) fn find_now(control: &mut Control, name: &str) -> Result<Topic, Failure> {
        let answer = ask(control, name)?;
        match answer.topics.first() {
            Some(found) => Ok(describe(name, found, &answer)),
            None => Err(missing(control, name)),
        }
    }

    /// Describes a topic, after creating it when it is missing.
    pub(crate) fn find_or_create(
        control: &mut Control,
        name: &str,
        new: &NewTopic,
    ) -> Result<Topic, Failure> {
        let topic = match look_up(control, name)? {
            LookUp::Ready(topic) => topic,
            LookUp::Leaderless(_) => wait_for_leaders(control, name)?,
            LookUp::Missing => {
                create(control, name, new)?;
                wait_for_leaders(control, name)?
            }
        };
        match new.partitions {
            Some(asked) if asked != topic.partition_count() => Err(Failure::PartitionCount {
                topic: name.to_owned(),
                actual: topic.partition_count(),
                asked,
            }),
            _ => {
                wait_until_led(control, &topic)?;
                Ok(topic)
            }
        }
    }
}

/// Deletes a topic and waits until it is gone; one that is missing is no error.
pub(crate) fn delete_topic(control: &mut Control, name: &str) -> Result<(), Failure> {
    let request = DeleteTopicsRequest {
        topic_names: vec![name.to_owned()],
        timeout_ms: 30_000,
        ..DeleteTopicsRequest::default()
    };
    // Version 6 names topics in another field; 5 is spoken by every broker.
    let refusal = once_controlled(|| {
        let answer = control.call_at_most(&request, 5)?;
        let mut codes = answer.responses.iter().map(|result| result.error_code);
        Ok(codes.find(|code| *code != 0))
    })?;
    let missing = KafkaCode::UnknownTopicOrPartition.number();
    match refusal {
        Some(code) if code == missing => Ok(()),
        Some(code) => Err(Failure::Refused { api: "DeleteTopics", topic: name.to_owned(), code }),
        None => wait_until_gone(control, name),
    }
}

/// Why a change is refused, if it is; asked again for a while where the cluster has no controller,
/// as between the death of one and the election of the next.
#[expect(clippy::disallowed_methods, reason = "waits for a condition, with a deadline")]
fn once_controlled(
    mut change: impl FnMut() -> Result<Option<i16>, Failure>,
) -> Result<Option<i16>, Failure> {
    let deadline_ns = now_ns() + LEADERS_WITHIN_NS;
    loop {
        let refusal = change()?;
        if refusal != Some(KafkaCode::NotController.number()) || now_ns() >= deadline_ns {
            return Ok(refusal);
        }
        std::thread::sleep(ASK_AGAIN_AFTER);
    }
}

#[expect(clippy::disallowed_methods, reason = "waits for a condition, with a deadline")]
fn wait_until_gone(control: &mut Control, name: &str) -> Result<(), Failure> {
    let deadline_ns = now_ns() + LEADERS_WITHIN_NS;
    while now_ns() < deadline_ns {
        if matches!(look_up(control, name)?, LookUp::Missing) {
            return Ok(());
        }
        std::thread::sleep(ASK_AGAIN_AFTER);
    }
    let code = KafkaCode::TopicAlreadyExists.number();
    Err(Failure::Refused { api: "DeleteTopics", topic: name.to_owned(), code })
}

enum LookUp {
    Ready(Topic),
    /// It exists, but a partition has no leader yet.
    Leaderless(i16),
    Missing,
}

fn ask(control: &mut Control, name: &str) -> Result<MetadataResponse, Failure> {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(name.to_owned()),
            ..MetadataRequestTopic::default()
        }]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    control.call(&request)
}

fn look_up(control: &mut Control, name: &str) -> Result<LookUp, Failure> {
    let answer = ask(control, name)?;
    let Some(found) = answer.topics.first() else {
        return Ok(LookUp::Missing);
    };
    let code = std::iter::once(found.error_code)
        .chain(found.partitions.iter().map(|partition| partition.error_code))
        .find(|code| *code != 0);
    match code.map(|code| (code, KafkaCode::from_number(code))) {
        Some((_, Some(KafkaCode::UnknownTopicOrPartition))) => Ok(LookUp::Missing),
        Some((code, Some(known))) if known.is_retriable() => Ok(LookUp::Leaderless(code)),
        Some((code, _)) => Err(Failure::Refused { api: "Metadata", topic: name.to_owned(), code }),
        None if found.partitions.is_empty() => {
            Ok(LookUp::Leaderless(KafkaCode::LeaderNotAvailable.number()))
        }
        None => Ok(LookUp::Ready(describe(name, found, &answer))),
    }
}

fn describe(name: &str, found: &MetadataResponseTopic, answer: &MetadataResponse) -> Topic {
    let mut leaders: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for partition in &found.partitions {
        let leader = answer.brokers.iter().find(|broker| broker.node_id == partition.leader_id);
        if let Some(leader) = leader {
            let address = format!("{}:{}", leader.host, leader.port);
            leaders.entry(address).or_default().push(partition.partition_index);
        }
    }
    for partitions in leaders.values_mut() {
        partitions.sort_unstable();
    }
    Topic { name: name.to_owned(), id: found.topic_id, leaders }
}

fn create(control: &mut Control, name: &str, new: &NewTopic) -> Result<(), Failure> {
    let partitions = i32::try_from(new.partitions.unwrap_or(1)).unwrap_or(i32::MAX);
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: new.replication_factor,
        configs: creatable(&new.configs),
        ..CreatableTopic::default()
    };
    create_topic(control, topic)
}

/// Configs as a topic is created with them.
pub(crate) fn creatable(configs: &[(String, String)]) -> Vec<CreatableTopicConfig> {
    let configs = configs.iter();
    configs
        .map(|(key, value)| CreatableTopicConfig { name: key.clone(), value: Some(value.clone()) })
        .collect()
}

/// Creates a topic; one that is there is no error. Another client may have been faster, or a
/// controller that died before it could answer.
pub(crate) fn create_topic(control: &mut Control, topic: CreatableTopic) -> Result<(), Failure> {
    let name = topic.name.clone();
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
    let refusal = once_controlled(|| {
        let answer = control.call(&request)?;
        let mut codes = answer.topics.iter().map(|result| result.error_code);
        Ok(codes.find(|code| *code != 0))
    })?;
    match refusal {
        Some(code) if code != KafkaCode::TopicAlreadyExists.number() => {
            Err(Failure::Refused { api: "CreateTopics", topic: name, code })
        }
        _ => Ok(()),
    }
}

#[expect(clippy::disallowed_methods, reason = "waits for a condition, with a deadline")]
fn wait_for_leaders(control: &mut Control, name: &str) -> Result<Topic, Failure> {
    let deadline_ns = now_ns() + LEADERS_WITHIN_NS;
    loop {
        let outcome = look_up(control, name)?;
        match outcome {
            LookUp::Ready(topic) => return Ok(topic),
            LookUp::Missing if now_ns() >= deadline_ns => return Err(missing(control, name)),
            LookUp::Leaderless(code) if now_ns() >= deadline_ns => {
                return Err(Failure::Refused { api: "Metadata", topic: name.to_owned(), code });
            }
            LookUp::Missing | LookUp::Leaderless(_) => std::thread::sleep(ASK_AGAIN_AFTER),
        }
    }
}

/// Waits until each leader knows that it leads. A broker may tell clients of a new leader before
/// that leader has taken over; load that starts then would only measure refusals.
#[expect(clippy::disallowed_methods, reason = "waits for a condition, with a deadline")]
fn wait_until_led(control: &Control, topic: &Topic) -> Result<(), Failure> {
    let deadline_ns = now_ns() + LEADERS_WITHIN_NS;
    for (address, led) in &topic.leaders {
        let mut leader = control.connect_to(address)?;
        loop {
            match list_offsets(&mut leader, &topic.name, led, LogEnd::End) {
                Err(Failure::Refused { code, .. })
                    if is_retriable(code) && now_ns() < deadline_ns =>
                {
                    std::thread::sleep(ASK_AGAIN_AFTER);
                }
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
    }
    Ok(())
}

fn is_retriable(code: i16) -> bool {
    KafkaCode::from_number(code).is_some_and(KafkaCode::is_retriable)
}

fn missing(control: &Control, name: &str) -> Failure {
    Failure::TopicMissing { address: control.address().to_owned(), topic: name.to_owned() }
}

/// Which end of a partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogEnd {
    /// First offset still there.
    Start,
    /// Offset after the last committed record.
    End,
}

impl LogEnd {
    fn timestamp(self) -> i64 {
        match self {
            LogEnd::Start => -2,
            LogEnd::End => -1,
        }
    }
}

/// Offsets of `partitions`, asked from the broker that leads them; in the order of the answer.
pub(crate) fn list_offsets(
    control: &mut Control,
    topic: &str,
    partitions: &[i32],
    end: LogEnd,
) -> Result<BTreeMap<i32, i64>, Failure> {
    let asked = partitions.iter().map(|partition| ListOffsetsPartition {
        partition_index: *partition,
        timestamp: end.timestamp(),
        ..ListOffsetsPartition::default()
    });
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic { name: topic.to_owned(), partitions: asked.collect() }],
        timeout_ms: 30_000,
        ..ListOffsetsRequest::default()
    };
    let answer = control.call(&request)?;
    let mut offsets = BTreeMap::new();
    for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
        if partition.error_code != 0 {
            return Err(Failure::Refused {
                api: "ListOffsets",
                topic: topic.to_owned(),
                code: partition.error_code,
            });
        }
        offsets.insert(partition.partition_index, partition.offset);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use bytes::Bytes;
    use highwater::protocol::frame::{RequestHeader, encode_response};
    use highwater::protocol::messages::api_versions::{ApiVersion, ApiVersionsResponse};
    use highwater::protocol::messages::create_topics::{
        CreatableTopicResult, CreateTopicsResponse,
    };
    use highwater::protocol::primitive::{Frame, Reader};
    use highwater::protocol::schema::Message;

    use super::*;

    /// Answers one connection: which versions are spoken, then CreateTopics with each of `codes` in
    /// turn.
    fn serve(listener: &TcpListener, codes: &[KafkaCode]) {
        let (mut socket, _) = listener.accept().unwrap();
        answer(&mut socket, |version, id| {
            let (min_version, max_version) = CreateTopicsRequest::VERSIONS.into_inner();
            let api_key = CreateTopicsRequest::KEY.number();
            let known = ApiVersion { api_key, min_version, max_version };
            let body = ApiVersionsResponse { api_keys: vec![known], ..Default::default() };
            encode_response(&body, version, id).unwrap()
        });
        for code in codes {
            answer(&mut socket, |version, id| {
                let (name, error_code) = ("t".to_owned(), code.number());
                let result = CreatableTopicResult { name, error_code, ..Default::default() };
                let body = CreateTopicsResponse { topics: vec![result], ..Default::default() };
                encode_response(&body, version, id).unwrap()
            });
        }
    }

    fn answer(socket: &mut TcpStream, encode: impl Fn(i16, i32) -> Frame) {
        let mut length = [0; 4];
        socket.read_exact(&mut length).unwrap();
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        socket.read_exact(&mut frame).unwrap();
        let frame = Bytes::from(frame);
        let header = RequestHeader::decode(&mut Reader::new(&frame)).unwrap();
        let answer = encode(header.api_version, header.correlation_id);
        socket.write_all(&answer.into_bytes()).unwrap();
    }

    /// What comes of a topic that is asked for, when the broker answers with each of `codes`.
    fn created(codes: &[KafkaCode]) -> Result<(), Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::scope(|scope| {
            scope.spawn(|| serve(&listener, codes));
            let topic = CreatableTopic { name: "t".to_owned(), ..CreatableTopic::default() };
            create_topic(&mut Control::connect(&address)?, topic)
        })
    }

    #[test]
    fn a_topic_is_asked_for_again_when_its_controller_died_before_it_could_answer() {
        created(&[KafkaCode::NotController, KafkaCode::TopicAlreadyExists]).unwrap();
        created(&[KafkaCode::NotController, KafkaCode::None]).unwrap();
        let refused = created(&[KafkaCode::NotController, KafkaCode::InvalidConfig]);
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("INVALID_CONFIG"), "{told}");
    }
}
