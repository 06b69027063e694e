//! A tiny language for the life of a consumer group.
//!
//! ```text
//! topics t=3 u=2                  the topics that exist from now on
//! join m [topics=t,u] [regex=r] [instance=i] [assignor=a] [rebalance=ms]   with epoch 0
//! beat m [epoch=n] [topics=..] [regex=..]     says nothing of what it owns
//! ack m [epoch=n]                 says that it owns what it was last assigned, and no more
//! leave m | away m instance=i     epochs -1 and -2
//! cjoin c [id=none] [owned=t:0,1] [topics=..] [instance=i] | csync c | cbeat c | cleave c
//!                                 the same words of the classic protocol
//! commit m topic:partition=offset [epoch=n] | fetch m [epoch=n]
//! txn m topic:partition=offset [epoch=n]      the same commit in a transaction
//! describe | list | delete | cdescribe
//! wait ms                         time passes, deadlines fire on the way
//! restart [compacted]             a new coordinator replays the log, or the last of each key
//! ```
//! All of it happens to the group `g`. A member's id is its name; a classic client's is counted.

use super::script::GROUP;
use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::calls::{
    CommitOffsets, CommitPartition, CommitTopic, CommitTransaction, FetchOffsets, Heartbeat, Join,
    Leave, LeavingMember, ListedGroup, Protocol, Sync, Synced,
};
use crate::coordinator::group::consumer::calls::{ConsumerBeat, DescribedConsumerGroup};
use crate::coordinator::group::records::{GroupRecord, Producer};
use crate::coordinator::group::topics::{TopicView, Topics};
use crate::coordinator::group::{
    GroupAnswer, GroupCoordinator, GroupFilter, GroupRequest, Step, subscription,
};
use crate::coordinator::replayed::{KeyValue, Waiter};
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::group_config::{GroupConfig, GroupOverrides};
use crate::model::ids::{ProducerEpoch, ProducerId, TopicId};
use bytes::{BufMut, Bytes, BytesMut};
use expect_test::Expect;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::Arc;
use uuid::Uuid;

/// What every counted id begins with; transcripts leave it out.
const ZEROS: &str = "00000000-0000-0000-0000-00000000000";

pub(super) fn check(script: &str, expected: Expect) {
    let config = GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() };
    check_with(config, script, expected);
}

pub(super) fn check_with(config: GroupConfig, script: &str, expected: Expect) {
    let mut world = World::new(config);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        world.run(line);
    }
    expected.assert_eq(&world.transcript);
}

#[derive(Default)]
struct Client {
    /// Member id in the classic protocol.
    id: String,
    epoch: i32,
    assigned: Assignment,
    /// What it reads at the moment: it lets go with `ack`, `cjoin` or when it is refused.
    using: BTreeSet<(TopicId, i32)>,
}

pub(super) struct World {
    coordinator: GroupCoordinator,
    config: GroupConfig,
    now: Now,
    log: Vec<KeyValue>,
    names: BTreeMap<TopicId, String>,
    topics: Arc<Topics>,
    clients: HashMap<String, Client>,
    waiting: BTreeMap<Waiter, String>,
    last: u64,
    transcript: String,
}

struct Words<'l>(HashMap<&'l str, &'l str>);

impl Words<'_> {
    fn text(&self, key: &str) -> Option<String> {
        self.0.get(key).map(|value| (*value).to_owned())
    }

    fn number(&self, key: &str) -> Option<i32> {
        self.0.get(key).map(|value| value.parse().unwrap())
    }

    fn list(&self, key: &str) -> Option<Vec<String>> {
        let text = self.0.get(key)?;
        Some(text.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect())
    }
}

/// `t:0,1;u:2` by topic name.
fn by_name(text: &str) -> Vec<(String, Vec<i32>)> {
    let topics = text.split(';').filter(|one| !one.is_empty());
    let topic = |one: &str| {
        let (name, indexes) = one.split_once(':').unwrap();
        (name.to_owned(), indexes.split(',').map(|index| index.parse().unwrap()).collect())
    };
    topics.map(topic).collect()
}

