//! What a producer's records must satisfy one by one, as Kafka's validator has it.
//!
//! An uncompressed batch is walked (`protocol/record_walk.rs`), which says in one pass whether all
//! is well. Compressed records are trusted behind their CRC and their codec's first bytes, unless
//! the topic is compacted, stores another codec, or asks for it (`highwater.records.check`);
//! timestamps are then judged by the header, first and largest
//! (`docs/decisions/005-records-on-the-way-in.md`).
//!
//! Invariants
//! - A refusal names the records at fault by their place, `RECORD_ERRORS_MAX` of them at most.
//! - What passes has dense offsets and the largest timestamp that its records have.

use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::limits::RECORD_ERRORS_MAX;
use crate::model::topic_config::{RecordsCheck, TimestampType, TopicConfig};
use crate::protocol::compression::{self, Compression};
use crate::protocol::record::{DecodedRecords, Record};
use crate::protocol::record_batch::{
    self, BATCH_HEADER_SIZE, BatchError, BatchHeader, CheckedBatch, NO_TIMESTAMP,
};
use crate::protocol::record_walk::{RecordsWalked, walk_records};
use crate::storage::append_check::{AppendError, Target, recompress};
use std::ops::RangeInclusive;

/// What is wrong with one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    #[error("no key, and the topic is compacted")]
    NullKey,
    #[error(
        "timestamp {timestamp_ms} is outside {min_ms}..={max_ms}, what \
         message.timestamp.before.max.ms and message.timestamp.after.max.ms allow now"
    )]
    Timestamp { timestamp_ms: i64, min_ms: i64, max_ms: i64 },
    #[error("a producer may not set log append time")]
    LogAppendTime,
}

/// Records that a topic does not take, and so none of their batch (KIP-467).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{count} records are refused; record {place} first: {fault}", place = .named[0].0, fault = .named[0].1)]
pub struct RejectedRecords {
    count: usize,
    /// Place within the batch, from 0; never empty.
    named: Vec<(i32, RecordFault)>,
}

impl RejectedRecords {
    /// What a producer is answered: a wrong time weighs more than a missing key, as in Kafka.
    pub fn kafka_code(&self) -> KafkaCode {
        let is_key = |fault: &(i32, RecordFault)| fault.1 == RecordFault::NullKey;
        match self.named.iter().all(is_key) {
            true => KafkaCode::InvalidRecord,
            false => KafkaCode::InvalidTimestamp,
        }
    }

    /// Records at fault by their place, the first of them.
    pub fn into_named(self) -> Vec<(i32, RecordFault)> {
        self.named
    }
}

/// What a topic asks of a record now.
struct Rules {
    needs_keys: bool,
    /// Milliseconds since 1970; `None` where the topic stamps its own.
    times_ms: Option<RangeInclusive<i64>>,
    is_log_append_time: bool,
}

impl Rules {
    fn new(header: &BatchHeader, config: &TopicConfig, now: Now) -> Rules {
        let is_create_time = config.timestamp_type == TimestampType::CreateTime;
        let times_ms = is_create_time.then(|| {
            now.wall_ms.saturating_sub(config.timestamp_before_max_ms)
                ..=now.wall_ms.saturating_add(config.timestamp_after_max_ms)
        });
        let is_stamped = is_log_append_time(header);
        let is_log_append_time = is_stamped && !is_create_time;
        Rules { needs_keys: config.cleanup.compact, times_ms, is_log_append_time }
    }

    fn allow(&self, walked: &RecordsWalked) -> bool {
        let times = [walked.min_timestamp_ms.unwrap_or(NO_TIMESTAMP), walked.max_timestamp_ms];
        times.into_iter().all(|time| self.allow_time(time))
            && (walked.has_keys || !self.needs_keys)
            && !self.is_log_append_time
    }

    /// -1 is "no timestamp", which always passes.
    fn allow_time(&self, timestamp_ms: i64) -> bool {
        let range = self.times_ms.as_ref();
        timestamp_ms == NO_TIMESTAMP || range.is_none_or(|range| range.contains(&timestamp_ms))
    }

