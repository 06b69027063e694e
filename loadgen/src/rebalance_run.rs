//! Times rebalances of one group: from a change of its members until it is stable again.
//!
//! Stable: all members are in the same generation (or member epoch), the broker knows what each
//! holds, each partition is held by one member, and shares differ by at most one.

use highwater::protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use highwater::protocol::messages::heartbeat::HeartbeatRequest;
use highwater::protocol::messages::join_group::JoinGroupRequest;
use highwater::protocol::messages::leave_group::LeaveGroupRequest;
use highwater::protocol::messages::sync_group::SyncGroupRequest;

use crate::clock::{SECOND_NS, wall_ms};
use crate::control::Control;
use crate::coordinators::{CoordinatorOf, find_coordinators};
use crate::exchange::{Answer, Conversation, Exchange, converse};
use crate::failure::Failure;
use crate::group_args::{Change, GroupProtocol, RebalanceArgs};
use crate::load_args::RunArgs;
use crate::member::{Asked, GroupPlan, GroupVersions, Member};
use crate::recorder::Recorder;
use crate::run::{RunOutcome, run_shares};

/// The run ends by itself; each rebalance has its own limit.
const RUN_WITHIN_NS: u64 = 24 * 3600 * SECOND_NS;

/// The flags in the form that all runs share.
pub(crate) fn run_args(args: &RebalanceArgs) -> RunArgs {
    RunArgs {
        bootstrap: args.bootstrap.clone(),
        topic: args.topic.clone(),
        connections: args.members,
        duration: RUN_WITHIN_NS,
        warmup: 0,
        threads: 1,
        core: args.core.into_iter().collect(),
        spin: false,
        server_pid: args.server_pid.clone(),
        out: args.out.clone(),
        json: args.json,
    }
}

/// Runs it; a request of the outcome is a rebalance.
pub(crate) fn rebalance(args: &RebalanceArgs, run: &RunArgs) -> Result<RunOutcome, Failure> {
    let mut control = Control::connect(&args.bootstrap)?;
    let topic = args.new_topic.find(&mut control, &args.topic)?;
    let group = args.group.clone().unwrap_or_else(|| format!("loadgen-rebalance-{}", wall_ms()));
    let coordinator =
        find_coordinators(&mut control, CoordinatorOf::Group, std::slice::from_ref(&group))?;
    let plan = GroupPlan {
        group,
        topic: topic.name.clone(),
        topic_id: topic.id,
        partitions: i32::try_from(topic.partition_count()).unwrap_or(i32::MAX),
        protocol: args.protocol,
        heartbeat_ns: args.heartbeat,
        versions: GroupVersions {
            join: control.version_of::<JoinGroupRequest>(i16::MAX)?,
            sync: control.version_of::<SyncGroupRequest>(i16::MAX)?,
            heartbeat: control.version_of::<HeartbeatRequest>(i16::MAX)?,
            leave: control.version_of::<LeaveGroupRequest>(i16::MAX)?,
            consumer: match args.protocol {
                GroupProtocol::Classic => 0,
                GroupProtocol::Consumer => {
                    control.version_of::<ConsumerGroupHeartbeatRequest>(i16::MAX)?
                }
            },
        },
    };
    let addresses = vec![coordinator.concat(); usize::from(args.members)];
    run_shares(run, vec![vec![plan]], |_, recorder, plans| {
        let plan = plans.into_iter().next().expect("the one share holds the one plan");
        converse(Exchange::connect(&addresses)?, recorder, &mut Rebalances::new(plan, args))
    })
}

/// What is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// All join for the first time; does not count.
    Forming,
    /// That member leaves, or has left.
    Leaving(usize),
    /// That member joins.
    Joining(usize),
    /// All leave; does not count.
    Emptying,
    /// All join.
    Filling,
    Done,
}

struct Rebalances {
    plan: GroupPlan,
    members: Vec<Member>,
    phase: Phase,
    change: Change,
    repeats_left: u32,
    began_ns: u64,
    /// When the next change comes; `None` while a rebalance is under way.
    next_change_ns: Option<u64>,
    within_ns: u64,
}

impl Rebalances {
    fn new(plan: GroupPlan, args: &RebalanceArgs) -> Rebalances {
        Rebalances {
            plan,
            members: (0..args.members).map(|_| Member::new()).collect(),
            phase: Phase::Forming,
            change: args.change,
            repeats_left: args.repeats,
            began_ns: 0,
            next_change_ns: None,
            within_ns: args.within,
        }
    }

