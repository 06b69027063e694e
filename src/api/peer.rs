//! Other brokers at the door: their introductions, and the frames that follow.
//!
//! A broker is refused by name (what is wrong, with whom, and the way out), and the refusal is
//! logged once however often it comes back.

use crate::api::dispatch::{complain, open_slot, refuse};
use crate::model::base64url::encode_uuid;
use crate::model::errors::KafkaCode;
use crate::protocol::peer::{
    FRAME_KEY, FrameHead, HELLO_KEY, Hello, PEER_VERSION_MAX, PEER_VERSION_MIN, Welcome,
};
use crate::protocol::primitive::{DecodeError, Reader};
use crate::shard::connection::ConnectionId;
use crate::shard::mesh::ShardMessage;
use crate::shard::peers::PeerId;
use crate::shard::routing;
use crate::shard::shard::{Shard, ShardRef};
use crate::storage::disk::Disk;
use bytes::Bytes;

/// Takes a request under a private key; false when the key is none of ours.
pub fn start<D: Disk>(
    shard: &ShardRef<D>,
    id: ConnectionId,
    key: i16,
    frame: &Bytes,
    body_at: usize,
) -> bool {
    let taken = match key {
        HELLO_KEY => on_hello(shard, id, frame, body_at),
        FRAME_KEY => on_frame(shard, id, frame, body_at),
        _ => return false,
    };
    if let Err(error) = taken {
        complain(shard, id, &error);
        refuse(shard, id, &error);
    }
    true
}

fn on_hello<D: Disk>(
    shard: &ShardRef<D>,
    id: ConnectionId,
    frame: &Bytes,
    body_at: usize,
) -> Result<(), DecodeError> {
    let hello = Hello::decode(&mut Reader::starting_at(frame, body_at))?;
    let slot = open_slot(shard, id);
    let mut shard = shard.borrow_mut();
    let checked = shard.check_hello(&hello);
    let welcome = match &checked {
        Ok(version) => Welcome { code: KafkaCode::None, message: String::new(), version: *version },
        Err((code, message)) => {
            Welcome { code: *code, message: message.clone(), version: PEER_VERSION_MAX }
        }
    };
    let frame = welcome.encode().expect("our own sentences are short");
    shard.fill(slot, frame.parts);
    match checked {
        Ok(_) => {
            let Hello { from: broker, core, broker_epoch, .. } = hello;
            let connection = shard.connection(id).expect("its slot was just filled");
            connection.broker = Some(PeerId { broker, core, broker_epoch });
        }
        Err((code, message)) => {
            shard.complain_of(hello.from.0, code, &message);
            shard.close_connection(id);
        }
    }
    Ok(())
}

fn on_frame<D: Disk>(
    shard: &ShardRef<D>,
    id: ConnectionId,
    frame: &Bytes,
    body_at: usize,
) -> Result<(), DecodeError> {
    let mut reader = Reader::starting_at(frame, body_at);
    let head = FrameHead::decode(&mut reader)?;
    let (from, own, cores) = {
        let mut shard = shard.borrow_mut();
        let (own, cores) = (shard.core, shard.cores);
        (shard.connection(id).and_then(|connection| connection.broker), own, cores)
    };
    let Some(from) = from else {
        return Err(DecodeError::UnsupportedVersion { api: "uninvited broker", version: 0 });
    };
    // A kind of a newer version, or a core that was there before a restart: nothing of ours.
    let Some(head) = head.filter(|head| head.to.0 < cores) else { return Ok(()) };
    let from = PeerId { core: head.from, ..from };
    let payload = frame.slice(reader.position()..);
    if head.to == own {
        routing::on_peer_frame(shard, from, head.kind, &payload);
    } else {
        let message = ShardMessage::PeerFrame { from, kind: head.kind, payload };
        shard.borrow_mut().send(head.to, message);
    }
    Ok(())
}

impl<D: Disk> Shard<D> {
    /// The version to speak with a broker, or why it is refused.
    fn check_hello(&self, hello: &Hello) -> Result<i16, (KafkaCode, String)> {
        let own = self.image.local();
        let (from, to) = (hello.from.0, hello.to.0);
        let cluster = self.image.cluster_id().unwrap_or(self.cluster_id);
        if from < 0 {
            let message = format!(
                "a broker calls itself {from}: a node.id is from 0 to {}, set one",
                i32::MAX
            );
            return Err((KafkaCode::InvalidRequest, message));
        }
        if hello.version_min > PEER_VERSION_MAX || hello.version_max < PEER_VERSION_MIN {
            return Err((
                KafkaCode::UnsupportedVersion,
                format!(
                    "broker {from} speaks versions {} to {} of the protocol between brokers, \
                     broker {} speaks {PEER_VERSION_MIN} to {PEER_VERSION_MAX}: upgrade the older \
                     one first to a release that both can talk to",
                    hello.version_min, hello.version_max, own.0
                ),
            ));
        }
        if hello.cluster != cluster {
            return Err((
                KafkaCode::InconsistentClusterId,
                format!(
                    "broker {from} belongs to cluster {}, broker {} to cluster {}: check \
                     cluster.id and controller.quorum.voters, or give it an empty data directory",
                    encode_uuid(hello.cluster),
                    own.0,
                    encode_uuid(cluster)
                ),
            ));
        }
        if hello.to != own {
            let message = format!(
                "broker {from} looked for broker {to} and reached broker {}: check the addresses \
                 in controller.quorum.voters and advertised.listeners",
                own.0
            );
            return Err((KafkaCode::InvalidRequest, message));
        }
        if hello.from == own || hello.directory == self.directory_id {
            let message = format!(
                "broker {from} calls itself as broker {} does or has a copy of its data directory: \
                 give each broker a node.id and an empty data directory of its own",
                own.0
            );
            return Err((KafkaCode::DuplicateBrokerRegistration, message));
        }
        Ok(hello.version_max.min(PEER_VERSION_MAX))
    }
}
