//! Records from a file: CSV with a line of names, one JSON object in each line, or the packets of a
//! capture (see `capture_feed`).
//!
//! Invariants
//! - One line is in memory at a time, and a line has at most `LINE_BYTES_MAX`.
//! - Whatever the bytes are, a line is a record or is refused by its number, with what was
//!   expected.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use crate::capture_feed::CaptureFeed;
use crate::failure::Failure;
use crate::feed_time::TimeUnit;

const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// How a file is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FeedFormat {
    Csv,
    #[value(alias = "jsonl")]
    Ndjson,
    /// pcapng or pcap: the payload of UDP datagrams.
    #[value(alias = "pcap")]
    Pcapng,
}

impl FeedFormat {
    /// By the ending of a file's name.
    pub(crate) fn of(path: &Path) -> Option<FeedFormat> {
        match path.extension()?.to_str()? {
            "csv" => Some(FeedFormat::Csv),
            "ndjson" | "jsonl" | "json" => Some(FeedFormat::Ndjson),
            "pcapng" | "pcap" | "cap" => Some(FeedFormat::Pcapng),
            _ => None,
        }
    }
}

/// Where in a line the parts of a record are.
#[derive(Debug, Clone)]
pub(crate) struct FeedShape {
    pub(crate) format: FeedFormat,
    pub(crate) delimiter: char,
    /// Times matter. A capture has them; other files need the column.
    pub(crate) is_timed: bool,
    pub(crate) time_column: Option<String>,
    pub(crate) unit: TimeUnit,
    pub(crate) key_column: Option<String>,
    /// None takes the whole line.
    pub(crate) value_column: Option<String>,
}

/// One record of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FeedRecord {
    /// Of a capture, the block.
    pub(crate) line: u64,
    /// Nanoseconds of the feed's own clock; 0 without a time column.
    pub(crate) time_ns: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
}

/// A line, or a block of a capture, that is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) line: u64,
    pub(crate) reason: String,
}

/// Where the columns of a CSV file are.
#[derive(Debug, Default)]
struct Columns {
    count: usize,
    time: Option<usize>,
    key: Option<usize>,
    value: Option<usize>,
}

/// A file that is read from its start to its end.
pub(crate) enum Feed {
    Lines(Box<LineFeed>),
    Packets(Box<CaptureFeed>),
}

impl Feed {
    /// Opens `path`, and reads what stands before its records.
    ///
    /// # Errors
    /// It cannot be read, or is not as `shape` says.
    pub(crate) fn open(path: &Path, shape: &FeedShape) -> Result<Feed, Failure> {
        Ok(match shape.format {
            FeedFormat::Csv | FeedFormat::Ndjson => {
                Feed::Lines(Box::new(LineFeed::open(path, shape)?))
            }
            FeedFormat::Pcapng => Feed::Packets(Box::new(CaptureFeed::open(path, shape)?)),
        })
    }

    /// The next record; `None` at the end of the file. After a bad line the next one can be read.
    pub(crate) fn next(&mut self) -> Option<Result<FeedRecord, BadLine>> {
        match self {
            Feed::Lines(feed) => feed.next(),
            Feed::Packets(feed) => feed.next(),
        }
    }

    /// Packets of a capture that carry no record, as those of TCP.
    pub(crate) fn left_out(&self) -> u64 {
        match self {
            Feed::Lines(_) => 0,
            Feed::Packets(feed) => feed.left_out,
        }
    }
}

/// A file of lines.
pub(crate) struct LineFeed {
    reader: BufReader<File>,
    shape: FeedShape,
    columns: Columns,
    line: u64,
    bytes: Vec<u8>,
}

impl LineFeed {
    /// Opens `path`, and reads the line of names when it is CSV.
    ///
    /// # Errors
    /// It cannot be read, or has not the columns that are asked for.
    fn open(path: &Path, shape: &FeedShape) -> Result<LineFeed, Failure> {
        let unreadable =
            |error: io::Error| Failure::BadRun { path: path.to_owned(), reason: error.to_string() };
        let file = File::open(path).map_err(unreadable)?;
        let mut feed = LineFeed {
            reader: BufReader::with_capacity(256 * 1024, file),
            shape: shape.clone(),
            columns: Columns::default(),
            line: 0,
            bytes: Vec::new(),
        };
        if shape.format == FeedFormat::Csv {
            let names = feed.read_names();
            names.map_err(|bad| Failure::BadLine {
                path: path.to_owned(),
                line: bad.line,
                reason: bad.reason,
            })?;
        }
        Ok(feed)
    }

    fn read_names(&mut self) -> Result<(), BadLine> {
        if !self.read_line()? {
            return Err(self.bad("a line with the names of the columns is expected"));
        }
        let text = self.text()?;
        let names = split_csv(text, self.shape.delimiter).map_err(|reason| self.bad(reason))?;
        let place = |column: &Option<String>| match column {
            None => Ok(None),
            Some(column) => match names.iter().position(|name| name.trim() == column) {
                Some(place) => Ok(Some(place)),
                None => Err(self.bad(format!(
                    "there is no column {column}; the columns are {}",
                    names.join(", ")
                ))),
            },
        };
        let columns = Columns {
            count: names.len(),
            time: place(&self.shape.time_column)?,
            key: place(&self.shape.key_column)?,
            value: place(&self.shape.value_column)?,
        };
        self.columns = columns;
        Ok(())
    }

