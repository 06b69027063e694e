//! Offset commits of many groups: a closed loop over shared connections.
//!
//! A commit counts when every partition of its answer is without an error. Offsets grow with each
//! commit, as those of consumers do.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use highwater::protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use highwater::protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use highwater::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use highwater::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use highwater::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

use crate::clock::{SECOND_NS, now_ns};
use crate::control::Control;
use crate::coordinators::{CoordinatorOf, Switchboard, find_coordinators, is_passing};
use crate::exchange::{Answer, Conversation, Exchange, converse};
use crate::failure::Failure;
use crate::group_args::{CommitArgs, FirstOffsetsArgs};
use crate::load_args::RunArgs;
use crate::member::MEMBER_ID_REQUIRED;
use crate::recorder::Recorder;
use crate::run::{RunOutcome, run_threads};

/// The run commits in one generation: no heartbeats, so sessions must outlast it. Kafka's largest.
const SESSION_TIMEOUT_MS: i32 = 1_800_000;
/// A member that a killed run has left behind holds the next run up for so long.
const REBALANCE_TIMEOUT_MS: i32 = 10_000;
const READY_WITHIN_NS: u64 = 60 * SECOND_NS;
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);
const ONCE_WITHIN_NS: u64 = 600 * SECOND_NS;
const GROUPS_PER_FETCH: usize = 500;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// Runs it and returns what was seen.
pub(crate) fn commit(args: &CommitArgs) -> Result<RunOutcome, Failure> {
    let mut control = Control::connect(&args.run.bootstrap)?;
    let topic = args.topic.find(&mut control, &args.run.topic)?;
    let asked = usize::try_from(args.partitions_per_commit).expect("bounded by the flag");
    if asked > topic.partition_count() {
        let flag = "--partitions-per-commit";
        return Err(Failure::TooFewPartitions { flag, asked, actual: topic.partition_count() });
    }
    // Version 10 names topics by id, which not every broker knows.
    let version = control.version_of::<OffsetCommitRequest>(9)?;
    let names = group_names(&args.group_prefix, args.groups);
    let coordinators = find_coordinators(&mut control, CoordinatorOf::Group, &names)?;
    let mut groups = Vec::with_capacity(names.len());
    let mut members = Members::default();
    for (index, (name, coordinator)) in names.into_iter().zip(coordinators).enumerate() {
        let mut request = OffsetCommitRequest {
            group_id: name,
            topics: vec![topic_to_commit(&topic.name, topic.partition_count(), asked, index)],
            ..OffsetCommitRequest::default()
        };
        if args.joined {
            members.join(&coordinator, &mut request, &topic.name)?;
        }
        groups.push(Group { coordinator, request });
    }
    let outcome = run_threads(&run_args(args), groups, |_, recorder, groups| {
        let per_thread = args.run.connections / args.run.threads_used();
        let coordinators: Vec<String> =
            groups.iter().map(|group| group.coordinator.clone()).collect();
        let board = Switchboard::new(&coordinators, usize::from(per_thread));
        let exchange = Exchange::connect(board.addresses())?;
        let mut commits = Commits::new(groups, &board, (version, args));
        converse(exchange, recorder, &mut commits)
    });
    members.leave()?;
    outcome
}

/// Committing once takes as long as it takes, and has no warm-up.
fn run_args(args: &CommitArgs) -> RunArgs {
    let mut run = args.run.clone();
    if args.once {
        run.warmup = 0;
        run.duration = ONCE_WITHIN_NS;
    }
    run
}

fn group_names(prefix: &str, count: u32) -> Vec<String> {
    (0..count).map(|index| format!("{prefix}-{index}")).collect()
}

/// `asked` of `count` partitions, other ones for each group.
fn topic_to_commit(
    name: &str,
    count: usize,
    asked: usize,
    group: usize,
) -> OffsetCommitRequestTopic {
    let partition = |step: usize| OffsetCommitRequestPartition {
        partition_index: i32::try_from((group + step) % count).expect("at most 100,000"),
        committed_metadata: Some(String::new()),
        ..OffsetCommitRequestPartition::default()
    };
    OffsetCommitRequestTopic {
        name: name.to_owned(),
        partitions: (0..asked).map(partition).collect(),
    }
}

/// The members of the run: one in each group.
#[derive(Debug, Default)]
struct Members {
    controls: BTreeMap<String, Control>,
    /// Coordinator, group, member.
    joined: Vec<(String, String, String)>,
}

