//! What a batch must satisfy before a partition takes it, and what the topic makes of its bytes,
//! as Kafka's validator has it.
//!
//! Bytes stay as sent unless the topic asks for something else: only `compression.type` other than
//! `producer`, `LogAppendTime` and compaction look beyond the header. Timestamps are judged by the
//! header (first and largest), not record by record.

use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::ids::{LeaderEpoch, Offset, ProducerEpoch};
use crate::model::topic_config::{CompressionPolicy, TimestampType, TopicConfig};
use crate::protocol::compression::Compression;
use crate::protocol::record::{
    BatchBuilder, BatchOptions, BuildError, DecodedRecords, NewRecord, ProducerStamp, Record,
};
use crate::protocol::record_batch::{self, BatchError, BatchHeader, CheckedBatch};

/// Who hands a batch to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer: every rule holds.
    Client,
    /// A group or transaction coordinator of this broker: control batches are allowed, sequences
    /// are not looked at, epochs are.
    Coordinator,
    /// The leader, or our own journal: offsets and epochs are in the batch, nothing is judged.
    Replication,
}

/// What an append needs to know beside the batch.
#[derive(Debug, Clone, Copy)]
pub struct AppendContext {
    /// Stamped into the batch, unless it is a replica's.
    pub leader_epoch: LeaderEpoch,
    pub now: Now,
    pub origin: AppendOrigin,
}

/// Why a batch was not appended. The log is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("batch of {size} bytes is above max.message.bytes, which is {size_max}")]
    TooLarge { size: usize, size_max: u32 },
    #[error("batch of {size} bytes is above segment.bytes, which is {segment_bytes}")]
    LargerThanSegment { size: usize, segment_bytes: u32 },
    #[error(
        "timestamp {timestamp_ms} is outside {min_ms}..={max_ms}, what \
         message.timestamp.before.max.ms and message.timestamp.after.max.ms allow now"
    )]
    Timestamp { timestamp_ms: i64, min_ms: i64, max_ms: i64 },
    #[error("record {index} has no key, and the topic is compacted")]
    NullKey { index: usize },
    #[error("producer epoch {epoch} is older than {current}", epoch = .epoch.0, current = .current.0)]
    FencedProducer { epoch: ProducerEpoch, current: ProducerEpoch },
    #[error("sequence {sequence} does not follow: {expected} was expected")]
    OutOfOrderSequence { sequence: i32, expected: i32 },
    #[error("the producer has an open transaction, and the batch is not part of one")]
    OutsideTransaction,
    #[error("transaction coordinator epoch {epoch} is older than {current}")]
    FencedCoordinator { epoch: i32, current: i32 },
    #[error("batch begins at offset {base_offset}, the log ends at {log_end}")]
    OffsetMismatch { base_offset: i64, log_end: Offset },
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Recompress(#[from] BuildError),
}

impl AppendError {
    /// What a producer is answered.
    pub fn kafka_code(&self) -> KafkaCode {
        match self {
            AppendError::TooLarge { .. } => KafkaCode::MessageTooLarge,
            AppendError::LargerThanSegment { .. } => KafkaCode::RecordListTooLarge,
            AppendError::Timestamp { .. } => KafkaCode::InvalidTimestamp,
            AppendError::NullKey { .. } => KafkaCode::InvalidRecord,
            AppendError::FencedProducer { .. } => KafkaCode::InvalidProducerEpoch,
            AppendError::OutOfOrderSequence { .. } => KafkaCode::OutOfOrderSequenceNumber,
            AppendError::OutsideTransaction => KafkaCode::InvalidTxnState,
            AppendError::FencedCoordinator { .. } => KafkaCode::TransactionCoordinatorFenced,
            AppendError::OffsetMismatch { .. } => KafkaCode::UnknownServerError,
            AppendError::Batch(error) => KafkaCode::from(error),
            AppendError::Recompress(_) => KafkaCode::MessageTooLarge,
        }
    }
}

/// Checks a batch against its topic; returns it as it is to be stored, but for the stamp.
pub(super) fn check(
    batch: CheckedBatch,
    config: &TopicConfig,
    context: &AppendContext,
) -> Result<CheckedBatch, AppendError> {
    if context.origin == AppendOrigin::Replication {
        return Ok(batch);
    }
    check_size(&batch, config)?;
    if context.origin == AppendOrigin::Client {
        check_client(batch.header())?;
    }
    if config.timestamp_type == TimestampType::CreateTime {
        check_timestamps(batch.header(), config, context.now.wall_ms)?;
    }
    let target = target_compression(config.compression, batch.header())?;
    let is_control = batch.header().attributes().is_control();
    if is_control || (target.is_none() && !config.cleanup.compact) {
        return Ok(batch);
    }
    let records = batch.decode_records()?;
    if config.cleanup.compact {
        check_keys(&records)?;
    }
    let Some(target) = target else { return Ok(batch) };
    let batch = recompress(batch.header(), &records, target)?;
    check_size(&batch, config)?;
    Ok(batch)
}

