//! Subscriptions and assignments in the bytes of Kafka's consumers (ConsumerProtocolSubscription 2,
//! ConsumerProtocolAssignment 1), which a coordinator relays and, where groups change their kind,
//! reads.

use super::TOPIC;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::BTreeSet;

/// What a member of the classic protocol says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) owned: BTreeSet<i32>,
    /// The generation in which it came to own that.
    pub(crate) generation: i32,
}

fn put_string(bytes: &mut BytesMut, text: &str) {
    bytes.put_i16(i16::try_from(text.len()).unwrap());
    bytes.put_slice(text.as_bytes());
}

fn put_partitions(bytes: &mut BytesMut, partitions: &BTreeSet<i32>) {
    bytes.put_i32(i32::from(!partitions.is_empty()));
    if !partitions.is_empty() {
        put_string(bytes, TOPIC);
        bytes.put_i32(i32::try_from(partitions.len()).unwrap());
        partitions.iter().for_each(|partition| bytes.put_i32(*partition));
    }
}

fn take_partitions(bytes: &mut Bytes) -> BTreeSet<i32> {
    let mut all = BTreeSet::new();
    for _ in 0..bytes.get_i32() {
        let length = usize::try_from(bytes.get_i16()).unwrap();
        bytes.advance(length);
        for _ in 0..bytes.get_i32() {
            all.insert(bytes.get_i32());
        }
    }
    all
}

impl Subscription {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_i16(2);
        bytes.put_i32(1);
        put_string(&mut bytes, TOPIC);
        bytes.put_i32(-1);
        put_partitions(&mut bytes, &self.owned);
        bytes.put_i32(self.generation);
        bytes.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Subscription {
        assert_eq!(bytes.get_i16(), 2, "the version that was written");
        for _ in 0..bytes.get_i32() {
            let length = usize::try_from(bytes.get_i16()).unwrap();
            bytes.advance(length);
        }
        assert_eq!(bytes.get_i32(), -1, "there was no user data");
        let owned = take_partitions(&mut bytes);
        Subscription { owned, generation: bytes.get_i32() }
    }
}

/// An assignment with the number of the leader's decision as its user data.
pub(crate) fn encode_assignment(partitions: &BTreeSet<i32>, decision: u64) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    put_partitions(&mut bytes, partitions);
    bytes.put_i32(8);
    bytes.put_u64(decision);
    bytes.freeze()
}

/// Partitions, and the decision of the leader that made it, if one did. No bytes are no partitions.
pub(crate) fn decode_assignment(mut bytes: Bytes) -> (BTreeSet<i32>, Option<u64>) {
    if bytes.is_empty() {
        return (BTreeSet::new(), None);
    }
    bytes.advance(2);
    let partitions = take_partitions(&mut bytes);
    let has_decision = bytes.get_i32() == 8;
    (partitions, has_decision.then(|| bytes.get_u64()))
}
