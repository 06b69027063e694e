//! Starts the threads of a run, pins them, and adds up what they report.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use serde_json::Value;

use crate::broker_facts::describe_cluster;
use crate::clock::{SECOND_NS, now_ns, wall_offset_ms};
use crate::environment::{CoreTime, RunFacts, steal_since};
use crate::failure::Failure;
use crate::interval::Interval;
use crate::load_args::RunArgs;
use crate::progress::print_second;
use crate::recorder::{Recorder, Window};
use crate::second::{Second, SecondFiles};
use crate::server::ServerUse;

/// Time between starting threads and the first request.
const LEAD_NS: u64 = SECOND_NS / 20;

/// Everything a run has seen.
#[derive(Debug)]
pub(crate) struct RunOutcome {
    pub(crate) total: Interval,
    /// Measured seconds, without the warm-up.
    pub(crate) seconds: Vec<Second>,
    /// The first and the second half of the measured time: a broker that falls behind shows in the
    /// second.
    pub(crate) halves: [Interval; 2],
    /// The broker's process when figures began to count, and at the end.
    pub(crate) server: Option<(ServerUse, ServerUse)>,
    /// What the records that were sent were like, as the summary says it.
    pub(crate) payload: Option<Value>,
    /// What the figures depend on beside the broker's code, as far as only the run can tell.
    pub(crate) facts: RunFacts,
    /// By how much the wall clock was set while the run went on, in milliseconds.
    pub(crate) wall_step_ms: i64,
    /// What ended the run early, or what its files lack; the figures are of what was seen until
    /// then.
    pub(crate) failure: Option<Failure>,
}

impl RunOutcome {
    /// Nothing seen yet.
    pub(crate) fn new() -> RunOutcome {
        RunOutcome {
            total: Interval::new(0),
            seconds: Vec::new(),
            halves: [Interval::new(0), Interval::new(0)],
            server: None,
            payload: None,
            facts: RunFacts::default(),
            wall_step_ms: 0,
            failure: None,
        }
    }

    /// The outcome of a run that went on to its end.
    ///
    /// # Errors
    /// What ended it early.
    pub(crate) fn whole(mut self) -> Result<RunOutcome, Failure> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(self),
        }
    }

    fn add(&mut self, second: &Interval, window: Window) {
        let is_measured = window.is_measured(second.second);
        print_second(second, is_measured);
        if is_measured {
            self.total.add_second(second);
            self.halves[window.half(second.second)].add_second(second);
            self.seconds.push(Second::of(second));
        }
    }
}

/// Divides `lanes` among threads and runs `work` on each (thread index, recorder, its lanes).
///
/// # Errors
/// As [`run_shares`].
pub(crate) fn run_threads<L: Send>(
    args: &RunArgs,
    lanes: Vec<L>,
    work: impl Fn(u16, Recorder, Vec<L>) -> Result<(), Failure> + Sync,
) -> Result<RunOutcome, Failure> {
    run_shares(args, deal(lanes, args.threads_used()), work)
}

/// Deals `lanes` out to `threads` in turn.
pub(crate) fn deal<L>(lanes: Vec<L>, threads: u16) -> Vec<Vec<L>> {
    let mut shares: Vec<Vec<L>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, lane) in lanes.into_iter().enumerate() {
        shares[index % usize::from(threads)].push(lane);
    }
    shares
}

