//! Offsets of partitions by ListOffsets: first, end, and by time.

use crate::cli::error::{CliError, check};
use crate::cli::leaders::Leaders;
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};

/// ListOffsets' special timestamps.
pub(crate) const LATEST: i64 = -1;
pub(crate) const EARLIEST: i64 = -2;

/// The offset at a timestamp in ms, or at one of the special ones; -1 when there is none.
pub(crate) fn at(
    leaders: &mut Leaders,
    topic: &str,
    partition: i32,
    timestamp: i64,
) -> Result<i64, CliError> {
    let asked = ListOffsetsPartition {
        partition_index: partition,
        timestamp,
        ..ListOffsetsPartition::default()
    };
    let named = ListOffsetsTopic { name: topic.to_owned(), partitions: vec![asked] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![named], ..Default::default() };
    let answer = leaders.client(partition)?.call(&request)?;
    let found = answer.topics.iter().flat_map(|topic| &topic.partitions).next();
    let found = found.ok_or_else(|| CliError::NoTopic { topic: topic.to_owned() })?;
    check(&format!("{topic}/{partition}"), found.error_code, None)?;
    Ok(found.offset)
}

/// First and end offset of every partition, in partition order; `None` where nobody can tell,
/// because the partition has no leader or that is not reached.
pub(crate) fn first_and_last(
    leaders: &mut Leaders,
    topic: &str,
) -> Result<Vec<Option<(i64, i64)>>, CliError> {
    let partitions: Vec<i32> =
        leaders.topic.partitions.iter().map(|partition| partition.partition_index).collect();
    let ends = partitions.into_iter().map(|partition| {
        let first = at(leaders, topic, partition, EARLIEST);
        let ends = first.and_then(|first| Ok((first, at(leaders, topic, partition, LATEST)?)));
        match ends {
            Ok(ends) => Ok(Some(ends)),
            Err(error) if error.is_of_leader() => Ok(None),
            Err(error) => Err(error),
        }
    });
    ends.collect()
}