impl Members {
    fn control(&mut self, coordinator: &str) -> Result<&mut Control, Failure> {
        if !self.controls.contains_key(coordinator) {
            self.controls.insert(coordinator.to_owned(), Control::connect(coordinator)?);
        }
        Ok(self.controls.get_mut(coordinator).expect("it was put there"))
    }

    /// Makes the group's one member, in whose name `request` then commits.
    fn join(
        &mut self,
        coordinator: &str,
        request: &mut OffsetCommitRequest,
        topic: &str,
    ) -> Result<(), Failure> {
        let control = self.control(coordinator)?;
        let mut join = join_request(&request.group_id, topic);
        let mut answer = join_when_ready(control, &join)?;
        if answer.error_code == MEMBER_ID_REQUIRED {
            join.member_id.clone_from(&answer.member_id);
            answer = control.call(&join)?;
        }
        if answer.error_code != 0 {
            return Err(Failure::Declined { api: "JoinGroup", code: answer.error_code });
        }
        let sync = SyncGroupRequest {
            group_id: request.group_id.clone(),
            generation_id: answer.generation_id,
            member_id: answer.member_id.clone(),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments: vec![SyncGroupRequestAssignment {
                member_id: answer.member_id.clone(),
                ..SyncGroupRequestAssignment::default()
            }],
            ..SyncGroupRequest::default()
        };
        let synced = control.call(&sync)?;
        if synced.error_code != 0 {
            return Err(Failure::Declined { api: "SyncGroup", code: synced.error_code });
        }
        request.generation_id_or_member_epoch = answer.generation_id;
        request.member_id.clone_from(&answer.member_id);
        let group = request.group_id.clone();
        self.joined.push((coordinator.to_owned(), group, answer.member_id));
        Ok(())
    }

    /// All leave: the next run need not wait for them.
    fn leave(mut self) -> Result<(), Failure> {
        for (coordinator, group_id, member_id) in std::mem::take(&mut self.joined) {
            let member = MemberIdentity { member_id, ..MemberIdentity::default() };
            let request =
                LeaveGroupRequest { group_id, members: vec![member], ..Default::default() };
            self.control(&coordinator)?.call_at_least(&request, 3)?;
        }
        Ok(())
    }
}

/// The answer, once the coordinator is ready: it may be new, or just have started.
#[expect(clippy::disallowed_methods, reason = "waits for a condition, with a deadline")]
fn join_when_ready(
    control: &mut Control,
    join: &JoinGroupRequest,
) -> Result<JoinGroupResponse, Failure> {
    let deadline_ns = now_ns() + READY_WITHIN_NS;
    loop {
        let answer = control.call(join)?;
        if !is_passing(answer.error_code) || now_ns() >= deadline_ns {
            return Ok(answer);
        }
        std::thread::sleep(ASK_AGAIN_AFTER);
    }
}

fn join_request(group: &str, topic: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: SESSION_TIMEOUT_MS,
        rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: crate::member::subscription(topic),
        }],
        ..JoinGroupRequest::default()
    }
}

struct Group {
    coordinator: String,
    request: OffsetCommitRequest,
}

/// When a commit was sent, and over which link.
#[derive(Debug, Clone, Copy)]
struct Ticket {
    link: usize,
    group: usize,
    sent_ns: u64,
}

/// One thread's groups.
struct Commits {
    requests: Vec<OffsetCommitRequest>,
    /// Of each link its groups, in the order of their turn.
    turns: Vec<VecDeque<usize>>,
    /// Commits that may be sent now, by their link.
    free: Vec<usize>,
    version: i16,
    partitions: u64,
    is_once: bool,
    /// Commits on the way.
    awaited: usize,
}

impl Commits {
    fn new(
        groups: Vec<Group>,
        board: &Switchboard,
        (version, args): (i16, &CommitArgs),
    ) -> Commits {
        let mut turns = vec![VecDeque::new(); board.addresses().len()];
        for (index, group) in groups.iter().enumerate() {
            turns[board.link(&group.coordinator, index)].push_back(index);
        }
        let in_flight = usize::from(args.in_flight);
        let free = (0..turns.len()).flat_map(|link| std::iter::repeat_n(link, in_flight));
        Commits {
            free: free.collect(),
            requests: groups.into_iter().map(|group| group.request).collect(),
            turns,
            version,
            partitions: u64::from(args.partitions_per_commit),
            is_once: args.once,
            awaited: 0,
        }
    }
}

