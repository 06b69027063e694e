//! Wakes an executor now and then, for as long as nothing else does.
//!
//! Why: glommio 0.9 may go to sleep with a runnable task. Its preempt timer may end a turn before
//! any task of the turn has run, on a thread that was off its processor for as long as the timer,
//! and a turn in which nothing ran is taken for one with nothing to do. Only an event from outside
//! wakes it then. While a core serves, its ticker is that event (run_shard.rs); while it starts,
//! nothing might come: two in a hundred starts on a very busy machine stood still for good.

use glommio::Task;
use glommio::timer::Timer;
use std::time::Duration;

/// How long an executor sleeps at most.
const EVERY: Duration = Duration::from_millis(20);

/// Wakes this executor until the task is dropped.
pub(super) fn keep() -> Task<()> {
    glommio::spawn_local(async {
        loop {
            Timer::new(EVERY).await;
        }
    })
}
