//! The records of one partition inside a Produce request or a Fetch response.
//!
//! Why a type of its own: records are batches as stored, possibly in several slices of the log's
//! memory. They are passed on by reference and never looked into by the message codec.

use crate::protocol::part::{Part, join};
use bytes::Bytes;

/// Batches as they lie in the log, in one or more parts.
///
/// Null on the wire reads as empty. Empty is written as length 0, not null, because librdkafka
/// logs an error for a null in a Fetch response.
#[derive(Clone, Debug, Default)]
pub struct Records {
    parts: Vec<Part>,
}

impl Records {
    /// Bytes of all parts together.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Part::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(Part::is_empty)
    }

    /// Adds batches after those already here, by reference.
    pub fn push(&mut self, part: impl Into<Part>) {
        let part = part.into();
        if !part.is_empty() {
            self.parts.push(part);
        }
    }

    /// The parts in order; none is empty.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// All parts in one piece, for records that a client received. Copies only when there is more
    /// than one.
    pub fn into_bytes(self) -> Bytes {
        join(self.parts)
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Records {
        let mut records = Records::default();
        records.push(bytes);
        records
    }
}

impl<P: Into<Part>> FromIterator<P> for Records {
    fn from_iter<I: IntoIterator<Item = P>>(parts: I) -> Records {
        let mut records = Records::default();
        for part in parts {
            records.push(part);
        }
        records
    }
}

/// Equal when the bytes are, however they are cut into parts. What lies in a file equals nothing.
impl PartialEq for Records {
    fn eq(&self, other: &Records) -> bool {
        let is_in_memory = |part: &Part| part.memory().is_some();
        let bytes = |records: &Records| {
            let parts = records.parts.iter().filter_map(Part::memory);
            parts.flatten().copied().collect::<Vec<u8>>()
        };
        self.len() == other.len()
            && self.parts.iter().chain(&other.parts).all(is_in_memory)
            && bytes(self) == bytes(other)
    }
}

impl Eq for Records {}