    fn next(&mut self) -> Option<Result<FeedRecord, BadLine>> {
        loop {
            match self.read_line() {
                Ok(false) => return None,
                Ok(true) if self.bytes.iter().all(u8::is_ascii_whitespace) => {}
                Ok(true) => break,
                Err(bad) => return Some(Err(bad)),
            }
        }
        Some(match self.shape.format {
            FeedFormat::Ndjson => self.json_record(),
            _ => self.csv_record(),
        })
    }

    fn bad(&self, reason: impl Into<String>) -> BadLine {
        BadLine { line: self.line, reason: reason.into() }
    }

    fn text(&self) -> Result<&str, BadLine> {
        std::str::from_utf8(&self.bytes).map_err(|_| self.bad("UTF-8 text is expected"))
    }

    /// Reads one line without its end; false at the end of the file.
    fn read_line(&mut self) -> Result<bool, BadLine> {
        self.bytes.clear();
        self.line += 1;
        let read = (&mut self.reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.bytes);
        let size = read.map_err(|error| self.bad(error.to_string()))?;
        let is_cut = u64::try_from(size).is_ok_and(|size| size == LINE_BYTES_MAX);
        if is_cut && self.bytes.last() != Some(&b'\n') {
            self.skip_line();
            return Err(self.bad(format!("a line of at most {LINE_BYTES_MAX} bytes is expected")));
        }
        while matches!(self.bytes.last(), Some(b'\n' | b'\r')) {
            self.bytes.pop();
        }
        Ok(size > 0)
    }

    /// Goes to the end of a line that is too long, a part at a time.
    fn skip_line(&mut self) {
        while let Ok(part) = self.reader.fill_buf() {
            let end = part.iter().position(|byte| *byte == b'\n');
            let size = end.map_or(part.len(), |end| end + 1);
            self.reader.consume(size);
            if end.is_some() || size == 0 {
                return;
            }
        }
    }

    fn csv_record(&mut self) -> Result<FeedRecord, BadLine> {
        let text = self.text()?;
        let fields = split_csv(text, self.shape.delimiter).map_err(|reason| self.bad(reason))?;
        if fields.len() != self.columns.count {
            return Err(self.bad(format!(
                "{} columns are expected as in the first line, here are {}",
                self.columns.count,
                fields.len()
            )));
        }
        let field = |place: Option<usize>| place.and_then(|place| fields.get(place)).cloned();
        let (time, key) = (field(self.columns.time), field(self.columns.key));
        let value =
            field(self.columns.value).map_or_else(|| self.bytes.clone(), String::into_bytes);
        self.record(time.as_deref(), key.map(String::into_bytes), value)
    }

    fn json_record(&mut self) -> Result<FeedRecord, BadLine> {
        let object: Value = serde_json::from_slice(&self.bytes).map_err(|error| {
            self.bad(format!("a JSON object is expected in each line: {error}"))
        })?;
        if !object.is_object() {
            return Err(self.bad("a JSON object is expected in each line"));
        }
        let field = |column: &Option<String>| match column {
            None => Ok(None),
            Some(column) => match object.get(column) {
                None | Some(Value::Null) => {
                    Err(self.bad(format!("an object with a field {column} is expected")))
                }
                Some(Value::String(text)) => Ok(Some(text.clone())),
                Some(other) => Ok(Some(other.to_string())),
            },
        };
        let (time, key) = (field(&self.shape.time_column)?, field(&self.shape.key_column)?);
        let value = field(&self.shape.value_column)?;
        let value = value.map_or_else(|| self.bytes.clone(), String::into_bytes);
        self.record(time.as_deref(), key.map(String::into_bytes), value)
    }

    fn record(
        &mut self,
        time: Option<&str>,
        key: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<FeedRecord, BadLine> {
        let time_ns = match time.map(str::trim) {
            None => 0,
            Some(text) => {
                self.shape.unit = self.shape.unit.of(text);
                let unit = self.shape.unit;
                unit.parse(text).ok_or_else(|| {
                    let column = self.shape.time_column.as_deref().unwrap_or_default();
                    self.bad(format!("{} is expected in {column}, not {text}", unit.expected()))
                })?
            }
        };
        Ok(FeedRecord { line: self.line, time_ns, key, value })
    }
}

/// The fields of one line; those in quotes may hold the delimiter, and doubled quotes.
fn split_csv(line: &str, delimiter: char) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut letters = line.chars().peekable();
    loop {
        if field.is_empty() && letters.peek() == Some(&'"') {
            letters.next();
            quoted(&mut letters, &mut field)?;
        }
        match letters.next() {
            None => {
                fields.push(field);
                return Ok(fields);
            }
            Some(letter) if letter == delimiter => fields.push(std::mem::take(&mut field)),
            Some(letter) => field.push(letter),
        }
    }
}

