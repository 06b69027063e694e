//! A seeded executor: one thread, ready tasks polled in an order that the seed decides, and a clock
//! that moves only when nothing is ready.
//!
//! A step costs a look at one bit for each task: worlds of many brokers have hundreds.
//!
//! Invariants
//! - The same seed and the same tasks give the same run.
//! - Time never passes while a task is ready, except by what `advance` is told.
//! - A bit of the ready set is that of the task at its place.

use crate::model::clock::Now;
use crate::sim::random::Random;
use futures::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Wall clock at the start of every run: an arbitrary day.
const WALL_START_MS: i64 = 1_700_000_000_000;

/// Tasks that die and pause together: those of one simulated process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Group(pub u64);

/// Tasks of one executor at a time.
const TASKS_MAX: usize = 1 << 16;
/// Place of a task that has ended.
const NOWHERE: usize = usize::MAX;

struct Task {
    group: Group,
    future: LocalBoxFuture<'static, ()>,
    ready: Arc<ReadyFlag>,
}

/// One bit for each task, by its place among all: whether it is ready.
struct ReadySet {
    words: Vec<AtomicU64>,
}

/// How a task is woken: the bit at its place.
struct ReadyFlag {
    set: Arc<ReadySet>,
    place: AtomicUsize,
}

impl Wake for ReadyFlag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let place = self.place.load(Ordering::Relaxed);
        if place != NOWHERE {
            self.set.insert(place);
        }
    }
}

impl ReadySet {
    fn new() -> ReadySet {
        ReadySet { words: (0..TASKS_MAX / 64).map(|_| AtomicU64::new(0)).collect() }
    }

    fn insert(&self, place: usize) {
        self.words[place / 64].fetch_or(1 << (place % 64), Ordering::Relaxed);
    }

    /// True when it was there.
    fn remove(&self, place: usize) -> bool {
        let bit = 1 << (place % 64);
        self.words[place / 64].fetch_and(!bit, Ordering::Relaxed) & bit != 0
    }

    /// Places below `end` that are ready, in order.
    fn places(&self, end: usize) -> impl Iterator<Item = usize> {
        let words = self.words[..end.div_ceil(64)].iter().enumerate();
        words.flat_map(|(index, word)| {
            let mut word = word.load(Ordering::Relaxed);
            std::iter::from_fn(move || {
                let bit = usize::try_from(word.trailing_zeros()).ok().filter(|bit| *bit < 64)?;
                word &= word - 1;
                Some(index * 64 + bit)
            })
        })
    }
}

/// State shared by the executor and the handles that tasks hold.
struct Shared {
    now_us: Cell<u64>,
    random: RefCell<Random>,
    spawned: RefCell<Vec<(Group, LocalBoxFuture<'static, ()>)>>,
    /// Groups that do not run at the moment.
    paused: RefCell<BTreeSet<Group>>,
    /// How far the wall clock of a group is off, in milliseconds.
    wall_offsets_ms: RefCell<BTreeMap<Group, i64>>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    next_timer: Cell<u64>,
}

/// What tasks of a simulation may do: spawn, sleep, read the clock, draw numbers.
#[derive(Clone)]
pub struct SimHandle {
    shared: Rc<Shared>,
    group: Group,
}

/// Runs tasks until told otherwise. One per simulated world.
pub struct SimExecutor {
    tasks: Vec<Task>,
    ready: Arc<ReadySet>,
    handle: SimHandle,
    /// Whose task the last step polled; none where the clock moved instead.
    polled: Option<Group>,
}

impl SimExecutor {
    /// At time zero, without tasks; the seed decides the order in which tasks run.
    pub fn new(seed: u64) -> SimExecutor {
        let shared = Shared {
            now_us: Cell::new(0),
            random: RefCell::new(Random::new(seed)),
            spawned: RefCell::new(Vec::new()),
            paused: RefCell::default(),
            wall_offsets_ms: RefCell::default(),
            timers: RefCell::new(BTreeMap::new()),
            next_timer: Cell::new(0),
        };
        SimExecutor {
            tasks: Vec::new(),
            ready: Arc::new(ReadySet::new()),
            handle: SimHandle { shared: Rc::new(shared), group: Group(0) },
            polled: None,
        }
    }

    /// Whose task the last step polled; `None` where the clock moved.
    pub fn polled(&self) -> Option<Group> {
        self.polled
    }

