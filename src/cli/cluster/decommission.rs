//! `highwater cluster decommission`: everything that a broker holds moves to the others.
//!
//! The cluster keeps no mark of a broker that leaves, as Kafka does not: what is under way is found
//! in the metadata alone. So the command can be interrupted anywhere and started again, and new
//! partitions may come to the broker while it runs; a further round finds those.
//!
//! Invariants
//! - Nothing is changed before every partition of a round has a place to go to.
//! - At most [`MOVES_MAX`] moves are asked for at a time.

use crate::cli::client::Client;
use crate::cli::cluster::inventory::{self, Broker, Moves, Partition};
use crate::cli::cluster::replacements::{self, Move, Plan};
use crate::cli::cluster::{DecommissionOptions, describe_quorum};
use crate::cli::error::{CliError, check};
use crate::cli::table::Table;
use crate::model::errors::KafkaCode;
use crate::model::limits::{FRAME_BYTES_MAX, REPLICAS_MAX, TOPIC_NAME_LEN_MAX};
use crate::protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use serde_json::json;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Moves of one request, and under way at a time: a broker that copies all it will ever hold at
/// once has nothing in sync for long, and an interrupted run leaves no more than these.
const MOVES_MAX: usize = 200;
const _: () =
    assert!(MOVES_MAX * (TOPIC_NAME_LEN_MAX + REPLICAS_MAX * size_of::<i32>()) < FRAME_BYTES_MAX);
/// Looks at what the broker holds; each but the first is for what came while the last one's moves
/// were made.
const ROUNDS_MAX: usize = 10;
/// Pause between two looks at the moves under way.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// Looks within which the asked broker has to know what the controller knows.
const LOOKS_MAX: usize = 120;
/// Refusals in a row, all of a kind that passes, after which a run ends.
const REFUSALS_MAX: usize = 120;
/// Time without any change after which it is said what the run waits for.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// First version that can say that the number of replicas stays (KIP-860).
const KEEPS_FACTOR_SINCE: i16 = 1;
const TIMEOUT_MS: i32 = 30_000;

/// Moves everything, or shows what would be moved.
pub(super) fn run(options: &DecommissionOptions) -> Result<(), CliError> {
    let mut client = Client::connect(&options.target.bootstrap)?;
    // Nothing can be moved without a controller: this says so.
    let (_, quorum) = describe_quorum(&mut client)?;
    let is_voter = quorum.current_voters.iter().any(|voter| voter.replica_id == options.id);
    let mut run = Run { client, options, told: None };
    let mut count = 0;
    for _ in 0..ROUNDS_MAX {
        let (brokers, partitions) = run.look()?;
        count = replicas_of(options.id, &brokers)?;
        let plan = replacements::plan(options.id, &brokers, &partitions)?;
        if options.dry_run {
            show(&plan, options);
            return Ok(());
        }
        if count == 0 {
            tell_what_is_next(options, is_voter);
            return Ok(());
        }
        run.carry_out(plan, &brokers)?;
    }
    Err(CliError::StillArriving { id: options.id, count, rounds: ROUNDS_MAX })
}

/// How many replicas the controller says that the broker holds.
fn replicas_of(id: i32, brokers: &[Broker]) -> Result<usize, CliError> {
    let registered = || brokers.iter().map(|broker| broker.id).collect();
    let found = brokers.iter().find(|broker| broker.id == id);
    found
        .map(|broker| broker.replicas)
        .ok_or_else(|| CliError::NoBroker { id, registered: registered() })
}

#[allow(clippy::disallowed_methods, reason = "a command waits on the wall clock")]
fn pause() {
    std::thread::sleep(LOOK_AGAIN_AFTER);
}

/// One run of the command.
struct Run<'a> {
    client: Client,
    options: &'a DecommissionOptions,
    /// What was last said of the progress: partitions left, and those of them that move.
    told: Option<(usize, usize)>,
}