/// A ConsumerProtocolSubscription of version 1.
pub(super) fn subscription_bytes(topics: &[String], owned: &[(String, Vec<i32>)]) -> Bytes {
    let mut bytes = BytesMut::new();
    let put = |bytes: &mut BytesMut, text: &str| {
        bytes.put_i16(text.len().try_into().unwrap());
        bytes.put_slice(text.as_bytes());
    };
    bytes.put_i16(1);
    bytes.put_i32(topics.len().try_into().unwrap());
    topics.iter().for_each(|topic| put(&mut bytes, topic));
    bytes.put_i32(-1);
    bytes.put_i32(owned.len().try_into().unwrap());
    for (name, indexes) in owned {
        put(&mut bytes, name);
        bytes.put_i32(indexes.len().try_into().unwrap());
        indexes.iter().for_each(|index| bytes.put_i32(*index));
    }
    bytes.freeze()
}

impl World {
    pub(super) fn new(config: GroupConfig) -> World {
        let mut world = World {
            coordinator: GroupCoordinator::new(config),
            config,
            now: Now::default(),
            log: Vec::new(),
            names: BTreeMap::new(),
            topics: Arc::default(),
            clients: HashMap::new(),
            waiting: BTreeMap::new(),
            last: 0,
            transcript: String::new(),
        };
        world.coordinator.on_loaded(world.now);
        world
    }

    pub(super) fn run(&mut self, line: &str) {
        writeln!(self.transcript, "> {line}").unwrap();
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap();
        let rest: Vec<&str> = words.collect();
        let name = rest.first().copied().unwrap_or_default();
        let options = Words(rest.iter().filter_map(|word| word.split_once('=')).collect());
        match verb {
            "topics" => self.set_topics(&rest),
            "own" => {
                let own = GroupOverrides {
                    session_timeout_ms: options.number("session").map(|ms| ms.try_into().unwrap()),
                    heartbeat_interval_ms: options.number("interval"),
                    ..GroupOverrides::default()
                };
                let all = BTreeMap::from([(GROUP.to_owned(), own)]);
                self.coordinator.set_overrides(Arc::new(all));
            }
            "join" | "beat" | "ack" | "leave" | "away" => self.beat(verb, name, &options),
            "cjoin" => self.classic_join(name, &options),
            "csync" => {
                let client = &self.clients[name];
                let sync = Sync {
                    group: GROUP.into(),
                    generation: client.epoch,
                    member: client.id.clone(),
                    instance: None,
                    protocol_type: Some("consumer".into()),
                    protocol: Some("range".into()),
                    assignments: self.leader_assignments(&options),
                };
                self.ask(GroupRequest::Sync(sync), name);
            }
            "cbeat" => {
                let client = &self.clients[name];
                let (generation, member) = (client.epoch, client.id.clone());
                let beat = Heartbeat { group: GROUP.into(), generation, member, instance: None };
                self.ask(GroupRequest::Heartbeat(beat), name);
            }
            "cleave" => {
                let member = LeavingMember {
                    member: self.clients[name].id.clone(),
                    instance: options.text("instance"),
                };
                let leave = Leave { group: GROUP.into(), members: vec![member] };
                self.ask(GroupRequest::Leave(leave), name);
            }
            "commit" | "txn" => self.commit(verb, name, rest[1], &options),
            "fetch" => {
                let epoch = self.clients.get(name).map_or(-1, |client| client.epoch);
                let fetch = FetchOffsets {
                    group: GROUP.into(),
                    member: (name != "-").then(|| name.to_owned()),
                    member_epoch: options.number("epoch").unwrap_or(epoch),
                    require_stable: false,
                    topics: None,
                };
                self.ask(GroupRequest::FetchOffsets(fetch), name);
            }
            "describe" => self.ask(GroupRequest::DescribeConsumer(vec![GROUP.into()]), ""),
            "cdescribe" => self.ask(GroupRequest::Describe(vec![GROUP.into()]), ""),
            "list" => self.ask(GroupRequest::List(GroupFilter::default()), ""),
            "delete" => self.ask(GroupRequest::Delete(vec![GROUP.into()]), ""),
            "wait" => self.wait(name.parse().unwrap()),
            "restart" => self.restart(name == "compacted"),
            _ => panic!("no verb {verb}"),
        }
    }

    fn set_topics(&mut self, list: &[&str]) {
        let view = |word: &&str| {
            let (name, partitions) = word.split_once('=').unwrap();
            let id = name.bytes().fold(0_u128, |id, byte| id * 256 + u128::from(byte));
            let id = TopicId(Uuid::from_u128(id));
            (name.to_owned(), TopicView { id, partitions: partitions.parse().unwrap() })
        };
        let views: Vec<(String, TopicView)> = list.iter().map(view).collect();
        self.names.extend(views.iter().map(|(name, view)| (view.id, name.clone())));
        let version = self.topics.version() + 1;
        let views = views.into_iter().map(|(name, view)| (Arc::from(name), view));
        self.topics = Arc::new(Topics::new(version, views));
        self.coordinator.set_topics(Arc::clone(&self.topics));
    }

