//! Reads Produce responses v3 to v13 without allocating.
//!
//! Why not the codec's struct: at half a million answers a second its vectors would be the largest
//! part of the generator's own work. The tests hold this reader against the codec.

use highwater::protocol::api_key::ApiKey;
use highwater::protocol::primitive::{DecodeError, LengthForm, Reader};

/// What one Produce response says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProduceAnswer {
    pub(crate) correlation_id: i32,
    /// Partitions that took their batch.
    pub(crate) accepted: u32,
}

/// Reads from the correlation id on; `refused` gets the error number of each partition that
/// refused its batch.
///
/// # Errors
/// Bytes that are no Produce response of `version`.
pub(crate) fn read_produce_answer(
    reader: &mut Reader<'_>,
    version: i16,
    mut refused: impl FnMut(i16),
) -> Result<ProduceAnswer, DecodeError> {
    let is_flexible = ApiKey::Produce.is_flexible(version);
    let form = if is_flexible { LengthForm::Compact } else { LengthForm::Fixed };
    let mut answer = ProduceAnswer { correlation_id: reader.get_i32()?, accepted: 0 };
    if is_flexible {
        reader.skip_tagged_fields()?;
    }
    for _ in 0..reader.get_count(form, 1)? {
        if version >= 13 {
            reader.get_slice(16)?; // topic id
        } else {
            reader.get_str(form)?;
        }
        for _ in 0..reader.get_count(form, 1)? {
            match read_partition(reader, version, form)? {
                0 => answer.accepted += 1,
                code => refused(code),
            }
        }
        if is_flexible {
            reader.skip_tagged_fields()?;
        }
    }
    Ok(answer)
}

fn read_partition(
    reader: &mut Reader<'_>,
    version: i16,
    form: LengthForm,
) -> Result<i16, DecodeError> {
    reader.get_i32()?; // partition
    let code = reader.get_i16()?;
    let offsets_and_times = if version >= 5 { 24 } else { 16 };
    reader.get_slice(offsets_and_times)?;
    if version >= 8 {
        for _ in 0..reader.get_count(form, 1)? {
            reader.get_i32()?; // batch index
            reader.get_nullable_str(form)?;
            if form == LengthForm::Compact {
                reader.skip_tagged_fields()?;
            }
        }
        reader.get_nullable_str(form)?;
    }
    if form == LengthForm::Compact {
        reader.skip_tagged_fields()?;
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater::protocol::frame::encode_response;
    use highwater::protocol::messages::produce::{
        BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
    };

    #[test]
    fn every_version_that_the_codec_writes_is_read() {
        for version in 3..=13 {
            let partition = |index: i32, error_code: i16| PartitionProduceResponse {
                index,
                error_code,
                base_offset: 7,
                record_errors: match version {
                    8.. => vec![BatchIndexAndErrorMessage::default(); 2],
                    _ => Vec::new(),
                },
                error_message: (version >= 8).then(|| "too large".to_owned()),
                ..PartitionProduceResponse::default()
            };
            let topic = TopicProduceResponse {
                name: if version < 13 { "t".to_owned() } else { String::new() },
                partition_responses: vec![partition(0, 0), partition(1, 10), partition(2, 0)],
                ..TopicProduceResponse::default()
            };
            let response = ProduceResponse { responses: vec![topic], ..Default::default() };
            let frame = encode_response(&response, version, 42).unwrap().into_bytes();
            let body = frame.slice(4..);
            let mut codes = Vec::new();
            let mut reader = Reader::new(&body);
            let answer =
                read_produce_answer(&mut reader, version, |code| codes.push(code)).unwrap();
            assert_eq!(answer, ProduceAnswer { correlation_id: 42, accepted: 2 }, "v{version}");
            assert_eq!(codes, [10], "v{version}");
        }
    }
}