impl Run<'_> {
    /// All brokers and all partitions with their moves, taken at a moment when the asked broker
    /// knows as many replicas on the one that leaves as the controller does.
    fn look(&mut self) -> Result<(Vec<Broker>, Vec<Partition>), CliError> {
        let id = self.options.id;
        let mut brokers = inventory::brokers(&mut self.client)?;
        replicas_of(id, &brokers)?;
        for look in 1.. {
            let mut partitions = inventory::partitions(&mut self.client, &brokers)?;
            let mut moves = inventory::moves(&mut self.client, &brokers)?;
            for one in &mut partitions {
                one.moving = moves.remove(&(one.topic.clone(), one.index)).unwrap_or_default();
            }
            // Asked last: what has changed since the partitions were told shows in the number.
            brokers = inventory::brokers(&mut self.client)?;
            let seen = partitions.iter().filter(|one| one.replicas.contains(&id)).count();
            if replicas_of(id, &brokers)? == seen || look >= LOOKS_MAX {
                return Ok((brokers, partitions));
            }
            pause();
        }
        unreachable!("the loop ends by its bound");
    }

    /// Sends a plan piece by piece, and waits until nothing of the broker moves any more.
    fn carry_out(&mut self, plan: Plan, brokers: &[Broker]) -> Result<(), CliError> {
        let mut waiting: VecDeque<Move> = plan.moves.into();
        let mut refusals = 0;
        let mut stall = Stall::new();
        loop {
            let moves = inventory::moves(&mut self.client, brokers)?;
            let leaves = |moves: &Moves| {
                let all = moves.values();
                all.filter(|moving| moving.removing.contains(&self.options.id)).count()
            };
            let under_way = leaves(&moves);
            let left = waiting.len() + under_way;
            self.tell(left, under_way, &mut stall, &moves);
            if left == 0 {
                return Ok(());
            }
            let room = MOVES_MAX.saturating_sub(under_way).min(waiting.len());
            let batch: Vec<Move> = waiting.drain(..room).collect();
            if !batch.is_empty() {
                let (again, refused) = self.send(batch)?;
                refusals = if again.is_empty() { 0 } else { refusals + 1 };
                waiting.extend(again);
                match refused {
                    Some(refused) if refusals >= REFUSALS_MAX => return Err(refused),
                    _ => {}
                }
            }
            pause();
        }
    }

    /// Asks for some moves. Gives those back that were refused for now, with one refusal.
    fn send(&mut self, batch: Vec<Move>) -> Result<(Vec<Move>, Option<CliError>), CliError> {
        let version = self.client.version_of::<AlterPartitionReassignmentsRequest>()?;
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: TIMEOUT_MS,
            // Who has changed the number of replicas since the look is not overruled.
            allow_replication_factor_change: version < KEEPS_FACTOR_SINCE,
            topics: by_topic(&batch),
        };
        let answer = self.client.call(&request)?;
        let whole = check("the moves", answer.error_code, answer.error_message.as_deref());
        if let Err(refused) = whole {
            return if passes(&refused) { Ok((batch, Some(refused))) } else { Err(refused) };
        }
        let (mut again, mut first) = (Vec::new(), None);
        for topic in answer.responses {
            for result in topic.partitions {
                let what = format!("partition {}/{}", topic.name, result.partition_index);
                let text = result.error_message.as_deref();
                let Err(refused) = check(&what, result.error_code, text) else { continue };
                if is_deleted(&refused) {
                    continue;
                }
                if !passes(&refused) {
                    return Err(refused);
                }
                let is_it =
                    |one: &&Move| one.topic == topic.name && one.index == result.partition_index;
                again.extend(batch.iter().find(is_it).cloned());
                first = first.or(Some(refused));
            }
        }
        Ok((again, first))
    }

    /// One line at each change. On standard error, so that nobody who stops reading stops the run.
    fn tell(&mut self, left: usize, under_way: usize, stall: &mut Stall, moves: &Moves) {
        if self.told != Some((left, under_way)) {
            self.told = Some((left, under_way));
            stall.begin();
            match self.options.json {
                true => println!("{}", json!({ "left": left, "moving": under_way })),
                false => eprintln!("{left} partitions left, {under_way} of them on the move"),
            }
        } else if stall.is_due() {
            let mut own = moves.iter().filter(|(_, one)| one.removing.contains(&self.options.id));
            let Some(((topic, index), moving)) = own.next() else { return };
            eprintln!(
                "no partition has arrived for {} s; {topic}/{index} is copied to {:?}: if that \
                 broker does not run (`highwater cluster status`), start it, or start this command \
                 again to choose another",
                STALLED_AFTER.as_secs(),
                moving.adding
            );
        }
    }
}

