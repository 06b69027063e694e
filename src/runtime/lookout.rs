//! Looks at the socket of a client that is alone at work before its reader waits in the ring.
//!
//! Why: a client with one request in flight sends the next one microseconds after its answer. To
//! wait for it in the ring costs more than to serve it: a poll is armed, the core parks, is woken,
//! and the executor sets its timers again (`docs/decisions/012-lookout.md`). So the reader bets
//! that bytes come at once, and asks the socket itself for `LOOK_US`.
//!
//! What a bet may cost has bounds
//! - It is made only while this connection, and no other of the core, is read from.
//! - One that is lost doubles the number of requests until the next, up to `PAUSE_MAX`.
//! - Everything else on the core waits in the ring, so after `AWAY_US` the reader waits there too.

use super::peer::Peer;
use super::run_shard::Driver;
use crate::shard::connection::ConnectionId;
use crate::shard::signal::yield_now;
use std::cell::Cell;

/// How long a bet is held, in microseconds: above the time in which a client turns an answer into
/// the next request, below what the ring costs.
const LOOK_US: u64 = 20;

/// Longest time without a wait in the ring, in microseconds.
const AWAY_US: u64 = 200;

/// Most requests between two bets.
const PAUSE_MAX: u32 = 1024;

/// Turns of the other tasks in which an answer that waits for nobody else leaves.
const ANSWER_TURNS: u32 = 8;

/// What one core's readers know of each other.
#[derive(Default)]
pub(super) struct Lookout {
    /// Who was read from last.
    last: Cell<Option<ConnectionId>>,
    /// It was read from twice in a row.
    is_alone: Cell<bool>,
    /// Requests to come before the next bet, and how many there are after the next that is lost.
    pause: Cell<u32>,
    pause_next: Cell<u32>,
    /// When a reader last waited in the ring, in monotonic microseconds.
    ring_us: Cell<u64>,
    /// The bytes being received were found by a look.
    has_won: Cell<bool>,
}

impl Lookout {
    /// Bytes came from a connection.
    pub(super) fn on_received(&self, id: ConnectionId, now_us: u64) {
        self.is_alone.set(self.last.replace(Some(id)) == Some(id));
        if !self.has_won.take() {
            self.ring_us.set(now_us);
        }
    }

    fn is_alone(&self, id: ConnectionId) -> bool {
        self.is_alone.get() && self.last.get() == Some(id)
    }

    /// Whether `id` may bet now.
    fn may_look(&self, id: ConnectionId, now_us: u64) -> bool {
        if !self.is_alone(id) || now_us.saturating_sub(self.ring_us.get()) > AWAY_US {
            return false;
        }
        let pause = self.pause.get();
        self.pause.set(pause.saturating_sub(1));
        pause == 0
    }

    fn won(&self) {
        self.has_won.set(true);
        self.pause_next.set(0);
    }

    fn lost(&self) {
        let pause = (self.pause_next.get() * 2).clamp(1, PAUSE_MAX);
        self.pause.set(pause);
        self.pause_next.set(pause);
    }
}

/// Returns when the socket has bytes, or when it is time to wait for them in the ring.
pub(super) async fn look(driver: &Driver, peer: &Peer) {
    let lookout = &driver.lookout;
    let now_us = driver.shard.borrow().now.monotonic_us;
    // Who is owed nothing (acks=0) waits for nothing either: the ring collects more at a time.
    if !driver.shard.borrow_mut().owes_answers(peer.id) || !lookout.may_look(peer.id, now_us) {
        return;
    }
    let mut turns = 0;
    while driver.shard.borrow_mut().owes_answers(peer.id) || peer.unsent_bytes() > 0 {
        if turns == ANSWER_TURNS {
            return; // It waits for the disk, another core or time: no telling when.
        }
        turns += 1;
        yield_now().await;
    }
    let until_ns = driver.clock.now_ns() + LOOK_US * 1000;
    while lookout.is_alone(peer.id) {
        if peer.look() {
            return lookout.won();
        }
        if driver.clock.now_ns() > until_ns {
            break;
        }
        yield_now().await;
    }
    lookout.lost();
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ConnectionId = ConnectionId { index: 0, generation: 1 };
    const OTHER: ConnectionId = ConnectionId { index: 1, generation: 1 };

    /// A connection that has been read from twice at this time.
    fn alone_at(now_us: u64) -> Lookout {
        let lookout = Lookout::default();
        lookout.on_received(ONE, now_us);
        lookout.on_received(ONE, now_us);
        lookout
    }

    #[test]
    fn only_a_connection_that_is_read_from_alone_may_bet() {
        let lookout = Lookout::default();
        lookout.on_received(ONE, 1);
        assert!(!lookout.may_look(ONE, 1), "once may be chance");
        lookout.on_received(ONE, 2);
        assert!(lookout.may_look(ONE, 2));
        assert!(!lookout.may_look(OTHER, 2));
        lookout.on_received(OTHER, 3);
        assert!(!lookout.may_look(ONE, 3) && !lookout.may_look(OTHER, 3));
    }

    #[test]
    fn lost_bets_become_rare_and_one_that_is_won_makes_them_usual_again() {
        let lookout = alone_at(1);
        let mut looks = 0;
        for _ in 0..100_000 {
            if lookout.may_look(ONE, 1) {
                looks += 1;
                lookout.lost();
            }
        }
        assert!((100..=110).contains(&looks), "{looks}");
        while !lookout.may_look(ONE, 1) {}
        lookout.won();
        assert!(lookout.may_look(ONE, 1));
    }

    #[test]
    fn the_ring_is_waited_in_after_a_while_however_many_bets_are_won() {
        let lookout = alone_at(1000);
        lookout.won();
        lookout.on_received(ONE, 1000 + AWAY_US);
        assert!(lookout.may_look(ONE, 1000 + AWAY_US));
        lookout.won();
        lookout.on_received(ONE, 1001 + AWAY_US);
        assert!(!lookout.may_look(ONE, 1001 + AWAY_US));
        lookout.on_received(ONE, 1002 + AWAY_US);
        assert!(lookout.may_look(ONE, 1002 + AWAY_US), "it came through the ring");
    }
}
