//! A tiny language for a coordinator's life.
//!
//! ```text
//! join a [id=none|<text>] [protocols=range:sub,rr:sub] [type=t] [instance=i] [v=9] [session=ms]
//!        [rebalance=ms]      client `a` joins with the member id it was last given
//! sync a [gen=n] [id=..] [instance=..] [assign=a:x,b:y]     assignments by client name
//! beat a [gen=n] [id=..] [instance=..]
//! leave a [b ...] [instance=i]
//! commit a|- topic:partition=offset[@epoch][/metadata] ...  [gen=n] [retention=ms] [v=9]
//! fetch all | topic:partition ...    stable topic:partition ...   with require_stable
//! txn a|- topic:partition=offset ... [producer=n] [gen=n]     TxnOffsetCommit
//! marker n commit|abort        ends producer n's transaction
//! forget topic:partition ...   OffsetDelete
//! gone topic                   the topic was deleted
//! describe | list [states] | delete
//! wait ms                      time passes, deadlines fire on the way
//! restart                      a new coordinator replays the log
//! ```
//! All of it happens to the group `g`. Random ids are counted: `a-1` is client a's first.

use crate::coordinator::group::calls::{
    CommitOffsets, CommitPartition, CommitTopic, CommitTransaction, DeleteOffsets, FetchOffsets,
    Heartbeat, Join, Leave, LeavingMember, Protocol, Sync,
};
use crate::coordinator::group::records::{GroupRecord, Producer};
use crate::coordinator::group::{GroupAnswer, GroupCoordinator, GroupFilter, GroupRequest, Step};
use crate::coordinator::replayed::KeyValue;
use crate::coordinator::replayed::Waiter;
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::group_config::GroupConfig;
use crate::model::ids::{ProducerEpoch, ProducerId};
use bytes::Bytes;
use expect_test::Expect;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use uuid::Uuid;

pub(super) const GROUP: &str = "g";
const ZEROS: &str = "00000000-0000-0000-0000-00000000000";

/// Without the initial delay, so that scripts stay short.
pub(super) fn at_once() -> GroupConfig {
    GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() }
}

/// A script that begins with two members, a the leader, stable in generation 2.
pub(super) fn then_two_stable(rest: &str) -> String {
    format!(
        "join a v=3
         sync a assign=a:x
         join b v=3
         join a
         sync a assign=a:x1,b:y1
         sync b
         {rest}"
    )
}

/// Runs `script` on a fresh coordinator and compares the transcript.
pub(super) fn check(script: &str, expected: Expect) {
    check_with(GroupConfig::default(), script, expected);
}

pub(super) fn check_with(config: GroupConfig, script: &str, expected: Expect) {
    let mut world = World::new(config);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        world.run(line);
    }
    expected.assert_eq(&world.transcript);
}

/// A coordinator, its log, and what its clients remember.
pub(super) struct World {
    pub(super) coordinator: GroupCoordinator,
    config: GroupConfig,
    pub(super) now: Now,
    log: Vec<Logged>,
    waiting: BTreeMap<Waiter, String>,
    ids: HashMap<String, String>,
    generations: HashMap<String, i32>,
    last_waiter: u64,
    last_fresh: u128,
    pub(super) transcript: String,
}

/// `key=value` words of a line, and the plain ones.
struct Words<'l> {
    plain: Vec<&'l str>,
    options: HashMap<&'l str, &'l str>,
}

const OPTIONS: [&str; 12] = [
    "id",
    "protocols",
    "type",
    "instance",
    "v",
    "session",
    "rebalance",
    "gen",
    "assign",
    "retention",
    "states",
    "producer",
];

impl<'l> Words<'l> {
    fn of(line: &'l str) -> Words<'l> {
        let mut words = Words { plain: Vec::new(), options: HashMap::new() };
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) if OPTIONS.contains(&key) => {
                    words.options.insert(key, value);
                }
                _ => words.plain.push(word),
            }
        }
        words
    }

    fn text(&self, key: &str) -> Option<String> {
        self.options.get(key).map(|value| (*value).to_owned())
    }

    fn number(&self, key: &str, default: i32) -> i32 {
        self.options.get(key).map_or(default, |value| value.parse().unwrap())
    }
}

