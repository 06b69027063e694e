//! A tiny language for the life of one transactional id.
//!
//! ```text
//! init [pid,epoch] [timeout=ms]       InitProducerId, as a new producer or as the one named
//! add pid,epoch topic:partition ...   AddPartitionsToTxn
//! verify pid,epoch topic:partition ...
//! commit|abort pid,epoch [v2]         EndTxn, in the flow with an epoch per transaction with v2
//! told [topic:partition ...]          markers of the last order are written: these, or all
//! wait ms                             time passes, deadlines fire on the way
//! describe | list [ms=n] [state ...]
//! restart                             a new coordinator replays the log
//! ```
//! A transcript shows each answer, each record (`>`) and each order of markers (`!`).

use crate::coordinator::patterns;
use crate::coordinator::replayed::{Effect, KeyValue, Waiter};
use crate::coordinator::transaction::calls::{
    AddMode, AddPartitions, EndTransaction, InitProducer, TopicPartitions, TransactionFilter,
};
use crate::coordinator::transaction::metadata::{Flow, Outcome, Partitions, TransactionState};
use crate::coordinator::transaction::records::TransactionRecord;
use crate::coordinator::transaction::{
    MarkersToWrite, TransactionAnswer, TransactionCoordinator, TransactionRequest, TransactionStep,
};
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::ids::{LeaderEpoch, ProducerEpoch, ProducerId};
use crate::model::transaction_config::TransactionConfig;
use expect_test::Expect;
use std::fmt::Write;

const ID: &str = "t";

/// Runs `script` on a fresh coordinator and compares the transcript.
pub(super) fn check(script: &str, expected: Expect) {
    let mut world = World::new(TransactionConfig::default());
    world.run_all(script);
    expected.assert_eq(&world.transcript);
}

/// A coordinator, its log, and the markers it ordered last.
pub(super) struct World {
    pub(super) coordinator: TransactionCoordinator,
    config: TransactionConfig,
    pub(super) now: Now,
    log: Vec<KeyValue>,
    last_order: Option<MarkersToWrite>,
    spare: i64,
    pub(super) transcript: String,
}

impl World {
    pub(super) fn new(config: TransactionConfig) -> World {
        let now = Now { monotonic_us: 0, wall_ms: 1_000 };
        World {
            coordinator: TransactionCoordinator::new(config, LeaderEpoch(3)),
            config,
            now,
            log: Vec::new(),
            last_order: None,
            spare: 100,
            transcript: String::new(),
        }
    }