/// Reads up to the quote that ends a field.
fn quoted(
    letters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    field: &mut String,
) -> Result<(), String> {
    while let Some(letter) = letters.next() {
        match letter {
            '"' if letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' => return Ok(()),
            other => field.push(other),
        }
    }
    Err("a quote that ends the field is expected; fields of several lines are not read".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(format: FeedFormat) -> FeedShape {
        FeedShape {
            format,
            delimiter: ',',
            is_timed: true,
            time_column: Some("ts".to_owned()),
            unit: TimeUnit::Auto,
            key_column: Some("symbol".to_owned()),
            value_column: None,
        }
    }

    type Lines = Vec<Result<FeedRecord, BadLine>>;

    fn read(text: &[u8], shape: &FeedShape) -> Result<Lines, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut feed = Feed::open(file.path(), shape)?;
        Ok(std::iter::from_fn(|| feed.next()).collect())
    }

    fn good(text: &str, shape: &FeedShape) -> Vec<(u64, i64, String, String)> {
        let show = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let records = read(text.as_bytes(), shape).unwrap().into_iter().map(|record| {
            let record = record.unwrap();
            let key = record.key.map(show).unwrap_or_default();
            (record.line, record.time_ns, key, show(record.value))
        });
        records.collect()
    }

    #[test]
    fn csv_gives_time_key_and_the_line_or_a_column() {
        let text = "symbol,ts,price\r\nA,1.5,10\r\n\r\n\"B,\"\"x\"\"\",2.25,\"1,5\"\n";
        let mut shape = shape(FeedFormat::Csv);
        let lines = good(text, &shape);
        assert_eq!(lines[0], (2, 1_500_000_000, "A".into(), "A,1.5,10".into()));
        assert_eq!((lines[1].0, lines[1].1, &lines[1].2[..]), (4, 2_250_000_000, "B,\"x\""));
        shape.value_column = Some("price".to_owned());
        assert_eq!(good(text, &shape)[1].3, "1,5");
    }

    #[test]
    fn ndjson_gives_the_same_with_fields() {
        let text = "{\"ts\":1769765400500,\"symbol\":\"A\",\"p\":{\"bid\":1}}\n\
            {\"ts\":\"1769765400501\",\"symbol\":7,\"p\":2}";
        let mut shape = shape(FeedFormat::Ndjson);
        let lines = good(text, &shape);
        assert_eq!((lines[1].1 - lines[0].1, &lines[1].2[..]), (1_000_000, "7"));
        assert_eq!(lines[1].3, "{\"ts\":\"1769765400501\",\"symbol\":7,\"p\":2}");
        shape.value_column = Some("p".to_owned());
        assert_eq!(good(text, &shape)[0].3, "{\"bid\":1}");
    }

    #[test]
    fn a_bad_line_is_refused_by_its_number_and_the_next_is_read() {
        let long = "x".repeat(usize::try_from(LINE_BYTES_MAX).unwrap() + 9);
        let text = format!("symbol,ts\nA,1\nB\nC,soon\n\"D,4\n{long}\nE,5\n");
        let mut text = text.into_bytes();
        text.extend_from_slice(b"\xff\xfe,6\nF,7");
        let lines = read(&text, &shape(FeedFormat::Csv)).unwrap();
        let bad: Vec<(u64, &str)> = lines
            .iter()
            .filter_map(|line| line.as_ref().err().map(|bad| (bad.line, &bad.reason[..])))
            .collect();
        assert_eq!(bad.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4, 5, 6, 8]);
        let expected = ["2 columns are expected", "in seconds", "a quote", "at most", "UTF-8"];
        for ((_, reason), expected) in bad.iter().zip(expected) {
            assert!(reason.contains(expected), "{reason}");
        }
        assert_eq!(lines.iter().filter(|line| line.is_ok()).count(), 3);
        let text = b"{\"ts\":1,\"symbol\":\"A\"}\n[1]\n{\"ts\":2}\n{";
        let lines = read(text, &shape(FeedFormat::Ndjson)).unwrap();
        assert_eq!(lines.iter().filter(|line| line.is_err()).count(), 3);
        let missing = lines[2].as_ref().unwrap_err();
        assert!(missing.line == 3 && missing.reason.contains("a field symbol"), "{missing:?}");
    }

    #[test]
    fn a_column_that_is_not_there_is_said_with_those_that_are() {
        let refusal = read(b"time,sym\n1,A\n", &shape(FeedFormat::Csv)).unwrap_err();
        assert!(
            refusal.to_string().contains(":1: there is no column ts; the columns are time, sym")
        );
        assert_eq!(refusal.exit_code(), 65);
        let empty = read(b"", &shape(FeedFormat::Csv)).unwrap_err().to_string();
        assert!(empty.contains("names of the columns"), "{empty}");
    }
}