fn check_size(batch: &CheckedBatch, config: &TopicConfig) -> Result<(), AppendError> {
    let size = batch.bytes().len();
    if size > config.max_message_bytes as usize {
        return Err(AppendError::TooLarge { size, size_max: config.max_message_bytes });
    }
    if size > config.segment_bytes as usize {
        let segment_bytes = config.segment_bytes;
        return Err(AppendError::LargerThanSegment { size, segment_bytes });
    }
    Ok(())
}

/// Again what `CheckedBatch::check_produced` holds a client to: the log must not depend on which
/// check its caller chose.
fn check_client(header: &BatchHeader) -> Result<(), AppendError> {
    if header.attributes().is_control() {
        return Err(BatchError::ControlFromClient.into());
    }
    let (count, last_offset_delta) = (header.record_count(), header.last_offset_delta());
    if count == 0 || count - 1 != last_offset_delta {
        return Err(BatchError::RecordCount { count, last_offset_delta }.into());
    }
    Ok(())
}

fn check_timestamps(
    header: &BatchHeader,
    config: &TopicConfig,
    now_ms: i64,
) -> Result<(), AppendError> {
    let min_ms = now_ms.saturating_sub(config.timestamp_before_max_ms);
    let max_ms = now_ms.saturating_add(config.timestamp_after_max_ms);
    for timestamp_ms in [header.base_timestamp(), header.max_timestamp()] {
        // -1 is "no timestamp", which Kafka lets pass.
        if timestamp_ms != -1 && !(min_ms..=max_ms).contains(&timestamp_ms) {
            return Err(AppendError::Timestamp { timestamp_ms, min_ms, max_ms });
        }
    }
    Ok(())
}

fn check_keys(records: &DecodedRecords) -> Result<(), AppendError> {
    for (index, record) in records.iter().enumerate() {
        if record?.key.is_none() {
            return Err(AppendError::NullKey { index });
        }
    }
    Ok(())
}

/// A codec and its level.
type Target = (Compression, Option<i32>);

/// The codec to store with, where it is not the one the batch has.
fn target_compression(
    policy: CompressionPolicy,
    header: &BatchHeader,
) -> Result<Option<Target>, BatchError> {
    let current = header.attributes().compression()?;
    let target = match policy {
        CompressionPolicy::Producer => return Ok(None),
        CompressionPolicy::Uncompressed => (Compression::None, None),
        CompressionPolicy::Gzip { level } => {
            (Compression::Gzip, level.and_then(|level| i32::try_from(level).ok()))
        }
        CompressionPolicy::Snappy => (Compression::Snappy, None),
        CompressionPolicy::Lz4 => (Compression::Lz4, None),
        CompressionPolicy::Zstd { level } => (Compression::Zstd, Some(level)),
    };
    Ok(Some(target).filter(|(codec, _)| *codec != current))
}

fn recompress(
    header: &BatchHeader,
    records: &DecodedRecords,
    (compression, compression_level): Target,
) -> Result<CheckedBatch, AppendError> {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: header.base_offset(),
        leader_epoch: header.leader_epoch(),
        compression,
        compression_level,
        producer: ProducerStamp {
            producer_id: header.producer_id(),
            producer_epoch: header.producer_epoch(),
            base_sequence: header.base_sequence(),
        },
        is_transactional: header.attributes().is_transactional(),
        is_control: false,
    });
    for record in records.iter() {
        let Record { timestamp_ms, key, value, headers, .. } = record?;
        builder.push(&NewRecord { timestamp_ms, key, value, headers: &headers })?;
    }
    let mut bytes = builder.build()?;
    Ok(CheckedBatch::check_first(&mut bytes)?)
}

/// The header to store, with the time to answer when the topic stamps its own.
pub(super) fn stamp(
    batch: &CheckedBatch,
    base_offset: Offset,
    config: &TopicConfig,
    context: &AppendContext,
) -> (BatchHeader, Option<i64>) {
    if context.origin == AppendOrigin::Replication {
        return (*batch.header(), None);
    }
    let (offset, epoch) = (base_offset.to_wire(), context.leader_epoch.0);
    let is_create_time = config.timestamp_type == TimestampType::CreateTime;
    // A marker's time is the coordinator's, whatever the topic says.
    if is_create_time || batch.header().attributes().is_control() {
        return (batch.stamped_header(offset, epoch), None);
    }
    let now_ms = context.now.wall_ms;
    (batch.stamped_header_at(offset, epoch, now_ms), Some(now_ms))
}

/// True when the batch's producer keeps sequence numbers.
pub(super) fn has_producer(header: &BatchHeader) -> bool {
    header.producer_id() != record_batch::NO_PRODUCER
}