/// The time since something last changed; due once.
struct Stall {
    since: Instant,
    is_told: bool,
}

#[allow(clippy::disallowed_methods, reason = "a command waits on the wall clock")]
impl Stall {
    fn new() -> Stall {
        Stall { since: Instant::now(), is_told: false }
    }

    fn begin(&mut self) {
        *self = Stall::new();
    }

    fn is_due(&mut self) -> bool {
        let is_due = !self.is_told && self.since.elapsed() >= STALLED_AFTER;
        self.is_told |= is_due;
        is_due
    }
}

fn by_topic(batch: &[Move]) -> Vec<ReassignableTopic> {
    let mut topics: Vec<ReassignableTopic> = Vec::new();
    for one in batch {
        let partition =
            ReassignablePartition { partition_index: one.index, replicas: Some(one.to.clone()) };
        match topics.last_mut().filter(|topic| topic.name == one.topic) {
            Some(topic) => topic.partitions.push(partition),
            None => {
                let partitions = vec![partition];
                topics.push(ReassignableTopic { name: one.topic.clone(), partitions });
            }
        }
    }
    topics
}

/// A topic that was deleted meanwhile needs no move; one that is there is found by the next round.
fn is_deleted(error: &CliError) -> bool {
    matches!(error, CliError::Refused { code: KafkaCode::UnknownTopicOrPartition, .. })
}

/// The controller may be about to change.
fn passes(error: &CliError) -> bool {
    matches!(error, CliError::Refused { code, .. } if code.is_retriable())
}

fn show(plan: &Plan, options: &DecommissionOptions) {
    let planned = plan.moves.iter().map(|one| (one, "planned"));
    let mut all: Vec<(&Move, &str)> =
        planned.chain(plan.under_way.iter().map(|one| (one, "moving"))).collect();
    all.sort_by(|(a, _), (b, _)| (&a.topic, a.index).cmp(&(&b.topic, b.index)));
    let mut table = Table::new(&["TOPIC", "PARTITION", "REPLICAS", "TO", "STATE"]);
    for (one, state) in &all {
        if options.json {
            println!(
                "{}",
                json!({
                    "topic": one.topic, "partition": one.index, "replicas": one.from,
                    "to": one.to, "state": state,
                })
            );
        }
        table.row(vec![
            one.topic.clone(),
            one.index.to_string(),
            format!("{:?}", one.from),
            format!("{:?}", one.to),
            (*state).to_owned(),
        ]);
    }
    if !options.json {
        print!("{}", table.render());
        let id = options.id;
        println!("broker {id} holds {} replicas; nothing was changed", all.len());
    }
}

fn tell_what_is_next(options: &DecommissionOptions, is_voter: bool) {
    let id = options.id;
    if options.json {
        return println!("{}", json!({ "broker": id, "left": 0, "is_voter": is_voter }));
    }
    println!("broker {id} holds no replicas. What is left to do:");
    if is_voter {
        println!("  highwater cluster remove {id}        takes its vote about the metadata away");
    }
    println!("  stop broker {id}");
    println!("  highwater cluster unregister {id}    once it has ended");
}
