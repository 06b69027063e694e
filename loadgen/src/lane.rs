//! One connection that produces: its requests, what is on the way, what came back.
//!
//! Invariants
//! - Answers come in the order of the requests (the Kafka protocol promises it); an answer with
//!   another correlation id ends the run.
//! - At most `in_flight` requests are admitted and not yet done.

use std::collections::VecDeque;
use std::net::TcpStream;

use crate::control::connect;
use crate::failure::Failure;
use crate::inbox::Inbox;
use crate::poller::{Interest, Poller};
use crate::request_ring::{CycleRequest, RequestRing};

const INBOX_BYTES: usize = 64 * 1024;

/// When a request was meant to be sent, and when it was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnTheWay {
    pub(crate) intended_ns: u64,
    pub(crate) sent_ns: u64,
}

/// See the module's header. One per connection.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) address: String,
    pub(crate) socket: TcpStream,
    pub(crate) inbox: Inbox,
    ring: RequestRing,
    on_the_way: VecDeque<OnTheWay>,
    in_flight_max: usize,
    next_correlation_id: i32,
    interest: Interest,
}

impl Lane {
    /// Connects; `cycle` are the requests to send in turn.
    pub(crate) fn connect(
        address: &str,
        cycle: &[CycleRequest],
        in_flight_max: usize,
    ) -> Result<Lane, Failure> {
        let socket = connect(address)?;
        socket.set_nonblocking(true).map_err(|source| Failure::System { call: "fcntl", source })?;
        Ok(Lane {
            address: address.to_owned(),
            socket,
            inbox: Inbox::new(INBOX_BYTES),
            ring: RequestRing::new(cycle, in_flight_max),
            on_the_way: VecDeque::with_capacity(in_flight_max),
            in_flight_max,
            next_correlation_id: 0,
            interest: Interest::Read,
        })
    }

    /// Whether one more request may be admitted.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.on_the_way.len() < self.in_flight_max
    }

    /// Requests admitted and not yet done.
    pub(crate) fn on_the_way(&self) -> usize {
        self.on_the_way.len()
    }

    /// Puts one request into the send queue. There must be room.
    #[inline]
    pub(crate) fn admit(&mut self, intended_ns: u64, sent_ns: u64) {
        assert!(self.has_room());
        let correlation_id = self.next_correlation_id;
        // Wraps to 0, not to a negative number: some brokers log those as suspicious.
        self.next_correlation_id = correlation_id.checked_add(1).unwrap_or(0);
        self.ring.admit(correlation_id, intended_ns);
        self.on_the_way.push_back(OnTheWay { intended_ns, sent_ns });
    }

    /// Writes what is admitted; returns how many requests are now wholly sent.
    pub(crate) fn flush(&mut self, poller: &Poller, index: usize) -> Result<usize, Failure> {
        let sent = self.ring.send(&self.socket).map_err(|source| self.lost(source))?;
        let interest = if sent.is_blocked { Interest::ReadWrite } else { Interest::Read };
        if interest != self.interest {
            self.interest = interest;
            poller
                .set_interest(&self.socket, index, interest)
                .map_err(|source| self.lost(source))?;
        }
        Ok(sent.requests)
    }

    /// Takes the oldest request off the way; its answer must carry `correlation_id`.
    ///
    /// # Errors
    /// The answer's correlation id when it is not the oldest request's.
    #[inline]
    pub(crate) fn answered(&mut self, correlation_id: i32) -> Result<OnTheWay, i32> {
        let behind = i32::try_from(self.on_the_way.len()).expect("bounded by --in-flight");
        let oldest = match self.next_correlation_id.checked_sub(behind) {
            Some(oldest) if oldest >= 0 => oldest,
            // The counter has wrapped since.
            _ => i32::MAX - (behind - 1 - self.next_correlation_id),
        };
        if correlation_id != oldest {
            return Err(correlation_id);
        }
        self.on_the_way.pop_front().ok_or(correlation_id)
    }

    /// Takes the oldest request off the way without an answer (acks=0: it was sent).
    pub(crate) fn done_without_answer(&mut self) -> Option<OnTheWay> {
        self.on_the_way.pop_front()
    }

    /// The failure for an I/O error of this connection.
    pub(crate) fn lost(&self, source: std::io::Error) -> Failure {
        Failure::ConnectionLost { address: self.address.clone(), during: "was under load", source }
    }
}