impl Conversation for Commits {
    type Ticket = Ticket;

    fn hear(
        &mut self,
        ticket: Ticket,
        answer: Answer<'_, '_>,
        recorder: &mut Recorder,
    ) -> Result<(), Failure> {
        let now = answer.now_ns;
        let answer = answer.read::<OffsetCommitRequest>(self.version)?;
        let interval = recorder.current();
        let latency_ns = now.saturating_sub(ticket.sent_ns);
        interval.response.record_ns(latency_ns);
        interval.service.record_ns(latency_ns);
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let codes = partitions.map(|partition| partition.error_code);
        let refusals: Vec<i16> = codes.filter(|code| *code != 0).collect();
        if refusals.is_empty() {
            interval.requests += 1;
            interval.records += self.partitions;
        } else if self.is_once && refusals.iter().all(|code| is_passing(*code)) {
            interval.retries += 1;
            self.turns[ticket.link].push_back(ticket.group);
        } else {
            refusals.into_iter().for_each(|code| interval.count_error(code));
        }
        self.awaited -= 1;
        self.free.push(ticket.link);
        Ok(())
    }

    fn speak(&mut self, exchange: &mut Exchange<Ticket>, now: u64) -> Result<(), Failure> {
        for link in std::mem::take(&mut self.free) {
            let Some(group) = self.turns[link].pop_front() else {
                continue;
            };
            if !self.is_once {
                self.turns[link].push_back(group);
            }
            let request = &mut self.requests[group];
            let partitions = request.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            partitions.for_each(|partition| partition.committed_offset += 1);
            exchange.ask(link, request, self.version, Ticket { link, group, sent_ns: now })?;
            self.awaited += 1;
        }
        Ok(())
    }

    fn due_ns(&self) -> Option<u64> {
        None
    }

    fn is_done(&self) -> bool {
        self.is_once && self.awaited == 0 && self.turns.iter().all(VecDeque::is_empty)
    }
}

/// Tries until every group's committed offset was answered; returns the nanoseconds that took.
///
/// # Errors
/// The last failure, when `--within` has passed.
#[expect(clippy::disallowed_methods, reason = "waits for a condition, with a deadline")]
pub(crate) fn wait_for_offsets(args: &FirstOffsetsArgs) -> Result<u64, Failure> {
    let start_ns = now_ns();
    let names = group_names(&args.group_prefix, args.groups);
    let mut done = 0;
    loop {
        match fetch_offsets(args, &names, &mut done) {
            Ok(()) => return Ok(now_ns() - start_ns),
            Err(failure) if now_ns() - start_ns >= args.within => return Err(failure),
            Err(_) => std::thread::sleep(TRY_AGAIN_AFTER),
        }
    }
}

/// Asks for what is not `done` yet, some hundred groups at a time.
fn fetch_offsets(
    args: &FirstOffsetsArgs,
    names: &[String],
    done: &mut usize,
) -> Result<(), Failure> {
    let mut control = Control::connect(&args.bootstrap)?;
    for chunk in names[*done..].chunks(GROUPS_PER_FETCH) {
        let group = |name: &String| OffsetFetchRequestGroup {
            group_id: name.clone(),
            topics: None::<Vec<OffsetFetchRequestTopics>>,
            ..OffsetFetchRequestGroup::default()
        };
        let request = OffsetFetchRequest {
            groups: chunk.iter().map(group).collect(),
            ..OffsetFetchRequest::default()
        };
        let answer = control.call_between(&request, 8..=9)?;
        for group in &answer.groups {
            let partitions = group.topics.iter().filter(|topic| topic.name == args.topic);
            let partitions: Vec<_> = partitions.flat_map(|topic| &topic.partitions).collect();
            let codes = partitions.iter().map(|partition| partition.error_code);
            let code = std::iter::once(group.error_code).chain(codes).find(|code| *code != 0);
            if let Some(code) = code {
                return Err(Failure::Declined { api: "OffsetFetch", code });
            }
            if !partitions.iter().any(|partition| partition.committed_offset >= 0) {
                return Err(Failure::NothingCommitted { group: group.group_id.clone() });
            }
        }
        *done += chunk.len();
    }
    Ok(())
}
