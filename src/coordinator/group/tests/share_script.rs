//! A tiny language for the life of a share group.
//!
//! ```text
//! topics t=3 u=2                  the topics that exist from now on
//! join m [topics=t,u]             with epoch 0
//! beat m [epoch=n] [topics=..] | leave m
//! init | fail                     the share coordinator was told of what is new, or could not be
//! describe | list | delete | partitions
//! alter t:0=5                     | forget [t] | forgotten t
//! consumer m | classic m          somebody of another protocol comes
//! commit | fetch                  offsets as a consumer has them
//! own [lock=ms] [session=ms] [interval=ms]
//! wait ms                         time passes, deadlines fire on the way
//! restart [compacted]             a new coordinator replays the log, or the last of each key
//! ```
//! All of it happens to the group `g`. A member's id is its name.

use super::script::GROUP;
use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::calls::{
    CommitOffsets, CommitPartition, CommitTopic, FetchOffsets, Join, Protocol,
};
use crate::coordinator::group::consumer::calls::{ConsumerBeat, DescribedTopic, Refusal};
use crate::coordinator::group::records::GroupRecord;
use crate::coordinator::group::share::calls::{
    AlterOffsets, BeginForget, DescribedShareGroup, EndForget, Initialized, ShareBeat,
    ShareGroupAnswer, ShareGroupRequest,
};
use crate::coordinator::group::topics::{TopicView, Topics};
use crate::coordinator::group::{GroupAnswer, GroupCoordinator, GroupFilter, GroupRequest, Step};
use crate::coordinator::replayed::{KeyValue, Waiter};
use crate::model::clock::Now;
use crate::model::group_config::{GroupConfig, GroupOverrides};
use crate::model::ids::TopicId;
use crate::model::share_config::ShareOverrides;
use bytes::Bytes;
use expect_test::Expect;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;
use uuid::Uuid;

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

#[derive(Default)]
struct Client {
    epoch: i32,
    assigned: Assignment,
}

pub(super) struct World {
    coordinator: GroupCoordinator,
    config: GroupConfig,
    now: Now,
    log: Vec<KeyValue>,
    names: BTreeMap<TopicId, String>,
    topics: Arc<Topics>,
    clients: HashMap<String, Client>,
    /// What the share coordinator has not been told yet.
    new: Assignment,
    last: u64,
    transcript: String,
}

struct Words<'l>(HashMap<&'l str, &'l str>);