    fn beat(&mut self, verb: &str, name: &str, options: &Words<'_>) {
        let client = self.clients.entry(name.to_owned()).or_default();
        let is_join = verb == "join";
        if matches!(verb, "join" | "leave" | "away") {
            client.using.clear();
        }
        let epoch = match verb {
            "join" => 0,
            "leave" => -1,
            "away" => -2,
            _ => options.number("epoch").unwrap_or(client.epoch),
        };
        let topics = options.list("topics");
        let has_subscription = topics.is_some() || options.text("regex").is_some();
        let owned = match verb {
            "join" => Some(Vec::new()),
            "ack" => {
                if client.epoch > 0 {
                    client.using = partitions_of(&client.assigned);
                }
                let owned = client.assigned.iter();
                Some(owned.map(|(id, set)| (*id, set.iter().copied().collect())).collect())
            }
            _ => None,
        };
        let beat = ConsumerBeat {
            group: GROUP.into(),
            member: name.to_owned(),
            epoch,
            instance: options.text("instance"),
            rack: None,
            rebalance_timeout_ms: options.number("rebalance").unwrap_or(match is_join {
                true => 20_000,
                false => -1,
            }),
            topics: if is_join && !has_subscription { Some(vec!["t".into()]) } else { topics },
            regex: options.text("regex"),
            assignor: options.text("assignor"),
            owned,
            client_id: name.to_owned(),
            client_host: "/h".into(),
            needs_member_id: true,
            fresh: Uuid::nil(),
        };
        self.ask(GroupRequest::ConsumerHeartbeat(Box::new(beat)), name);
    }

    fn classic_join(&mut self, name: &str, options: &Words<'_>) {
        let topics = options.list("topics").unwrap_or_else(|| vec!["t".into()]);
        let owned = by_name(&options.text("owned").unwrap_or_default());
        let client = self.clients.entry(name.to_owned()).or_default();
        if owned.is_empty() {
            client.using.clear();
        }
        self.last += 1;
        let join = Join {
            group: GROUP.into(),
            member: match options.text("id") {
                Some(_) => String::new(),
                None => client.id.clone(),
            },
            instance: options.text("instance"),
            client_id: name.to_owned(),
            client_host: "/h".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 20_000,
            protocol_type: "consumer".into(),
            protocols: vec![Protocol {
                name: options.text("protocol").unwrap_or_else(|| "range".into()),
                metadata: subscription_bytes(&topics, &owned),
            }],
            needs_member_id: false,
            knows_skip_assignment: true,
            fresh: Uuid::from_u128(u128::from(self.last)),
        };
        self.ask(GroupRequest::Join(Box::new(join)), name);
    }

    /// `assign=a:t:0,1/b:t:2` by client.
    fn leader_assignments(&self, options: &Words<'_>) -> Vec<(String, Bytes)> {
        let text = options.text("assign").unwrap_or_default();
        let one = |word: &str| {
            let (client, partitions) = word.split_once(':').unwrap();
            let named = by_name(partitions);
            let named: Vec<(&str, Vec<i32>)> =
                named.iter().map(|(name, indexes)| (name.as_str(), indexes.clone())).collect();
            (self.clients[client].id.clone(), subscription::encode_assignment(1, &named))
        };
        text.split('/').filter(|word| !word.is_empty()).map(one).collect()
    }

    fn commit(&mut self, verb: &str, name: &str, what: &str, options: &Words<'_>) {
        let (place, offset) = what.split_once('=').unwrap();
        let (topic, partition) = place.split_once(':').unwrap();
        let commit = CommitPartition {
            partition: partition.parse().unwrap(),
            offset: offset.parse().unwrap(),
            leader_epoch: -1,
            metadata: None,
        };
        let client = self.clients.get(name);
        let id = client.map(|client| client.id.clone()).filter(|id| !id.is_empty());
        let commit = CommitOffsets {
            group: GROUP.into(),
            generation: options
                .number("epoch")
                .unwrap_or_else(|| client.map_or(-1, |client| client.epoch)),
            member: if name == "-" { String::new() } else { id.unwrap_or_else(|| name.to_owned()) },
            instance: None,
            retention_ms: None,
            topics: vec![CommitTopic { name: topic.to_owned(), partitions: vec![commit] }],
            names_missing_group: options.number("v").unwrap_or(9) >= 9,
        };
        let producer = Producer { id: ProducerId(1), epoch: ProducerEpoch(0) };
        let request = match verb {
            "txn" => GroupRequest::CommitTransaction(CommitTransaction { producer, commit }),
            _ => GroupRequest::CommitOffsets(commit),
        };
        self.ask(request, name);
    }

