//! One client connection without its socket: frames in, answers out in the order of the requests.
//!
//! Requests of one connection may be answered out of order by the shards that own the partitions
//! (a parked produce, a long poll); each request takes a slot when its frame is split off and the
//! answers leave only as an unbroken prefix of filled slots, as Kafka's clients demand.
//!
//! Invariants
//! - `slots.len()` <= `CONNECTION_PARKED_MAX`; beyond it frames wait in the socket.
//! - A slot is filled once. A connection that is gone swallows answers that come late.

use crate::model::limits::CONNECTION_PARKED_MAX;
use crate::protocol::part::Part;
use crate::shard::peers::PeerId;
use crate::shard::signal::Signal;
use crate::shard::stages::Stamp;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// A connection of this shard; `generation` tells a reused place from its former owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    pub index: usize,
    pub generation: u64,
}

/// Where one request's answer belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotId {
    pub connection: ConnectionId,
    pub sequence: u64,
}

#[derive(Debug)]
enum Slot {
    Waiting,
    /// The answer's parts; empty for a request that gets none (acks=0).
    Filled(Vec<Part>, Stamp),
}

/// State of one connection; lives on the core that accepted it.
pub struct Connection {
    pub id: ConnectionId,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// It came in by a listener of the controller: most requests are not served there.
    pub is_controllers: bool,
    /// The broker at the other end, once it has introduced itself; `None` for clients.
    pub broker: Option<PeerId>,
    /// Raised when a paused reader may go on.
    pub resume: Signal,
    slots: VecDeque<Slot>,
    first_sequence: u64,
    output: Vec<Part>,
    /// When the bytes came in of which the next frame is cut.
    pub seen: Stamp,
    /// When the first timed answer of `output` was settled.
    settled: Stamp,
    /// True while a request that must not be overtaken runs as a task.
    is_exclusive: bool,
    is_closing: bool,
    is_listed_ready: bool,
}

impl Connection {
    /// A fresh connection between two addresses.
    pub fn new(id: ConnectionId, local: SocketAddr, peer: SocketAddr) -> Connection {
        Connection {
            id,
            local,
            peer,
            is_controllers: false,
            broker: None,
            resume: Signal::default(),
            slots: VecDeque::new(),
            first_sequence: 0,
            output: Vec::new(),
            seen: Stamp::NONE,
            settled: Stamp::NONE,
            is_exclusive: false,
            is_closing: false,
            is_listed_ready: false,
        }
    }

    /// True when no further frame may be taken now; `resume` is raised when that ends.
    pub fn is_paused(&self) -> bool {
        self.is_exclusive || self.is_closing || self.slots.len() >= CONNECTION_PARKED_MAX
    }

    /// True once the connection is to be closed after its output has left.
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Stops taking frames; what is already answered still leaves.
    pub fn close(&mut self) {
        self.is_closing = true;
        self.resume.raise();
    }

    /// Takes the next slot for a request just read.
    pub fn open_slot(&mut self) -> SlotId {
        let sequence = self.first_sequence + self.slots.len() as u64;
        self.slots.push_back(Slot::Waiting);
        assert!(self.slots.len() <= CONNECTION_PARKED_MAX);
        SlotId { connection: self.id, sequence }
    }

    /// Holds back later frames until [`Connection::end_exclusive`].
    pub fn begin_exclusive(&mut self) {
        assert!(!self.is_exclusive);
        self.is_exclusive = true;
    }

    /// Lets frames flow again after a request that must not be overtaken.
    pub fn end_exclusive(&mut self) {
        assert!(self.is_exclusive);
        self.is_exclusive = false;
        self.resume.raise();
    }

    /// Puts an answer, settled at a time, into its slot; true when output became available and the
    /// connection was not yet listed as ready for the driver.
    pub fn fill(&mut self, sequence: u64, parts: Vec<Part>, settled: Stamp) -> bool {
        let index = usize::try_from(sequence.wrapping_sub(self.first_sequence))
            .expect("slots are few, and a sequence is never older than the first");
        assert!(matches!(self.slots.get(index), Some(Slot::Waiting)), "a slot is filled once");
        self.slots[index] = Slot::Filled(parts, settled);
        let was_paused = self.slots.len() >= CONNECTION_PARKED_MAX;
        while let Some(Slot::Filled(..)) = self.slots.front() {
            if let Some(Slot::Filled(parts, settled)) = self.slots.pop_front() {
                self.output.extend(parts);
                self.settled = self.settled.or(settled);
            }
            self.first_sequence += 1;
        }
        if was_paused && self.slots.len() < CONNECTION_PARKED_MAX {
            self.resume.raise();
        }
        let is_news = !self.output.is_empty() && !self.is_listed_ready;
        self.is_listed_ready |= is_news;
        is_news
    }

    /// Everything that may leave now, in order.
    pub fn take_output(&mut self) -> Vec<Part> {
        self.is_listed_ready = false;
        std::mem::take(&mut self.output)
    }

    /// When the oldest timed answer of what [`Connection::take_output`] gave was settled.
    pub fn take_settled(&mut self) -> Stamp {
        std::mem::take(&mut self.settled)
    }

    /// True while the client waits for an answer, or one waits for the driver.
    pub fn owes_answers(&self) -> bool {
        !self.slots.is_empty() || !self.output.is_empty()
    }

    /// Requests read but not yet answered into the output.
    pub fn parked(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::part::join;
    use bytes::Bytes;

    fn connection() -> Connection {
        let address = "127.0.0.1:9092".parse().unwrap();
        Connection::new(ConnectionId { index: 0, generation: 1 }, address, address)
    }

    fn part(text: &'static str) -> Vec<Part> {
        vec![Bytes::from_static(text.as_bytes()).into()]
    }

    #[test]
    fn answers_leave_in_request_order_whatever_the_order_of_completion() {
        let mut connection = connection();
        let slots: Vec<u64> = (0..3).map(|_| connection.open_slot().sequence).collect();
        assert!(!connection.fill(slots[2], part("c"), Stamp::NONE));
        assert!(connection.take_output().is_empty());
        assert!(connection.fill(slots[0], part("a"), Stamp::NONE));
        assert!(!connection.fill(slots[1], part("b"), Stamp::NONE), "listed already");
        assert_eq!(join(connection.take_output()), &b"abc"[..]);
        assert_eq!(connection.parked(), 0);
    }

    #[test]
    fn a_request_without_an_answer_holds_its_place_and_sends_nothing() {
        let mut connection = connection();
        let silent = connection.open_slot().sequence;
        let loud = connection.open_slot().sequence;
        assert!(!connection.fill(loud, part("x"), Stamp::NONE));
        assert!(connection.fill(silent, Vec::new(), Stamp::NONE));
        assert_eq!(join(connection.take_output()), &b"x"[..]);
    }

    #[test]
    fn too_many_parked_requests_pause_the_reader_until_one_is_answered() {
        let mut connection = connection();
        let first = connection.open_slot().sequence;
        while !connection.is_paused() {
            connection.open_slot();
        }
        assert_eq!(connection.parked(), CONNECTION_PARKED_MAX);
        connection.fill(first, part("x"), Stamp::NONE);
        assert!(!connection.is_paused());
    }
}