    pub(super) fn run_all(&mut self, script: &str) {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            writeln!(self.transcript, "{line}").unwrap();
            self.run(line);
        }
    }

    fn run(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "told" => self.told(&words[1..]),
            "wait" => self.wait(words[1].parse().unwrap()),
            "restart" => self.restart(),
            _ => {
                let request = request_of(&words, None);
                let answer = self.ask(request);
                if answer == TransactionAnswer::NeedsProducerId {
                    self.spare += 1;
                    let request = request_of(&words, Some(ProducerId(self.spare)));
                    let answer = self.ask(request);
                    return self.show(&answer);
                }
                self.show(&answer);
            }
        }
    }

    pub(super) fn ask(&mut self, request: TransactionRequest) -> TransactionAnswer {
        let step = self.coordinator.on_request(request, Waiter(1), self.now);
        let mut answers = self.take(step);
        assert_eq!(answers.len(), 1, "each request is answered by its step");
        answers.remove(0)
    }

    fn told(&mut self, places: &[&str]) {
        let order = self.last_order.clone().expect("markers were ordered");
        let told = match places.is_empty() {
            true => order.partitions,
            false => places_of(places).into_iter().fold(Partitions::new(), |mut told, own| {
                told.entry(own.topic).or_default().extend(own.partitions);
                told
            }),
        };
        self.tell(&told);
    }

    /// The markers ordered last, while they are wanted.
    pub(super) fn last_order(&self) -> Option<MarkersToWrite> {
        let order = self.last_order.clone()?;
        let metadata = &self.coordinator.ids.get(&order.transactional_id)?.metadata;
        (metadata.state.is_prepared() && order.is_of(metadata)).then_some(order)
    }

    /// Some of the markers ordered last are written.
    pub(super) fn tell(&mut self, told: &Partitions) {
        let order = self.last_order.clone().expect("markers were ordered");
        self.tell_of(&order, told);
    }

    /// The same of markers that were ordered at any time.
    pub(super) fn tell_of(&mut self, order: &MarkersToWrite, told: &Partitions) {
        let step = self.coordinator.on_markers_written(order, told, self.now);
        assert!(self.take(step).is_empty());
    }

    /// True when the open transaction has one partition: it has just begun.
    pub(super) fn is_alone(&self) -> bool {
        self.coordinator.ids[ID].metadata.partition_count() == 1
    }

    pub(super) fn wait(&mut self, ms: u64) {
        let end_us = self.now.deadline_us(ms);
        loop {
            let due_us = self.coordinator.next_deadline_us().max(self.now.monotonic_us);
            if due_us > end_us {
                break;
            }
            self.advance_to(due_us);
            let step = self.coordinator.on_tick(self.now);
            assert!(self.take(step).is_empty());
        }
        self.advance_to(end_us);
    }

    fn advance_to(&mut self, us: u64) {
        let passed_ms = i64::try_from((us - self.now.monotonic_us) / 1000).unwrap();
        self.now = Now { monotonic_us: us, wall_ms: self.now.wall_ms + passed_ms };
    }

    pub(super) fn restart(&mut self) {
        self.coordinator = TransactionCoordinator::new(self.config, LeaderEpoch(3));
        for KeyValue { key, value } in &self.log {
            let record = TransactionRecord::decode(key, value.as_ref()).unwrap();
            self.coordinator.replay(record.expect("a key that we wrote"));
        }
        let step = self.coordinator.on_loaded(self.now);
        assert!(self.take(step).is_empty());
    }

    fn take(&mut self, step: TransactionStep) -> Vec<TransactionAnswer> {
        for record in &step.records {
            let text = match &record.metadata {
                None => "forgotten".to_owned(),
                Some(own) => format!(
                    "{} {},{}{}{}",
                    own.state.name(),
                    own.producer_id.0,
                    own.epoch.0,
                    own.next_producer_id.map_or(String::new(), |next| format!(" next {}", next.0)),
                    show_places(&own.partitions),
                ),
            };
            writeln!(self.transcript, "  > {text}").unwrap();
            self.log.push(record.encode().unwrap());
        }
        let mut answers = Vec::new();
        for effect in step.effects {
            match effect {
                Effect::Answer(_, answer) => answers.push(answer),
                Effect::Order(order) => {
                    let places = show_places(&order.partitions);
                    let (id, epoch) = (order.producer_id.0, order.producer_epoch.0);
                    writeln!(self.transcript, "  ! {:?} {id},{epoch}{places}", order.outcome)
                        .unwrap();
                    self.last_order = Some(order);
                }
            }
        }
        answers
    }

    fn show(&mut self, answer: &TransactionAnswer) {
        let text = match answer {
            TransactionAnswer::Init { producer_id, producer_epoch }
            | TransactionAnswer::End { producer_id, producer_epoch } => {
                format!("{},{}", producer_id.0, producer_epoch.0)
            }
            TransactionAnswer::AddPartitions(results) => {
                let code = |own: &super::super::calls::PartitionResult| own.code.name();
                results.iter().map(code).collect::<Vec<_>>().join(" ")
            }
            TransactionAnswer::Describe(own) => format!(
                "{} {},{} timeout {} since {} {:?}",
                own.state.name(),
                own.producer_id.0,
                own.producer_epoch.0,
                own.timeout_ms,
                own.started_ms,
                own.topics
                    .iter()
                    .map(|topic| (&topic.topic, &topic.partitions))
                    .collect::<Vec<_>>()
            ),
            TransactionAnswer::List(listed) => format!(
                "{:?}",
                listed.iter().map(|own| own.transactional_id.as_str()).collect::<Vec<_>>()
            ),
            TransactionAnswer::Refused(code) => code.name().to_owned(),
            TransactionAnswer::NeedsProducerId => unreachable!("asked again with one"),
        };
        writeln!(self.transcript, "  {text}").unwrap();
    }

    /// Brings the id to an epoch near its end without as many steps.
    pub(super) fn set_epoch(&mut self, epoch: i16) {
        let entry = self.coordinator.ids.get_mut(ID).expect("initialised");
        entry.metadata.epoch = ProducerEpoch(epoch);
    }
}