/// Runs `work` on one thread per share (thread index, recorder, its share).
///
/// A thread that fails is in the outcome, with what all threads saw.
///
/// # Errors
/// Only before the run: cores that are none, files of `--out` that cannot be made.
pub(crate) fn run_shares<L: Send>(
    args: &RunArgs,
    shares: Vec<Vec<L>>,
    work: impl Fn(u16, Recorder, Vec<L>) -> Result<(), Failure> + Sync,
) -> Result<RunOutcome, Failure> {
    let cores = allowed_cores(&args.core)?;
    let threads = shares.len();
    let mut files = args.out.as_deref().map(SecondFiles::create).transpose()?;
    let mut facts = RunFacts::default();
    if args.is_kept() {
        facts.cluster = describe_cluster(&args.bootstrap, &args.topic);
    }
    let (wall_offset_at_start_ms, cores_at_start) = (wall_offset_ms(), CoreTime::read());
    let window = Window::new(now_ns() + LEAD_NS, args.warmup, args.duration);
    let (finished, reports) = channel();
    thread::scope(|scope| {
        let mut recyclers = Vec::new();
        let mut handles = Vec::new();
        for (index, share) in (0..).zip(shares) {
            let (recycler, recycled) = channel();
            recyclers.push(recycler);
            let finished = finished.clone();
            let core = cores.get(usize::from(index) % cores.len().max(1)).copied();
            let (work, waiting) = (&work, args.waiting());
            let body = move || {
                prepare_thread(core);
                work(index, Recorder::new(window, waiting, finished, recycled), share)
            };
            let handle = thread::Builder::new()
                .name(format!("loadgen-{index}"))
                .spawn_scoped(scope, body)
                .map_err(|source| Failure::System { call: "clone", source })?;
            handles.push(handle);
        }
        drop(finished);
        let mut outcome =
            collect(window, threads, (&reports, &recyclers), &args.server_pid, files.as_mut());
        for handle in handles {
            let end = handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome.failure = outcome.failure.take().or(end.err());
        }
        outcome.failure = outcome.failure.take().or(files.and_then(SecondFiles::into_failure));
        facts.steal_percent = steal_since(cores_at_start);
        outcome.facts = facts;
        outcome.wall_step_ms = wall_offset_ms().saturating_sub(wall_offset_at_start_ms);
        Ok(outcome)
    })
}

/// Adds the threads' seconds together, prints each, and sends the memory back.
fn collect(
    window: Window,
    threads: usize,
    (reports, recyclers): (&Receiver<Box<Interval>>, &[Sender<Box<Interval>>]),
    server_pids: &[u32],
    mut files: Option<&mut SecondFiles>,
) -> RunOutcome {
    let read_server = || ServerUse::read(server_pids);
    let mut server_at_start = read_server();
    let mut outcome = RunOutcome::new();
    let mut open: BTreeMap<u64, (usize, Box<Interval>)> = BTreeMap::new();
    for (turn, report) in reports.iter().enumerate() {
        let second = report.second;
        let spent = match open.get_mut(&second) {
            Some((count, sum)) => {
                *count += 1;
                sum.add_thread(&report);
                Some(report)
            }
            None => {
                open.insert(second, (1, report));
                None
            }
        };
        let is_complete = open.get(&second).is_some_and(|(count, _)| *count == threads);
        let complete = if is_complete { open.remove(&second).map(|(_, sum)| sum) } else { None };
        if let Some(sum) = &complete {
            outcome.add(sum, window);
            if let Some(files) = &mut files {
                files.add(sum, window.is_measured(second));
            }
            if window.is_measured(second) {
                outcome.server = server_at_start.zip(read_server());
            } else {
                server_at_start = read_server();
            }
        }
        for memory in spent.into_iter().chain(complete) {
            // A thread that has ended needs no memory any more.
            let _ = recyclers[turn % recyclers.len()].send(memory);
        }
    }
    // Threads that ended before others left seconds behind that not all have reported.
    for (_, sum) in open.values() {
        outcome.add(sum, window);
        if let Some(files) = &mut files {
            files.add(sum, window.is_measured(sum.second));
        }
    }
    outcome
}

fn allowed_cores(asked: &[usize]) -> Result<Vec<core_affinity::CoreId>, Failure> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    let find = |core: &usize| {
        allowed.iter().find(|id| id.id == *core).copied().ok_or_else(|| Failure::NoSuchCore {
            core: *core,
            allowed: allowed.iter().map(|id| id.id).collect(),
        })
    };
    asked.iter().map(find).collect()
}

/// Pins the calling thread and asks for exact timers. Neither is needed for right figures: a lag
/// that comes of it is measured.
pub(crate) fn prepare_thread(core: Option<core_affinity::CoreId>) {
    if let Some(core) = core {
        core_affinity::set_for_current(core);
    }
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// The core that `null-broker --core` names.
pub(crate) fn pin_to(core: Option<usize>) -> Result<(), Failure> {
    let asked: Vec<usize> = core.into_iter().collect();
    prepare_thread(allowed_cores(&asked)?.first().copied());
    Ok(())
}