    fn fault(&self, record: &Record<'_>) -> Option<RecordFault> {
        let timestamp_ms = record.timestamp_ms;
        if self.needs_keys && record.key.is_none() {
            return Some(RecordFault::NullKey);
        }
        if !self.allow_time(timestamp_ms) {
            let range = self.times_ms.clone().unwrap_or(i64::MIN..=i64::MAX);
            let (min_ms, max_ms) = (*range.start(), *range.end());
            return Some(RecordFault::Timestamp { timestamp_ms, min_ms, max_ms });
        }
        self.is_log_append_time.then_some(RecordFault::LogAppendTime)
    }

    /// The records at fault; there are some, or the walk would have let them pass.
    fn reject(&self, records: &DecodedRecords) -> Result<RejectedRecords, BatchError> {
        let mut rejected = RejectedRecords { count: 0, named: Vec::new() };
        for (place, record) in (0i32..).zip(records.iter()) {
            if let Some(fault) = self.fault(&record?) {
                rejected.count += 1;
                if rejected.named.len() < RECORD_ERRORS_MAX {
                    rejected.named.push((place, fault));
                }
            }
        }
        assert!(rejected.count > 0);
        Ok(rejected)
    }
}

/// Checks the records of a producer's batch; returns it as it is to be stored, but for the stamp.
pub(super) fn check(
    batch: CheckedBatch,
    config: &TopicConfig,
    now: Now,
    target: Option<Target>,
) -> Result<CheckedBatch, AppendError> {
    let header = batch.header();
    let codec = header.attributes().compression()?;
    let payload = &batch.bytes()[BATCH_HEADER_SIZE..];
    let rules = Rules::new(header, config, now);
    if codec == Compression::None {
        let walked = walk_records(header, payload)?;
        if !rules.allow(&walked) {
            return Err(rules.reject(&batch.decode_records()?)?.into());
        }
        if target.is_none() && walked.is_dense {
            return Ok(with_true_times(batch, &walked));
        }
    } else if !compression::begins_as(codec, payload) {
        return Err(BatchError::NotCompressed { codec }.into());
    } else if target.is_none() && is_trusted(header, config, &rules) {
        return Ok(batch);
    }
    check_decoded(batch, &rules, target.unwrap_or((codec, None)))
}

fn is_log_append_time(header: &BatchHeader) -> bool {
    header.attributes().timestamp_type() == record_batch::TimestampType::LogAppendTime
}

/// The header alone answers for compressed records.
fn is_trusted(header: &BatchHeader, config: &TopicConfig, rules: &Rules) -> bool {
    config.records_check == RecordsCheck::Uncompressed
        && !rules.needs_keys
        && !is_log_append_time(header)
        && rules.allow_time(header.base_timestamp())
        && rules.allow_time(header.max_timestamp())
}

/// The way of batches whose records must be read: stored anew only when their codec or offsets
/// change.
fn check_decoded(
    batch: CheckedBatch,
    rules: &Rules,
    (codec, level): Target,
) -> Result<CheckedBatch, AppendError> {
    let header = batch.header();
    let records = batch.decode_records()?;
    let walked = walk_records(header, records.bytes())?;
    if !rules.allow(&walked) {
        return Err(rules.reject(&records)?.into());
    }
    if walked.is_dense && header.attributes().compression()? == codec {
        return Ok(with_true_times(batch, &walked));
    }
    recompress(header, &records, (codec, level))
}

/// The batch with the largest timestamp that its records have, which is what it says nearly always.
fn with_true_times(batch: CheckedBatch, walked: &RecordsWalked) -> CheckedBatch {
    let header = batch.header();
    match header.max_timestamp() == walked.max_timestamp_ms && !is_log_append_time(header) {
        true => batch,
        false => batch.with_max_timestamp(walked.max_timestamp_ms),
    }
}
