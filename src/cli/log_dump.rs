//! `highwater log dump`: segment files batch by batch, each CRC-32C checked. Needs no broker.

use crate::cli::args::LogCommand;
use crate::cli::error::CliError;
use crate::protocol::record_batch::{BATCH_HEADER_SIZE, BatchError, BatchHeader, CheckedBatch};
use bytes::Bytes;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// Runs one of the log commands.
pub(crate) fn run(command: &LogCommand) -> Result<(), CliError> {
    let LogCommand::Dump { paths, records, json } = command;
    let mut dump = Dump { has_records: *records, is_json: *json, batches: 0, damaged: 0 };
    for path in paths {
        for file in segment_files(path)? {
            dump.file(&file)?;
        }
    }
    if dump.damaged > 0 {
        return Err(CliError::Damaged { damaged: dump.damaged, batches: dump.batches });
    }
    Ok(())
}

fn file_error(path: &Path) -> impl Fn(io::Error) -> CliError {
    let path = path.to_owned();
    move |source| CliError::File { path: path.clone(), source }
}

/// The file itself, or all `*.log` below a folder, in order.
fn segment_files(path: &Path) -> Result<Vec<PathBuf>, CliError> {
    if !fs::metadata(path).map_err(file_error(path))?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(file_error(&folder))? {
            let found = entry.map_err(file_error(&folder))?.path();
            if found.is_dir() {
                folders.push(found);
            } else if found.extension().is_some_and(|extension| extension == "log") {
                files.push(found);
            }
        }
    }
    files.sort();
    Ok(files)
}

struct Dump {
    has_records: bool,
    is_json: bool,
    batches: u64,
    damaged: u64,
}

impl Dump {
    fn file(&mut self, path: &Path) -> Result<(), CliError> {
        if !self.is_json {
            println!("{}", path.display());
        }
        let mut input = BufReader::new(File::open(path).map_err(file_error(path))?);
        let mut position = 0;
        while let Some(bytes) = next_batch(&mut input).map_err(file_error(path))? {
            let size = bytes.len() as u64;
            self.batches += 1;
            let mut rest = bytes.clone();
            match CheckedBatch::check_first(&mut rest) {
                Ok(batch) => self.batch(path, position, &batch),
                Err(error) => self.bad(path, position, &error),
            }
            position += size;
        }
        Ok(())
    }

    fn batch(&mut self, path: &Path, position: u64, batch: &CheckedBatch) {
        let value = describe(path, position, batch.header());
        if self.is_json {
            println!("{value}");
        } else {
            println!("  {}", line(&value));
        }
        if !self.has_records {
            return;
        }
        let records = match batch.decode_records() {
            Ok(records) => records,
            Err(error) => return self.bad(path, position, &error),
        };
        for record in records.iter() {
            match record {
                Ok(record) => println!(
                    "    offset {} timestamp {} key {:?} value {:?}",
                    record.offset,
                    record.timestamp_ms,
                    record.key.map(String::from_utf8_lossy),
                    record.value.map(String::from_utf8_lossy),
                ),
                Err(error) => return self.bad(path, position, &error),
            }
        }
    }

    fn bad(&mut self, path: &Path, position: u64, error: &BatchError) {
        self.damaged += 1;
        if self.is_json {
            let text = error.to_string();
            println!("{}", json!({ "file": path, "position": position, "damaged": text }));
        } else {
            println!("  position {position} DAMAGED: {error}");
        }
    }
}

fn describe(path: &Path, position: u64, header: &BatchHeader) -> Value {
    let attributes = header.attributes();
    let codec = attributes.compression().map_or("unknown", |compression| compression.name());
    let mut value = json!({
        "file": path,
        "position": position,
        "base_offset": header.base_offset(),
        "last_offset": header.last_offset(),
        "count": header.record_count(),
        "size": header.size(),
        "leader_epoch": header.leader_epoch(),
        "max_timestamp_ms": header.max_timestamp(),
        "compression": codec,
        "producer_id": header.producer_id(),
        "producer_epoch": header.producer_epoch(),
        "base_sequence": header.base_sequence(),
        "transactional": attributes.is_transactional(),
        "control": attributes.is_control(),
        "crc": format!("{:08x}", header.crc()),
    });
    if let Some(horizon_ms) = header.delete_horizon_ms() {
        value["delete_horizon_ms"] = json!(horizon_ms);
    }
    value
}

fn line(value: &Value) -> String {
    let fields = value.as_object().expect("describe makes an object").iter();
    let shown = fields.filter(|(key, _)| *key != "file");
    shown.map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>().join("  ")
}

/// The next batch's bytes, or what is left when they cannot be one.
fn next_batch(input: &mut impl Read) -> io::Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    input.by_ref().take(BATCH_HEADER_SIZE as u64).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let wanted = BatchHeader::read(&bytes).map_or(u64::MAX, |header| header.size() as u64);
    let rest = wanted.saturating_sub(bytes.len() as u64);
    input.by_ref().take(rest).read_to_end(&mut bytes)?;
    Ok(Some(Bytes::from(bytes)))
}
