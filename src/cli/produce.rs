//! `highwater produce`: standard input to a topic, one record per line, in batches per partition.

use crate::cli::args::{AcksArg, Codec, ProduceOptions};
use crate::cli::error::{CliError, check};
use crate::cli::leaders::Leaders;
use crate::cli::topic::key_value;
use crate::model::limits::FRAME_BYTES_MAX;
use crate::protocol::compression::Compression;
use crate::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use crate::protocol::partitioner;
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord, RecordHeader};
use crate::protocol::records::Records;
use std::io::{self, BufRead, Read, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of records in one batch before it is sent.
const BATCH_BYTES: usize = 256 * 1024;
/// Longest line: a request cannot hold more.
const LINE_BYTES_MAX: usize = FRAME_BYTES_MAX;
const TIMEOUT_MS: i32 = 30_000;
/// First version of Produce that names topics by id.
const FIRST_WITH_IDS: i16 = 13;

/// Reads lines until the end and sends them.
pub(crate) fn run(options: &ProduceOptions) -> Result<(), CliError> {
    let leaders = Leaders::find(&options.target.bootstrap, &options.topic, true)?;
    if let Some(partition) = options.partition {
        leaders.require(&options.topic, partition)?;
    }
    let mut headers = Vec::new();
    for text in &options.headers {
        headers.push(key_value("--header", text)?);
    }
    let mut sender = Sender { options, headers, leaders, batches: Vec::new(), turn: 0, sent: 0 };
    sender.batches.resize_with(sender.leaders.count(), || None);
    let mut input = io::stdin().lock();
    let mut number = 0;
    let end = loop {
        number += 1;
        match next_line(&mut input, number, LINE_BYTES_MAX) {
            Ok(Some(line)) => sender.add(&line)?,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    // What came before a line that cannot be sent is not lost with it.
    sender.flush_all()?;
    end?;
    // A closed terminal does not undo what was produced.
    let _ = writeln!(io::stderr(), "produced {} records to {}", sender.sent, options.topic);
    Ok(())
}

/// The next line without its end; `None` behind the last one.
fn next_line(
    input: &mut impl BufRead,
    number: u64,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, CliError> {
    let mut line = Vec::new();
    // With room for the end of the line.
    let read = input.take(bytes_max as u64 + 2).read_until(b'\n', &mut line);
    read.map_err(|source| CliError::File { path: PathBuf::from("standard input"), source })?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_some() {
        line.pop_if(|last| *last == b'\r');
    }
    if line.len() > bytes_max {
        return Err(CliError::LineTooLong { number, bytes_max });
    }
    Ok(Some(line))
}

struct Sender<'a> {
    options: &'a ProduceOptions,
    headers: Vec<(&'a str, &'a str)>,
    leaders: Leaders,
    /// The open batch of each partition.
    batches: Vec<Option<BatchBuilder>>,
    /// Partition for the next record without a key.
    turn: usize,
    sent: u64,
}

impl Sender<'_> {
    fn add(&mut self, line: &[u8]) -> Result<(), CliError> {
        let options = self.options;
        let (key, value) = match (&options.key, &options.key_separator) {
            (Some(key), _) => (Some(key.as_bytes()), line),
            (None, Some(separator)) => split(line, separator.as_bytes()),
            (None, None) => (None, line),
        };
        let index = self.partition_of(key);
        let codec = compression(options.compression);
        let headers: Vec<RecordHeader<'_>> = self
            .headers
            .iter()
            .map(|(name, value)| RecordHeader {
                key: name.as_bytes(),
                value: Some(value.as_bytes()),
            })
            .collect();
        let batch = self.batches[index].get_or_insert_with(|| {
            BatchBuilder::new(BatchOptions { compression: codec, ..BatchOptions::default() })
        });
        let record =
            NewRecord { timestamp_ms: now_ms(), key, value: Some(value), headers: &headers };
        batch.push(&record).expect("BATCH_BYTES is far below an int32");
        if batch.size() >= BATCH_BYTES {
            self.flush(index)?;
        }
        Ok(())
    }

    fn partition_of(&mut self, key: Option<&[u8]>) -> usize {
        let count = self.leaders.count();
        if let Some(partition) = self.options.partition {
            return usize::try_from(partition).expect("Leaders::require has looked");
        }
        if let Some(key) = key {
            return partitioner::partition_of(key, count);
        }
        self.turn = (self.turn + 1) % count;
        self.turn
    }

    fn flush_all(&mut self) -> Result<(), CliError> {
        (0..self.batches.len()).try_for_each(|index| self.flush(index))
    }

    fn flush(&mut self, index: usize) -> Result<(), CliError> {
        let Some(batch) = self.batches[index].take() else { return Ok(()) };
        let count = u64::try_from(batch.record_count()).unwrap_or(0);
        let bytes = batch.build().expect("the batch is far below an int32");
        let partition = self.leaders.topic.partitions[index].partition_index;
        let topic_id = self.leaders.topic.topic_id;
        let client = self.leaders.client(partition)?;
        let has_ids = client.version_of::<ProduceRequest>()? >= FIRST_WITH_IDS;
        let data = PartitionProduceData { index: partition, records: Records::from(bytes) };
        let topic = TopicProduceData {
            name: if has_ids { String::new() } else { self.options.topic.clone() },
            topic_id: if has_ids { topic_id } else { uuid::Uuid::nil() },
            partition_data: vec![data],
        };
        let request = ProduceRequest {
            transactional_id: None,
            acks: acks(self.options.acks),
            timeout_ms: TIMEOUT_MS,
            topic_data: vec![topic],
        };
        if self.options.acks == AcksArg::None {
            client.send_only(&request)?;
        } else {
            let response: ProduceResponse = client.call(&request)?;
            for result in response.responses.iter().flat_map(|topic| &topic.partition_responses) {
                let what = format!("{}/{partition}", self.options.topic);
                check(&what, result.error_code, result.error_message.as_deref())?;
            }
        }
        self.sent += count;
        Ok(())
    }
}

fn split<'a>(line: &'a [u8], separator: &[u8]) -> (Option<&'a [u8]>, &'a [u8]) {
    let found = (!separator.is_empty())
        .then(|| line.windows(separator.len()).position(|window| window == separator))
        .flatten();
    match found {
        Some(at) => (Some(&line[..at]), &line[at + separator.len()..]),
        None => (None, line),
    }
}

fn acks(acks: AcksArg) -> i16 {
    match acks {
        AcksArg::None => 0,
        AcksArg::Leader => 1,
        AcksArg::All => -1,
    }
}

fn compression(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "records carry the wall clock; no simulator runs a command"
)]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_to_their_end_and_no_further_than_a_request_can_hold() {
        let mut input = &b"ab\r\n\nabcd\nabcde\nab"[..];
        let mut number = 0;
        let mut next = || {
            number += 1;
            next_line(&mut input, number, 4)
        };
        for line in [&b"ab"[..], b"", b"abcd"] {
            assert_eq!(next().unwrap().unwrap(), line);
        }
        let error = next().unwrap_err();
        assert_eq!(error.to_string(), "line 4 of standard input is longer than 4 bytes");
        assert_eq!(error.exit_code(), 65);
        assert_eq!(next_line(&mut &b"last"[..], 1, 4).unwrap().unwrap(), b"last");
        assert!(next_line(&mut &b""[..], 1, 4).unwrap().is_none());
    }

    #[test]
    fn a_line_is_split_at_the_first_separator_and_kept_whole_without_one() {
        assert_eq!(split(b"k:v:w", b":"), (Some(&b"k"[..]), &b"v:w"[..]));
        assert_eq!(split(b"no key", b":"), (None, &b"no key"[..]));
    }
}