impl World {
    pub(super) fn new(config: GroupConfig) -> World {
        World {
            coordinator: loaded(config, &[], Now::default()),
            config,
            now: Now::default(),
            log: Vec::new(),
            waiting: BTreeMap::new(),
            ids: HashMap::new(),
            generations: HashMap::new(),
            last_waiter: 0,
            last_fresh: 0,
            transcript: String::new(),
        }
    }

    pub(super) fn run(&mut self, line: &str) {
        writeln!(self.transcript, "> {}", line.escape_debug()).unwrap();
        let words = Words::of(line);
        match words.plain[0] {
            "wait" => return self.wait(words.plain[1].parse().unwrap()),
            "restart" => return self.restart(),
            "gone" => {
                let step = self.coordinator.on_topic_deleted(words.plain[1], self.now);
                return self.take(step);
            }
            "marker" => {
                let producer = ProducerId(words.plain[1].parse().unwrap());
                let is_commit = words.plain[2] == "commit";
                self.log.push(Logged::Marker(producer, is_commit));
                return self.coordinator.on_marker(producer, is_commit);
            }
            _ => {}
        }
        let who = words.plain.get(1).copied().unwrap_or("-").to_owned();
        let request = self.request(&words, &who);
        self.last_waiter += 1;
        let waiter = Waiter(self.last_waiter);
        self.waiting.insert(waiter, who);
        let step = self.coordinator.on_request(request, waiter, self.now);
        self.take(step);
    }

    fn request(&mut self, words: &Words<'_>, who: &str) -> GroupRequest {
        let group = GROUP.to_owned();
        let instance = words.text("instance");
        let generation = words.number("gen", self.generations.get(who).copied().unwrap_or(-1));
        let member = self.member_id(words, who);
        match words.plain[0] {
            "join" => GroupRequest::Join(Box::new(self.join(words, who, member))),
            "sync" => GroupRequest::Sync(Sync {
                group,
                generation,
                member,
                instance,
                protocol_type: words.text("type"),
                protocol: words.text("protocols"),
                assignments: self.assignments(words),
            }),
            "beat" => GroupRequest::Heartbeat(Heartbeat { group, generation, member, instance }),
            "leave" => {
                let leaving = |name: &&str| LeavingMember {
                    member: self.member_id(words, name),
                    instance: instance.clone(),
                };
                let members = words.plain[1..].iter().map(leaving).collect();
                GroupRequest::Leave(Leave { group, members })
            }
            "commit" | "txn" => {
                let commit = CommitOffsets {
                    group,
                    generation,
                    member,
                    instance,
                    retention_ms: words.text("retention").map(|text| text.parse().unwrap()),
                    topics: words.plain[2..].iter().map(|word| commit_of(word)).collect(),
                    names_missing_group: words.number("v", 8) >= 9,
                };
                if words.plain[0] == "commit" {
                    return GroupRequest::CommitOffsets(commit);
                }
                let id = ProducerId(words.number("producer", 1).into());
                let producer = Producer { id, epoch: ProducerEpoch(0) };
                GroupRequest::CommitTransaction(CommitTransaction { producer, commit })
            }
            "fetch" | "stable" => {
                let is_all = words.plain[1] == "all";
                let places = words.plain[1..].iter().map(|word| place_of(word));
                GroupRequest::FetchOffsets(FetchOffsets {
                    group,
                    member: None,
                    member_epoch: -1,
                    require_stable: words.plain[0] == "stable",
                    topics: (!is_all).then(|| places.collect()),
                })
            }
            "forget" => {
                let topics = words.plain[1..].iter().map(|word| place_of(word)).collect();
                GroupRequest::DeleteOffsets(DeleteOffsets { group, topics })
            }
            "describe" => GroupRequest::Describe(vec![group]),
            "delete" => GroupRequest::Delete(vec![group]),
            "list" => {
                let list = |key| {
                    let text = words.text(key).unwrap_or_default();
                    text.split(',').filter(|s| !s.is_empty()).map(str::to_owned).collect()
                };
                GroupRequest::List(GroupFilter { states: list("states"), types: list("type") })
            }
            other => panic!("unknown word {other}"),
        }
    }

