//! A seeded executor: one thread, ready tasks polled in an order that the seed decides, and a clock
//! that moves only when nothing is ready.
//!
//! Invariants
//! - The same seed and the same tasks give the same run.
//! - Time never passes while a task is ready, except by what `advance` is told.

use crate::model::clock::Now;
use crate::sim::random::Random;
use futures::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Wall clock at the start of every run: an arbitrary day.
const WALL_START_MS: i64 = 1_700_000_000_000;

struct Task {
    future: LocalBoxFuture<'static, ()>,
    ready: Arc<ReadyFlag>,
}

struct ReadyFlag {
    is_ready: AtomicBool,
}

impl Wake for ReadyFlag {
    fn wake(self: Arc<Self>) {
        self.is_ready.store(true, Ordering::Relaxed);
    }
}

/// State shared by the executor and the handles that tasks hold.
struct Shared {
    now_us: Cell<u64>,
    random: RefCell<Random>,
    spawned: RefCell<Vec<LocalBoxFuture<'static, ()>>>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    next_timer: Cell<u64>,
}

/// What tasks of a simulation may do: spawn, sleep, read the clock, draw numbers.
#[derive(Clone)]
pub struct SimHandle {
    shared: Rc<Shared>,
}

/// Runs tasks until told otherwise. One per simulated process.
pub struct SimExecutor {
    tasks: Vec<Task>,
    handle: SimHandle,
}

impl SimExecutor {
    /// At time zero, without tasks; the seed decides the order in which tasks run.
    pub fn new(seed: u64) -> SimExecutor {
        let shared = Shared {
            now_us: Cell::new(0),
            random: RefCell::new(Random::new(seed)),
            spawned: RefCell::new(Vec::new()),
            timers: RefCell::new(BTreeMap::new()),
            next_timer: Cell::new(0),
        };
        SimExecutor { tasks: Vec::new(), handle: SimHandle { shared: Rc::new(shared) } }
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
        let spawned = self.handle.shared.spawned.take();
        self.tasks.extend(spawned.into_iter().map(|future| Task {
            future,
            ready: Arc::new(ReadyFlag { is_ready: AtomicBool::new(true) }),
        }));
        let is_ready = |task: &Task| task.ready.is_ready.load(Ordering::Relaxed);
        let ready = self.tasks.iter().filter(|task| is_ready(task)).count();
        if ready == 0 {
            return self.handle.fire_next_timer();
        }
        let chosen = self.handle.shared.random.borrow_mut().index(ready);
        let index = (0..self.tasks.len())
            .filter(|index| is_ready(&self.tasks[*index]))
            .nth(chosen)
            .expect("counted above");
        let task = &mut self.tasks[index];
        task.ready.is_ready.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.ready));
        let outcome = task.future.as_mut().poll(&mut Context::from_waker(&waker));
        if outcome.is_ready() {
            drop(self.tasks.swap_remove(index));
        }
        true
    }

    /// Ends every task where it stands, as a crash does.
    pub fn kill_all(&mut self) {
        self.tasks.clear();
        self.handle.shared.spawned.take();
        self.handle.shared.timers.take();
    }
}

impl SimHandle {
    /// Simulated time; it passes only when the simulator lets it.
    pub fn now(&self) -> Now {
        let monotonic_us = self.shared.now_us.get();
        let elapsed_ms = i64::try_from(monotonic_us / 1000).expect("runs are short");
        Now { monotonic_us, wall_ms: WALL_START_MS + elapsed_ms }
    }

    /// Lets time pass at once.
    pub fn advance(&self, us: u64) {
        self.shared.now_us.set(self.shared.now_us.get() + us);
    }

    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.shared.spawned.borrow_mut().push(Box::pin(future));
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
