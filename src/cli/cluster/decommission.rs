//! `highwater cluster decommission`: everything that a broker holds moves to the others.
//!
//! The cluster keeps no mark of a broker that leaves, as Kafka does not: what is under way is found
//! in the metadata alone. So the command can be interrupted anywhere and started again, and new
//! partitions may come to the broker while it runs; a further round finds those.
//!
//! A run can take hours, in which others move partitions, make and delete topics, and brokers end.
//! So it looks and plans anew before each batch, and keeps nothing of a plan but its first moves.
//!
//! Invariants
//! - Nothing is changed before every partition that the broker holds has a place to go to.
//! - At most [`MOVES_MAX`] moves are asked for at a time, each as the last look had it.

use crate::cli::client::Client;
use crate::cli::cluster::batches::{self, Key, MOVES_MAX, ROUNDS_MAX, Rounds};
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
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const _: () =
    assert!(MOVES_MAX * (TOPIC_NAME_LEN_MAX + REPLICAS_MAX * size_of::<i32>()) < FRAME_BYTES_MAX);
/// Pause between two questions for the moves under way.
const WATCH_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// Pause before a look that follows at once on another one: it asks for all partitions.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Looks within which the asked broker has to know what the controller knows.
const LOOKS_MAX: usize = 30;
/// Refusals in a row, all of a kind that passes, after which a run ends.
const REFUSALS_MAX: usize = 30;
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
    let mut run = Run { client, options, told: None, stall: Stall::new(), refusals: 0 };
    let mut rounds = Rounds::default();
    loop {
        let (brokers, partitions) = run.look()?;
        let count = replicas_of(options.id, &brokers)?;
        let plan = match replacements::plan(options.id, &brokers, &partitions) {
            // A leader may be about to be elected, a broker about to come back.
            Err(refused) if rounds.have_begun() => {
                run.on_refusal(refused)?;
                continue;
            }
            plan => plan?,
        };
        if options.dry_run {
            show(&plan, options);
            return Ok(());
        }
        if count == 0 {
            tell_what_is_next(options, is_voter);
            return Ok(());
        }
        if !rounds.on_look(plan.moves.len()) {
            return Err(CliError::StillArriving { id: options.id, count, rounds: ROUNDS_MAX });
        }
        let (taken, waiting) = run.carry_on(plan, &partitions)?;
        rounds.on_batch(taken, waiting.len());
        run.watch(&brokers, &waiting)?;
    }
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
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// One run of the command.
struct Run<'a> {
    client: Client,
    options: &'a DecommissionOptions,
    /// What was last said of the progress: partitions left, and those of them that move.
    told: Option<(usize, usize)>,
    stall: Stall,
    /// In a row.
    refusals: usize,
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
            pause(LOOK_AGAIN_AFTER);
        }
        unreachable!("the loop ends by its bound");
    }

    /// Asks for the first moves of a plan, as many as there is room for. Gives the number of those
    /// taken, and the partitions that wait.
    fn carry_on(
        &mut self,
        plan: Plan,
        partitions: &[Partition],
    ) -> Result<(usize, Vec<Key>), CliError> {
        let leaves = |one: &&Partition| one.moving.removing.contains(&self.options.id);
        let key = |one: &Partition| (one.topic.clone(), one.index);
        let leaving: BTreeSet<Key> = partitions.iter().filter(leaves).map(key).collect();
        self.tell(plan.moves.len() + plan.under_way.len(), leaving.len());
        let (batch, mut waiting) = batches::next(plan.moves, &leaving);
        let asked = batch.len();
        if asked == 0 {
            self.refusals = 0;
            return Ok((0, waiting));
        }
        let (again, refused) = self.send(batch)?;
        let taken = asked - again.len();
        match refused {
            Some(refused) if taken == 0 => self.on_refusal(refused)?,
            _ => self.refusals = 0,
        }
        waiting.extend(again);
        Ok((taken, waiting))
    }

    /// Something that passes was refused: it is tried again in a while, but not for ever.
    fn on_refusal(&mut self, refused: CliError) -> Result<(), CliError> {
        self.refusals += 1;
        if self.refusals >= REFUSALS_MAX {
            return Err(refused);
        }
        pause(LOOK_AGAIN_AFTER);
        Ok(())
    }

    /// Follows the moves under way, until it is time for a look at everything.
    fn watch(&mut self, brokers: &[Broker], waiting: &[Key]) -> Result<(), CliError> {
        loop {
            pause(WATCH_AGAIN_AFTER);
            let mut moves = inventory::moves(&mut self.client, brokers)?;
            moves.retain(|_, moving| moving.removing.contains(&self.options.id));
            let others = waiting.iter().filter(|key| !moves.contains_key(*key)).count();
            self.tell(moves.len() + others, moves.len());
            self.tell_of_a_stall(&moves);
            if batches::is_time_to_look(moves.len(), waiting.len()) {
                return Ok(());
            }
        }
    }

    /// Asks for some moves. Gives those back that were refused for now, with one refusal.
    fn send(&mut self, batch: Vec<Move>) -> Result<(Vec<Key>, Option<CliError>), CliError> {
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
            let all = batch.into_iter().map(|one| (one.topic, one.index)).collect();
            return if passes(&refused) { Ok((all, Some(refused))) } else { Err(refused) };
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
                again.push((topic.name.clone(), result.partition_index));
                first = first.or(Some(refused));
            }
        }
        Ok((again, first))
    }

    /// One line at each change, heard or not: a reader who leaves does not end a run halfway.
    fn tell(&mut self, left: usize, under_way: usize) {
        if self.told == Some((left, under_way)) {
            return;
        }
        self.told = Some((left, under_way));
        self.stall.begin();
        match self.options.json {
            true => announce!("{}", json!({ "left": left, "moving": under_way })),
            false => eprintln!("{left} partitions left, {under_way} of them on the move"),
        }
    }

    /// What the run waits for, where nothing has changed for long.
    fn tell_of_a_stall(&mut self, own: &Moves) {
        let Some(((topic, index), moving)) = own.first_key_value() else { return };
        if self.stall.is_due() {
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

/// A topic that was deleted meanwhile needs no move; one that is there is found by the next look.
fn is_deleted(error: &CliError) -> bool {
    matches!(error, CliError::Refused { code: KafkaCode::UnknownTopicOrPartition, .. })
}

/// The controller may be about to change; and what a plan rests on has changed since the look
/// where a broker is gone that was to take a replica, or the number of replicas is another.
fn passes(error: &CliError) -> bool {
    let CliError::Refused { code, .. } = error else { return false };
    let is_outdated = [KafkaCode::InvalidReplicaAssignment, KafkaCode::InvalidReplicationFactor];
    code.is_retriable() || is_outdated.contains(code)
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