    fn member_id(&self, words: &Words<'_>, who: &str) -> String {
        match words.options.get("id") {
            Some(&"none") => String::new(),
            Some(id) => (*id).to_owned(),
            None => self.ids.get(who).cloned().unwrap_or_default(),
        }
    }

    fn join(&mut self, words: &Words<'_>, who: &str, member: String) -> Join {
        self.last_fresh += 1;
        let protocols = words.options.get("protocols").copied().unwrap_or("range:sub");
        let protocol = |word: &str| {
            let (name, metadata) = word.split_once(':').unwrap_or((word, ""));
            Protocol { name: name.to_owned(), metadata: metadata_of(metadata) }
        };
        let version = words.number("v", 9);
        Join {
            group: GROUP.to_owned(),
            member,
            instance: words.text("instance"),
            client_id: who.to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout_ms: words.number("session", 10_000),
            rebalance_timeout_ms: words.number("rebalance", 60_000),
            protocol_type: words.text("type").unwrap_or_else(|| "consumer".to_owned()),
            protocols: protocols.split(',').filter(|word| !word.is_empty()).map(protocol).collect(),
            needs_member_id: version >= 4,
            knows_skip_assignment: version >= 9,
            fresh: Uuid::from_u128(self.last_fresh),
        }
    }

    fn assignments(&self, words: &Words<'_>) -> Vec<(String, Bytes)> {
        let text = words.text("assign").unwrap_or_default();
        let pairs = text.split(',').filter_map(|pair| pair.split_once(':'));
        let id = |name: &str| self.ids.get(name).cloned().unwrap_or_else(|| name.to_owned());
        pairs.map(|(name, bytes)| (id(name), Bytes::copy_from_slice(bytes.as_bytes()))).collect()
    }

    fn wait(&mut self, ms: u64) {
        let end_us = self.now.monotonic_us + ms * 1000;
        loop {
            let due_us = self.coordinator.next_deadline_us();
            if due_us > end_us {
                break;
            }
            self.set_time(due_us.max(self.now.monotonic_us));
            let step = self.coordinator.on_tick(self.now);
            if step != Step::default() {
                writeln!(self.transcript, "  at {} ms", self.now.wall_ms).unwrap();
            }
            self.take(step);
        }
        self.set_time(end_us);
    }

    fn set_time(&mut self, monotonic_us: u64) {
        let wall_ms = i64::try_from(monotonic_us / 1000).unwrap();
        self.now = Now { monotonic_us, wall_ms };
    }

    fn restart(&mut self) {
        for waiter in self.coordinator.take_waiters() {
            let who = self.waiting.remove(&waiter).expect("answered once");
            writeln!(self.transcript, "  {who} <- lost").unwrap();
        }
        self.coordinator = loaded(self.config, &self.log, self.now);
    }

