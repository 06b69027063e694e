//! Frames of the metadata log: one decision's records, written and read as one.
//!
//! Why frames: a decision is all or nothing, so its records share one checksum. The file only
//! grows and each frame is on stable storage before its decision is answered; so whatever is
//! wrong at the very end is a torn write of an unanswered decision and is cut, and whatever is
//! wrong before a good frame is damage to an answered one and is never cut.
//!
//! ```text
//!  0  u32  magic "HWMD"
//!  4  u32  length of the payload
//!  8  u32  CRC-32C of bytes 4..8 and of the payload
//! 12       payload: u32 number of records, then the records (records.rs)
//! ```

use crate::controller::records::{MetadataRecord, RecordError};
use crate::model::limits::METADATA_FRAME_BYTES_MAX;
use crate::protocol::crc32c;
use bytes::Bytes;

const MAGIC: [u8; 4] = *b"HWMD";
const HEADER_BYTES: usize = 12;
const COUNT_BYTES: usize = 4;
/// Kind, version and length: the smallest record.
const RECORD_BYTES_MIN: usize = 6;

/// A metadata log that must not be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataLogError {
    /// Something below an intact frame does not check: answered decisions are lost.
    #[error("the metadata log is damaged at byte {position}, and intact again at {intact_at}")]
    Damaged { position: usize, intact_at: usize },
    /// The checksum is right, the content is not for this version.
    #[error("the metadata log's frame at byte {position} cannot be read")]
    Unreadable {
        position: usize,
        #[source]
        source: RecordError,
    },
}

/// A decision of more bytes than one frame of the log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a decision of {bytes} bytes; one frame of the metadata has {METADATA_FRAME_BYTES_MAX}")]
pub struct DecisionTooLarge {
    pub bytes: usize,
}

/// The bytes of one frame.
///
/// # Errors
/// The records are more than a frame has room for: nothing of them may be written.
pub fn encode_frame(records: &[MetadataRecord]) -> Result<Bytes, DecisionTooLarge> {
    assert!(!records.is_empty(), "a decision without records is not logged");
    let mut frame = vec![0; HEADER_BYTES];
    let count = u32::try_from(records.len()).expect("a decision's records are bounded");
    frame.extend_from_slice(&count.to_be_bytes());
    for record in records {
        record.encode(&mut frame);
    }
    let payload_len = frame.len() - HEADER_BYTES;
    if payload_len > METADATA_FRAME_BYTES_MAX {
        return Err(DecisionTooLarge { bytes: payload_len });
    }
    let length = u32::try_from(payload_len).expect("bounded above").to_be_bytes();
    frame[..4].copy_from_slice(&MAGIC);
    frame[4..8].copy_from_slice(&length);
    let crc = checksum(length, &frame[HEADER_BYTES..]);
    frame[8..HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
    assert!(frame.len() == HEADER_BYTES + payload_len);
    Ok(Bytes::from(frame))
}

/// Every frame of a log's bytes, and how many bytes they fill; what follows is a torn tail.
pub fn decode_frames(bytes: &[u8]) -> Result<(Vec<Vec<MetadataRecord>>, usize), MetadataLogError> {
    let mut frames = Vec::new();
    let mut position = 0;
    while let Some(payload) = payload_at(bytes, position) {
        let records = decode_payload(payload)
            .map_err(|source| MetadataLogError::Unreadable { position, source })?;
        frames.push(records);
        position += HEADER_BYTES + payload.len();
    }
    assert!(position <= bytes.len());
    match next_frame_after(bytes, position) {
        Some(intact_at) => Err(MetadataLogError::Damaged { position, intact_at }),
        None => Ok((frames, position)),
    }
}

/// The payload of an intact frame that starts at `position`.
fn payload_at(bytes: &[u8], position: usize) -> Option<&[u8]> {
    let header = bytes.get(position..position.checked_add(HEADER_BYTES)?)?;
    if header[..4] != MAGIC {
        return None;
    }
    let length: [u8; 4] = header[4..8].try_into().expect("four bytes");
    let crc = u32::from_be_bytes(header[8..12].try_into().expect("four bytes"));
    let payload_len = usize::try_from(u32::from_be_bytes(length)).ok()?;
    if !(COUNT_BYTES..=METADATA_FRAME_BYTES_MAX).contains(&payload_len) {
        return None;
    }
    let start = position + HEADER_BYTES;
    let payload = bytes.get(start..start + payload_len)?;
    (checksum(length, payload) == crc).then_some(payload)
}

fn decode_payload(payload: &[u8]) -> Result<Vec<MetadataRecord>, RecordError> {
    let (count, mut rest) = payload.split_at(COUNT_BYTES);
    let count = u32::from_be_bytes(count.try_into().expect("split at four bytes"));
    let count = usize::try_from(count).expect("usize has at least 32 bits");
    let least = count.saturating_mul(RECORD_BYTES_MIN);
    if least > rest.len() {
        return Err(RecordError::Short { have: rest.len(), need: least - rest.len() });
    }
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        records.push(MetadataRecord::decode(&mut rest)?);
    }
    match rest.is_empty() {
        true => Ok(records),
        false => Err(RecordError::Trailing { left: rest.len() }),
    }
}

