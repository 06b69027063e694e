//! A broker that stores nothing: what the generator can do when the broker costs (almost) nothing.
//!
//! Why it exists: a figure counts only when the generator could have driven more. The null broker
//! is that proof, and the peer of the end-to-end tests.
//!
//! It can stand still now and then, as brokers do: what a generator then reports shows whether it
//! counts the requests that were due meanwhile.
//!
//! It answers ApiVersions, Metadata, CreateTopics, DeleteTopics, ListOffsets, Produce (always
//! accepted) and Fetch (the same batches at every offset up to a fixed end). One thread, one epoll.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use crate::clock::{SECOND_NS, now_ns};
use crate::failure::Failure;
use crate::inbox::{BadLength, Inbox, ReadOutcome, is_temporary};
use crate::null_answers::{Answer, NullAnswers, Unanswerable};
use crate::poller::{Interest, Poller, Ready};

const LISTENER: usize = usize::MAX;
const INBOX_BYTES: usize = 256 * 1024;
const SLICES_MAX: usize = 64;

/// Requests of one connection whose answers are remembered.
const REMEMBERED_MAX: usize = 1024;

/// Bytes of a frame that are compared with a remembered one; length and these decide.
const COMPARED_BYTES: usize = 4096;

/// A request that was answered before, but for its correlation id.
#[derive(Debug)]
struct Remembered {
    length: usize,
    head: Box<[u8]>,
    answer: Box<[u8]>,
}

/// One client.
#[derive(Debug)]
struct Peer {
    socket: TcpStream,
    inbox: Inbox,
    outbox: VecDeque<Bytes>,
    /// Small answers behind `outbox`.
    tail: BytesMut,
    interest: Interest,
    remembered: Vec<Remembered>,
    /// The remembered request expected next: clients cycle.
    turn: usize,
}

/// When a null broker stands still: for `for_ns` of each `every_ns`, `count` times, beginning with
/// the first Produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stalls {
    pub(crate) every_ns: u64,
    pub(crate) for_ns: u64,
    pub(crate) count: u64,
}

impl Stalls {
    /// How long to stand still, `since_ns` after the first request.
    fn left_ns(self, since_ns: u64) -> u64 {
        let (turn, within_ns) = (since_ns / self.every_ns.max(1), since_ns % self.every_ns.max(1));
        if turn < self.count { self.for_ns.saturating_sub(within_ns) } else { 0 }
    }
}

/// The listener and its clients.
pub(crate) struct NullBroker {
    listener: TcpListener,
    poller: Poller,
    peers: Vec<Option<Peer>>,
    answers: NullAnswers,
    stalls: Option<Stalls>,
    /// When the first Produce request came.
    first_produce_ns: Option<u64>,
}

