//! A snapshot: everything that the log up to one entry adds up to, as one file or message.
//!
//! ```text
//!  0  u32  magic "HWQP"
//!  4  u32  CRC-32C of all that follows
//!  8  u8   version
//!  9  u64  index of the last entry covered
//! 17  u64  its term
//! 25       members (members.rs)
//!     u32  length of the data
//!          data: frames of records (metadata_log.rs)
//! ```

use super::members::Members;
use crate::controller::image::{ApplyError, MetadataImage};
use crate::controller::metadata_log::{self, MetadataLogError};
use crate::controller::records::MetadataRecord;
use crate::model::limits::{METADATA_SNAPSHOT_BYTES_MAX, SNAPSHOT_FRAME_RECORDS};
use crate::protocol::crc32c;
use bytes::{Buf, BufMut, Bytes};

const MAGIC: [u8; 4] = *b"HWQP";
const VERSION: u8 = 0;
const CHECKED_FROM: usize = 8;

/// State of the quorum's log up to `index`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    pub index: u64,
    pub term: u64,
    pub members: Members,
    /// The image, as `image_bytes` writes it.
    pub data: Bytes,
}

/// Bytes that are no snapshot, or one that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("the metadata snapshot's checksum does not fit its content")]
    Damaged,
    #[error("a metadata snapshot of version {version} is not known: a newer version wrote it")]
    UnknownVersion { version: u8 },
    #[error("the metadata snapshot does not follow its own layout")]
    Malformed,
    #[error(transparent)]
    Frames(#[from] MetadataLogError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl Snapshot {
    /// The whole file's bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(64 + self.data.len());
        out.put_slice(&MAGIC);
        out.put_u32(0);
        out.put_u8(VERSION);
        self.encode_fields(&mut out);
        let crc = crc32c::crc32c(&out[CHECKED_FROM..]);
        out[4..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
        Bytes::from(out)
    }

    /// Reads a whole file.
    pub fn decode(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
        let mut rest = bytes.get(CHECKED_FROM..).ok_or(SnapshotError::Damaged)?;
        let crc = crc32c::crc32c(rest).to_be_bytes();
        if bytes[..4] != MAGIC || bytes[4..CHECKED_FROM] != crc {
            return Err(SnapshotError::Damaged);
        }
        let version = rest.try_get_u8().map_err(|_| SnapshotError::Malformed)?;
        if version != VERSION {
            return Err(SnapshotError::UnknownVersion { version });
        }
        let snapshot = Snapshot::decode_fields(&mut rest).ok_or(SnapshotError::Malformed)?;
        if rest.is_empty() { Ok(snapshot) } else { Err(SnapshotError::Malformed) }
    }

    /// Without magic and checksum, as a message carries it.
    pub(super) fn encode_fields(&self, out: &mut Vec<u8>) {
        assert!(self.data.len() <= METADATA_SNAPSHOT_BYTES_MAX);
        out.put_u64(self.index);
        out.put_u64(self.term);
        self.members.encode(out);
        out.put_u32(u32::try_from(self.data.len()).expect("bounded above"));
        out.put_slice(&self.data);
    }

    pub(super) fn decode_fields(bytes: &mut &[u8]) -> Option<Snapshot> {
        let index = bytes.try_get_u64().ok()?;
        let term = bytes.try_get_u64().ok()?;
        let members = Members::decode(bytes)?;
        let len = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
        let data = bytes.split_off(..len)?;
        Some(Snapshot { index, term, members, data: Bytes::copy_from_slice(data) })
    }

    /// The image that the snapshot stands for; `blank` is one before the first record.
    ///
    /// # Errors
    /// A record is not known here, or does not follow from those before it.
    pub fn image(&self, blank: &MetadataImage) -> Result<MetadataImage, SnapshotError> {
        let mut image = MetadataImage::clone(blank);
        let (frames, len) = metadata_log::decode_frames(&self.data)?;
        if len != self.data.len() {
            return Err(SnapshotError::Damaged);
        }
        for record in frames.iter().flatten() {
            image.apply(record)?;
        }
        Ok(image)
    }
}

/// An image as a snapshot's data.
pub fn image_bytes(image: &MetadataImage) -> Bytes {
    let records: Vec<MetadataRecord> = image.to_records();
    let mut out = Vec::new();
    for some in records.chunks(SNAPSHOT_FRAME_RECORDS) {
        add_frames(some, &mut out);
    }
    Bytes::from(out)
}

/// As one frame, or as several where one has no room for all.
fn add_frames(records: &[MetadataRecord], out: &mut Vec<u8>) {
    match metadata_log::encode_frame(records) {
        Ok(frame) => out.extend_from_slice(&frame),
        Err(_) => {
            assert!(records.len() > 1, "one record was a decision's, and had room");
            let (first, second) = records.split_at(records.len() / 2);
            add_frames(first, out);
            add_frames(second, out);
        }
    }
}
