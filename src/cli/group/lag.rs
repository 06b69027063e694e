//! How far behind a group is: in records, and in seconds by the age of the next record to read.

use crate::cli::error::{CliError, check};
use crate::cli::leaders::Leaders;
use crate::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use crate::protocol::record_batch::CheckedBatch;

/// First version of Fetch that names topics by id.
const FIRST_WITH_IDS: i16 = 13;
/// The answer carries one whole batch however small this is.
const FETCH_BYTES: i32 = 1;

/// Timestamp in ms of the first record at or behind `offset`; `None` when it cannot be told.
pub(super) fn timestamp_at(
    leaders: &mut Leaders,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<Option<i64>, CliError> {
    let topic_id = leaders.topic.topic_id;
    let client = leaders.client(partition)?;
    let has_ids = client.version_of::<FetchRequest>()? >= FIRST_WITH_IDS;
    let asked = FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: FETCH_BYTES,
        ..FetchPartition::default()
    };
    let named = FetchTopic {
        topic: if has_ids { String::new() } else { topic.to_owned() },
        topic_id: if has_ids { topic_id } else { uuid::Uuid::nil() },
        partitions: vec![asked],
    };
    let request = FetchRequest {
        max_bytes: FETCH_BYTES,
        min_bytes: 0,
        topics: vec![named],
        ..FetchRequest::default()
    };
    let answer = client.call(&request)?;
    check("fetch", answer.error_code, None)?;
    let data = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
    // An offset that is not in the log any more has no record to tell the age of.
    let Some(data) = data.filter(|data| data.error_code == 0) else { return Ok(None) };
    let mut bytes = data.records.into_bytes();
    let Ok(batch) = CheckedBatch::check_first(&mut bytes) else { return Ok(None) };
    let Ok(records) = batch.decode_records() else { return Ok(None) };
    let timestamps =
        records.iter().flatten().filter(|own| own.offset >= offset).map(|own| own.timestamp_ms);
    Ok(timestamps.into_iter().next())
}
