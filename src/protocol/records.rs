//! The records of one partition inside a Produce request or a Fetch response.
//!
//! Why a type of its own: records are batches as stored, possibly in several slices of the log's
//! memory. They are passed on by reference and never looked into by the message codec.

use bytes::{Bytes, BytesMut};

/// Batches as they lie in the log, in one or more parts.
///
/// Null on the wire reads as empty. Empty is written as length 0, not null, because librdkafka
/// logs an error for a null in a Fetch response.
#[derive(Clone, Debug, Default)]
pub struct Records {
    parts: Vec<Bytes>,
}

impl Records {
    /// Bytes of all parts together.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(Bytes::is_empty)
    }

    /// Adds batches after those already here, by reference.
    pub fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.parts.push(part);
        }
    }

    /// The parts in order; none is empty.
    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// All parts in one piece. Copies only when there is more than one.
    pub fn into_bytes(mut self) -> Bytes {
        if self.parts.len() <= 1 {
            return self.parts.pop().unwrap_or_default();
        }
        let mut whole = BytesMut::with_capacity(self.len());
        for part in &self.parts {
            whole.extend_from_slice(part);
        }
        whole.freeze()
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Records {
        let mut records = Records::default();
        records.push(bytes);
        records
    }
}

impl FromIterator<Bytes> for Records {
    fn from_iter<I: IntoIterator<Item = Bytes>>(parts: I) -> Records {
        let mut records = Records::default();
        for part in parts {
            records.push(part);
        }
        records
    }
}

/// Equal when the bytes are, however they are cut into parts.
impl PartialEq for Records {
    fn eq(&self, other: &Records) -> bool {
        self.len() == other.len() && self.parts.iter().flatten().eq(other.parts.iter().flatten())
    }
}

impl Eq for Records {}
