//! One client's socket: bytes into an inbox, answers out, bounded in both directions.
//!
//! Reading waits on the ring for readability and then receives without waiting; one receive takes
//! what many pipelined frames hold. Frames of usual size are received into one buffer per core and
//! cut out of it; a large frame gets a buffer of exactly its size once its length is known, so its
//! bytes are not copied again and pin nothing else. An idle connection holds no buffer.
//!
//! Writing tries `sendmsg` at once with all parts of all answers that are ready, and `sendfile` for
//! parts that lie in files; only what the socket does not take waits, for a writer task of its own.
//!
//! Invariant: parts leave in the order given. `unsent` is empty or a writer task runs.

use crate::protocol::part::{FileRange, Part};
use crate::shard::connection::ConnectionId;
use crate::shard::signal::Signal;
use bytes::{Bytes, BytesMut};
use futures::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::model::limits::READ_BUFFER_BYTES;

/// Frames above this are received into a buffer of their own, in bytes.
const LARGE_FRAME_BYTES: usize = 64 * 1024;

/// What a frame's buffer grows by at most before as many of its bytes have come, so that a length
/// prefix alone cannot claim memory.
const GROW_BYTES: usize = 2 * 1024 * 1024;

/// Least room worth a receive, but for a frame's last bytes.
const RECEIVE_BYTES_MIN: usize = 64 * 1024;

/// Bytes of a file that are read to wait for a full socket with.
const FILE_PIECE_BYTES: usize = 16 * 1024;

/// Slices handed to one `sendmsg`.
const SLICES_MAX: usize = 64;

/// Length prefix of a frame.
const PREFIX_BYTES: usize = 4;

/// Bytes received from one connection and not yet taken as frames.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) bytes: BytesMut,
    /// The last frame was large: look at the next one's length before receiving it.
    expects_large: bool,
}

/// Where the next bytes go.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// The core's buffer, behind what is left over.
    Shared,
    /// This frame's own buffer, so many bytes of it.
    Own(usize),
    /// The rest of a length prefix.
    Prefix(usize),
}

impl Inbox {
    fn target(&mut self) -> Target {
        let have = self.bytes.len();
        let Some(prefix) = self.bytes.first_chunk::<PREFIX_BYTES>() else {
            return if self.expects_large {
                Target::Prefix(PREFIX_BYTES - have)
            } else {
                Target::Shared
            };
        };
        let announced = usize::try_from(i32::from_be_bytes(*prefix)).unwrap_or(0);
        let missing = (announced + PREFIX_BYTES).saturating_sub(have);
        self.expects_large = announced > LARGE_FRAME_BYTES;
        // Nothing missing: the frame lies here whole and waits for a slot; more may follow it.
        if self.expects_large && missing > 0 { Target::Own(missing) } else { Target::Shared }
    }

    /// Lets go of the core's buffer, which a leftover would keep from being used again; what was
    /// cut out of it has no room behind it. A large frame has room for its next bytes then, in a
    /// buffer that doubles while they come.
    pub(super) fn unpin(&mut self) {
        let have = self.bytes.len();
        self.bytes = match self.target() {
            _ if have == 0 => BytesMut::new(),
            Target::Own(missing) if self.room() < missing.min(RECEIVE_BYTES_MIN) => {
                let mut own = BytesMut::with_capacity(have + missing.min(have.max(GROW_BYTES)));
                own.extend_from_slice(&self.bytes);
                own
            }
            Target::Own(_) => return,
            Target::Prefix(_) | Target::Shared => BytesMut::from(&self.bytes[..]),
        };
    }

    /// Bytes that can come before the buffer must grow.
    fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }
}

/// A connection's socket; lives on the core that accepted it.
pub(super) struct Peer {
    pub(super) id: ConnectionId,
    stream: RefCell<TcpStream>,
    unsent: RefCell<VecDeque<Part>>,
    unsent_bytes: Cell<usize>,
    is_closing: Cell<bool>,
    is_broken: Cell<bool>,
    /// The socket was seen to have bytes: the next receive need not ask the ring.
    has_bytes: Cell<bool>,
    /// When bytes last came or went, in monotonic microseconds.
    pub(super) active_us: Cell<u64>,
    /// Raised when unsent bytes become few, or all are gone, or the socket breaks.
    pub(super) room: Signal,
}

/// What became of parts handed to [`Peer::send`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// A writer task must be started.
    NeedsWriter,
    /// The writer task that runs already will send them.
    Queued,
}

impl Peer {
    pub(super) fn new(id: ConnectionId, stream: TcpStream, now_us: u64) -> Peer {
        Peer {
            id,
            stream: RefCell::new(stream),
            unsent: RefCell::default(),
            unsent_bytes: Cell::new(0),
            is_closing: Cell::new(false),
            is_broken: Cell::new(false),
            has_bytes: Cell::new(false),
            active_us: Cell::new(now_us),
            room: Signal::default(),
        }
    }