    /// Writes down what a step brought, and lets the clients learn from it.
    fn take(&mut self, step: Step) {
        for record in &step.records {
            let bytes = record.encode().unwrap();
            let back = GroupRecord::decode(&bytes.key, bytes.value.as_ref()).unwrap();
            if let GroupRecord::Pending { producer, .. } = record {
                self.log.push(Logged::Transactional(producer.id, bytes));
            } else {
                assert_eq!(back.as_ref(), Some(record));
                self.log.push(Logged::Plain(bytes));
            }
            writeln!(self.transcript, "  log: {}", show_record(record)).unwrap();
        }
        for (waiter, answer) in step.answers {
            let who = self.waiting.remove(&waiter).expect("each waiter is answered once");
            if let GroupAnswer::Join(joined) = &answer
                && matches!(joined.code, KafkaCode::None | KafkaCode::MemberIdRequired)
            {
                self.ids.insert(who.clone(), joined.member.clone());
                self.generations.insert(who.clone(), joined.generation);
            }
            let text = show_answer(&answer).replace(ZEROS, "");
            writeln!(self.transcript, "  {who} <- {text}").unwrap();
        }
        self.transcript = self.transcript.replace(ZEROS, "");
    }
}

/// What a partition's log holds.
enum Logged {
    Plain(KeyValue),
    Transactional(ProducerId, KeyValue),
    Marker(ProducerId, bool),
}

fn loaded(config: GroupConfig, log: &[Logged], now: Now) -> GroupCoordinator {
    let mut coordinator = GroupCoordinator::new(config);
    let decoded = |bytes: &KeyValue| {
        GroupRecord::decode(&bytes.key, bytes.value.as_ref()).unwrap().expect("we wrote it")
    };
    for logged in log {
        match logged {
            Logged::Plain(bytes) => coordinator.replay(decoded(bytes)),
            Logged::Transactional(id, bytes) => {
                coordinator.replay_transactional(*id, decoded(bytes));
            }
            Logged::Marker(id, is_commit) => coordinator.on_marker(*id, *is_commit),
        }
    }
    coordinator.on_loaded(now);
    coordinator
}