impl NullBroker {
    /// Listens on `address` (port 0 takes a free one). Its topics end at `end_offset`.
    pub(crate) fn bind(address: &str, end_offset: i64) -> Result<NullBroker, Failure> {
        let unreachable =
            |source: io::Error| Failure::Unreachable { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).map_err(unreachable)?;
        listener.set_nonblocking(true).map_err(unreachable)?;
        let local = listener.local_addr().map_err(unreachable)?;
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER).map_err(unreachable)?;
        let answers = NullAnswers::new(local, end_offset)?;
        let (stalls, first_produce_ns) = (None, None);
        Ok(NullBroker { listener, poller, peers: Vec::new(), answers, stalls, first_produce_ns })
    }

    /// Has it stand still as `stalls` says.
    pub(crate) fn stalling(self, stalls: Option<Stalls>) -> NullBroker {
        NullBroker { stalls, ..self }
    }

    #[expect(clippy::disallowed_methods, reason = "it stands still on request")]
    fn stall(&mut self) {
        let Some(stalls) = self.stalls else {
            return;
        };
        if self.first_produce_ns.is_none() && self.answers.has_produced() {
            self.first_produce_ns = Some(now_ns());
        }
        let since_ns = self.first_produce_ns.map_or(u64::MAX, |first| now_ns() - first);
        let left_ns = stalls.left_ns(since_ns);
        if left_ns > 0 {
            std::thread::sleep(Duration::from_nanos(left_ns));
        }
    }

    /// host:port that clients connect to.
    pub(crate) fn address(&self) -> io::Result<String> {
        Ok(self.listener.local_addr()?.to_string())
    }

    /// Serves until `is_stopped` says so, which is asked at least every second.
    pub(crate) fn run(&mut self, mut is_stopped: impl FnMut() -> bool) -> Result<(), Failure> {
        let mut ready: Vec<Ready> = Vec::new();
        while !is_stopped() {
            self.poller.wait(SECOND_NS, &mut ready)?;
            self.stall();
            for event in ready.drain(..) {
                if event.lane == LISTENER {
                    self.accept();
                } else if self.serve(event).is_err() {
                    self.peers[event.lane] = None;
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            let index = self.peers.len();
            let is_ready = socket.set_nonblocking(true).is_ok()
                && socket.set_nodelay(true).is_ok()
                && self.poller.add(&socket, index).is_ok();
            self.peers.push(is_ready.then(|| Peer {
                socket,
                inbox: Inbox::new(INBOX_BYTES),
                outbox: VecDeque::new(),
                tail: BytesMut::with_capacity(INBOX_BYTES),
                interest: Interest::Read,
                remembered: Vec::new(),
                turn: 0,
            }));
        }
    }

    fn serve(&mut self, event: Ready) -> Result<(), PeerGone> {
        let Some(peer) = &mut self.peers[event.lane] else {
            return Ok(());
        };
        if event.is_readable {
            if peer.inbox.read(&peer.socket)? == ReadOutcome::Closed {
                return Err(PeerGone);
            }
            peer.answer_frames(&mut self.answers)?;
        }
        peer.flush()?;
        let is_blocked = !peer.outbox.is_empty() || !peer.tail.is_empty();
        let interest = if is_blocked { Interest::ReadWrite } else { Interest::Read };
        if interest != peer.interest {
            peer.interest = interest;
            self.poller.set_interest(&peer.socket, event.lane, interest)?;
        }
        Ok(())
    }
}

/// The connection is to be dropped.
#[derive(Debug)]
struct PeerGone;

impl From<io::Error> for PeerGone {
    fn from(_: io::Error) -> PeerGone {
        PeerGone
    }
}

impl From<BadLength> for PeerGone {
    fn from(_: BadLength) -> PeerGone {
        PeerGone
    }
}

impl From<Unanswerable> for PeerGone {
    fn from(_: Unanswerable) -> PeerGone {
        PeerGone
    }
}

impl From<highwater::protocol::primitive::DecodeError> for PeerGone {
    fn from(_: highwater::protocol::primitive::DecodeError) -> PeerGone {
        PeerGone
    }
}

impl Peer {
    fn answer_frames(&mut self, answers: &mut NullAnswers) -> Result<(), PeerGone> {
        let mut inbox = std::mem::take(&mut self.inbox);
        let outcome = inbox.for_each_frame(|reader, length| {
            let frame = reader.get_slice(length)?;
            self.answer(frame, answers)
        });
        self.inbox = inbox;
        outcome
    }

    fn answer(&mut self, frame: &[u8], answers: &mut NullAnswers) -> Result<(), PeerGone> {
        if let Some(index) = self.recall(frame) {
            self.turn = index + 1;
            let at = self.tail.len() + 4;
            self.tail.extend_from_slice(&self.remembered[index].answer);
            if let Some(correlation_id) = self.tail.get_mut(at..at + 4) {
                correlation_id.copy_from_slice(&frame[4..8]);
            }
            return Ok(());
        }
        match answers.answer(Bytes::copy_from_slice(frame))? {
            Answer::Once(answer) => {
                let tail = self.tail.split().freeze();
                self.outbox.extend(std::iter::once(tail).filter(|tail| !tail.is_empty()));
                self.outbox.extend(answer.memory().cloned());
            }
            Answer::Repeatable(answer) => {
                let bytes = answer.into_bytes();
                self.tail.extend_from_slice(&bytes);
                self.remember(frame, &bytes);
            }
        }
        Ok(())
    }

    fn recall(&self, frame: &[u8]) -> Option<usize> {
        let is_same = |remembered: &Remembered| {
            let head = &frame[..frame.len().min(COMPARED_BYTES)];
            remembered.length == frame.len()
                && remembered.head[..4] == head[..4]
                && remembered.head[8..] == head[8..]
        };
        let count = self.remembered.len();
        (0..count)
            .map(|step| if self.turn + step < count { self.turn + step } else { step })
            .take(count)
            .find(|index| is_same(&self.remembered[*index]))
    }

    fn remember(&mut self, frame: &[u8], answer: &[u8]) {
        if self.remembered.len() < REMEMBERED_MAX {
            self.remembered.push(Remembered {
                length: frame.len(),
                head: frame[..frame.len().min(COMPARED_BYTES)].into(),
                answer: answer.into(),
            });
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.outbox.len().min(SLICES_MAX);
            for (slice, part) in slices.iter_mut().zip(&self.outbox) {
                *slice = IoSlice::new(part);
            }
            match (&self.socket).write_vectored(&slices[..count]) {
                Ok(sent) => self.advance(sent),
                Err(error) if is_temporary(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        while !self.tail.is_empty() {
            match (&self.socket).write(&self.tail) {
                Ok(sent) if sent == self.tail.len() => self.tail.clear(),
                Ok(sent) => self.tail.advance(sent),
                Err(error) if is_temporary(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn advance(&mut self, mut sent: usize) {
        while let Some(part) = self.outbox.front_mut() {
            if sent < part.len() {
                part.advance(sent);
                return;
            }
            sent -= part.len();
            self.outbox.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_at_the_start_of_each_period_and_so_often() {
        let stalls = Stalls { every_ns: 100, for_ns: 30, count: 2 };
        let left: Vec<u64> =
            [0, 10, 30, 99, 100, 129, 200].map(|since| stalls.left_ns(since)).into();
        assert_eq!(left, [30, 20, 0, 0, 30, 1, 0]);
        assert_eq!(stalls.left_ns(u64::MAX), 0);
    }
}