    /// Bytes that wait for the socket.
    pub(super) fn unsent_bytes(&self) -> usize {
        if self.is_broken.get() { 0 } else { self.unsent_bytes.get() }
    }

    /// Whether a receive would find something now: bytes, the end, or an error. The next one then
    /// takes it straight from the socket.
    pub(super) fn look(&self) -> bool {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let found = self.on_socket(|socket| rustix::net::recv(socket, &mut [0; 1], flags));
        self.has_bytes.set(!matches!(found, Err(Errno::AGAIN | Errno::INTR)));
        self.has_bytes.get()
    }

    /// Receives what the socket has into `inbox`; 0 = the client has closed.
    pub(super) async fn receive(
        &self,
        shared: &RefCell<BytesMut>,
        inbox: &mut Inbox,
    ) -> io::Result<usize> {
        match inbox.target() {
            Target::Shared => {
                let (received, bytes) = poll_fn(|context| {
                    self.poll_shared(context, &mut shared.borrow_mut(), &inbox.bytes)
                })
                .await?;
                inbox.bytes = bytes;
                Ok(received)
            }
            Target::Own(len) | Target::Prefix(len) => {
                if inbox.room() == 0 {
                    inbox.bytes.reserve(len.min(GROW_BYTES));
                }
                let len = len.min(inbox.room());
                poll_fn(|context| self.poll_into(context, &mut inbox.bytes, len)).await
            }
        }
    }

    /// Receives into the core's buffer behind a copy of `leftover`, and cuts both out.
    fn poll_shared(
        &self,
        context: &mut Context<'_>,
        shared: &mut BytesMut,
        leftover: &BytesMut,
    ) -> Poll<io::Result<(usize, BytesMut)>> {
        assert!(shared.is_empty(), "each turn cuts out all it has put in");
        if shared.capacity() < leftover.len() + RECEIVE_BYTES_MIN {
            shared.reserve(READ_BUFFER_BYTES.max(leftover.len() + RECEIVE_BYTES_MIN));
        }
        let room = shared.capacity() - leftover.len();
        shared.extend_from_slice(leftover);
        let polled = self.poll_into(context, shared, room);
        match polled {
            Poll::Ready(Ok(received)) => Poll::Ready(Ok((received, shared.split()))),
            Poll::Ready(Err(error)) => {
                shared.clear();
                Poll::Ready(Err(error))
            }
            Poll::Pending => {
                shared.clear();
                Poll::Pending
            }
        }
    }

