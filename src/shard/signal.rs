//! A wake-up between tasks of one core that works under any executor.
//!
//! Why not a channel: what is to be done lies in the shard's state already; the sleeper only has
//! to look again. A raise that nobody waits for is kept, so it cannot be lost, and several raises
//! fold into one.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// One per loop or parked reader; clones share it. Meant for a single waiter.
#[derive(Clone, Default)]
pub struct Signal {
    state: Rc<RefCell<State>>,
}

#[derive(Default)]
struct State {
    is_raised: bool,
    waker: Option<Waker>,
}

impl Signal {
    /// Wakes the waiter, or lets the next wait pass at once.
    pub fn raise(&self) {
        let waker = {
            let mut state = self.state.borrow_mut();
            state.is_raised = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// True when the other is a clone of this one.
    pub fn is_same(&self, other: &Signal) -> bool {
        Rc::ptr_eq(&self.state, &other.state)
    }

    /// Completes once the signal has been raised since the last completed wait.
    pub fn wait(&self) -> Wait<'_> {
        Wait { signal: self }
    }
}

/// Lets the other tasks of the core run before the caller goes on, under any executor.
pub async fn yield_now() {
    let mut has_yielded = false;
    std::future::poll_fn(|context| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Future of [`Signal::wait`].
pub struct Wait<'a> {
    signal: &'a Signal,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.signal.state.borrow_mut();
        if state.is_raised {
            state.is_raised = false;
            return Poll::Ready(());
        }
        match &state.waker {
            Some(waker) if waker.will_wake(context.waker()) => {}
            _ => state.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::Signal;
    use futures::FutureExt;

    #[test]
    fn a_raise_before_the_wait_is_not_lost_and_counts_once() {
        let signal = Signal::default();
        signal.raise();
        signal.raise();
        assert_eq!(signal.wait().now_or_never(), Some(()));
        assert_eq!(signal.wait().now_or_never(), None);
    }
}