    fn ask(&mut self, request: GroupRequest, name: &str) {
        self.last += 1;
        let waiter = Waiter(self.last);
        self.waiting.insert(waiter, name.to_owned());
        let step = self.coordinator.on_request(request, waiter, self.now);
        self.take(step);
    }

    fn wait(&mut self, ms: u64) {
        let end_us = self.now.monotonic_us + ms * 1000;
        while self.coordinator.next_deadline_us() <= end_us {
            let due_us = self.coordinator.next_deadline_us().max(self.now.monotonic_us);
            self.now = Now { monotonic_us: due_us, wall_ms: (due_us / 1000).try_into().unwrap() };
            let step = self.coordinator.on_tick(self.now);
            self.take(step);
        }
        self.now = Now { monotonic_us: end_us, wall_ms: (end_us / 1000).try_into().unwrap() };
    }

    /// No two clients that the group still counts as members read one partition.
    pub(super) fn assert_exclusive(&mut self) {
        let described = self.described();
        let classic = self.coordinator.classic_members(GROUP);
        let mut readers: BTreeMap<(TopicId, i32), &str> = BTreeMap::new();
        for (name, client) in &mut self.clients {
            let is_member = match &described {
                Some(group) => {
                    group.members.iter().any(|own| own.member == *name || own.member == client.id)
                }
                None => classic.contains(&client.id),
            };
            if !is_member {
                // Fenced: it will learn that with its next heartbeat.
                client.using.clear();
            }
            for partition in &client.using {
                let other = readers.insert(*partition, name);
                assert!(other.is_none(), "{name} and {other:?} read {partition:?}");
            }
        }
    }

    /// The group, when it is one of the consumer protocol.
    pub(super) fn described(&self) -> Option<DescribedConsumerGroup> {
        self.coordinator.describe_consumer(GROUP).ok()
    }

    fn restart(&mut self, is_compacted: bool) {
        for waiter in self.coordinator.take_waiters() {
            self.waiting.remove(&waiter);
        }
        self.coordinator = GroupCoordinator::new(self.config);
        self.coordinator.set_topics(Arc::clone(&self.topics));
        let last: HashMap<&Bytes, usize> =
            self.log.iter().enumerate().map(|(index, record)| (&record.key, index)).collect();
        for (index, record) in self.log.iter().enumerate() {
            if is_compacted && last[&record.key] != index {
                continue;
            }
            let decoded = GroupRecord::decode(&record.key, record.value.as_ref()).unwrap().unwrap();
            assert_eq!(decoded.encode().unwrap(), *record, "{decoded:?}");
            self.coordinator.replay(decoded);
        }
        self.coordinator.on_loaded(self.now);
    }

    fn take(&mut self, step: Step) {
        for record in &step.records {
            self.log.push(record.encode().unwrap());
        }
        for (waiter, answer) in step.answers {
            let name = self.waiting.remove(&waiter).expect("each waiter is answered once");
            self.show(&name, answer);
        }
    }

    fn synced(&mut self, name: &str, synced: &Synced) -> String {
        let read = subscription::parse_assignment(&synced.assignment);
        if synced.code != KafkaCode::RebalanceInProgress {
            let named = read.iter().flatten();
            let using = named.flat_map(|(name, indexes)| {
                let id = self.topics.get(name).map(|topic| topic.id);
                indexes.iter().filter_map(move |index| Some((id?, *index)))
            });
            self.clients.get_mut(name).unwrap().using = using.collect();
        }
        format!("{} {:?}", synced.code.name(), read.unwrap())
    }

    fn partitions(&self, assignment: &Assignment) -> String {
        let topics = assignment.iter().map(|(id, set)| {
            let indexes: Vec<String> = set.iter().map(ToString::to_string).collect();
            format!("{}:{}", self.names[id], indexes.join(","))
        });
        format!("[{}]", topics.collect::<Vec<String>>().join(" "))
    }

