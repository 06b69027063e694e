//! What a batch must satisfy before a partition takes it, and what the topic makes of its bytes,
//! as Kafka's validator has it.
//!
//! Bytes stay as sent unless the topic asks for something else (`compression.type` other than
//! `producer`, `LogAppendTime`) or the batch is not what its header says. What is asked of records
//! is in `record_rules.rs`.

use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::ids::{LeaderEpoch, Offset, ProducerEpoch};
use crate::model::topic_config::{CompressionPolicy, TimestampType, TopicConfig};
use crate::protocol::compression::Compression;
use crate::protocol::record::{
    BatchBuilder, BatchOptions, BuildError, DecodedRecords, NewRecord, ProducerStamp, Record,
};
use crate::protocol::record_batch::{self, BatchError, BatchHeader, CheckedBatch};
use crate::storage::record_rules::{self, RecordFault, RejectedRecords};

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
    #[error(transparent)]
    Records(#[from] RejectedRecords),
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
    #[error("batch is of epoch {epoch}, the log's last one of {}", .latest.map_or(-1, |it| it.0))]
    EpochFalls { epoch: i32, latest: Option<LeaderEpoch> },
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
            AppendError::Records(rejected) => rejected.kafka_code(),
            AppendError::FencedProducer { .. } => KafkaCode::InvalidProducerEpoch,
            AppendError::OutOfOrderSequence { .. } => KafkaCode::OutOfOrderSequenceNumber,
            AppendError::OutsideTransaction => KafkaCode::InvalidTxnState,
            AppendError::FencedCoordinator { .. } => KafkaCode::TransactionCoordinatorFenced,
            AppendError::OffsetMismatch { .. } | AppendError::EpochFalls { .. } => {
                KafkaCode::UnknownServerError
            }
            AppendError::Batch(error) => KafkaCode::from(error),
            AppendError::Recompress(_) => KafkaCode::MessageTooLarge,
        }
    }
}

impl AppendError {
    /// The records at fault by their place in the batch, where single ones are (KIP-467).
    pub fn into_record_errors(self) -> Vec<(i32, RecordFault)> {
        let AppendError::Records(rejected) = self else { return Vec::new() };
        rejected.into_named()
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
        batch.header().check_produced()?;
    }
    if batch.header().attributes().is_control() {
        return Ok(batch);
    }
    let target = target_compression(config.compression, batch.header())?;
    let batch = match context.origin {
        AppendOrigin::Client => record_rules::check(batch, config, context.now, target)?,
        AppendOrigin::Coordinator | AppendOrigin::Replication => match target {
            Some(target) => recompress(batch.header(), &batch.decode_records()?, target)?,
            None => return Ok(batch),
        },
    };
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

/// A codec and its level.
pub(super) type Target = (Compression, Option<i32>);

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

/// The same records, renumbered from 0, under another codec.
pub(super) fn recompress(
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
        ..BatchOptions::default()
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
