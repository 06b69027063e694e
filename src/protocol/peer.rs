//! What brokers say to each other beside Kafka's own requests: who they are, and one-way frames.
//!
//! Both travel as requests under private keys, on the same connections and framing as everything
//! else, so that a listener's security covers them. Kafka's tools never see the keys: they are not
//! advertised, and a connection that uses them uninvited is closed.
//!
//! Layout of a one-way frame, which gets no answer:
//! ```text
//!  0  i32  length            10  i16  client id: -1, none
//!  4  i16  key               12  u8   kind
//!  6  i16  version: 0        13  u16  core of the sender
//!  8  i32  correlation: 0    15  u16  core it is for
//!                            17       payload
//! ```
//!
//! Invariant: nothing here panics on foreign bytes.

use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, CoreId};
use crate::protocol::part::Part;
use crate::protocol::primitive::{
    DecodeError, EncodeError, Frame, LengthForm, Reader, Sink, Writer,
};
use bytes::Bytes;
use uuid::Uuid;

/// Key of [`Hello`], far above Kafka's.
pub const HELLO_KEY: i16 = 32_000;
/// Key of a one-way frame.
pub const FRAME_KEY: i16 = 32_001;
/// Oldest version of the protocol between brokers that this one speaks.
pub const PEER_VERSION_MIN: i16 = 0;
/// Newest version of the protocol between brokers that this one speaks.
pub const PEER_VERSION_MAX: i16 = 0;

/// What brokers call themselves in requests of their own, which tells these from what they pass on.
pub const PEER_CLIENT: &str = "highwater-broker";

const KIND_RAFT: u8 = 1;
const KIND_REPLICATION: u8 = 2;

/// What a one-way frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerKind {
    /// A message of the metadata quorum.
    Raft,
    /// A message about replicas.
    Replication,
}

/// Who calls: the first request on a connection between brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub version_min: i16,
    pub version_max: i16,
    pub cluster: Uuid,
    pub from: BrokerId,
    pub core: CoreId,
    /// Given by registration; -1 before it.
    pub broker_epoch: i64,
    /// Identity of the caller's data directory.
    pub directory: Uuid,
    /// Whom the caller believes to have reached.
    pub to: BrokerId,
}

/// The answer to a [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// NONE, or why the connection is closed.
    pub code: KafkaCode,
    /// Names the thing, the value and the way out; empty when welcome.
    pub message: String,
    /// The newest version that both speak.
    pub version: i16,
}

/// Head of a one-way frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    pub kind: PeerKind,
    pub from: CoreId,
    pub to: CoreId,
}

fn put_header(writer: &mut Writer, key: i16) {
    writer.put_i16(key);
    writer.put_i16(PEER_VERSION_MAX);
    writer.put_i32(0);
    writer.put_i16(-1);
}

impl Hello {
    /// The request, ready for the socket.
    pub fn encode(&self) -> Frame {
        let mut writer = Writer::for_frame();
        put_header(&mut writer, HELLO_KEY);
        writer.put_i16(self.version_min);
        writer.put_i16(self.version_max);
        writer.put_uuid(self.cluster);
        writer.put_i32(self.from.0);
        writer.put_u16(self.core.0);
        writer.put_i64(self.broker_epoch);
        writer.put_uuid(self.directory);
        writer.put_i32(self.to.0);
        writer.finish().expect("a hello is far below 2 GiB")
    }

    /// Reads the body; what follows it is of a newer version, and left alone.
    ///
    /// # Errors
    /// The bytes end too early.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Hello, DecodeError> {
        Ok(Hello {
            version_min: reader.get_i16()?,
            version_max: reader.get_i16()?,
            cluster: reader.get_uuid()?,
            from: BrokerId(reader.get_i32()?),
            core: CoreId(reader.get_u16()?),
            broker_epoch: reader.get_i64()?,
            directory: reader.get_uuid()?,
            to: BrokerId(reader.get_i32()?),
        })
    }
}

impl Welcome {
    /// The response, ready for the socket.
    ///
    /// # Errors
    /// The message is too long for a string.
    pub fn encode(&self) -> Result<Frame, EncodeError> {
        let mut writer = Writer::for_frame();
        writer.put_i32(0);
        writer.put_i16(self.code.number());
        writer.put_nullable_text(Some(self.message.as_bytes()), LengthForm::Fixed)?;
        writer.put_i16(self.version);
        writer.finish()
    }