fn next_frame_after(bytes: &[u8], position: usize) -> Option<usize> {
    (position + 1..bytes.len()).find(|start| payload_at(bytes, *start).is_some())
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::records::ConfigResource;
    use crate::controller::records::tests::record;
    use crate::model::ids::ProducerId;
    use crate::model::limits::CONFIG_VALUE_BYTES_MAX;
    use proptest::prelude::*;

    fn frame(next: i64) -> Bytes {
        encode_frame(&[MetadataRecord::ProducerIds { next: ProducerId(next) }]).unwrap()
    }

    fn log(frames: &[Bytes]) -> Vec<u8> {
        frames.iter().flat_map(|frame| frame.iter().copied()).collect()
    }

    proptest! {
        #[test]
        fn frames_read_back_in_order(
            frames in prop::collection::vec(prop::collection::vec(record(), 1..4), 0..4),
        ) {
            let encoded = frames.iter().map(|frame| encode_frame(frame).unwrap());
            let bytes: Vec<u8> = encoded.flatten().collect();
            let len = bytes.len();
            prop_assert_eq!(decode_frames(&bytes), Ok((frames, len)));
        }

        #[test]
        fn garbage_is_an_empty_log(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let decoded = decode_frames(&bytes);
            prop_assert!(matches!(decoded, Ok((ref frames, 0)) if frames.is_empty()));
        }
    }

    #[test]
    fn a_decision_beyond_a_frame_is_refused_whole() {
        let record = MetadataRecord::Config {
            resource: ConfigResource::AllBrokers,
            key: "k".to_owned(),
            value: Some("v".repeat(CONFIG_VALUE_BYTES_MAX)),
        };
        let mut records = vec![record; METADATA_FRAME_BYTES_MAX / CONFIG_VALUE_BYTES_MAX - 1];
        assert!(encode_frame(&records).is_ok());
        records.push(records[0].clone());
        let bytes = encode_frame(&records).unwrap_err().bytes;
        assert!(bytes > METADATA_FRAME_BYTES_MAX);
    }

    #[test]
    fn a_torn_tail_is_cut_at_every_byte() {
        let whole = frame(1);
        let bytes = log(&[whole.clone(), frame(2)]);
        for cut in whole.len()..bytes.len() {
            let (frames, valid_len) = decode_frames(&bytes[..cut]).unwrap();
            assert_eq!((frames.len(), valid_len), (1, whole.len()), "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_in_the_last_frame_is_a_torn_tail() {
        let mut bytes = log(&[frame(1), frame(2)]);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(decode_frames(&bytes).unwrap().0.len(), 1);
    }

    #[test]
    fn a_flipped_bit_below_an_intact_frame_is_damage_and_nothing_is_cut() {
        let first = frame(1).len();
        for at in 0..first {
            let mut bytes = log(&[frame(1), frame(2)]);
            bytes[at] ^= 0x10;
            let expected = MetadataLogError::Damaged { position: 0, intact_at: first };
            assert_eq!(decode_frames(&bytes), Err(expected), "bit at byte {at}");
        }
    }

    #[test]
    fn a_record_of_the_future_stops_the_replay() {
        let mut future = frame(1).to_vec();
        future[HEADER_BYTES + COUNT_BYTES] = 200;
        let length = future[4..8].try_into().unwrap();
        let crc = checksum(length, &future[HEADER_BYTES..]);
        future[8..HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
        let source = RecordError::UnknownKind { kind: 200, version: 0 };
        assert_eq!(
            decode_frames(&future),
            Err(MetadataLogError::Unreadable { position: 0, source })
        );
    }
}
