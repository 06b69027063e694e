//! Kafka's record formats of `__transaction_state` (TransactionLogKey, TransactionLogValue), so
//! that Kafka's tools read it. A key and a value begin with an i16 that says their version.
//!
//! ```text
//! key     0  transactional id string
//! value   0  producer id i64 · epoch i16 · timeout i32 · state i8
//!            · partitions [topic string · numbers [i32]]? · updated i64 · started i64
//!         1  the same with compact lengths, and tagged: 0 previous producer id i64,
//!            1 next producer id i64, 2 version of the client's transaction protocol i16
//! ```
//! Both are read, 1 is written, as Kafka 4.1 does. A null value is a tombstone.

use super::metadata::{Flow, NO_EPOCH, Partitions, TransactionMetadata, TransactionState};
use crate::coordinator::replayed::KeyValue;
use crate::model::ids::{ProducerEpoch, ProducerId};
use crate::protocol::primitive::{DecodeError, EncodeError, LengthForm, Reader, Sink, Writer};
use bytes::Bytes;

const KEY_VERSION: i16 = 0;
/// What is written; the first one with tagged fields.
const VALUE_VERSION: i16 = 1;

const PREVIOUS_PRODUCER_ID: u32 = 0;
const NEXT_PRODUCER_ID: u32 = 1;
const CLIENT_VERSION: u32 = 2;

/// Bytes of the smallest topic: an empty name and no numbers, in compact form.
const TOPIC_SIZE_MIN: usize = 2;

/// One record: what a transactional id came to, or that it is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRecord {
    pub transactional_id: String,
    pub metadata: Option<TransactionMetadata>,
}

impl TransactionRecord {
    /// The record's bytes.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] for an id above 32,767 bytes, which requests cannot bring in.
    pub fn encode(&self) -> Result<KeyValue, EncodeError> {
        let mut key = Writer::new();
        key.put_i16(KEY_VERSION);
        key.put_nullable_str(Some(&self.transactional_id), LengthForm::Fixed)?;
        let value = self.metadata.as_ref().map(encode_value).transpose()?;
        Ok(KeyValue { key: key.into_bytes()?, value })
    }

    /// Reads a record back; `None` for keys of a later version, as Kafka does.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not what their first number says.
    pub fn decode(
        key: &Bytes,
        value: Option<&Bytes>,
    ) -> Result<Option<TransactionRecord>, DecodeError> {
        let mut reader = Reader::new(key);
        if reader.get_i16()? != KEY_VERSION {
            return Ok(None);
        }
        let transactional_id = reader.get_str(LengthForm::Fixed)?.to_owned();
        let metadata = value.map(decode_value).transpose()?;
        Ok(Some(TransactionRecord { transactional_id, metadata }))
    }
}

fn encode_value(metadata: &TransactionMetadata) -> Result<Bytes, EncodeError> {
    const FORM: LengthForm = LengthForm::Compact;
    let mut writer = Writer::new();
    writer.put_i16(VALUE_VERSION);
    writer.put_i64(metadata.producer_id.0);
    writer.put_i16(metadata.epoch.0);
    writer.put_i32(metadata.timeout_ms);
    writer.put_i8(state_number(metadata.state));
    if metadata.state == TransactionState::Empty {
        writer.put_length(None, FORM)?;
    } else {
        writer.put_length(Some(metadata.partitions.len()), FORM)?;
    }
    for (topic, numbers) in &metadata.partitions {
        writer.put_nullable_str(Some(topic), FORM)?;
        writer.put_length(Some(numbers.len()), FORM)?;
        for number in numbers {
            writer.put_i32(*number);
        }
        writer.put_unsigned_varint(0);
    }
    writer.put_i64(metadata.updated_ms);
    writer.put_i64(metadata.started_ms);
    put_tags(&mut writer, metadata);
    writer.into_bytes()
}

