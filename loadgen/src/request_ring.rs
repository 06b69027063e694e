//! The pre-encoded requests of one connection, sent over and over.
//!
//! Why a ring: only the correlation id differs between one sending of a request and the next, so
//! encoding, copying and checksums happen once, before the run. Small requests lie one behind the
//! other, so a burst of them is one slice of one write; large batches are shared by all
//! connections, so that they stay in the cache.
//!
//! ```text
//! own:    [length|key|version|corr id|...small batch...][length|...]      one slot per request
//! pieces:  Own(0..230) Own(230..460) ...          or  Own(0..70) Shared(batch) Own(70..75) ...
//! ```
//!
//! Invariants
//! - A slot is sent again only after its request was answered: there are at least as many slots
//!   as requests in flight. Then patching the correlation id cannot touch unsent bytes.

use std::io::{self, IoSlice, Write};
use std::net::TcpStream;

use bytes::Bytes;
use highwater::protocol::primitive::Frame;

use crate::inbox::is_temporary;
use crate::stamp::{StampPlace, stamp_batch};

/// Parts of a frame from this size on are shared instead of copied into each slot.
const SHARED_BYTES_MIN: usize = 16 * 1024;

/// Slices of one vectored write.
const SLICES_MAX: usize = 64;

/// The correlation id follows length (4), key (2) and version (2).
const CORRELATION_ID_AT: usize = 8;

#[derive(Debug)]
enum PieceBytes {
    Own { start: usize, end: usize },
    Shared(Bytes),
}

#[derive(Debug)]
struct Piece {
    bytes: PieceBytes,
    is_last_of_request: bool,
}

/// One request of those that are sent in turn.
#[derive(Debug)]
pub(crate) struct CycleRequest {
    pub(crate) frame: Frame,
    /// The batches that get the intended send time when the request is admitted, in the order in
    /// which they lie in the frame; empty when none does.
    pub(crate) stamps: Vec<StampPlace>,
}

/// One connection's requests, and how far they have been sent.
#[derive(Debug)]
pub(crate) struct RequestRing {
    own: Vec<u8>,
    pieces: Vec<Piece>,
    /// Where each slot begins in `own`.
    slot_starts: Vec<usize>,
    /// Pieces of each slot.
    slot_pieces: Vec<usize>,
    /// The batches of each slot that are stamped, and where they begin in `own`.
    slot_stamps: Vec<Vec<(usize, StampPlace)>>,
    next_slot: usize,
    /// The piece to send next and what of it was sent.
    cursor: usize,
    cursor_sent: usize,
    unsent_pieces: usize,
}

/// How far a write came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Requests whose last byte was handed to the kernel.
    pub(crate) requests: usize,
    /// The socket took no more.
    pub(crate) is_blocked: bool,
}

impl RequestRing {
    /// `cycle` is repeated until there are at least `in_flight` slots. `cycle` is not empty. A slot
    /// with stamps has its own copy of its batches, whatever their size.
    pub(crate) fn new(cycle: &[CycleRequest], in_flight: usize) -> RequestRing {
        assert!(!cycle.is_empty());
        let mut ring = RequestRing {
            own: Vec::new(),
            pieces: Vec::new(),
            slot_starts: Vec::new(),
            slot_pieces: Vec::new(),
            slot_stamps: Vec::new(),
            next_slot: 0,
            cursor: 0,
            cursor_sent: 0,
            unsent_pieces: 0,
        };
        for _ in 0..in_flight.div_ceil(cycle.len()).max(1) {
            for request in cycle {
                ring.push_slot(request);
            }
        }
        ring
    }

