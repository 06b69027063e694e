//! Reads Fetch responses v4 to v18 without allocating, and counts what is in the batches.
//!
//! Why not the codec's struct: the records of an answer are looked at once, in the receive buffer;
//! nothing of them is kept.

use highwater::protocol::api_key::ApiKey;
use highwater::protocol::primitive::{DecodeError, LengthForm, Reader};

/// One partition's part of a Fetch response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchedPartition<'a> {
    pub(crate) partition: i32,
    pub(crate) code: i16,
    pub(crate) records: &'a [u8],
}

/// Reads from the correlation id on and shows each partition to `visit`. Returns correlation id
/// and the error number of the whole response.
///
/// # Errors
/// Bytes that are no Fetch response of `version`.
pub(crate) fn read_fetch_answer<'a>(
    reader: &mut Reader<'a>,
    version: i16,
    mut visit: impl FnMut(FetchedPartition<'a>),
) -> Result<(i32, i16), DecodeError> {
    let is_flexible = ApiKey::Fetch.is_flexible(version);
    let form = if is_flexible { LengthForm::Compact } else { LengthForm::Fixed };
    let correlation_id = reader.get_i32()?;
    if is_flexible {
        reader.skip_tagged_fields()?;
    }
    reader.get_i32()?; // throttle time
    let mut code = 0;
    if version >= 7 {
        code = reader.get_i16()?;
        reader.get_i32()?; // session
    }
    for _ in 0..reader.get_count(form, 1)? {
        if version >= 13 {
            reader.get_slice(16)?; // topic id
        } else {
            reader.get_str(form)?;
        }
        for _ in 0..reader.get_count(form, 1)? {
            visit(read_partition(reader, version, form)?);
        }
        if is_flexible {
            reader.skip_tagged_fields()?;
        }
    }
    Ok((correlation_id, code))
}

fn read_partition<'a>(
    reader: &mut Reader<'a>,
    version: i16,
    form: LengthForm,
) -> Result<FetchedPartition<'a>, DecodeError> {
    let is_flexible = form == LengthForm::Compact;
    let partition = reader.get_i32()?;
    let code = reader.get_i16()?;
    reader.get_i64()?; // high watermark
    reader.get_i64()?; // last stable offset
    if version >= 5 {
        reader.get_i64()?; // log start
    }
    for _ in 0..reader.get_nullable_count(form, 16)?.unwrap_or(0) {
        reader.get_slice(16)?; // aborted transaction: producer, first offset
        if is_flexible {
            reader.skip_tagged_fields()?;
        }
    }
    if version >= 11 {
        reader.get_i32()?; // preferred read replica
    }
    let records = reader.get_nullable_byte_slice(form)?.unwrap_or_default();
    if is_flexible {
        reader.skip_tagged_fields()?;
    }
    Ok(FetchedPartition { partition, code, records })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use highwater::protocol::frame::encode_response;
    use highwater::protocol::messages::fetch::{
        AbortedTransaction, FetchResponse, FetchableTopicResponse, PartitionData,
    };
    use highwater::protocol::records::Records;

    #[test]
    fn every_version_that_the_codec_writes_is_read() {
        for version in 4..=18 {
            let partition = |code: i16, records: &'static [u8]| PartitionData {
                partition_index: 7,
                error_code: code,
                aborted_transactions: Some(vec![AbortedTransaction::default(); 2]),
                records: Records::from(Bytes::from_static(records)),
                ..PartitionData::default()
            };
            let topic = FetchableTopicResponse {
                topic: if version < 13 { "t".to_owned() } else { String::new() },
                partitions: vec![partition(0, b"abc"), partition(1, b""), partition(0, b"defg")],
                ..FetchableTopicResponse::default()
            };
            let response = FetchResponse { responses: vec![topic], ..Default::default() };
            let frame = encode_response(&response, version, 42).unwrap().into_bytes();
            let body = frame.slice(4..);
            let mut seen = Vec::new();
            let mut reader = Reader::new(&body);
            let (correlation_id, code) = read_fetch_answer(&mut reader, version, |fetched| {
                assert_eq!(fetched.partition, 7);
                seen.push((fetched.code, fetched.records.to_vec()));
            })
            .unwrap();
            assert_eq!((correlation_id, code), (42, 0), "v{version}");
            let expected = [(0, b"abc".to_vec()), (1, Vec::new()), (0, b"defg".to_vec())];
            assert_eq!(seen, expected, "v{version}");
        }
    }
}
