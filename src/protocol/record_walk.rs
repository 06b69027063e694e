//! A producer's records, looked through once without keeping any.
//!
//! Why beside `record.rs`: this runs for each uncompressed batch that a client appends, so it makes
//! no record, allocates nothing and copies nothing. It says what the rules of a topic need to know;
//! only when one is broken are the records read one by one, to name those at fault.
//!
//! Invariants
//! - What passes here is read by `record.rs` without an error, and by Kafka's clients.
//! - A length is compared with the bytes left before it is used.

use crate::protocol::primitive::DecodeError;
use crate::protocol::record_batch::{BatchError, BatchHeader, NO_TIMESTAMP, TimestampType};

/// A null key or value.
const NULL: i32 = -1;

/// What the records of one batch have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordsWalked {
    /// Smallest timestamp in milliseconds since 1970 among records that have one.
    pub min_timestamp_ms: Option<i64>,
    /// Largest of all timestamps; -1 where no record has one.
    pub max_timestamp_ms: i64,
    /// Each record's offset delta is its place in the batch.
    pub is_dense: bool,
    /// No record's key is null.
    pub has_keys: bool,
}

/// Looks through `records`, the uncompressed records behind `header`.
///
/// # Errors
/// A record that is cut off or whose fields do not fill it, more records than the header counts, or
/// fewer.
pub fn walk_records(header: &BatchHeader, records: &[u8]) -> Result<RecordsWalked, BatchError> {
    let mut rest = records;
    let mut walked = RecordsWalked {
        min_timestamp_ms: None,
        max_timestamp_ms: NO_TIMESTAMP,
        is_dense: true,
        has_keys: true,
    };
    let (mut least, mut most) = (i64::MAX, i64::MIN);
    for place in 0..header.record_count() {
        let size = take_size(&mut rest)?;
        let Some((record, after)) = rest.split_at_checked(size) else {
            let truncated = DecodeError::Truncated { needed: size, left: rest.len() };
            return Err(BatchError::Record(truncated));
        };
        rest = after;
        let (timestamp_delta, offset_delta, has_key) = walk_fields(record)?;
        walked.is_dense &= offset_delta == place;
        walked.has_keys &= has_key;
        let timestamp = header.base_timestamp().saturating_add(timestamp_delta);
        if timestamp != NO_TIMESTAMP {
            (least, most) = (least.min(timestamp), most.max(timestamp));
        }
    }
    if !rest.is_empty() {
        return Err(BatchError::BytesAfterRecords { left: rest.len() });
    }
    if header.attributes().timestamp_type() == TimestampType::LogAppendTime {
        (least, most) = (header.max_timestamp(), header.max_timestamp());
    }
    if least <= most {
        walked.min_timestamp_ms = Some(least);
        walked.max_timestamp_ms = most.max(NO_TIMESTAMP);
    }
    Ok(walked)
}

/// Timestamp delta, offset delta, and whether there is a key.
#[inline]
fn walk_fields(record: &[u8]) -> Result<(i64, i32, bool), BatchError> {
    let mut rest = record.get(1..).ok_or(BatchError::Record(EMPTY))?;
    let timestamp_delta = take_varlong(&mut rest)?;
    let offset_delta = take_varint(&mut rest)?;
    let has_key = skip_nullable(&mut rest)?;
    skip_nullable(&mut rest)?;
    match rest {
        [0] => {}
        _ => skip_headers(&mut rest, record.len())?,
    }
    Ok((timestamp_delta, offset_delta, has_key))
}

/// A record without even its attributes.
const EMPTY: DecodeError = DecodeError::Truncated { needed: 1, left: 0 };

/// Goes over the headers, which must fill what is left of the record.
fn skip_headers(rest: &mut &[u8], record_size: usize) -> Result<(), BatchError> {
    let count = take_size(rest)?;
    for _ in 0..count {
        if !skip_nullable(rest)? {
            return Err(BatchError::Record(DecodeError::UnexpectedNull));
        }
        skip_nullable(rest)?;
    }
    match rest.is_empty() {
        true => Ok(()),
        false => {
            let actual = record_size - rest.len();
            Err(BatchError::RecordLength { expected: record_size, actual })
        }
    }
}

/// Goes over a key or value; false where it is null.
#[inline]
fn skip_nullable(rest: &mut &[u8]) -> Result<bool, BatchError> {
    let length = take_varint(rest)?;
    if length == NULL {
        return Ok(false);
    }
    let size = size_of_length(length)?;
    let Some(after) = rest.get(size..) else {
        let truncated = DecodeError::Truncated { needed: size, left: rest.len() };
        return Err(BatchError::Record(truncated));
    };
    *rest = after;
    Ok(true)
}

#[inline]
fn take_size(rest: &mut &[u8]) -> Result<usize, BatchError> {
    size_of_length(take_varint(rest)?)
}

#[inline]
fn size_of_length(length: i32) -> Result<usize, BatchError> {
    usize::try_from(length).map_err(|_| BatchError::Record(DecodeError::NegativeLength { length }))
}

/// Zigzag, of one or two bytes nearly always.
#[inline]
fn take_varint(rest: &mut &[u8]) -> Result<i32, BatchError> {
    let zigzag = match **rest {
        [first, ref after @ ..] if first < 0x80 => {
            *rest = after;
            u32::from(first)
        }
        [first, second, ref after @ ..] if second < 0x80 => {
            *rest = after;
            u32::from(first & 0x7f) | u32::from(second) << 7
        }
        _ => u32::try_from(take_long(rest)?)
            .map_err(|_| BatchError::Record(DecodeError::VarintTooLong))?,
    };
    Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
}

#[inline]
fn take_varlong(rest: &mut &[u8]) -> Result<i64, BatchError> {
    let zigzag = match **rest {
        [first, ref after @ ..] if first < 0x80 => {
            *rest = after;
            u64::from(first)
        }
        _ => take_long(rest)?,
    };
    Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
}

/// Groups of seven bits, at most ten of them.
fn take_long(rest: &mut &[u8]) -> Result<u64, BatchError> {
    let mut value = 0u64;
    for (shift, byte) in (0..70).step_by(7).zip(*rest) {
        let group = u64::from(byte & 0x7f);
        if shift == 63 && group > 1 {
            return Err(BatchError::Record(DecodeError::VarintTooLong));
        }
        value |= group << shift;
        if *byte < 0x80 {
            *rest = &rest[shift / 7 + 1..];
            return Ok(value);
        }
    }
    Err(BatchError::Record(match rest.len() {
        10.. => DecodeError::VarintTooLong,
        left => DecodeError::Truncated { needed: left + 1, left },
    }))
}

#[cfg(test)]
#[path = "record_walk_tests.rs"]
mod tests;
