//! Waits for sockets: a thin typed layer over epoll.
//!
//! Why epoll and not io_uring: on loopback a request's cost is the TCP send itself; epoll adds one
//! call per wake-up, shared by all sockets that are ready.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::clock::timespec;
use crate::failure::Failure;

const EVENTS_MAX: usize = 256;

/// What a socket is ready for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) lane: usize,
    pub(crate) is_readable: bool,
    pub(crate) is_writable: bool,
}

/// One thread's set of sockets, each known by the index of its lane.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

/// Whether a socket's writable state is of interest; its readable state always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Read,
    ReadWrite,
}

impl Poller {
    /// An empty set.
    pub(crate) fn new() -> Result<Poller, Failure> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)
            .map_err(|error| Failure::System { call: "epoll_create", source: error.into() })?;
        Ok(Poller { epoll, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Adds a socket under the index `lane`.
    pub(crate) fn add(&self, socket: impl AsFd, lane: usize) -> io::Result<()> {
        epoll::add(&self.epoll, socket, data(lane), EventFlags::IN)?;
        Ok(())
    }

    /// Changes what is of interest about a socket.
    pub(crate) fn set_interest(
        &self,
        socket: impl AsFd,
        lane: usize,
        interest: Interest,
    ) -> io::Result<()> {
        let flags = match interest {
            Interest::Read => EventFlags::IN,
            Interest::ReadWrite => EventFlags::IN | EventFlags::OUT,
        };
        epoll::modify(&self.epoll, socket, data(lane), flags)?;
        Ok(())
    }

    /// Waits at most `timeout_ns` and puts what is ready into `ready`; 0 only looks, and lets
    /// another thread of the same core have its look where there was nothing to see: two threads
    /// that spin would else take turns of a whole time slice.
    pub(crate) fn wait(&mut self, timeout_ns: u64, ready: &mut Vec<Ready>) -> Result<(), Failure> {
        self.events.clear();
        let timeout = timespec(timeout_ns);
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => {
                return Err(Failure::System { call: "epoll_wait", source: error.into() });
            }
        }
        if timeout_ns == 0 && self.events.is_empty() {
            std::thread::yield_now();
        }
        ready.extend(self.events.iter().map(|event| {
            let flags = event.flags;
            let index = event.data.u64();
            Ready {
                lane: usize::try_from(index).expect("made from a usize in data()"),
                is_readable: flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR),
                is_writable: flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }
}

fn data(lane: usize) -> EventData {
    EventData::new_u64(u64::try_from(lane).expect("usize is at most 64 bits here"))
}
