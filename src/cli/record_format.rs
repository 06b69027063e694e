//! How a consumed record is printed: a format string, or one JSON object per line.

use crate::protocol::record::Record;
use serde_json::{Value, json};

/// A record in the user's format: %t topic, %p partition, %o offset, %k key, %v value,
/// %T timestamp in ms, %h headers, %% a percent sign; \n, \t and \\ as in C. Bytes are not changed.
pub(crate) fn text(format: &str, topic: &str, partition: i32, record: &Record<'_>) -> Vec<u8> {
    let mut line = Vec::with_capacity(format.len() + record.value.map_or(0, <[u8]>::len));
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => match characters.next() {
                Some('t') => line.extend_from_slice(topic.as_bytes()),
                Some('p') => line.extend_from_slice(partition.to_string().as_bytes()),
                Some('o') => line.extend_from_slice(record.offset.to_string().as_bytes()),
                Some('k') => line.extend_from_slice(record.key.unwrap_or_default()),
                Some('v') => line.extend_from_slice(record.value.unwrap_or_default()),
                Some('T') => line.extend_from_slice(record.timestamp_ms.to_string().as_bytes()),
                Some('h') => line.extend_from_slice(headers(record).as_bytes()),
                Some(other) => push(&mut line, other),
                None => push(&mut line, '%'),
            },
            '\\' => match characters.next() {
                Some('n') => line.push(b'\n'),
                Some('t') => line.push(b'\t'),
                Some(other) => push(&mut line, other),
                None => push(&mut line, '\\'),
            },
            other => push(&mut line, other),
        }
    }
    line
}

fn push(line: &mut Vec<u8>, character: char) {
    line.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

fn headers(record: &Record<'_>) -> String {
    let pairs = record.headers.iter().map(|header| {
        let value = String::from_utf8_lossy(header.value.unwrap_or_default());
        format!("{}={value}", String::from_utf8_lossy(header.key))
    });
    pairs.collect::<Vec<_>>().join(",")
}

/// A record as one line of JSON. Keys and values that are not UTF-8 are given as arrays of bytes.
pub(crate) fn json(topic: &str, partition: i32, record: &Record<'_>) -> Vec<u8> {
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|h| json!({ "key": String::from_utf8_lossy(h.key), "value": bytes(h.value) }))
        .collect();
    let value = json!({
        "topic": topic,
        "partition": partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": bytes(record.key),
        "value": bytes(record.value),
        "headers": headers,
    });
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

fn bytes(bytes: Option<&[u8]>) -> Value {
    match bytes {
        None => Value::Null,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::from(text),
            Err(_) => Value::from(bytes.to_vec()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record<'static> {
        Record { offset: 7, timestamp_ms: 99, key: Some(b"k"), value: None, headers: Vec::new() }
    }

    #[test]
    fn every_placeholder_is_filled_and_everything_else_kept() {
        let line = text("%t/%p@%o %k=%v %T%%\\t%x\\n", "orders", 3, &record());
        assert_eq!(line, b"orders/3@7 k= 99%\tx\n");
    }

    #[test]
    fn json_tells_a_null_value_from_an_empty_one() {
        let line = json("t", 0, &record());
        let value: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["value"], Value::Null);
        assert_eq!(value["key"], "k");
    }
}