/// `topics(a,b)` stands for a consumer's subscription to a and b, other text for itself.
fn metadata_of(text: &str) -> Bytes {
    let Some(list) = text.strip_prefix('+') else {
        return Bytes::copy_from_slice(text.as_bytes());
    };
    let topics: Vec<&str> = list.split('+').collect();
    let mut bytes = vec![0, 1];
    bytes.extend_from_slice(&i32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        bytes.extend_from_slice(&i16::try_from(topic.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(topic.as_bytes());
    }
    Bytes::from(bytes)
}

fn place_of(word: &str) -> (String, Vec<i32>) {
    let (topic, partition) = word.split_once(':').unwrap();
    (topic.to_owned(), vec![partition.parse().unwrap()])
}

fn commit_of(word: &str) -> CommitTopic {
    let (place, rest) = word.split_once('=').unwrap();
    let (name, partitions) = place_of(place);
    let (rest, metadata) = match rest.split_once('/') {
        Some((rest, metadata)) => (rest, Some(metadata.to_owned())),
        None => (rest, None),
    };
    let (offset, epoch) = rest.split_once('@').unwrap_or((rest, "-1"));
    let partition = CommitPartition {
        partition: partitions[0],
        offset: offset.parse().unwrap(),
        leader_epoch: epoch.parse().unwrap(),
        metadata,
    };
    CommitTopic { name, partitions: vec![partition] }
}

fn show_record(record: &GroupRecord) -> String {
    match record {
        GroupRecord::Offset { topic, partition, value: None, .. } => {
            format!("{topic}:{partition} removed")
        }
        GroupRecord::Offset { topic, partition, value: Some(value), .. } => {
            format!("{topic}:{partition} = {}@{}", value.offset, value.leader_epoch)
        }
        GroupRecord::Pending { producer, topic, partition, value, .. } => {
            format!("producer {}: {topic}:{partition} = {}", producer.id.0, value.offset)
        }
        GroupRecord::Group { value: None, .. } => "group removed".to_owned(),
        GroupRecord::Consumer { record, .. } => format!("{record:?}"),
        GroupRecord::Share { record, .. } => format!("{record:?}"),
        GroupRecord::Group { value: Some(value), .. } => {
            let member = |m: &crate::coordinator::group::records::MemberMetadata| {
                format!("{}={}", m.member, text(&m.assignment))
            };
            let members: Vec<String> = value.members.iter().map(member).collect();
            let protocol = value.protocol.as_deref().unwrap_or("-");
            let leader = value.leader.as_deref().unwrap_or("-");
            format!("generation {} {protocol} leader {leader} {members:?}", value.generation)
        }
    }
}

fn show_answer(answer: &GroupAnswer) -> String {
    let results = |topics: &[crate::coordinator::group::calls::TopicResult]| {
        let each = topics.iter().flat_map(|topic| {
            let show = |(p, code): &(i32, KafkaCode)| format!("{}:{p} {}", topic.name, code.name());
            topic.partitions.iter().map(show).collect::<Vec<_>>()
        });
        each.collect::<Vec<_>>().join(", ")
    };
    match answer {
        GroupAnswer::Join(joined) if joined.code != KafkaCode::None => {
            format!("{} {:?}", joined.code.name(), joined.member)
        }
        GroupAnswer::Join(joined) => {
            let member = |m: &crate::coordinator::group::calls::JoinedMember| {
                format!("{}={}", m.member, text(&m.metadata))
            };
            let members: Vec<String> = joined.members.iter().map(member).collect();
            let protocol = joined.protocol.as_deref().unwrap_or("-");
            let skip = if joined.skip_assignment { " skip assignment" } else { "" };
            format!(
                "generation {} {protocol} {} leader {} {members:?}{skip}",
                joined.generation, joined.member, joined.leader
            )
        }
        GroupAnswer::Sync(synced) if synced.code != KafkaCode::None => {
            synced.code.name().to_owned()
        }
        GroupAnswer::Sync(synced) => format!("assigned {:?}", text(&synced.assignment)),
        GroupAnswer::Heartbeat(code) | GroupAnswer::Refused(code) => code.name().to_owned(),
        GroupAnswer::Leave(left) => {
            let codes: Vec<&str> = left.members.iter().map(|member| member.code.name()).collect();
            codes.join(", ")
        }
        GroupAnswer::CommitOffsets(topics) | GroupAnswer::DeleteOffsets(topics) => results(topics),
        GroupAnswer::FetchOffsets(topics) => {
            let each = topics.iter().flat_map(|topic| {
                let show = |p: &crate::coordinator::group::calls::FetchedPartition| {
                    let place = format!("{}:{}", topic.name, p.partition);
                    match p.code {
                        KafkaCode::None => {
                            format!("{place} {}@{} {:?}", p.offset, p.leader_epoch, p.metadata)
                        }
                        code => format!("{place} {}", code.name()),
                    }
                };
                topic.partitions.iter().map(show).collect::<Vec<_>>()
            });
            each.collect::<Vec<_>>().join(", ")
        }
        GroupAnswer::Describe(groups) => show_group(groups),
        GroupAnswer::List(groups) => {
            let group = |g: &crate::coordinator::group::calls::ListedGroup| {
                format!("{} {:?} {} {}", g.group, g.protocol_type, g.state, g.kind)
            };
            format!("{:?}", groups.iter().map(group).collect::<Vec<_>>())
        }
        GroupAnswer::Delete(groups) => groups[0].1.name().to_owned(),
        GroupAnswer::ConsumerHeartbeat(_)
        | GroupAnswer::DescribeConsumer(_)
        | GroupAnswer::Share(_) => {
            unreachable!("consumer_script.rs has the words for it")
        }
    }
}

fn show_group(groups: &[crate::coordinator::group::calls::DescribedGroup]) -> String {
    let group = &groups[0];
    let member = |m: &crate::coordinator::group::calls::DescribedMember| {
        format!(
            "{} {}{} {}={}",
            m.member,
            m.client_id,
            m.client_host,
            text(&m.metadata),
            text(&m.assignment)
        )
    };
    let members: Vec<String> = group.members.iter().map(member).collect();
    format!(
        "{} {} {:?} {:?} {members:?}",
        group.code.name(),
        group.state,
        group.protocol_type,
        group.protocol
    )
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}
