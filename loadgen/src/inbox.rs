//! Bytes read from one connection, cut into frames without copying them.
//!
//! Invariants
//! - The buffer grows only when a frame does not fit, and is reused for the whole run: no
//!   allocation per answer.
//! - A frame is visited once, whole.

use std::io::{self, Read};
use std::net::TcpStream;

use bytes::{Bytes, BytesMut};
use highwater::protocol::primitive::{LENGTH_PREFIX_SIZE, Reader};

/// Largest answer accepted, in bytes: a length above it means that the peer is no Kafka broker.
const FRAME_BYTES_MAX: usize = 512 * 1024 * 1024;

/// What one read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// Bytes, and the socket may hold more.
    Full,
    /// All there was; possibly nothing.
    Drained,
    /// The peer closed the connection.
    Closed,
}

/// The receive buffer of one connection. The default has no memory and reads nothing.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    buffer: BytesMut,
    /// Bytes of `buffer` that came from the socket, from its front.
    filled: usize,
}

impl Inbox {
    /// `capacity` in bytes; best somewhat above the frames that are expected.
    pub(crate) fn new(capacity: usize) -> Inbox {
        Inbox { buffer: BytesMut::zeroed(capacity), filled: 0 }
    }

    /// Reads once from a non-blocking socket.
    pub(crate) fn read(&mut self, mut socket: &TcpStream) -> io::Result<ReadOutcome> {
        self.make_room();
        match socket.read(&mut self.buffer[self.filled..]) {
            Ok(0) => Ok(ReadOutcome::Closed),
            Ok(size) => {
                self.filled += size;
                let is_full = self.filled == self.buffer.len();
                Ok(if is_full { ReadOutcome::Full } else { ReadOutcome::Drained })
            }
            Err(error) if is_temporary(&error) => Ok(ReadOutcome::Drained),
            Err(error) => Err(error),
        }
    }

    /// Shows each whole frame to `visit`: a reader that stands behind the length prefix, and the
    /// frame's length. What `visit` leaves unread is skipped.
    ///
    /// # Errors
    /// What `visit` returns, or a refusal of a length that no broker sends.
    pub(crate) fn for_each_frame<E: From<BadLength>>(
        &mut self,
        mut visit: impl FnMut(&mut Reader<'_>, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let shared = std::mem::take(&mut self.buffer).freeze();
        let mut consumed = 0;
        let outcome = loop {
            let Some(length) = frame_length(&shared[consumed..self.filled]) else {
                break Ok(());
            };
            let length = match length {
                Ok(length) => length,
                Err(bad) => break Err(E::from(bad)),
            };
            let end = consumed + LENGTH_PREFIX_SIZE + length;
            if end > self.filled {
                break Ok(());
            }
            let mut reader = Reader::new(&shared);
            reader.get_slice(consumed + LENGTH_PREFIX_SIZE).expect("checked against filled");
            if let Err(error) = visit(&mut reader, length) {
                break Err(error);
            }
            consumed = end;
        };
        self.take_back(shared, consumed);
        outcome
    }

    /// Reclaims the buffer, which nobody shares any more, and moves what is left to its front.
    fn take_back(&mut self, shared: Bytes, consumed: usize) {
        self.buffer = match shared.try_into_mut() {
            Ok(buffer) => buffer,
            Err(still_shared) => BytesMut::from(&still_shared[..]),
        };
        self.buffer.copy_within(consumed..self.filled, 0);
        self.filled -= consumed;
    }

    /// Grows the buffer when the frame that has begun does not fit.
    fn make_room(&mut self) {
        let needed = match frame_length(&self.buffer[..self.filled]) {
            Some(Ok(length)) => LENGTH_PREFIX_SIZE + length,
            Some(Err(_)) | None => LENGTH_PREFIX_SIZE,
        };
        if needed >= self.buffer.len() {
            self.buffer.resize(needed + needed / 4 + 1, 0);
        }
    }
}

/// A length prefix that is negative or beyond any answer.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("frame length {0} is not one of a Kafka broker")]
pub(crate) struct BadLength(i32);

fn frame_length(bytes: &[u8]) -> Option<Result<usize, BadLength>> {
    let prefix = bytes.first_chunk::<LENGTH_PREFIX_SIZE>()?;
    let length = i32::from_be_bytes(*prefix);
    Some(match usize::try_from(length) {
        Ok(length) if length <= FRAME_BYTES_MAX => Ok(length),
        _ => Err(BadLength(length)),
    })
}

/// Whether an I/O error means "try again later".
pub(crate) fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let left = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (left, listener.accept().unwrap().0)
    }

    fn frames_of(inbox: &mut Inbox) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        inbox
            .for_each_frame(|reader, length| {
                frames.push(reader.get_slice(length).unwrap().to_vec());
                Ok::<(), BadLength>(())
            })
            .unwrap();
        frames
    }

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let payloads: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; usize::from(n) * 7]).collect();
        let bytes: Vec<u8> = payloads.iter().flat_map(|payload| framed(payload)).collect();
        for step in [1, 3, 5, 64, 1000, bytes.len()] {
            let (mut sender, receiver) = pair();
            let mut inbox = Inbox::new(16);
            let mut seen = Vec::new();
            for chunk in bytes.chunks(step) {
                sender.write_all(chunk).unwrap();
                let mut left = chunk.len();
                while left > 0 {
                    let before = inbox.filled;
                    inbox.read(&receiver).unwrap();
                    left -= inbox.filled - before;
                    seen.extend(frames_of(&mut inbox));
                }
            }
            assert_eq!(seen, payloads, "in steps of {step}");
        }
    }

    #[test]
    fn a_length_that_no_broker_sends_is_refused() {
        let (mut sender, receiver) = pair();
        sender.write_all(b"HTTP/1.1 400 Bad Request\r\n").unwrap();
        let mut inbox = Inbox::new(64);
        inbox.read(&receiver).unwrap();
        let refusal = inbox.for_each_frame(|_, _| Ok::<(), BadLength>(())).unwrap_err();
        assert_eq!(refusal.0, i32::from_be_bytes(*b"HTTP"));
    }

    #[test]
    fn the_end_of_the_connection_is_told_from_silence() {
        let (sender, receiver) = pair();
        receiver.set_nonblocking(true).unwrap();
        let mut inbox = Inbox::new(64);
        assert_eq!(inbox.read(&receiver).unwrap(), ReadOutcome::Drained);
        drop(sender);
        receiver.set_nonblocking(false).unwrap();
        assert_eq!(inbox.read(&receiver).unwrap(), ReadOutcome::Closed);
    }
}
