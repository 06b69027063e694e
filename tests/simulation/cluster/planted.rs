//! Faults in what brokers read of each other: production code knows no switch for them, so what
//! arrives is changed instead, to what passes the check that would have found it.

use super::swarm::Planted;
use bytes::{Bytes, BytesMut};
use highwater::protocol::frame::RequestHeader;
use highwater::protocol::part::Part;
use highwater::protocol::peer::{FRAME_KEY, FrameHead, PeerKind};
use highwater::protocol::primitive::Reader;
use highwater::replication::messages::{self, Body};
use highwater::shard::shard::Shard;
use highwater::sim::cluster::Tamper;
use highwater::sim::disk::SimDisk;

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;

/// What makes the frames of a planted fault, where it is one of frames.
pub(crate) fn tamper(planted: Planted) -> Option<Tamper> {
    match planted {
        Planted::Nothing
        | Planted::AcknowledgeBeforeSync
        | Planted::ElectOutsideIsr
        | Planted::ForgetRecoveryPoints => None,
        Planted::DropTruncation => Some(opened_without_an_epoch),
    }
}

/// A follower does not say of which epoch its last record is, so that the leader has nothing to
/// compare with its own log.
fn opened_without_an_epoch(_: &Shard<SimDisk>, frame: Bytes) -> Bytes {
    let mut reader = Reader::new(&frame);
    if RequestHeader::decode(&mut reader).unwrap().api_key != FRAME_KEY {
        return frame;
    }
    let head = FrameHead::decode(&mut reader).unwrap();
    let Some(head) = head.filter(|head| head.kind == PeerKind::Replication) else { return frame };
    let mut payload = frame.slice(reader.position()..);
    let mut changed = BytesMut::new();
    while let Ok(Some(mut message)) = messages::decode(&mut payload) {
        if let Body::Open(open) = &mut message.body {
            open.last_epoch = None;
        }
        message.encode(&mut changed);
    }
    let changed = head.encode(&[Part::from(changed.freeze())]);
    changed.unwrap().into_bytes().slice(LENGTH_BYTES..)
}