/// Tagged fields that differ from their defaults, in the order of their tags.
fn put_tags(writer: &mut Writer, metadata: &TransactionMetadata) {
    let ids = [
        (PREVIOUS_PRODUCER_ID, metadata.previous_producer_id),
        (NEXT_PRODUCER_ID, metadata.next_producer_id),
    ];
    let ids: Vec<(u32, ProducerId)> =
        ids.into_iter().filter_map(|(tag, id)| Some((tag, id?))).collect();
    let version = metadata.flow.version();
    let count = ids.len() + usize::from(version != 0);
    writer.put_unsigned_varint(u32::try_from(count).expect("at most three"));
    for (tag, ProducerId(id)) in ids {
        writer.put_unsigned_varint(tag);
        writer.put_unsigned_varint(8);
        writer.put_i64(id);
    }
    if version != 0 {
        writer.put_unsigned_varint(CLIENT_VERSION);
        writer.put_unsigned_varint(2);
        writer.put_i16(version);
    }
}

fn decode_value(value: &Bytes) -> Result<TransactionMetadata, DecodeError> {
    let mut reader = Reader::new(value);
    let version = reader.get_i16()?;
    let form = match version {
        0 => LengthForm::Fixed,
        1 => LengthForm::Compact,
        version => {
            return Err(DecodeError::UnsupportedVersion { api: "TransactionLogValue", version });
        }
    };
    let mut metadata = TransactionMetadata {
        producer_id: ProducerId(reader.get_i64()?),
        previous_producer_id: None,
        next_producer_id: None,
        epoch: ProducerEpoch(reader.get_i16()?),
        last_epoch: NO_EPOCH,
        timeout_ms: reader.get_i32()?,
        state: state_of(reader.get_i8()?)?,
        partitions: get_partitions(&mut reader, form)?,
        updated_ms: reader.get_i64()?,
        started_ms: reader.get_i64()?,
        flow: Flow::EpochPerProducer,
    };
    if form == LengthForm::Compact {
        reader.get_tagged_fields(|tag, field| {
            match tag {
                PREVIOUS_PRODUCER_ID => metadata.previous_producer_id = id_of(field.get_i64()?),
                NEXT_PRODUCER_ID => metadata.next_producer_id = id_of(field.get_i64()?),
                CLIENT_VERSION => metadata.flow = Flow::from_version(field.get_i16()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
    }
    if metadata.epoch <= NO_EPOCH {
        let (api, version) = ("TransactionLogValue.ProducerEpoch", metadata.epoch.0);
        return Err(DecodeError::UnsupportedVersion { api, version });
    }
    Ok(metadata)
}

fn get_partitions(reader: &mut Reader<'_>, form: LengthForm) -> Result<Partitions, DecodeError> {
    let mut partitions = Partitions::new();
    let topics = reader.get_nullable_count(form, TOPIC_SIZE_MIN)?.unwrap_or(0);
    for _ in 0..topics {
        let topic = reader.get_str(form)?.to_owned();
        let numbers = partitions.entry(topic).or_default();
        for _ in 0..reader.get_count(form, 4)? {
            numbers.insert(reader.get_i32()?);
        }
        if form == LengthForm::Compact {
            reader.skip_tagged_fields()?;
        }
    }
    Ok(partitions)
}

fn id_of(wire: i64) -> Option<ProducerId> {
    (wire >= 0).then_some(ProducerId(wire))
}

fn state_number(state: TransactionState) -> i8 {
    let index = TransactionState::ALL.iter().position(|other| *other == state);
    index.and_then(|index| i8::try_from(index).ok()).expect("all states are listed")
}

fn state_of(number: i8) -> Result<TransactionState, DecodeError> {
    let index = usize::try_from(number).unwrap_or(usize::MAX);
    let state = TransactionState::ALL.get(index).copied();
    // The last two are over within a step: no log has them.
    let is_kept = |state: &TransactionState| {
        !matches!(state, TransactionState::Dead | TransactionState::PrepareEpochFence)
    };
    state.filter(is_kept).ok_or(DecodeError::UnsupportedVersion {
        api: "TransactionLogValue.TransactionStatus",
        version: i16::from(number),
    })
}