    fn push_slot(&mut self, request: &CycleRequest) {
        self.slot_starts.push(self.own.len());
        let pieces_before = self.pieces.len();
        for part in request.frame.memory() {
            let is_shared = part.len() >= SHARED_BYTES_MIN && request.stamps.is_empty();
            let bytes = if is_shared {
                PieceBytes::Shared(part.clone())
            } else {
                let start = self.own.len();
                self.own.extend_from_slice(part);
                PieceBytes::Own { start, end: self.own.len() }
            };
            self.pieces.push(Piece { bytes, is_last_of_request: false });
        }
        self.slot_pieces.push(self.pieces.len() - pieces_before);
        let mut start = self.slot_starts.last().copied().unwrap_or(0);
        let mut stamps = Vec::with_capacity(request.stamps.len());
        for place in &request.stamps {
            let at = place.find(&self.own, start).expect("the frame was made of these batches");
            start = at + place.batch().len();
            stamps.push((at, place.clone()));
        }
        self.slot_stamps.push(stamps);
        let last = self.pieces.last_mut().expect("a frame has at least its head");
        last.is_last_of_request = true;
    }

    /// Makes the next slot's request ready for sending, under `correlation_id`; it was meant to be
    /// sent at `intended_ns`.
    #[inline]
    pub(crate) fn admit(&mut self, correlation_id: i32, intended_ns: u64) {
        let at = self.slot_starts[self.next_slot] + CORRELATION_ID_AT;
        self.own[at..at + 4].copy_from_slice(&correlation_id.to_be_bytes());
        for (start, place) in &self.slot_stamps[self.next_slot] {
            stamp_batch(&mut self.own[*start..], place, intended_ns);
        }
        self.unsent_pieces += self.slot_pieces[self.next_slot];
        assert!(self.unsent_pieces <= self.pieces.len());
        self.next_slot = wrap(self.next_slot + 1, self.slot_starts.len());
    }

