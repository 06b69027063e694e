//! Whether another broker's process has ended, as far as connections to it tell.
//!
//! Why: a session's time is how long silence must last before it counts. A process that was killed
//! is not silent: its kernel closes its connections and refuses new ones. Taking that as the end
//! is never wrong in a way that hurts, because whoever is fenced and lives is put to use again by
//! its next heartbeat (docs/decisions/011).
//!
//! ```text
//!            last connection closed           refused PEER_REFUSALS_GONE times in a row
//!  Reached ------------------------> Doubted ----------------------------------------> Gone
//!     ^                                 | no answer, or PEER_PROBES_MAX attempts
//!     +---- welcomed ---- Unknown <-----+
//! ```
//! Invariants
//! - Nobody is gone who was not reached before at the same address.
//! - A host that only does not answer is never gone.
//! - Refusals that come sooner than `PEER_PROBE_MS` after the one before count once.

use crate::model::clock::Now;
use crate::model::ids::BrokerEpoch;
use crate::model::limits::{PEER_PROBE_MS, PEER_PROBES_MAX, PEER_REFUSALS_GONE};

/// How a connection to another broker ended, or why there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEnd {
    /// Its host says that nobody listens there.
    Refused,
    /// The other side closed or reset it.
    Closed,
    /// Anything else: no answer, no way, given up here.
    Failed,
}

/// What connections tell of one broker's process. One per core and broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    #[default]
    Unknown,
    Reached,
    Doubted(Doubt),
    /// The process of this registration has ended.
    Gone(Option<BrokerEpoch>),
}

/// A connection was closed from there, and no new one has been made yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// In a row.
    refusals: u32,
    probes: u32,
    /// When to try again, in monotonic microseconds.
    probe_us: u64,
    /// Of the registration that the image knew when the connection was closed.
    epoch: Option<BrokerEpoch>,
}

impl Presence {
    /// The broker has welcomed a connection.
    pub fn on_welcomed(&mut self) {
        *self = Presence::Reached;
    }

    /// The last connection that was up has ended.
    pub fn on_lost(&mut self, end: LinkEnd, epoch: Option<BrokerEpoch>, now: Now) {
        let is_doubtful = *self == Presence::Reached && end == LinkEnd::Closed;
        let probe_us = now.monotonic_us;
        *self = match is_doubtful {
            true => Presence::Doubted(Doubt { refusals: 0, probes: 0, probe_us, epoch }),
            false => Presence::Unknown,
        };
    }

    /// A connection could not be made, or ended unwelcomed. True when the broker has just come to
    /// be gone.
    pub fn on_unreached(&mut self, end: LinkEnd, now: Now) -> bool {
        let Presence::Doubted(doubt) = self else { return false };
        if now.monotonic_us < doubt.probe_us && end != LinkEnd::Failed {
            return false;
        }
        doubt.probes += 1;
        doubt.probe_us = now.deadline_us(PEER_PROBE_MS);
        match end {
            LinkEnd::Refused => doubt.refusals += 1,
            // Accepted first: by what is left of the process, or by the next one as it starts.
            LinkEnd::Closed => doubt.refusals = 0,
            LinkEnd::Failed => doubt.probes = PEER_PROBES_MAX,
        }
        let is_gone = doubt.refusals >= PEER_REFUSALS_GONE;
        if is_gone {
            *self = Presence::Gone(doubt.epoch);
        } else if doubt.probes >= PEER_PROBES_MAX {
            *self = Presence::Unknown;
        }
        is_gone
    }

    /// A registration or heartbeat came from there: it lives, whatever its host says of it.
    pub fn on_heard(&mut self, now: Now) {
        *self = match *self {
            // It may have been sent before the end: that is to be seen once more.
            Presence::Doubted(doubt) if doubt.refusals > 0 => {
                Presence::Doubted(Doubt { refusals: 0, probe_us: now.monotonic_us, ..doubt })
            }
            Presence::Gone(_) => Presence::Unknown,
            same => same,
        };
    }

    /// When the next attempt at a connection is due, in monotonic microseconds.
    pub fn probe_us(&self) -> Option<u64> {
        match self {
            Presence::Doubted(doubt) => Some(doubt.probe_us),
            Presence::Unknown | Presence::Reached | Presence::Gone(_) => None,
        }
    }

    /// Whether the process that registered with this epoch has ended.
    pub fn is_gone(&self, epoch: BrokerEpoch) -> bool {
        *self == Presence::Gone(Some(epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: BrokerEpoch = BrokerEpoch(7);

    fn at(ms: u64) -> Now {
        Now { monotonic_us: ms * 1000, ..Now::default() }
    }

    fn doubted() -> Presence {
        let mut presence = Presence::default();
        presence.on_welcomed();
        presence.on_lost(LinkEnd::Closed, Some(EPOCH), at(0));
        presence
    }

    /// Milliseconds after the loss at which it counts as gone, when every attempt is refused.
    fn gone_after_ms(mut presence: Presence) -> Option<u64> {
        (0..1000).find(|ms| presence.on_unreached(LinkEnd::Refused, at(*ms)))
    }

    #[test]
    fn a_broker_that_was_reached_and_is_refused_again_and_again_is_gone() {
        let expected = PEER_PROBE_MS * u64::from(PEER_REFUSALS_GONE - 1);
        assert_eq!(gone_after_ms(doubted()), Some(expected));
        let mut presence = doubted();
        for ms in 0..=expected {
            presence.on_unreached(LinkEnd::Refused, at(ms));
        }
        assert!(presence.is_gone(EPOCH) && !presence.is_gone(BrokerEpoch(8)));
        presence.on_heard(at(500));
        assert!(!presence.is_gone(EPOCH), "it speaks");
        presence.on_lost(LinkEnd::Closed, Some(EPOCH), at(600));
        assert_eq!(
            gone_after_ms(presence),
            None,
            "and is to be reached first before it is doubted"
        );
    }

    #[test]
    fn one_that_was_never_reached_or_does_not_answer_is_not_gone() {
        assert_eq!(gone_after_ms(Presence::default()), None);
        let mut silent = Presence::Reached;
        silent.on_lost(LinkEnd::Failed, Some(EPOCH), at(0));
        assert_eq!(gone_after_ms(silent), None);
        let mut slow = doubted();
        slow.on_unreached(LinkEnd::Refused, at(0));
        slow.on_unreached(LinkEnd::Failed, at(60));
        assert_eq!(gone_after_ms(slow), None);
        let mut back = doubted();
        back.on_unreached(LinkEnd::Refused, at(0));
        back.on_welcomed();
        assert_eq!(gone_after_ms(back), None);
    }

    #[test]
    fn what_accepts_and_hangs_up_is_looked_at_for_a_while_only() {
        let mut presence = doubted();
        for probe in 0..u64::from(PEER_PROBES_MAX) {
            assert!(presence.probe_us().is_some());
            presence.on_unreached(LinkEnd::Closed, at(probe * PEER_PROBE_MS));
        }
        assert_eq!(presence, Presence::Unknown);
    }

    #[test]
    fn a_word_that_was_under_way_makes_the_host_say_it_once_more() {
        let mut presence = doubted();
        presence.on_unreached(LinkEnd::Refused, at(0));
        presence.on_heard(at(1));
        assert_eq!(presence.probe_us(), Some(1000));
        let again = (1..1000).find(|ms| presence.on_unreached(LinkEnd::Refused, at(*ms)));
        assert_eq!(again, Some(1 + PEER_PROBE_MS * u64::from(PEER_REFUSALS_GONE - 1)));
    }
}