    fn show(&mut self, name: &str, answer: GroupAnswer) {
        let text = match answer {
            GroupAnswer::ConsumerHeartbeat(Err(refusal)) => {
                self.clients.get_mut(name).unwrap().using.clear();
                let line = refusal.message.lines().next().unwrap();
                let text: String = line.chars().take(40).collect();
                format!("{} {text}", refusal.code.name())
            }
            GroupAnswer::ConsumerHeartbeat(Ok(beaten)) => {
                let news = beaten.assignment.as_ref().map(|news| self.partitions(news));
                let client = self.clients.get_mut(name).unwrap();
                client.epoch = beaten.epoch;
                client.assigned = beaten.assignment.unwrap_or(client.assigned.clone());
                if beaten.epoch > 0 {
                    client.using.extend(partitions_of(&client.assigned));
                }
                format!("epoch {} {}", beaten.epoch, news.unwrap_or_default())
            }
            GroupAnswer::Join(joined) => {
                let client = self.clients.get_mut(name).unwrap();
                client.id = joined.member.clone();
                client.epoch = joined.generation;
                let lead = if joined.leader == joined.member { " leads" } else { "" };
                let protocol = joined.protocol.unwrap_or_default();
                format!("{} gen {} {protocol}{lead}", joined.code.name(), joined.generation)
            }
            GroupAnswer::Sync(synced) => self.synced(name, &synced),
            GroupAnswer::Heartbeat(code) => {
                if !matches!(code, KafkaCode::None | KafkaCode::RebalanceInProgress) {
                    self.clients.get_mut(name).unwrap().using.clear();
                }
                code.name().to_owned()
            }
            GroupAnswer::Leave(left) => left.members[0].code.name().to_owned(),
            GroupAnswer::CommitOffsets(results) => results[0].partitions[0].1.name().to_owned(),
            GroupAnswer::FetchOffsets(topics) => {
                let topic = topics.iter().map(|topic| {
                    let offsets = topic.partitions.iter();
                    let offsets = offsets.map(|own| format!("{}={}", own.partition, own.offset));
                    format!("{}:{}", topic.name, offsets.collect::<Vec<String>>().join(","))
                });
                topic.collect::<Vec<String>>().join(" ")
            }
            GroupAnswer::DescribeConsumer(mut groups) => match groups.remove(0) {
                Ok(group) => described(&group),
                Err(refusal) => format!("{} {}", refusal.code.name(), refusal.message),
            },
            GroupAnswer::Describe(groups) => {
                let group = &groups[0];
                let reasons = group.rebalances.iter().map(|one| format!("\n    {}", one.reason));
                let reasons: String = reasons.collect();
                format!(
                    "{} {} {} members{reasons}",
                    group.code.name(),
                    group.state,
                    group.members.len()
                )
            }
            GroupAnswer::List(groups) => listed(&groups),
            GroupAnswer::Delete(deleted) => deleted[0].1.name().to_owned(),
            GroupAnswer::Refused(code) => format!("refused {}", code.name()),
            GroupAnswer::DeleteOffsets(_) | GroupAnswer::Share(_) => unreachable!("no word for it"),
        };
        let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
        let text = text.replace(ZEROS, "");
        writeln!(self.transcript, "  {name}{}", text.trim_end()).unwrap();
    }
}

fn listed(groups: &[ListedGroup]) -> String {
    let group = |own: &ListedGroup| {
        format!("{} {} {} {}", own.group, own.kind, own.protocol_type, own.state)
    };
    groups.iter().map(group).collect::<Vec<String>>().join("; ")
}

fn partitions_of(assignment: &Assignment) -> BTreeSet<(TopicId, i32)> {
    let each = assignment.iter();
    each.flat_map(|(id, set)| set.iter().map(|index| (*id, *index))).collect()
}

fn described(group: &DescribedConsumerGroup) -> String {
    let mut text = format!(
        "{} epoch {} target {} by {}",
        group.state, group.epoch, group.target_epoch, group.assignor
    );
    for member in &group.members {
        let list = |topics: &[crate::coordinator::group::consumer::calls::DescribedTopic]| {
            let topics = topics.iter().map(|topic| format!("{}{:?}", topic.name, topic.partitions));
            topics.collect::<Vec<String>>().join(" ")
        };
        let kind = if member.is_classic { " classic" } else { "" };
        let (has, target) = (list(&member.assigned), list(&member.target));
        write!(text, "\n    {} epoch {}{kind} {has} -> {target}", member.member, member.epoch)
            .unwrap();
    }
    for rebalance in &group.rebalances {
        write!(text, "\n    from {}: {}", rebalance.from, rebalance.reason).unwrap();
    }
    text
}
