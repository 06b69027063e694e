//! One thread's current second, handed to the collector when it ends.
//!
//! Why hand it over: the collector prints and adds up while the thread goes on, and memory goes
//! back and forth between them, so that recording never allocates.
//!
//! Invariants
//! - Whatever a thread has counted reaches the collector, also when the thread fails: dropping a
//!   recorder hands over the second at hand.
//! - A clock that jumps ahead costs one interval, not one for each second that it left out.

use std::sync::mpsc::{Receiver, Sender};

use crate::clock::{SECOND_NS, now_ns, thread_cpu_ns};
use crate::interval::Interval;

/// A thread that did not come round for longer has stood still: the seconds between are left out.
const SECONDS_LATE_MAX: u64 = 10;

/// When a run begins, when its figures count, and when it stops sending. Nanoseconds of
/// `clock::now_ns`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) start_ns: u64,
    /// Whole seconds at the start that do not count.
    pub(crate) warmup_seconds: u64,
    pub(crate) stop_ns: u64,
}

impl Window {
    /// Warm-up rounded up to whole seconds, then `duration_ns` that counts.
    pub(crate) fn new(start_ns: u64, warmup_ns: u64, duration_ns: u64) -> Window {
        let warmup_seconds = warmup_ns.div_ceil(SECOND_NS);
        let stop_ns = start_ns + warmup_seconds * SECOND_NS + duration_ns;
        Window { start_ns, warmup_seconds, stop_ns }
    }

    /// Whether the interval of that second counts.
    pub(crate) fn is_measured(&self, second: u64) -> bool {
        second >= self.warmup_seconds
    }

    /// 0 for the first half of the measured time, 1 for the second.
    pub(crate) fn half(&self, second: u64) -> usize {
        let measured_from_ns = self.start_ns + self.warmup_seconds * SECOND_NS;
        let middle_ns = measured_from_ns.midpoint(self.stop_ns);
        usize::from(self.start_ns + second * SECOND_NS >= middle_ns)
    }

    /// The second that `now_ns` falls into.
    fn second_of(&self, now_ns: u64) -> u64 {
        now_ns.min(self.stop_ns - 1).saturating_sub(self.start_ns) / SECOND_NS
    }

    fn end_of(&self, second: u64) -> u64 {
        (self.start_ns + (second + 1) * SECOND_NS).min(self.stop_ns)
    }
}

/// The thread's side of the exchange.
#[derive(Debug)]
pub(crate) struct Recorder {
    window: Window,
    current: Box<Interval>,
    began_ns: u64,
    cpu_at_begin_ns: u64,
    waiting: Waiting,
    finished: Sender<Box<Interval>>,
    recycled: Receiver<Box<Interval>>,
    is_stopped: bool,
    is_handed_over: bool,
}

/// How a thread waits for its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// In the kernel, until something happens.
    Block,
    /// By looking again and again: no wake-up in the measured latency, all of a core used.
    Spin,
}

impl Recorder {
    /// Starts with second 0.
    pub(crate) fn new(
        window: Window,
        waiting: Waiting,
        finished: Sender<Box<Interval>>,
        recycled: Receiver<Box<Interval>>,
    ) -> Recorder {
        Recorder {
            window,
            current: Box::new(Interval::new(0)),
            began_ns: window.start_ns,
            cpu_at_begin_ns: thread_cpu_ns(),
            waiting,
            finished,
            recycled,
            is_stopped: false,
            is_handed_over: false,
        }
    }

    /// The run's times.
    pub(crate) fn window(&self) -> Window {
        self.window
    }

    /// How the thread waits.
    pub(crate) fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// The second at hand.
    #[inline]
    pub(crate) fn current(&mut self) -> &mut Interval {
        &mut self.current
    }

    /// When the second at hand ends.
    #[inline]
    pub(crate) fn ends_ns(&self) -> u64 {
        self.window.end_of(self.current.second)
    }

    /// Hands over the second at hand when it is over and is not the last one. The last is kept for
    /// late answers until [`Recorder::finish`].
    pub(crate) fn roll(&mut self, now_ns: u64) {
        while now_ns >= self.ends_ns() && self.ends_ns() < self.window.stop_ns {
            let next_second = self.leave_out(now_ns).unwrap_or(self.current.second + 1);
            self.close(self.ends_ns());
            let mut next =
                self.recycled.try_recv().unwrap_or_else(|_| Box::new(Interval::new(next_second)));
            next.reset(next_second);
            self.hand_over(next);
        }
    }

    /// When the thread has stood still for long: the second to go on with.
    fn leave_out(&mut self, now_ns: u64) -> Option<u64> {
        let next_second = self.window.second_of(now_ns);
        let left_out = next_second - self.current.second;
        if left_out <= SECONDS_LATE_MAX {
            return None;
        }
        self.current.jumped_ns += (left_out - 1) * SECOND_NS;
        Some(next_second)
    }

