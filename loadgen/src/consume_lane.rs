//! One connection that consumes: where it stands in each of its partitions.

use std::io::{self, Write};
use std::net::TcpStream;

use highwater::protocol::frame::encode_request;
use highwater::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use uuid::Uuid;

use crate::control::{CLIENT_ID, connect};
use crate::failure::Failure;
use crate::inbox::{Inbox, is_temporary};

/// Room in the receive buffer for what surrounds the records.
const ANSWER_OVERHEAD_BYTES: usize = 64 * 1024;

/// How long a broker may hold an answer when there is nothing to read.
const MAX_WAIT_MS: i32 = 500;

/// Where a connection stands in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) partition: i32,
    /// Where reading starts, and starts again with `--loop`.
    pub(crate) start: i64,
    /// The end when the run began.
    pub(crate) end: i64,
    pub(crate) next: i64,
}

impl Position {
    /// Moves on to `next`; at the end goes back to the start when reading repeats.
    pub(crate) fn advance(&mut self, next: i64, repeat: bool) {
        self.next = next;
        if repeat && self.next >= self.end {
            self.next = self.start;
        }
    }

    fn is_done(&self) -> bool {
        self.next >= self.end
    }
}

/// What is the same for all fetches.
#[derive(Debug, Clone)]
pub(crate) struct FetchShape {
    /// Fetch version on the wire.
    pub(crate) version: i16,
    pub(crate) topic: String,
    pub(crate) topic_id: Uuid,
    pub(crate) max_bytes: i32,
    pub(crate) repeat: bool,
}

/// See the module's header. One per connection.
#[derive(Debug)]
pub(crate) struct ConsumeLane {
    pub(crate) address: String,
    pub(crate) socket: TcpStream,
    pub(crate) inbox: Inbox,
    pub(crate) positions: Vec<Position>,
    /// Index into `positions` of the fetch on the way.
    pub(crate) asked: Option<usize>,
    pub(crate) sent_ns: u64,
    turn: usize,
    correlation_id: i32,
}

impl ConsumeLane {
    /// Connects; reads `positions` in turn.
    pub(crate) fn connect(
        address: &str,
        positions: Vec<Position>,
        max_bytes: usize,
    ) -> Result<ConsumeLane, Failure> {
        let socket = connect(address)?;
        socket.set_nonblocking(true).map_err(|source| Failure::System { call: "fcntl", source })?;
        Ok(ConsumeLane {
            address: address.to_owned(),
            socket,
            inbox: Inbox::new(max_bytes + ANSWER_OVERHEAD_BYTES),
            positions,
            asked: None,
            sent_ns: 0,
            turn: 0,
            correlation_id: 0,
        })
    }

    /// Sends the next fetch; false when every partition was read to its end.
    pub(crate) fn ask(&mut self, shape: &FetchShape, now: u64) -> Result<bool, Failure> {
        let count = self.positions.len();
        let mut turns = (0..count).map(|step| (self.turn + step) % count);
        let Some(index) = turns.find(|index| !self.positions[*index].is_done()) else {
            return Ok(false);
        };
        self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
        let position = &self.positions[index];
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: MAX_WAIT_MS,
            min_bytes: 1,
            max_bytes: shape.max_bytes,
            topics: vec![FetchTopic {
                topic: shape.topic.clone(),
                topic_id: shape.topic_id,
                partitions: vec![FetchPartition {
                    partition: position.partition,
                    fetch_offset: position.next,
                    partition_max_bytes: shape.max_bytes,
                    ..FetchPartition::default()
                }],
            }],
            ..FetchRequest::default()
        };
        let frame = encode_request(&request, shape.version, self.correlation_id, Some(CLIENT_ID))
            .map_err(|error| Failure::Batch { reason: error.to_string() })?;
        self.send(&frame.into_bytes())?;
        self.asked = Some(index);
        self.turn = (index + 1) % count;
        self.sent_ns = now;
        Ok(true)
    }

    /// A fetch is far smaller than the send buffer and goes out alone, so it never blocks.
    fn send(&mut self, mut request: &[u8]) -> Result<(), Failure> {
        while !request.is_empty() {
            match (&self.socket).write(request) {
                Ok(sent) => request = &request[sent..],
                Err(error) if is_temporary(&error) => {}
                Err(source) => return Err(self.lost(source)),
            }
        }
        Ok(())
    }

    /// Whether an answer with this correlation id is the one that is awaited.
    pub(crate) fn expects(&self, correlation_id: i32) -> bool {
        self.asked.is_some() && correlation_id == self.correlation_id
    }

    /// The failure for an I/O error of this connection.
    pub(crate) fn lost(&self, source: io::Error) -> Failure {
        Failure::ConnectionLost { address: self.address.clone(), during: "was under load", source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_starts_again_only_when_asked() {
        let mut position = Position { partition: 0, start: 5, end: 10, next: 5 };
        position.advance(9, true);
        assert_eq!(position.next, 9);
        position.advance(10, true);
        assert_eq!(position.next, 5);
        position.advance(10, false);
        assert!(position.is_done());
    }
}
