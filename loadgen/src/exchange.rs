//! Connections over which many actors talk, and the loop that drives them.
//!
//! Why: groups and transactional producers are many, and each waits for one answer at a time. A
//! connection carries the requests of all its actors in order; a ticket says whose answer it is.
//!
//! Invariants
//! - Answers come in the order of the requests; one with another correlation id ends the run.
//! - What [`Conversation::hear`] decides to send leaves with the next [`Conversation::speak`], when
//!   all answers that had arrived together are heard: requests leave in few writes.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::TcpStream;

use highwater::protocol::frame::{ResponseHeader, encode_request};
use highwater::protocol::primitive::{DecodeError, Reader};
use highwater::protocol::schema::{Message, Request};

use crate::clock::{SECOND_NS, now_ns};
use crate::control::{CLIENT_ID, connect};
use crate::failure::Failure;
use crate::inbox::{BadLength, Inbox, ReadOutcome, is_temporary};
use crate::poller::{Interest, Poller, Ready};
use crate::recorder::{Recorder, Waiting};

const INBOX_BYTES: usize = 64 * 1024;
const IDLE_WAIT_NS_MIN: u64 = 2_000;

/// Longest time between two looks at what is due, although nothing was answered.
const LOOK_AGAIN_NS: u64 = SECOND_NS / 4;

/// What the actors of one thread say and make of the answers.
pub(crate) trait Conversation {
    /// Whose answer, and to what.
    type Ticket: Copy;

    /// Takes an answer, of which `reader` stands at the header.
    ///
    /// # Errors
    /// Bytes that cannot be read, or a refusal that ends the run.
    fn hear(
        &mut self,
        ticket: Self::Ticket,
        answer: Answer<'_, '_>,
        recorder: &mut Recorder,
    ) -> Result<(), Failure>;

    /// Sends everything that is to be sent at `now`.
    ///
    /// # Errors
    /// A request that cannot be encoded.
    fn speak(&mut self, exchange: &mut Exchange<Self::Ticket>, now: u64) -> Result<(), Failure>;

    /// When something is due although no answer comes.
    fn due_ns(&self) -> Option<u64>;

    /// Whether there is nothing left to do.
    fn is_done(&self) -> bool;
}

/// One answer and when it came.
pub(crate) struct Answer<'r, 'f> {
    reader: &'r mut Reader<'f>,
    pub(crate) now_ns: u64,
}

impl Answer<'_, '_> {
    /// The answer to a request `M` that was sent in `version`.
    ///
    /// # Errors
    /// Bytes that are no such answer.
    pub(crate) fn read<M: Request>(self, version: i16) -> Result<M::Response, Failure> {
        ResponseHeader::decode(self.reader, M::KEY, version)
            .and_then(|_| M::Response::decode(self.reader, version))
            .map_err(|error| Failure::Unreadable {
                address: "the broker".to_owned(),
                api: M::KEY.name(),
                reason: error.to_string(),
            })
    }
}

/// Runs until the window ends or the conversation is done. Answers after that do not count.
///
/// # Errors
/// A connection that is lost, answers that cannot be read, or what the conversation refuses.
pub(crate) fn converse<C: Conversation>(
    mut exchange: Exchange<C::Ticket>,
    mut recorder: Recorder,
    conversation: &mut C,
) -> Result<(), Failure> {
    let window = recorder.window();
    let mut ready = Vec::new();
    let end_ns = loop {
        let now = now_ns();
        recorder.roll(now);
        if now >= window.stop_ns || conversation.is_done() {
            break now;
        }
        if now >= window.start_ns {
            conversation.speak(&mut exchange, now)?;
            exchange.flush()?;
        }
        let due_ns = [recorder.ends_ns(), now + LOOK_AGAIN_NS];
        let due_ns = due_ns.into_iter().chain(conversation.due_ns()).min().unwrap_or(now);
        let due_ns = if now < window.start_ns { window.start_ns } else { due_ns };
        exchange.wait(due_ns, &mut recorder, &mut ready)?;
        for event in ready.drain(..) {
            exchange.serve(event, &mut recorder, conversation)?;
        }
    };
    recorder.stop(end_ns);
    recorder.finish();
    Ok(())
}

/// One thread's connections.
pub(crate) struct Exchange<T> {
    poller: Poller,
    links: Vec<Link<T>>,
    /// Links with bytes to send.
    dirty: Vec<usize>,
}

struct Link<T> {
    address: String,
    socket: TcpStream,
    inbox: Inbox,
    outbox: Vec<u8>,
    /// Bytes of `outbox` that were sent.
    sent: usize,
    awaited: VecDeque<(i32, T)>,
    next_correlation_id: i32,
    interest: Interest,
}

impl<T: Copy> Exchange<T> {
    /// Connects to each of `addresses`; a link is known by its index.
    pub(crate) fn connect(addresses: &[String]) -> Result<Exchange<T>, Failure> {
        let poller = Poller::new()?;
        let mut links = Vec::with_capacity(addresses.len());
        for (index, address) in addresses.iter().enumerate() {
            let link = Link::connect(address)?;
            poller.add(&link.socket, index).map_err(|source| link.lost(source))?;
            links.push(link);
        }
        Ok(Exchange { poller, links, dirty: Vec::new() })
    }