    pub fn handle(&self) -> SimHandle {
        self.handle.clone()
    }

    /// Runs until `future` is done; other tasks go on in the meantime and stay afterwards.
    ///
    /// # Panics
    /// When nothing is ready, no timer is set, and `future` is not done: a deadlock.
    pub fn run_until<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&result);
        self.handle.spawn(async move {
            let value = future.await;
            slot.replace(Some(value));
        });
        loop {
            if let Some(value) = result.take() {
                return value;
            }
            assert!(self.step(), "every task waits and no timer is set: a deadlock");
        }
    }

    /// Polls one ready task, or moves the clock to the next timer; false when neither is there.
    pub fn step(&mut self) -> bool {
        self.adopt_spawned();
        let paused = self.handle.shared.paused.borrow();
        let is_running = |place: &usize| !paused.contains(&self.tasks[*place].group);
        let ready = self.ready.places(self.tasks.len());
        let count = match paused.is_empty() {
            true => ready.count(),
            false => ready.filter(is_running).count(),
        };
        if count == 0 {
            drop(paused);
            self.polled = None;
            return self.handle.fire_next_timer();
        }
        let chosen = self.handle.shared.random.borrow_mut().index(count);
        let place = match paused.is_empty() {
            true => self.ready.places(self.tasks.len()).nth(chosen),
            false => self.ready.places(self.tasks.len()).filter(is_running).nth(chosen),
        };
        let place = place.expect("counted above");
        drop(paused);
        self.ready.remove(place);
        let task = &mut self.tasks[place];
        self.polled = Some(task.group);
        let waker = Waker::from(Arc::clone(&task.ready));
        let outcome = task.future.as_mut().poll(&mut Context::from_waker(&waker));
        if outcome.is_ready() {
            self.end_task(place);
        }
        true
    }

    fn adopt_spawned(&mut self) {
        if self.handle.shared.spawned.borrow().is_empty() {
            return;
        }
        for (group, future) in self.handle.shared.spawned.take() {
            let place = self.tasks.len();
            assert!(place < TASKS_MAX, "a simulated world is small");
            let set = Arc::clone(&self.ready);
            let ready = Arc::new(ReadyFlag { set, place: AtomicUsize::new(place) });
            self.tasks.push(Task { group, future, ready });
            self.ready.insert(place);
        }
    }

    /// Removes a task; the last one takes its place.
    fn end_task(&mut self, place: usize) {
        let last = self.tasks.len() - 1;
        let task = self.tasks.swap_remove(place);
        task.ready.place.store(NOWHERE, Ordering::Relaxed);
        let is_last_ready = self.ready.remove(last);
        if place < last {
            self.ready.remove(place);
            self.tasks[place].ready.place.store(place, Ordering::Relaxed);
            if is_last_ready {
                self.ready.insert(place);
            }
        }
        // What it owned may wake others by their places.
        drop(task);
    }

    /// Ends every task where it stands, as a crash does.
    pub fn kill_all(&mut self) {
        self.retain_tasks(|_| false);
        self.handle.shared.spawned.take();
        self.handle.shared.timers.take();
    }

    /// Ends every task of a group where it stands.
    pub fn kill(&mut self, group: Group) {
        let spawned = self.handle.shared.spawned.take();
        let (gone, left): (Vec<_>, Vec<_>) =
            spawned.into_iter().partition(|(other, _)| *other == group);
        self.handle.shared.spawned.borrow_mut().extend(left);
        drop(gone);
        self.retain_tasks(|task| task.group != group);
        self.handle.shared.paused.borrow_mut().remove(&group);
    }

    fn retain_tasks(&mut self, mut stays: impl FnMut(&Task) -> bool) {
        let is_ready: Vec<bool> =
            (0..self.tasks.len()).map(|place| self.ready.remove(place)).collect();
        let mut gone = Vec::new();
        for (task, is_ready) in std::mem::take(&mut self.tasks).into_iter().zip(is_ready) {
            if !stays(&task) {
                task.ready.place.store(NOWHERE, Ordering::Relaxed);
                gone.push(task);
                continue;
            }
            let place = self.tasks.len();
            task.ready.place.store(place, Ordering::Relaxed);
            if is_ready {
                self.ready.insert(place);
            }
            self.tasks.push(task);
        }
        drop(gone);
    }
}