    /// Counts the time up to the end of the run; answers that come later still add their latency.
    pub(crate) fn stop(&mut self, now_ns: u64) {
        self.roll(now_ns);
        self.is_stopped = true;
        self.close(now_ns.min(self.window.stop_ns).max(self.began_ns));
    }

    /// Hands over the last second.
    pub(crate) fn finish(mut self) {
        self.hand_over_last();
    }

    fn hand_over_last(&mut self) {
        self.is_handed_over = true;
        let last = std::mem::replace(&mut self.current, Box::new(Interval::new(0)));
        // The collector may be gone after a failure of another thread.
        let _ = self.finished.send(last);
    }

    fn close(&mut self, end_ns: u64) {
        let cpu_ns = thread_cpu_ns();
        self.current.wall_ns = end_ns.saturating_sub(self.began_ns);
        self.current.thread_ns = self.current.wall_ns;
        self.current.cpu_ns = cpu_ns - self.cpu_at_begin_ns;
        let not_waiting_ns = self.current.wall_ns.saturating_sub(self.current.idle_ns);
        self.current.busy_ns = match self.waiting {
            Waiting::Spin => not_waiting_ns,
            // The kernel's share of a wait (softirqs, wake-ups) is the generator's work too.
            Waiting::Block => not_waiting_ns.max(self.current.cpu_ns),
        };
        self.current.busiest_ns = self.current.busy_ns;
        self.began_ns = end_ns;
        self.cpu_at_begin_ns = cpu_ns;
    }

    fn hand_over(&mut self, next: Box<Interval>) {
        let done = std::mem::replace(&mut self.current, next);
        // The collector may be gone after a failure of another thread.
        let _ = self.finished.send(done);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.is_handed_over {
            return;
        }
        if !self.is_stopped {
            self.stop(now_ns());
        }
        self.hand_over_last();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn seconds_end_on_time_and_the_last_one_waits_for_late_answers() {
        let window = Window::new(5_000, SECOND_NS / 2, 2 * SECOND_NS + SECOND_NS / 2);
        assert_eq!(window.warmup_seconds, 1);
        assert_eq!([1, 2, 3].map(|second| window.half(second)), [0, 0, 1]);
        let (sender, finished) = channel();
        let (_keep, recycled) = channel();
        let mut recorder = Recorder::new(window, Waiting::Block, sender, recycled);
        recorder.current().records = 1;
        recorder.roll(window.start_ns + SECOND_NS - 1);
        assert!(finished.try_recv().is_err());
        recorder.roll(window.start_ns + 3 * SECOND_NS);
        recorder.current().records = 4;
        recorder.stop(window.stop_ns + 77);
        recorder.current().response.record_ns(9_000_000);
        recorder.finish();
        let seconds: Vec<_> = finished
            .try_iter()
            .map(|interval| (interval.second, interval.records, interval.wall_ns))
            .collect();
        let whole = SECOND_NS;
        assert_eq!(seconds, [(0, 1, whole), (1, 0, whole), (2, 0, whole), (3, 4, whole / 2)]);
    }

    fn recorder(window: Window) -> (Recorder, Receiver<Box<Interval>>) {
        let (sender, finished) = channel();
        (Recorder::new(window, Waiting::Block, sender, channel().1), finished)
    }

    #[test]
    fn a_clock_that_jumps_a_day_ahead_costs_one_interval_and_is_said() {
        let window = Window::new(5_000, 0, 200_000 * SECOND_NS);
        let (mut recorder, finished) = recorder(window);
        recorder.roll(window.start_ns + 3 * SECOND_NS);
        recorder.roll(window.start_ns + 86_400 * SECOND_NS + 1);
        recorder.roll(window.start_ns + 86_401 * SECOND_NS + 1);
        let seconds: Vec<_> = finished
            .try_iter()
            .map(|interval| (interval.second, interval.jumped_ns / SECOND_NS))
            .collect();
        assert_eq!(seconds, [(0, 0), (1, 0), (2, 0), (3, 86_396), (86_400, 0)]);
    }

    #[test]
    fn a_clock_that_jumps_back_ends_no_second_twice() {
        let window = Window::new(50 * SECOND_NS, 0, 9 * SECOND_NS);
        let (mut recorder, finished) = recorder(window);
        for now_s in [51, 20, 52, 51] {
            recorder.roll(now_s * SECOND_NS);
        }
        recorder.stop(10 * SECOND_NS);
        recorder.finish();
        let seconds: Vec<u64> = finished.try_iter().map(|interval| interval.second).collect();
        assert_eq!(seconds, [0, 1, 2]);
    }

    #[test]
    fn what_a_thread_counted_before_it_failed_is_handed_over() {
        let (mut recorder, finished) = recorder(Window::new(now_ns(), 0, 9 * SECOND_NS));
        recorder.current().records = 7;
        drop(recorder);
        let kept: Vec<_> = finished.try_iter().map(|interval| interval.records).collect();
        assert_eq!(kept.iter().sum::<u64>(), 7);
    }
}