impl Words<'_> {
    fn number<N: std::str::FromStr<Err: std::fmt::Debug>>(&self, key: &str) -> Option<N> {
        self.0.get(key).map(|value| value.parse().unwrap())
    }

    fn list(&self, key: &str) -> Option<Vec<String>> {
        let text = self.0.get(key)?;
        Some(text.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect())
    }
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
            new: Assignment::new(),
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
            "own" => self.set_own(&options),
            "join" | "beat" | "leave" => self.beat(verb, name, &options),
            "init" | "fail" => {
                let new = std::mem::take(&mut self.new);
                let (done, failed) = match verb {
                    "init" => (new, Assignment::new()),
                    _ => (Assignment::new(), new),
                };
                let of = Initialized { group: GROUP.into(), done, failed };
                self.share(ShareGroupRequest::Initialized(of), "");
            }
            "describe" => self.share(ShareGroupRequest::Describe(vec![GROUP.into()]), ""),
            "partitions" => self.share(ShareGroupRequest::Partitions(GROUP.into()), ""),
            "alter" => {
                let (place, offset) = name.split_once('=').unwrap();
                let (topic, partition) = place.split_once(':').unwrap();
                let partition = (partition.parse().unwrap(), offset.parse().unwrap());
                let topics = vec![(topic.to_owned(), vec![partition])];
                let alter = AlterOffsets { group: GROUP.into(), topics };
                self.share(ShareGroupRequest::AlterOffsets(alter), "");
            }
            "forget" => {
                let topics = (!name.is_empty()).then(|| vec![name.to_owned()]);
                let forget = BeginForget { group: GROUP.into(), topics };
                self.share(ShareGroupRequest::BeginForget(forget), "");
            }
            "forgotten" => {
                let topics = vec![id_of(name)];
                let forget = EndForget { group: GROUP.into(), topics };
                self.share(ShareGroupRequest::EndForget(forget), "");
            }
            "list" => self.ask(GroupRequest::List(GroupFilter::default()), ""),
            "delete" => self.ask(GroupRequest::Delete(vec![GROUP.into()]), ""),
            "consumer" | "classic" => self.come(verb, name),
            "commit" | "fetch" => self.offsets(verb),
            "wait" => self.wait(name.parse().unwrap()),
            "restart" => self.restart(name == "compacted"),
            _ => panic!("no verb {verb}"),
        }
    }

    fn set_topics(&mut self, list: &[&str]) {
        let view = |word: &&str| {
            let (name, partitions) = word.split_once('=').unwrap();
            let view = TopicView { id: id_of(name), partitions: partitions.parse().unwrap() };
            (name.to_owned(), view)
        };
        let views: Vec<(String, TopicView)> = list.iter().map(view).collect();
        let gone = self.names.values().filter(|name| views.iter().all(|(own, _)| own != *name));
        let gone: Vec<String> = gone.cloned().collect();
        self.names = views.iter().map(|(name, view)| (view.id, name.clone())).collect();
        let version = self.topics.version() + 1;
        let views = views.into_iter().map(|(name, view)| (Arc::from(name), view));
        self.topics = Arc::new(Topics::new(version, views));
        self.coordinator.set_topics(Arc::clone(&self.topics));
        for name in gone {
            let step = self.coordinator.on_topic_deleted(&name, self.now);
            self.take(step, "");
        }
    }

    fn set_own(&mut self, options: &Words<'_>) {
        let share = ShareOverrides {
            session_timeout_ms: options.number("session"),
            heartbeat_interval_ms: options.number("interval"),
            ..ShareOverrides::default()
        };
        let own = GroupOverrides { share, ..GroupOverrides::default() };
        self.coordinator.set_overrides(Arc::new(BTreeMap::from([(GROUP.to_owned(), own)])));
    }

    fn beat(&mut self, verb: &str, name: &str, options: &Words<'_>) {
        let client = self.clients.entry(name.to_owned()).or_default();
        let topics = options.list("topics");
        let beat = ShareBeat {
            group: GROUP.into(),
            member: name.to_owned(),
            epoch: match verb {
                "join" => options.number("epoch").unwrap_or(0),
                "leave" => -1,
                _ => options.number("epoch").unwrap_or(client.epoch),
            },
            rack: None,
            topics: match verb {
                "join" => Some(topics.unwrap_or_else(|| vec!["t".into()])),
                _ => topics,
            },
            client_id: name.to_owned(),
            client_host: "/h".into(),
        };
        self.share(ShareGroupRequest::Heartbeat(beat), name);
    }

    fn come(&mut self, verb: &str, name: &str) {
        let request = match verb {
            "consumer" => GroupRequest::ConsumerHeartbeat(Box::new(ConsumerBeat {
                group: GROUP.into(),
                member: name.to_owned(),
                epoch: 0,
                instance: None,
                rack: None,
                rebalance_timeout_ms: 1000,
                topics: Some(vec!["t".into()]),
                regex: None,
                assignor: None,
                owned: Some(Vec::new()),
                client_id: name.to_owned(),
                client_host: "/h".into(),
                needs_member_id: true,
                fresh: Uuid::nil(),
            })),
            _ => GroupRequest::Join(Box::new(Join {
                group: GROUP.into(),
                member: String::new(),
                instance: None,
                client_id: name.to_owned(),
                client_host: "/h".into(),
                session_timeout_ms: 10_000,
                rebalance_timeout_ms: 20_000,
                protocol_type: "consumer".into(),
                protocols: vec![Protocol { name: "range".into(), metadata: Bytes::new() }],
                needs_member_id: false,
                knows_skip_assignment: true,
                fresh: Uuid::nil(),
            })),
        };
        self.ask(request, name);
    }

    fn offsets(&mut self, verb: &str) {
        let partition =
            CommitPartition { partition: 0, offset: 1, leader_epoch: -1, metadata: None };
        let request = match verb {
            "commit" => GroupRequest::CommitOffsets(CommitOffsets {
                group: GROUP.into(),
                generation: -1,
                member: String::new(),
                instance: None,
                retention_ms: None,
                topics: vec![CommitTopic { name: "t".into(), partitions: vec![partition] }],
                names_missing_group: true,
            }),
            _ => GroupRequest::FetchOffsets(FetchOffsets {
                group: GROUP.into(),
                member: None,
                member_epoch: -1,
                require_stable: false,
                topics: None,
            }),
        };
        self.ask(request, "");
    }

    fn share(&mut self, request: ShareGroupRequest, name: &str) {
        self.ask(GroupRequest::Share(Box::new(request)), name);
    }

    fn ask(&mut self, request: GroupRequest, name: &str) {
        self.last += 1;
        let may_write = request.may_write();
        let step = self.coordinator.on_request(request, Waiter(self.last), self.now);
        assert!(may_write || step.records.is_empty());
        self.take(step, name);
    }

    fn wait(&mut self, ms: u64) {
        let end_us = self.now.monotonic_us + ms * 1000;
        while self.coordinator.next_deadline_us() <= end_us {
            let due_us = self.coordinator.next_deadline_us().max(self.now.monotonic_us);
            self.now = Now { monotonic_us: due_us, wall_ms: (due_us / 1000).try_into().unwrap() };
            let step = self.coordinator.on_tick(self.now);
            self.take(step, "");
        }
        self.now = Now { monotonic_us: end_us, wall_ms: (end_us / 1000).try_into().unwrap() };
    }

    fn restart(&mut self, is_compacted: bool) {
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

    pub(super) fn described(&mut self) -> Option<DescribedShareGroup> {
        self.last += 1;
        let request = ShareGroupRequest::Describe(vec![GROUP.into()]);
        let request = GroupRequest::Share(Box::new(request));
        let mut step = self.coordinator.on_request(request, Waiter(self.last), self.now);
        match step.answers.remove(0).1 {
            GroupAnswer::Share(ShareGroupAnswer::Describe(mut groups)) => groups.remove(0).ok(),
            other => panic!("{other:?}"),
        }
    }

    fn take(&mut self, step: Step, name: &str) {
        for record in &step.records {
            self.log.push(record.encode().unwrap());
        }
        for (_, answer) in step.answers {
            let text = self.shown(name, answer);
            let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
            let text = if text.is_empty() { "nothing" } else { text.trim() };
            writeln!(self.transcript, "  {name}{text}").unwrap();
        }
    }

    fn partitions(&self, assignment: &Assignment) -> String {
        let topics = assignment.iter().map(|(id, set)| {
            let indexes: Vec<String> = set.iter().map(ToString::to_string).collect();
            format!("{}:{}", self.names[id], indexes.join(","))
        });
        format!("[{}]", topics.collect::<Vec<String>>().join(" "))
    }

    fn shown(&mut self, name: &str, answer: GroupAnswer) -> String {
        match answer {
            GroupAnswer::Share(answer) => self.shown_share(name, answer),
            GroupAnswer::ConsumerHeartbeat(Err(refusal)) => refused(&refusal),
            GroupAnswer::Join(joined) => joined.code.name().to_owned(),
            GroupAnswer::Delete(deleted) => deleted[0].1.name().to_owned(),
            GroupAnswer::Refused(code) => format!("refused {}", code.name()),
            GroupAnswer::List(groups) => {
                let group = |own: &crate::coordinator::group::calls::ListedGroup| {
                    format!("{} {} {} {}", own.group, own.kind, own.protocol_type, own.state)
                };
                groups.iter().map(group).collect::<Vec<String>>().join("; ")
            }
            other => panic!("no word for {other:?}"),
        }
    }

    fn shown_share(&mut self, name: &str, answer: ShareGroupAnswer) -> String {
        match answer {
            ShareGroupAnswer::Heartbeat(Ok(beaten)) => {
                let mut text = format!("epoch {}", beaten.epoch);
                if let Some(news) = &beaten.assignment {
                    write!(text, " {}", self.partitions(news)).unwrap();
                }
                if let Some(new) = &beaten.to_initialize {
                    write!(text, " new at {} {}", new.epoch, self.partitions(&new.partitions))
                        .unwrap();
                    self.new.extend(new.partitions.clone());
                }
                let client = self.clients.get_mut(name).unwrap();
                client.epoch = beaten.epoch;
                client.assigned = beaten.assignment.unwrap_or_default();
                text
            }
            ShareGroupAnswer::Heartbeat(Err(refusal))
            | ShareGroupAnswer::AlterOffsets(Err(refusal))
            | ShareGroupAnswer::BeginForget(Err(refusal)) => refused(&refusal),
            ShareGroupAnswer::Describe(mut groups) => match groups.remove(0) {
                Ok(group) => described(&group),
                Err(refusal) => refused(&refusal),
            },
            ShareGroupAnswer::Partitions(topics) => list(&topics),
            ShareGroupAnswer::Initialized | ShareGroupAnswer::EndForget => "done".to_owned(),
            ShareGroupAnswer::AlterOffsets(Ok(altered)) => {
                let topic = |own: &crate::coordinator::group::share::calls::AlteredTopic| {
                    let partitions = own.partitions.iter();
                    let partitions = partitions
                        .map(|own| format!("{}={} {}", own.partition, own.offset, own.code.name()));
                    format!("{}:{}", own.name, partitions.collect::<Vec<String>>().join(","))
                };
                let topics: Vec<String> = altered.topics.iter().map(topic).collect();
                format!("epoch {} {}", altered.epoch, topics.join(" "))
            }
            ShareGroupAnswer::BeginForget(Ok(forgetting)) => {
                let unknown = forgetting.unknown.iter().map(|(name, exists)| match exists {
                    true => format!(" {name}: nothing"),
                    false => format!(" {name}: no such topic"),
                });
                format!("{}{}", list(&forgetting.topics), unknown.collect::<String>())
            }
        }
    }
}

fn id_of(name: &str) -> TopicId {
    let id = name.bytes().fold(0_u128, |id, byte| id * 256 + u128::from(byte));
    TopicId(Uuid::from_u128(id))
}

fn refused(refusal: &Refusal) -> String {
    let text: String = refusal.message.chars().take(60).collect();
    format!("{} {text}", refusal.code.name())
}

fn list(topics: &[DescribedTopic]) -> String {
    let topics = topics.iter().map(|topic| format!("{}{:?}", topic.name, topic.partitions));
    topics.collect::<Vec<String>>().join(" ")
}

fn described(group: &DescribedShareGroup) -> String {
    let mut text = format!(
        "{} epoch {} target {} by {}",
        group.state, group.epoch, group.target_epoch, group.assignor
    );
    for member in &group.members {
        let (topics, has) = (member.topics.join(","), list(&member.assigned));
        write!(text, "\n    {} epoch {} of {topics}: {has}", member.member, member.epoch).unwrap();
    }
    for rebalance in &group.rebalances {
        write!(text, "\n    from {}: {}", rebalance.from, rebalance.reason).unwrap();
    }
    text
}