    /// Puts a request on its way; it leaves with the next flush.
    pub(crate) fn ask<M: Request>(
        &mut self,
        link: usize,
        request: &M,
        version: i16,
        ticket: T,
    ) -> Result<(), Failure> {
        let index = link;
        let link = &mut self.links[index];
        let id = link.next_correlation_id;
        link.next_correlation_id = id.checked_add(1).unwrap_or(0);
        let frame = encode_request(request, version, id, Some(CLIENT_ID)).map_err(|error| {
            Failure::Request { api: M::KEY.name(), version, reason: error.to_string() }
        })?;
        if link.outbox.is_empty() {
            self.dirty.push(index);
        }
        frame.memory().for_each(|part| link.outbox.extend_from_slice(part));
        link.awaited.push_back((id, ticket));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        for index in std::mem::take(&mut self.dirty) {
            self.send(index)?;
        }
        Ok(())
    }

    fn send(&mut self, index: usize) -> Result<(), Failure> {
        let link = &mut self.links[index];
        let interest = match link.send() {
            Ok(true) => Interest::Read,
            Ok(false) => Interest::ReadWrite,
            Err(source) => return Err(link.lost(source)),
        };
        if interest != link.interest {
            link.interest = interest;
            let outcome = self.poller.set_interest(&link.socket, index, interest);
            outcome.map_err(|source| link.lost(source))?;
        }
        Ok(())
    }

    fn wait(
        &mut self,
        due_ns: u64,
        recorder: &mut Recorder,
        ready: &mut Vec<Ready>,
    ) -> Result<(), Failure> {
        let begin_ns = now_ns();
        let timeout_ns = match recorder.waiting() {
            Waiting::Spin => 0,
            Waiting::Block => due_ns.saturating_sub(begin_ns),
        };
        self.poller.wait(timeout_ns, ready)?;
        let waited_ns = now_ns().saturating_sub(begin_ns);
        if ready.is_empty() || waited_ns >= IDLE_WAIT_NS_MIN {
            recorder.current().idle_ns += waited_ns;
        }
        Ok(())
    }

    fn serve<C: Conversation<Ticket = T>>(
        &mut self,
        event: Ready,
        recorder: &mut Recorder,
        conversation: &mut C,
    ) -> Result<(), Failure> {
        if event.is_writable {
            self.send(event.lane)?;
        }
        if !event.is_readable {
            return Ok(());
        }
        let link = &mut self.links[event.lane];
        if link.inbox.read(&link.socket).map_err(|source| link.lost(source))? == ReadOutcome::Closed
        {
            let address = link.address.clone();
            return Err(Failure::ConnectionClosed { address, during: "was under load" });
        }
        let now = now_ns();
        let mut inbox = std::mem::take(&mut link.inbox);
        let outcome = inbox.for_each_frame(|reader, _| {
            let ticket = link.take_ticket(reader)?;
            conversation.hear(ticket, Answer { reader, now_ns: now }, recorder)?;
            Ok(())
        });
        link.inbox = inbox;
        outcome.map_err(|bad| match bad {
            BadAnswer::Refused(failure) => failure,
            other => Failure::Unreadable {
                address: link.address.clone(),
                api: "a request",
                reason: other.to_string(),
            },
        })
    }
}

impl<T: Copy> Link<T> {
    fn connect(address: &str) -> Result<Link<T>, Failure> {
        let socket = connect(address)?;
        socket.set_nonblocking(true).map_err(|source| Failure::System { call: "fcntl", source })?;
        Ok(Link {
            address: address.to_owned(),
            socket,
            inbox: Inbox::new(INBOX_BYTES),
            outbox: Vec::new(),
            sent: 0,
            awaited: VecDeque::new(),
            next_correlation_id: 0,
            interest: Interest::Read,
        })
    }

    /// Sends until all is sent (true) or the socket is full.
    fn send(&mut self) -> io::Result<bool> {
        while self.sent < self.outbox.len() {
            match (&self.socket).write(&self.outbox[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_temporary(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.outbox.clear();
        self.sent = 0;
        Ok(true)
    }

    /// The ticket of the oldest request, whose answer the frame at `reader` must be.
    fn take_ticket(&mut self, reader: &Reader<'_>) -> Result<T, BadAnswer> {
        let mut ahead = Reader::starting_at(reader.frame(), reader.position());
        let correlation_id = ahead.get_i32()?;
        match self.awaited.pop_front() {
            Some((id, ticket)) if id == correlation_id => Ok(ticket),
            _ => Err(BadAnswer::OutOfOrder(correlation_id)),
        }
    }

    fn lost(&self, source: io::Error) -> Failure {
        Failure::ConnectionLost { address: self.address.clone(), during: "was under load", source }
    }
}

#[derive(Debug, thiserror::Error)]
enum BadAnswer {
    #[error(transparent)]
    Length(#[from] BadLength),
    #[error(transparent)]
    Bytes(#[from] DecodeError),
    #[error("correlation id {0} answers no request, or is out of order")]
    OutOfOrder(i32),
    #[error(transparent)]
    Refused(#[from] Failure),
}
