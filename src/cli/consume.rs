//! `highwater consume`: the records of a topic to the terminal, in a format of the user's choice.

use crate::cli::args::ConsumeOptions;
use crate::cli::error::{CliError, check};
use crate::cli::leaders::Leaders;
use crate::cli::offsets;
use crate::cli::output;
use crate::cli::record_format;
use crate::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use crate::protocol::record::Record;
use crate::protocol::record_batch::{BatchError, CheckedBatch};
use std::io::{self, Write};
use std::path::PathBuf;

const FETCH_BYTES: i32 = 8 * 1024 * 1024;
const PARTITION_BYTES: i32 = 1024 * 1024;
/// How long a fetch may wait for records when following.
const WAIT_MS: i32 = 500;
/// First version of Fetch that names topics by id.
const FIRST_WITH_IDS: i16 = 13;

/// Where one partition stands.
struct Position {
    partition: i32,
    next: i64,
    /// Where to stop unless following.
    end: i64,
}

/// Prints records until the end, the count, or for ever.
pub(crate) fn run(options: &ConsumeOptions) -> Result<(), CliError> {
    let mut leaders = Leaders::find(&options.target.bootstrap, &options.topic, false)?;
    let mut positions = positions(&mut leaders, options)?;
    let mut left = options.count.unwrap_or(u64::MAX);
    let mut out = io::BufWriter::new(output::writer());
    while left > 0 {
        if !options.follow {
            positions.retain(|position| position.next < position.end);
        }
        if positions.is_empty() {
            break;
        }
        for position in &mut positions {
            pass(&mut leaders, options, position, &mut left, &mut out)?;
        }
        flush(&mut out)?;
    }
    flush(&mut out)
}

fn flush(out: &mut impl Write) -> Result<(), CliError> {
    out.flush().map_err(output_error)
}

fn output_error(source: io::Error) -> CliError {
    CliError::File { path: PathBuf::from("standard output"), source }
}

fn positions(leaders: &mut Leaders, options: &ConsumeOptions) -> Result<Vec<Position>, CliError> {
    let topic = &options.topic;
    for partition in &options.partition {
        leaders.require(topic, *partition)?;
    }
    let all: Vec<i32> = leaders.topic.partitions.iter().map(|p| p.partition_index).collect();
    let mut positions = Vec::new();
    for partition in all {
        if !options.partition.is_empty() && !options.partition.contains(&partition) {
            continue;
        }
        let end = offsets::at(leaders, topic, partition, offsets::LATEST)?;
        let next = start(leaders, options, partition, end)?;
        positions.push(Position { partition, next, end });
    }
    Ok(positions)
}

/// Reads `--from`.
fn start(
    leaders: &mut Leaders,
    options: &ConsumeOptions,
    partition: i32,
    end: i64,
) -> Result<i64, CliError> {
    let topic = &options.topic;
    let usage = || CliError::Usage {
        flag: "--from",
        value: options.from.clone(),
        expected: "must be start, end, an offset, -N for the last N, or @MS for a time",
    };
    let first = |leaders: &mut Leaders| offsets::at(leaders, topic, partition, offsets::EARLIEST);
    match options.from.as_str() {
        "start" => first(leaders),
        "end" => Ok(end),
        text if text.starts_with('@') => {
            let timestamp_ms = text[1..].parse::<u32>().map(i64::from);
            let timestamp_ms = timestamp_ms.or_else(|_| text[1..].parse::<i64>());
            let timestamp_ms = timestamp_ms.map_err(|_| usage())?;
            match offsets::at(leaders, topic, partition, timestamp_ms.max(0))? {
                -1 => Ok(end),
                offset => Ok(offset),
            }
        }
        text => match text.parse::<i64>().map_err(|_| usage())? {
            last if last < 0 => Ok((end + last).max(first(leaders)?)),
            offset => Ok(offset),
        },
    }
}

fn pass(
    leaders: &mut Leaders,
    options: &ConsumeOptions,
    position: &mut Position,
    left: &mut u64,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let response = fetch(leaders, options, position)?;
    check("fetch", response.error_code, None)?;
    for data in response.responses.into_iter().flat_map(|topic| topic.partitions) {
        let what = format!("{}/{}", options.topic, position.partition);
        check(&what, data.error_code, None)?;
        let mut bytes = data.records.into_bytes();
        while !bytes.is_empty() && *left > 0 {
            let batch = match CheckedBatch::check_first(&mut bytes) {
                Ok(batch) => batch,
                Err(BatchError::Truncated { .. }) => break,
                Err(error) => return Err(damaged(&what, &error)),
            };
            print_batch(&batch, options, position, left, out)
                .map_err(|error| error.into_cli(&what))?;
        }
    }
    Ok(())
}

/// Why a batch was not printed.
enum PrintError {
    Batch(BatchError),
    Output(io::Error),
}

impl PrintError {
    fn into_cli(self, what: &str) -> CliError {
        match self {
            PrintError::Batch(error) => damaged(what, &error),
            PrintError::Output(source) => output_error(source),
        }
    }
}

fn damaged(what: &str, error: &BatchError) -> CliError {
    CliError::Refused { what: what.to_owned(), code: error.into(), text: error.to_string() }
}

fn print_batch(
    batch: &CheckedBatch,
    options: &ConsumeOptions,
    position: &mut Position,
    left: &mut u64,
    out: &mut impl Write,
) -> Result<(), PrintError> {
    let is_control = batch.header().attributes().is_control();
    let records = batch.decode_records().map_err(PrintError::Batch)?;
    for record in records.iter() {
        let record: Record<'_> = record.map_err(PrintError::Batch)?;
        let is_wanted = record.offset >= position.next && !is_control;
        let is_past_end = !options.follow && record.offset >= position.end;
        if !is_wanted || is_past_end || *left == 0 {
            continue;
        }
        let (topic, partition) = (options.topic.as_str(), position.partition);
        let line = if options.json {
            record_format::json(topic, partition, &record)
        } else {
            record_format::text(&options.format, topic, partition, &record)
        };
        out.write_all(&line).map_err(PrintError::Output)?;
        *left -= 1;
    }
    position.next = position.next.max(batch.header().last_offset() + 1);
    Ok(())
}

fn fetch(
    leaders: &mut Leaders,
    options: &ConsumeOptions,
    position: &Position,
) -> Result<FetchResponse, CliError> {
    let topic_id = leaders.topic.topic_id;
    let client = leaders.client(position.partition)?;
    let has_ids = client.version_of::<FetchRequest>()? >= FIRST_WITH_IDS;
    let partition = FetchPartition {
        partition: position.partition,
        fetch_offset: position.next,
        partition_max_bytes: PARTITION_BYTES,
        ..FetchPartition::default()
    };
    let topic = FetchTopic {
        topic: if has_ids { String::new() } else { options.topic.clone() },
        topic_id: if has_ids { topic_id } else { uuid::Uuid::nil() },
        partitions: vec![partition],
    };
    client.call(&FetchRequest {
        max_wait_ms: WAIT_MS,
        min_bytes: 1,
        max_bytes: FETCH_BYTES,
        topics: vec![topic],
        ..FetchRequest::default()
    })
}