    /// Whether the group is as the phase wants it to be.
    fn is_settled(&self) -> bool {
        match self.phase {
            Phase::Emptying => self.members.iter().all(Member::is_gone),
            Phase::Leaving(index) if !self.members[index].is_gone() => false,
            _ => self.is_stable(),
        }
    }

    fn is_stable(&self) -> bool {
        let present = || self.members.iter().filter(|member| !member.is_gone());
        let Some(epoch) = present().map(|member| member.epoch).next() else {
            return false;
        };
        if !present().all(|member| member.is_stable() && member.epoch == epoch) {
            return false;
        }
        let shares = || present().filter_map(|member| member.assigned.as_ref());
        let most = shares().map(Vec::len).max().unwrap_or(0);
        let least = shares().map(Vec::len).min().unwrap_or(0);
        let mut held: Vec<i32> = shares().flatten().copied().collect();
        held.sort_unstable();
        most - least <= 1 && held.into_iter().eq(0..self.plan.partitions)
    }

    /// Ends the phase, whose group is as it should be.
    fn settle(&mut self, now: u64, recorder: &mut Recorder) {
        if matches!(self.phase, Phase::Leaving(_) | Phase::Joining(_) | Phase::Filling) {
            let interval = recorder.current();
            interval.response.record_ns(now.saturating_sub(self.began_ns));
            interval.requests += 1;
        }
        if matches!(self.phase, Phase::Joining(_) | Phase::Filling) {
            self.repeats_left -= 1;
        }
        self.next_change_ns = Some(now + self.plan.heartbeat_ns / 2);
    }

    fn begin(&mut self, now: u64) {
        self.next_change_ns = None;
        self.began_ns = now;
        let turn = usize::try_from(self.repeats_left).unwrap_or(0) % self.members.len();
        self.phase = match (self.phase, self.change) {
            (Phase::Leaving(index), _) => Phase::Joining(index),
            (Phase::Emptying, _) => Phase::Filling,
            _ if self.repeats_left == 0 => Phase::Done,
            (_, Change::One) => Phase::Leaving(turn),
            (_, Change::All) => Phase::Emptying,
        };
        match self.phase {
            Phase::Leaving(index) => self.members[index].leave(now),
            Phase::Joining(index) => self.members[index].join(&self.plan, index, now),
            Phase::Emptying => self.members.iter_mut().for_each(|member| member.leave(now)),
            Phase::Filling => self.join_all(now),
            Phase::Forming | Phase::Done => {}
        }
    }

    fn join_all(&mut self, now: u64) {
        let members = self.members.iter_mut().enumerate();
        members.for_each(|(index, member)| member.join(&self.plan, index, now));
    }

    /// For people, when it takes too long.
    fn standing(&self) -> String {
        let stable = self.members.iter().filter(|member| member.is_stable()).count();
        let held: usize =
            self.members.iter().filter_map(|member| member.assigned.as_ref().map(Vec::len)).sum();
        let count = self.members.len();
        format!(
            "{stable} of {count} members are stable and hold {held} of {} partitions",
            self.plan.partitions
        )
    }
}

impl Conversation for Rebalances {
    type Ticket = (usize, Asked);

    fn hear(
        &mut self,
        (index, asked): (usize, Asked),
        answer: Answer<'_, '_>,
        recorder: &mut Recorder,
    ) -> Result<(), Failure> {
        let now = answer.now_ns;
        self.members[index].hear(&self.plan, asked, answer)?;
        if self.next_change_ns.is_none() && self.is_settled() {
            self.settle(now, recorder);
        }
        Ok(())
    }

    fn speak(&mut self, exchange: &mut Exchange<(usize, Asked)>, now: u64) -> Result<(), Failure> {
        if self.began_ns == 0 {
            self.began_ns = now;
            self.join_all(now);
        }
        match self.next_change_ns {
            Some(due_ns) if now >= due_ns => self.begin(now),
            None if now > self.began_ns + self.within_ns => {
                let waited_s = self.within_ns / SECOND_NS;
                return Err(Failure::NotStable { waited_s, standing: self.standing() });
            }
            _ => {}
        }
        for (index, member) in self.members.iter_mut().enumerate() {
            if member.due_ns().is_some_and(|due_ns| due_ns <= now) {
                member.speak(&self.plan, exchange, index)?;
            }
        }
        Ok(())
    }

    fn due_ns(&self) -> Option<u64> {
        let dues = self.members.iter().filter_map(Member::due_ns);
        dues.chain(self.next_change_ns).min()
    }

    fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }
}