    /// Receives at most `len` bytes behind what `buffer` has; there must be room for them.
    #[allow(unsafe_code, reason = "see SAFETY below")]
    fn poll_into(
        &self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        let spare = &mut buffer.spare_capacity_mut()[..len];
        // SAFETY: the slice covers spare capacity that `buffer` owns; the stream hands it to recv,
        // which only writes to it, and nothing reads it before `set_len`. Test: frames of every
        // size come through below.
        let target =
            unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<u8>(), len) };
        let at_hand = self.has_bytes.take().then(|| {
            self.on_socket(|socket| rustix::net::recv(socket, &mut *target, RecvFlags::DONTWAIT))
        });
        let polled = match at_hand {
            Some(Ok((_, received))) => Poll::Ready(Ok(received)),
            // The ring is asked as ever; it tells of an error too.
            Some(Err(_)) | None => {
                Pin::new(&mut *self.stream.borrow_mut()).poll_read(context, target)
            }
        };
        if let Poll::Ready(Ok(received)) = &polled {
            assert!(*received <= len);
            // SAFETY: recv has written that many bytes behind the old length.
            unsafe { buffer.set_len(buffer.len() + received) };
        }
        polled
    }

    /// Sends parts now as far as the socket takes them, behind those that wait already.
    pub(super) fn send(&self, parts: Vec<Part>) -> Sent {
        let mut unsent = self.unsent.borrow_mut();
        let has_writer = !unsent.is_empty();
        let added: usize = parts.iter().map(Part::len).sum();
        unsent.extend(parts.into_iter().filter(|part| !part.is_empty()));
        self.unsent_bytes.set(self.unsent_bytes.get() + added);
        drop(unsent);
        if has_writer {
            return Sent::Queued;
        }
        self.send_now();
        if self.unsent.borrow().is_empty() { Sent::All } else { Sent::NeedsWriter }
    }

    /// Calls what needs the socket and not the stream around it.
    // The one place for it: glommio's stream owns a descriptor and lends none.
    #[allow(unsafe_code, reason = "glommio's stream has no borrow of its descriptor")]
    fn on_socket<T>(&self, call: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        let stream = self.stream.borrow();
        // SAFETY: the stream owns the descriptor and outlives this borrow.
        call(unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) })
    }

    /// Hands as much to the socket as it takes without waiting.
    fn send_now(&self) {
        if self.on_socket(|socket| self.send_to(socket)).is_err() {
            self.break_off();
        }
    }

    /// # Errors
    /// The socket is broken, or a file is shorter than it was.
    fn send_to(&self, socket: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let mut unsent = self.unsent.borrow_mut();
        while let Some(first) = unsent.front() {
            let (offered, result) = match first {
                Part::Memory(_) => send_memory(socket, &unsent),
                Part::File(range) => (range.len, send_file(socket, range)),
            };
            match result {
                Ok(0) if offered > 0 => return Err(Errno::IO), // The file was cut.
                Ok(sent) => {
                    self.unsent_bytes.set(self.unsent_bytes.get() - sent);
                    drop_front(&mut unsent, sent);
                    if sent < offered {
                        return Ok(()); // The socket is full: asking again would only say so.
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends the rest as the socket takes it; ends when nothing waits any more.
    pub(super) async fn write_rest(&self, room_bytes: usize) {
        loop {
            let Some(first) = self.unsent.borrow().front().cloned() else { break };
            let Ok(bytes) = in_memory(first) else {
                self.break_off();
                continue;
            };
            let written = poll_fn(|context| {
                Pin::new(&mut *self.stream.borrow_mut()).poll_write(context, &bytes)
            })
            .await;
            match written {
                Ok(sent) => {
                    self.unsent_bytes.set(self.unsent_bytes.get() - sent);
                    drop_front(&mut self.unsent.borrow_mut(), sent);
                    self.send_now();
                }
                Err(_) => self.break_off(),
            }
            if self.unsent_bytes.get() <= room_bytes {
                self.room.raise();
            }
        }
        assert!(self.unsent.borrow().is_empty());
        self.room.raise();
        if self.is_closing.get() {
            self.shut_down(Shutdown::Both);
        }
    }

    /// Closes once everything has left; the reader then sees the end.
    pub(super) fn close(&self) {
        self.is_closing.set(true);
        if self.unsent.borrow().is_empty() {
            self.shut_down(Shutdown::Both);
        }
    }

    /// Gives up on the socket: what waits is dropped, the reader sees the end.
    pub(super) fn break_off(&self) {
        self.is_broken.set(true);
        self.unsent.borrow_mut().clear();
        self.unsent_bytes.set(0);
        self.shut_down(Shutdown::Both);
        self.room.raise();
    }

    fn shut_down(&self, how: Shutdown) {
        let how = match how {
            Shutdown::Read => rustix::net::Shutdown::Read,
            Shutdown::Write => rustix::net::Shutdown::Write,
            Shutdown::Both => rustix::net::Shutdown::Both,
        };
        // Not connected any more: closed all the same.
        let _ = self.on_socket(|socket| rustix::net::shutdown(socket, how));
    }
}

/// Sends the parts in memory at the front of the queue; what was offered, and what was taken.
fn send_memory(
    socket: BorrowedFd<'_>,
    unsent: &VecDeque<Part>,
) -> (usize, rustix::io::Result<usize>) {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let mut offered = 0;
    let mut count = 0;
    for (slice, bytes) in slices.iter_mut().zip(unsent.iter().map_while(Part::memory)) {
        *slice = IoSlice::new(bytes);
        offered += bytes.len();
        count += 1;
    }
    let mut flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    if count < unsent.len() {
        flags |= SendFlags::MORE; // A file's bytes follow: no segment of its own for the head.
    }
    let mut nothing = SendAncillaryBuffer::default();
    (offered, rustix::net::sendmsg(socket, &slices[..count], &mut nothing, flags))
}

/// Has the kernel move a range of a file to the socket, which never waits (see `Acceptor`).
fn send_file(socket: BorrowedFd<'_>, range: &FileRange) -> rustix::io::Result<usize> {
    let mut position = range.position;
    rustix::fs::sendfile(socket, &range.file, Some(&mut position), range.len)
}

/// The bytes to wait with for the socket: of a file only the first, the rest follows by itself.
fn in_memory(part: Part) -> rustix::io::Result<Bytes> {
    match part {
        Part::Memory(bytes) => Ok(bytes),
        Part::File(range) => {
            let mut bytes = vec![0; range.len.min(FILE_PIECE_BYTES)];
            let read = rustix::io::pread(&range.file, &mut bytes, range.position)?;
            if read == 0 {
                return Err(Errno::IO); // The file was cut.
            }
            bytes.truncate(read);
            Ok(bytes.into())
        }
    }
}

/// Drops the first `len` bytes of the queue.
fn drop_front(queue: &mut VecDeque<Part>, mut len: usize) {
    while len > 0 {
        let front = queue.front_mut().expect("no more is sent than was offered");
        if front.len() > len {
            front.advance(len);
            return;
        }
        len -= front.len();
        queue.pop_front();
    }
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
