//! The formats of Kafka's consumers, of which the coordinator reads what it must: the topics in
//! use, to know which offsets are; and all of it where a group moves between the classic and the
//! consumer protocol (KIP-848).
//!
//! ```text
//! subscription  version i16 · topics [string] · user data bytes?
//!               · v1: owned partitions [topic string · [i32]] · v2: generation i32
//!               · v3: rack string?
//! assignment    version i16 · partitions [topic string · [i32]] · user data bytes?
//! ```
//! A version above 3 begins like version 3.

use crate::protocol::primitive::{DecodeError, LengthForm, Reader, Sink, Writer};
use bytes::Bytes;

const FORM: LengthForm = LengthForm::Fixed;
const VERSION_MAX: i16 = 3;

/// What a member subscribes to and owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) topics: Vec<String>,
    pub(super) owned: Vec<(String, Vec<i32>)>,
    pub(super) rack: Option<String>,
}

/// Topics of a ConsumerProtocolSubscription of any version; what follows them is left alone.
/// `None` when the bytes are something else.
pub(super) fn topics(metadata: &Bytes) -> Option<Vec<String>> {
    let mut reader = Reader::new(metadata);
    get_topics(&mut reader).ok().map(|(_, topics)| topics)
}

/// A whole ConsumerProtocolSubscription; `None` when the bytes are something else.
pub(super) fn parse(metadata: &Bytes) -> Option<Subscription> {
    get_subscription(&mut Reader::new(metadata)).ok()
}

fn get_topics(reader: &mut Reader<'_>) -> Result<(i16, Vec<String>), DecodeError> {
    let version = reader.get_i16()?;
    if version < 0 {
        return Err(DecodeError::UnsupportedVersion { api: "ConsumerProtocol", version });
    }
    let count = reader.get_count(FORM, 2)?;
    let topics: Result<Vec<String>, DecodeError> =
        (0..count).map(|_| reader.get_str(FORM).map(str::to_owned)).collect();
    Ok((version, topics?))
}

fn get_subscription(reader: &mut Reader<'_>) -> Result<Subscription, DecodeError> {
    let (version, topics) = get_topics(reader)?;
    reader.get_nullable_bytes(FORM)?;
    let owned = if version >= 1 { get_partitions(reader)? } else { Vec::new() };
    if version >= 2 {
        reader.get_i32()?;
    }
    let rack = if version >= 3 { reader.get_nullable_str(FORM)?.map(str::to_owned) } else { None };
    Ok(Subscription { topics, owned, rack })
}

fn get_partitions(reader: &mut Reader<'_>) -> Result<Vec<(String, Vec<i32>)>, DecodeError> {
    let count = reader.get_count(FORM, 6)?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let name = reader.get_str(FORM)?.to_owned();
        let count = reader.get_count(FORM, 4)?;
        let indexes: Result<Vec<i32>, DecodeError> = (0..count).map(|_| reader.get_i32()).collect();
        topics.push((name, indexes?));
    }
    Ok(topics)
}

/// The version that a subscription is written in, as far as an assignment knows it.
pub(super) fn version(metadata: &Bytes) -> i16 {
    Reader::new(metadata).get_i16().unwrap_or(0).clamp(0, VERSION_MAX)
}

/// Topics and partitions of a ConsumerProtocolAssignment. No bytes are no partitions; `None` when
/// the bytes are something else.
pub(super) fn parse_assignment(assignment: &Bytes) -> Option<Vec<(String, Vec<i32>)>> {
    if assignment.is_empty() {
        return Some(Vec::new());
    }
    let mut reader = Reader::new(assignment);
    match reader.get_i16() {
        Ok(0..) => get_partitions(&mut reader).ok(),
        Ok(_) | Err(_) => None,
    }
}

/// A ConsumerProtocolAssignment of `version`, without user data.
pub(super) fn encode_assignment(version: i16, topics: &[(&str, Vec<i32>)]) -> Bytes {
    assert!((0..=VERSION_MAX).contains(&version));
    let mut writer = Writer::new();
    writer.put_i16(version);
    let put = |writer: &mut Writer| {
        writer.put_length(Some(topics.len()), FORM)?;
        for (name, indexes) in topics {
            writer.put_nullable_str(Some(name), FORM)?;
            writer.put_length(Some(indexes.len()), FORM)?;
            indexes.iter().for_each(|index| writer.put_i32(*index));
        }
        writer.put_nullable_bytes(None, FORM)
    };
    let written = put(&mut writer).and_then(|()| writer.finish());
    written.expect("topic names and partition counts are bounded").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_and_what_follows_is_left_alone() {
        let bytes = b"\x00\x03\x00\x00\x00\x02\x00\x01a\x00\x02bcuser data and owned partitions";
        assert_eq!(topics(&Bytes::from_static(bytes)), Some(vec!["a".into(), "bc".into()]));
    }

    #[test]
    fn bytes_that_are_no_subscription_are_none() {
        for bytes in [
            &b""[..],
            b"\xff\xff\x00\x00\x00\x00",
            b"\x00\x00\xff\xff\xff\xff",
            b"\x00\x00\x7f\xff\xff\xff\x00\x01a",
            b"\x00\x00\x00\x00\x00\x01\x00\x09abc",
            b"\x00\x00\x00\x00\x00\x01\xff\xffabc",
            b"{\"json\":1}",
        ] {
            assert_eq!(topics(&Bytes::copy_from_slice(bytes)), None);
            assert_eq!(parse(&Bytes::copy_from_slice(bytes)), None);
        }
    }

    #[test]
    fn every_version_of_a_subscription_is_read() {
        let topics = b"\x00\x00\x00\x01\x00\x01t\xff\xff\xff\xff";
        let owned = b"\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x05";
        let generation = b"\x00\x00\x00\x07";
        let rack = b"\x00\x01r";
        let parts: [&[u8]; 4] = [topics, owned, generation, rack];
        for version in 0..=3_u8 {
            let mut bytes = vec![0, version];
            bytes.extend(parts[..=usize::from(version)].concat());
            let read = parse(&Bytes::from(bytes)).unwrap();
            assert_eq!(read.topics, ["t"]);
            let owned = if version >= 1 { vec![("t".to_owned(), vec![0, 5])] } else { Vec::new() };
            assert_eq!(read.owned, owned);
            assert_eq!(read.rack.as_deref(), (version >= 3).then_some("r"));
        }
    }

    #[test]
    fn an_assignment_comes_back_as_it_was_written() {
        let bytes = encode_assignment(1, &[("a", vec![0, 2]), ("b", vec![])]);
        let read = parse_assignment(&bytes).unwrap();
        assert_eq!(read, [("a".to_owned(), vec![0, 2]), ("b".to_owned(), vec![])]);
        assert_eq!(parse_assignment(&Bytes::new()), Some(Vec::new()));
        assert_eq!(parse_assignment(&Bytes::from_static(b"\xff\xff")), None);
    }
}