fn show_places(partitions: &Partitions) -> String {
    let mut text = String::new();
    for (topic, numbers) in partitions {
        for number in numbers {
            write!(text, " {topic}:{number}").unwrap();
        }
    }
    text
}

fn producer_of(word: &str) -> (ProducerId, ProducerEpoch) {
    let (id, epoch) = word.split_once(',').expect("pid,epoch");
    (ProducerId(id.parse().unwrap()), ProducerEpoch(epoch.parse().unwrap()))
}

fn places_of(words: &[&str]) -> Vec<TopicPartitions> {
    let place = |word: &&str| {
        let (topic, partition) = word.split_once(':').expect("topic:partition");
        TopicPartitions { topic: topic.to_owned(), partitions: vec![partition.parse().unwrap()] }
    };
    words.iter().map(place).collect()
}

fn request_of(words: &[&str], spare_id: Option<ProducerId>) -> TransactionRequest {
    let transactional_id = ID.to_owned();
    let option = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
    match words[0] {
        "init" => TransactionRequest::Init(InitProducer {
            transactional_id,
            timeout_ms: option("timeout=").map_or(60_000, |text| text.parse().unwrap()),
            expected: words.iter().find(|word| word.contains(',')).map(|word| producer_of(word)),
            spare_id,
        }),
        "add" | "verify" => {
            let (producer_id, producer_epoch) = producer_of(words[1]);
            TransactionRequest::AddPartitions(AddPartitions {
                transactional_id,
                producer_id,
                producer_epoch,
                topics: places_of(&words[2..]),
                mode: if words[0] == "add" { AddMode::Add } else { AddMode::Verify },
            })
        }
        "commit" | "abort" => {
            let (producer_id, producer_epoch) = producer_of(words[1]);
            let is_v2 = words.contains(&"v2");
            TransactionRequest::End(EndTransaction {
                transactional_id,
                producer_id,
                producer_epoch,
                outcome: if words[0] == "commit" { Outcome::Commit } else { Outcome::Abort },
                flow: if is_v2 { Flow::EpochPerTransaction } else { Flow::EpochPerProducer },
                spare_id,
            })
        }
        "describe" => TransactionRequest::Describe(transactional_id),
        "list" => TransactionRequest::List(TransactionFilter {
            states: words.iter().filter_map(|word| TransactionState::from_name(word)).collect(),
            longer_than_ms: option("ms=").map(|text| text.parse().unwrap()),
            pattern: option("like=").map(|text| patterns::compile(text).unwrap()),
            ..TransactionFilter::default()
        }),
        word => panic!("{word} is no word of this language"),
    }
}

#[test]
fn ids_that_no_transaction_can_have_are_refused() {
    let mut world = World::new(TransactionConfig::default());
    for id in [String::new(), "x".repeat(17 * 1024)] {
        let answer = world.ask(TransactionRequest::Describe(id));
        assert_eq!(answer, TransactionAnswer::Refused(KafkaCode::InvalidRequest));
    }
}
