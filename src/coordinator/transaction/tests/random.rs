//! Random lives of one id: two producers that fence each other, markers that get lost, restarts.
//! What must hold whatever happens is said in [`Model`].

use super::script::World;
use crate::coordinator::transaction::calls::{
    AddMode, AddPartitions, EndTransaction, InitProducer, TopicPartitions,
};
use crate::coordinator::transaction::metadata::{Flow, Outcome, Partitions};
use crate::coordinator::transaction::{MarkersToWrite, TransactionAnswer, TransactionRequest};
use crate::model::ids::{ProducerEpoch, ProducerId};
use crate::model::transaction_config::TransactionConfig;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Producer = (ProducerId, ProducerEpoch);

#[derive(Debug, Clone)]
enum Act {
    Init { client: usize, resumes: bool },
    Add { client: usize, partition: i32 },
    End { client: usize, commits: bool, flow: Flow },
    Told { all: bool },
    Wait { ms: u64 },
    Restart,
}

fn any_act() -> impl Strategy<Value = Act> {
    let client = 0..2_usize;
    let flow = prop_oneof![Just(Flow::EpochPerProducer), Just(Flow::EpochPerTransaction)];
    prop_oneof![
        2 => (client.clone(), any::<bool>())
            .prop_map(|(client, resumes)| Act::Init { client, resumes }),
        6 => (client.clone(), 0..4).prop_map(|(client, partition)| Act::Add { client, partition }),
        4 => (client, any::<bool>(), flow)
            .prop_map(|(client, commits, flow)| Act::End { client, commits, flow }),
        5 => any::<bool>().prop_map(|all| Act::Told { all }),
        2 => (0..2_000_u64).prop_map(|ms| Act::Wait { ms }),
        1 => Just(Act::Restart),
    ]
}

/// What clients were told, against which every answer and every order of markers is held.
#[derive(Default)]
struct Model {
    /// Each client's identity, as last answered.
    clients: [Option<Producer>; 2],
    /// Partitions acknowledged for the open transaction.
    open: Partitions,
    /// The last answered decision, until its markers are complete.
    decided: Option<Outcome>,
    /// Outcome of each identity that decided a transaction in the new flow.
    outcomes: BTreeMap<Producer, Outcome>,
    newest: Option<Producer>,
}

impl Model {
    /// An identity that is handed out is newer than all before it.
    fn on_identity(&mut self, producer: Producer) {
        assert!(self.newest.is_none_or(|newest| newest <= producer), "{producer:?} is not new");
        self.newest = Some(producer);
    }

    /// Markers carry what was answered, and cover what was acknowledged.
    fn on_order(&mut self, order: &MarkersToWrite, was_told: &Partitions) {
        if let Some(outcome) = self.decided {
            assert_eq!(order.outcome, outcome, "a decision that was answered changed");
        }
        for (topic, numbers) in &self.open {
            for number in numbers {
                let is_ordered =
                    order.partitions.get(topic).is_some_and(|all| all.contains(number));
                let is_told = was_told.get(topic).is_some_and(|all| all.contains(number));
                assert!(is_ordered || is_told, "{topic}:{number} is never told");
            }
        }
    }
}

fn run(acts: Vec<Act>) {
    let mut world = World::new(TransactionConfig::default());
    let mut model = Model::default();
    let mut spare = 100;
    let mut told = Partitions::new();
    for act in acts {
        match act {
            Act::Init { client, resumes } => {
                spare += 1;
                let init = InitProducer {
                    transactional_id: "t".to_owned(),
                    timeout_ms: 1_500,
                    expected: if resumes { model.clients[client] } else { None },
                    spare_id: Some(ProducerId(spare)),
                };
                if let TransactionAnswer::Init { producer_id, producer_epoch } =
                    world.ask(TransactionRequest::Init(init))
                {
                    model.on_identity((producer_id, producer_epoch));
                    model.clients[client] = Some((producer_id, producer_epoch));
                    (model.open, model.decided) = (Partitions::new(), None);
                    told.clear();
                }
            }
            Act::Add { client, partition } => {
                let Some(producer) = model.clients[client] else { continue };
                let answer = world.ask(add(producer, partition));
                if matches!(answer, TransactionAnswer::AddPartitions(_)) {
                    assert_eq!(Some(producer), model.newest, "a fenced producer wrote");
                    if model.decided.take().is_some() || world.is_alone() {
                        model.open.clear();
                        told.clear();
                    }
                    model.open.entry("a".to_owned()).or_default().insert(partition);
                }
            }
            Act::End { client, commits, flow } => {
                let Some(producer) = model.clients[client] else { continue };
                let outcome = if commits { Outcome::Commit } else { Outcome::Abort };
                spare += 1;
                let answer = world.ask(end(producer, outcome, flow, ProducerId(spare)));
                if let TransactionAnswer::End { producer_id, producer_epoch } = answer {
                    if flow == Flow::EpochPerTransaction {
                        let before = model.outcomes.insert(producer, outcome);
                        assert!(before.is_none_or(|before| before == outcome), "decided twice");
                        model.on_identity((producer_id, producer_epoch));
                        model.clients[client] = Some((producer_id, producer_epoch));
                    }
                    model.decided = Some(outcome);
                }
            }
            Act::Told { all } => {
                if let Some(order) = world.last_order() {
                    model.on_order(&order, &told);
                    tell(&mut world, &order.partitions, all, &mut told);
                    if all {
                        (model.open, told) = (Partitions::new(), Partitions::new());
                    }
                }
            }
            Act::Wait { ms } => world.wait(ms),
            Act::Restart => {
                told.clear();
                world.restart();
            }
        }
    }
}

/// Reports markers as written: all of them, or one for each topic.
fn tell(world: &mut World, ordered: &Partitions, all: bool, told: &mut Partitions) {
    let some = ordered.iter().map(|(topic, numbers)| {
        let count = if all { numbers.len() } else { 1 };
        (topic.clone(), numbers.iter().copied().take(count).collect())
    });
    let some: Partitions = some.collect();
    world.tell(&some);
    for (topic, numbers) in some {
        told.entry(topic).or_default().extend(numbers);
    }
}

fn add((producer_id, producer_epoch): Producer, partition: i32) -> TransactionRequest {
    TransactionRequest::AddPartitions(AddPartitions {
        transactional_id: "t".to_owned(),
        producer_id,
        producer_epoch,
        topics: vec![TopicPartitions { topic: "a".to_owned(), partitions: vec![partition] }],
        mode: AddMode::Add,
    })
}

fn end(
    (producer_id, producer_epoch): Producer,
    outcome: Outcome,
    flow: Flow,
    spare: ProducerId,
) -> TransactionRequest {
    TransactionRequest::End(EndTransaction {
        transactional_id: "t".to_owned(),
        producer_id,
        producer_epoch,
        outcome,
        flow,
        spare_id: Some(spare),
    })
}

proptest! {
    // A failure is kept by its seed, in proptest-regressions/, and said in the output.
    #![proptest_config(ProptestConfig::default())]
    #[test]
    fn no_life_breaks_a_promise(acts in proptest::collection::vec(any_act(), 0..80)) {
        run(acts);
    }
}