impl SimHandle {
    /// The same world, for the tasks of a group.
    #[must_use]
    pub fn of(&self, group: Group) -> SimHandle {
        SimHandle { shared: Rc::clone(&self.shared), group }
    }

    /// Lets a group run, or holds it still where it is.
    pub fn set_paused(&self, group: Group, is_paused: bool) {
        let mut paused = self.shared.paused.borrow_mut();
        if is_paused {
            paused.insert(group)
        } else {
            paused.remove(&group)
        };
    }

    /// Simulated time; it passes only when the simulator lets it.
    pub fn now(&self) -> Now {
        let monotonic_us = self.shared.now_us.get();
        let elapsed_ms = i64::try_from(monotonic_us / 1000).expect("runs are short");
        let offset_ms = self.shared.wall_offsets_ms.borrow().get(&self.group).copied();
        Now { monotonic_us, wall_ms: WALL_START_MS + elapsed_ms + offset_ms.unwrap_or(0) }
    }

    /// Sets how far this group's wall clock is off, from now on.
    pub fn set_wall_offset_ms(&self, offset_ms: i64) {
        self.shared.wall_offsets_ms.borrow_mut().insert(self.group, offset_ms);
    }

    /// Lets time pass at once.
    pub fn advance(&self, us: u64) {
        self.shared.now_us.set(self.shared.now_us.get() + us);
    }

    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.shared.spawned.borrow_mut().push((self.group, Box::pin(future)));
    }

    /// Draws from the run's own numbers.
    pub fn random<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.shared.random.borrow_mut())
    }

    /// Completes once the clock has moved on by `us`.
    pub fn sleep_us(&self, us: u64) -> Sleep {
        Sleep { handle: self.clone(), due_us: self.shared.now_us.get() + us, is_set: false }
    }

    fn fire_next_timer(&self) -> bool {
        let Some(((due_us, _), waker)) = self.shared.timers.borrow_mut().pop_first() else {
            return false;
        };
        self.shared.now_us.set(self.shared.now_us.get().max(due_us));
        waker.wake();
        true
    }
}

/// What `sleep_us` returns.
pub struct Sleep {
    handle: SimHandle,
    due_us: u64,
    is_set: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shared = &self.handle.shared;
        if shared.now_us.get() >= self.due_us {
            return Poll::Ready(());
        }
        if !self.is_set {
            let id = shared.next_timer.get();
            shared.next_timer.set(id + 1);
            shared.timers.borrow_mut().insert((self.due_us, id), context.waker().clone());
            self.is_set = true;
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::signal::yield_now;

    fn order_of_three(seed: u64) -> Vec<u32> {
        let mut executor = SimExecutor::new(seed);
        let order = Rc::new(RefCell::new(Vec::new()));
        for task in 0..3 {
            let order = Rc::clone(&order);
            executor.handle().spawn(async move {
                for _ in 0..3 {
                    order.borrow_mut().push(task);
                    yield_now().await;
                }
            });
        }
        while executor.step() {}
        order.take()
    }

    #[test]
    fn the_seed_decides_the_order_and_nothing_else_does() {
        assert_eq!(order_of_three(5), order_of_three(5));
        assert!((0..10).any(|seed| order_of_three(seed) != order_of_three(5)));
        assert_eq!(order_of_three(1).len(), 9);
    }

    #[test]
    fn time_passes_only_by_timers_and_wakes_them_in_order() {
        let mut executor = SimExecutor::new(1);
        let handle = executor.handle();
        let other = executor.handle();
        other.spawn({
            let handle = other.clone();
            async move { handle.sleep_us(700).await }
        });
        let woken = executor.run_until(async move {
            handle.sleep_us(300).await;
            let first = handle.now().monotonic_us;
            handle.sleep_us(300).await;
            (first, handle.now().monotonic_us)
        });
        assert_eq!(woken, (300, 600));
        assert_eq!(other.now().monotonic_us, 600);
    }

    #[test]
    fn a_killed_task_runs_no_further() {
        let mut executor = SimExecutor::new(1);
        let ran = Rc::new(Cell::new(0));
        let count = Rc::clone(&ran);
        executor.handle().spawn(async move {
            loop {
                count.set(count.get() + 1);
                yield_now().await;
            }
        });
        executor.step();
        executor.step();
        executor.kill_all();
        assert!(!executor.step());
        assert_eq!(ran.get(), 2);
    }
}