    /// Reads a response from its first byte behind the length.
    ///
    /// # Errors
    /// The bytes end too early. A code that we do not know is UNKNOWN_SERVER_ERROR.
    pub fn decode(frame: &Bytes) -> Result<Welcome, DecodeError> {
        let mut reader = Reader::new(frame);
        reader.get_i32()?;
        let code = KafkaCode::from_number(reader.get_i16()?);
        Ok(Welcome {
            code: code.unwrap_or(KafkaCode::UnknownServerError),
            message: reader.get_str(LengthForm::Fixed)?.to_owned(),
            version: reader.get_i16()?,
        })
    }
}

impl FrameHead {
    /// A whole frame, ready for the socket; the payload is shared, not copied.
    ///
    /// # Errors
    /// The payload is above what a frame can say.
    pub fn encode(&self, payload: &[Part]) -> Result<Frame, EncodeError> {
        let mut writer = Writer::for_frame();
        put_header(&mut writer, FRAME_KEY);
        let kind = match self.kind {
            PeerKind::Raft => KIND_RAFT,
            PeerKind::Replication => KIND_REPLICATION,
        };
        writer.put_slice(&[kind]);
        writer.put_u16(self.from.0);
        writer.put_u16(self.to.0);
        for part in payload {
            writer.put_part(part);
        }
        writer.finish()
    }

    /// Reads the head; `None` for a kind of a newer version. The payload is what is left.
    ///
    /// # Errors
    /// The bytes end too early.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Option<FrameHead>, DecodeError> {
        let kind = reader.get_slice(1)?[0];
        let (from, to) = (CoreId(reader.get_u16()?), CoreId(reader.get_u16()?));
        let kind = match kind {
            KIND_RAFT => PeerKind::Raft,
            KIND_REPLICATION => PeerKind::Replication,
            _ => return Ok(None),
        };
        Ok(Some(FrameHead { kind, from, to }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame::RequestHeader;

    fn hello() -> Hello {
        Hello {
            version_min: PEER_VERSION_MIN,
            version_max: PEER_VERSION_MAX,
            cluster: Uuid::from_u128(1),
            from: BrokerId(2),
            core: CoreId(3),
            broker_epoch: -1,
            directory: Uuid::from_u128(4),
            to: BrokerId(5),
        }
    }

    /// A frame's bytes behind its length.
    fn behind_length(frame: Frame) -> Bytes {
        frame.into_bytes().slice(4..)
    }

    #[test]
    fn a_hello_is_a_request_and_reads_back() {
        let bytes = behind_length(hello().encode());
        let mut reader = Reader::new(&bytes);
        assert_eq!(RequestHeader::decode(&mut reader).unwrap().api_key, HELLO_KEY);
        assert_eq!(Hello::decode(&mut reader), Ok(hello()));
        for end in 0..bytes.len() {
            let cut = bytes.slice(..end);
            let mut reader = Reader::new(&cut);
            let decoded = RequestHeader::decode(&mut reader).map(|_| Hello::decode(&mut reader));
            assert!(!matches!(decoded, Ok(Ok(_))), "cut at {end}");
        }
    }

    #[test]
    fn a_welcome_reads_back() {
        let message = "broker 5 is broker 6".to_owned();
        let welcome = Welcome { code: KafkaCode::InconsistentClusterId, message, version: 0 };
        let bytes = behind_length(welcome.encode().unwrap());
        assert_eq!(Welcome::decode(&bytes), Ok(welcome));
    }

    #[test]
    fn a_one_way_frame_shares_its_payload() {
        let payload = Bytes::from(vec![7; 4096]);
        let head = FrameHead { kind: PeerKind::Replication, from: CoreId(1), to: CoreId(2) };
        let frame = head.encode(&[payload.clone().into()]).unwrap();
        assert!(frame.memory().any(|part| part.as_ptr() == payload.as_ptr()));
        let bytes = behind_length(frame);
        let mut reader = Reader::new(&bytes);
        assert_eq!(RequestHeader::decode(&mut reader).unwrap().api_key, FRAME_KEY);
        assert_eq!(FrameHead::decode(&mut reader), Ok(Some(head)));
        assert_eq!(reader.rest(), &payload[..]);
    }

    #[test]
    fn a_kind_of_the_future_is_left_alone() {
        let bytes = Bytes::from_static(&[9, 0, 1, 0, 2]);
        assert_eq!(FrameHead::decode(&mut Reader::new(&bytes)), Ok(None));
    }
}