    /// Writes what is admitted until all is sent or the socket blocks.
    pub(crate) fn send(&mut self, mut socket: &TcpStream) -> io::Result<Sent> {
        let mut sent = Sent { requests: 0, is_blocked: false };
        while self.unsent_pieces > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let (count, offered) = self.fill(&mut slices);
            // A burst of small requests is one slice; `send` costs the kernel less than `writev`.
            let written = match &slices[..count] {
                [one] => socket.write(one),
                several => socket.write_vectored(several),
            };
            match written {
                Ok(size) => {
                    sent.requests += self.advance(size);
                    if size < offered {
                        sent.is_blocked = true;
                        return Ok(sent);
                    }
                }
                Err(error) if is_temporary(&error) => {
                    sent.is_blocked = true;
                    return Ok(sent);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Fills `slices` from the cursor on; neighbours in `own` become one slice.
    fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> (usize, usize) {
        let (mut count, mut offered) = (0, 0);
        let (mut piece_index, mut skip) = (self.cursor, self.cursor_sent);
        let mut run: Option<(usize, usize)> = None;
        for _ in 0..self.unsent_pieces {
            let slices_needed = count + usize::from(run.is_some()) + 1;
            if slices_needed > SLICES_MAX {
                break;
            }
            match &self.pieces[piece_index].bytes {
                PieceBytes::Own { start, end } => match run {
                    Some((run_start, run_end)) if run_end == start + skip => {
                        run = Some((run_start, *end));
                    }
                    _ => {
                        count += self.flush_run(run, &mut slices[count..]);
                        run = Some((start + skip, *end));
                    }
                },
                PieceBytes::Shared(bytes) => {
                    count += self.flush_run(run.take(), &mut slices[count..]);
                    slices[count] = IoSlice::new(&bytes[skip..]);
                    count += 1;
                }
            }
            skip = 0;
            piece_index = wrap(piece_index + 1, self.pieces.len());
        }
        count += self.flush_run(run, &mut slices[count..]);
        offered += slices[..count].iter().map(|slice| slice.len()).sum::<usize>();
        (count, offered)
    }

    fn flush_run<'a>(&'a self, run: Option<(usize, usize)>, slices: &mut [IoSlice<'a>]) -> usize {
        let Some((start, end)) = run else {
            return 0;
        };
        slices[0] = IoSlice::new(&self.own[start..end]);
        1
    }

    /// Moves the cursor by `size` sent bytes; returns the requests that are now wholly sent.
    fn advance(&mut self, mut size: usize) -> usize {
        let mut requests = 0;
        while size > 0 {
            let piece = &self.pieces[self.cursor];
            let length = match &piece.bytes {
                PieceBytes::Own { start, end } => end - start,
                PieceBytes::Shared(bytes) => bytes.len(),
            };
            let left = length - self.cursor_sent;
            if size < left {
                self.cursor_sent += size;
                return requests;
            }
            size -= left;
            requests += usize::from(piece.is_last_of_request);
            self.cursor = wrap(self.cursor + 1, self.pieces.len());
            self.cursor_sent = 0;
            self.unsent_pieces -= 1;
        }
        requests
    }
}

/// `index` within a ring of `length`, when it is at most one lap ahead.
fn wrap(index: usize, length: usize) -> usize {
    if index >= length { index - length } else { index }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    fn frame(parts: &[&[u8]]) -> CycleRequest {
        let size = parts.iter().map(|part| part.len()).sum();
        let parts = parts.iter().map(|part| Bytes::copy_from_slice(part).into()).collect();
        CycleRequest { frame: Frame { parts, size }, stamps: Vec::new() }
    }

    fn expected(parts: &[&[u8]], correlation_id: i32) -> Vec<u8> {
        let mut bytes = parts.concat();
        bytes[8..12].copy_from_slice(&correlation_id.to_be_bytes());
        bytes
    }

    /// Sends `count` requests with at most `in_flight` admitted at once; returns what arrives.
    fn sent_bytes(ring: &mut RequestRing, count: i32, in_flight: usize) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut peer = listener.accept().unwrap().0;
        socket.set_nonblocking(true).unwrap();
        peer.set_nonblocking(true).unwrap();
        let (mut next, mut done) = (0, 0);
        let mut bytes = Vec::new();
        while done < count {
            while next < count && next - done < i32::try_from(in_flight).unwrap() {
                ring.admit(next, 0);
                next += 1;
            }
            done += i32::try_from(ring.send(&socket).unwrap().requests).unwrap();
            let _ = peer.read_to_end(&mut bytes);
        }
        drop(socket);
        peer.set_nonblocking(false).unwrap();
        peer.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn small_requests_are_one_run_and_carry_their_correlation_ids() {
        let parts: [&[&[u8]]; 2] = [&[b"aaaaaaaa0000AAAA"], &[b"bbbbbbbb0000B"]];
        let cycle: Vec<CycleRequest> = parts.iter().map(|parts| frame(parts)).collect();
        let mut ring = RequestRing::new(&cycle, 5);
        let sent = sent_bytes(&mut ring, 23, 5);
        let mut expectation = Vec::new();
        for id in 0..23 {
            expectation.extend(expected(parts[usize::try_from(id).unwrap() % 2], id));
        }
        assert_eq!(sent, expectation);
        assert_eq!(ring.unsent_pieces, 0);
    }

    #[test]
    fn shared_batches_survive_writes_that_stop_anywhere() {
        let batch = vec![0x5a; 3_000_001];
        let parts: &[&[u8]] = &[b"hhhhhhhh0000HHH", &batch, b"between", &batch, b"end"];
        let mut ring = RequestRing::new(&[frame(parts)], 3);
        let sent = sent_bytes(&mut ring, 7, 3);
        let expectation: Vec<u8> = (0..7).flat_map(|id| expected(parts, id)).collect();
        assert!(sent == expectation, "{} and {} bytes", sent.len(), expectation.len());
    }

    #[test]
    fn more_pieces_than_one_write_takes_are_sent_in_several() {
        let batch = vec![1; SHARED_BYTES_MIN];
        let mut parts: Vec<&[u8]> = vec![b"hhhhhhhh0000HHH"];
        for _ in 0..100 {
            parts.push(&batch);
            parts.push(b"p");
        }
        let mut ring = RequestRing::new(&[frame(&parts)], 2);
        let sent = sent_bytes(&mut ring, 3, 2);
        let expectation: Vec<u8> = (0..3).flat_map(|id| expected(&parts, id)).collect();
        assert!(sent == expectation, "{} and {} bytes", sent.len(), expectation.len());
    }
}
