//! The batch that a run sends: built once, with its checksum.

use bytes::Bytes;
use highwater::protocol::primitive::{Sink, Writer};

use crate::clock::wall_ms;
use crate::failure::Failure;
use crate::schedule::Random;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Compression {
    None,
}

/// What a batch holds.
#[derive(Debug, Clone)]
pub(crate) struct BatchSpec {
    pub(crate) records: u64,
    /// Size of each record's value; there is no key.
    pub(crate) record_bytes: usize,
    /// Part of each value that is random, 0 to 100; the rest is zeros. Decides how far it can be
    /// compressed.
    pub(crate) random_percent: u8,
    pub(crate) compression: Compression,
    pub(crate) seed: u64,
}

/// Builds the batch, at base offset 0, with the time of now.
///
/// # Errors
/// More records or bytes than one batch can hold.
pub(crate) fn build_batch(spec: &BatchSpec) -> Result<Bytes, Failure> {
    let refusal = |reason: &str| Failure::Batch { reason: reason.to_owned() };
    let count = i32::try_from(spec.records).map_err(|_| refusal("too many records"))?;
    let mut random = Random::new(spec.seed);
    let mut body = Writer::new();
    let now = wall_ms();
    body.put_i16(0);
    body.put_i32(count - 1);
    body.put_i64(now);
    body.put_i64(now);
    body.put_i64(-1);
    body.put_i16(-1);
    body.put_i32(-1);
    body.put_i32(count);
    for delta in 0..count {
        let value = value(spec, &mut random);
        let mut record = Writer::new();
        record.put_i8(0);
        record.put_varlong(0);
        record.put_varint(delta);
        record.put_varint(-1);
        record.put_varint(i32::try_from(value.len()).map_err(|_| refusal("record too long"))?);
        record.put_slice(&value);
        record.put_varint(0);
        let record = record.finish().map_err(|_| refusal("record too long"))?.into_bytes();
        body.put_varint(i32::try_from(record.len()).map_err(|_| refusal("record too long"))?);
        body.put_slice(&record);
    }
    let body = body.finish().map_err(|_| refusal("batch too long"))?.into_bytes();
    let mut batch = Writer::new();
    batch.put_i64(0);
    batch.put_i32(i32::try_from(body.len() + 9).map_err(|_| refusal("batch too long"))?);
    batch.put_i32(-1);
    batch.put_i8(2);
    batch.put_u32(crc32c::crc32c(&body));
    batch.put_slice(&body);
    batch.finish().map(|frame| frame.into_bytes()).map_err(|_| refusal("batch too long"))
}

/// A value whose first part is random.
fn value(spec: &BatchSpec, random: &mut Random) -> Vec<u8> {
    let mut value = vec![0; spec.record_bytes];
    let random_bytes = spec.record_bytes * usize::from(spec.random_percent) / 100;
    for chunk in value[..random_bytes].chunks_mut(8) {
        chunk.copy_from_slice(&random.bits().to_le_bytes()[..chunk.len()]);
    }
    value
}
