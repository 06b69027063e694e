//! Frames and their headers: what stands around every request and response.
//!
//! Why the header is apart from the messages: it is read before the API and version are known to
//! be ours, and its client id keeps the int16 length even in flexible versions, so no field table
//! describes it.
//!
//! Layout of a request: `length i32 | api key i16 | version i16 | correlation id i32 |
//! client id nullable string (int16) | tagged fields (header v2 only) | body`.
//! Layout of a response: `length i32 | correlation id i32 | tagged fields (header v1 only) | body`.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};
use zerocopy::big_endian::{I16, I32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::protocol::api_key::ApiKey;
use crate::protocol::primitive::{
    DecodeError, EncodeError, Frame, LENGTH_PREFIX_SIZE, LengthForm, Reader, Sink, Writer,
};
use crate::protocol::schema::{Message, Request};

/// Why a byte stream is no sequence of frames. The connection cannot go on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame length {length} is negative")]
    NegativeLength { length: i32 },
    #[error("frame of {size} bytes is above {size_max}")]
    TooLarge { size: usize, size_max: usize },
}

/// Room made at once for a frame that is not whole: a length alone must not cost its size in
/// memory, so a large frame gets its room as its bytes arrive.
const RESERVED_BYTES_MAX: usize = 1 << 20;

/// Takes the next whole frame off the front of `received`, without its length prefix.
///
/// `None` while bytes are missing; `received` then has room for more of them. The frame shares
/// `received`'s memory.
///
/// # Errors
/// A negative length, or one above `frame_bytes_max`.
pub fn next_frame(
    received: &mut BytesMut,
    frame_bytes_max: usize,
) -> Result<Option<Bytes>, FrameError> {
    let Some(prefix) = received.first_chunk::<LENGTH_PREFIX_SIZE>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*prefix);
    let size = usize::try_from(length).map_err(|_| FrameError::NegativeLength { length })?;
    if size > frame_bytes_max {
        return Err(FrameError::TooLarge { size, size_max: frame_bytes_max });
    }
    let size_with_prefix = LENGTH_PREFIX_SIZE + size;
    if received.len() < size_with_prefix {
        received.reserve((size_with_prefix - received.len()).min(RESERVED_BYTES_MAX));
        return Ok(None);
    }
    received.advance(LENGTH_PREFIX_SIZE);
    Ok(Some(received.split_to(size).freeze()))
}

/// What a client says about a request before its body.
///
/// The key stays a number: a key we do not know must still be answered or logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    /// As sent: Kafka reads what is not UTF-8 with replacement characters, and so does
    /// [`RequestHeader::client_name`].
    pub client_id: Option<&'a [u8]>,
}

/// What every version has in front of the client id's bytes.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FixedRequestHeader {
    api_key: I16,
    api_version: I16,
    correlation_id: I32,
}

impl<'a> RequestHeader<'a> {
    /// Reads header v1, or v2 when the API's version is flexible; `reader` is then at the body.
    ///
    /// A version above those we know is read as flexible too, as ApiVersions needs (KIP-511).
    #[inline]
    pub fn decode(reader: &mut Reader<'a>) -> Result<RequestHeader<'a>, DecodeError> {
        let fixed: &FixedRequestHeader = reader.get_fixed()?;
        let (api_key, api_version) = (fixed.api_key.get(), fixed.api_version.get());
        let correlation_id = fixed.correlation_id.get();
        let client_id = reader.get_nullable_text(LengthForm::Fixed)?;
        let is_flexible =
            ApiKey::from_number(api_key).is_some_and(|key| key.is_flexible(api_version));
        if is_flexible {
            reader.skip_tagged_fields()?;
        }
        Ok(RequestHeader { api_key, api_version, correlation_id, client_id })
    }

    /// The client's name for itself; empty when it has none.
    pub fn client_name(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.client_id.unwrap_or_default())
    }

    /// Writes header v1, or v2 when the API's version is flexible.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] for a client id above 32,767 bytes.
    pub fn encode(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        sink.put_i16(self.api_key);
        sink.put_i16(self.api_version);
        sink.put_i32(self.correlation_id);
        sink.put_nullable_text(self.client_id, LengthForm::Fixed)?;
        let is_flexible =
            ApiKey::from_number(self.api_key).is_some_and(|key| key.is_flexible(self.api_version));
        if is_flexible {
            sink.put_unsigned_varint(0);
        }
        Ok(())
    }
}

/// What stands before the body of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads header v0 or v1, as `key` and `version` ask for.
    pub fn decode(
        reader: &mut Reader<'_>,
        key: ApiKey,
        version: i16,
    ) -> Result<ResponseHeader, DecodeError> {
        let correlation_id = reader.get_i32()?;
        if key.response_header_version(version) >= 1 {
            reader.skip_tagged_fields()?;
        }
        Ok(ResponseHeader { correlation_id })
    }

    /// Writes header v0 or v1, as `key` and `version` ask for.
    pub fn encode(&self, sink: &mut impl Sink, key: ApiKey, version: i16) {
        sink.put_i32(self.correlation_id);
        if key.response_header_version(version) >= 1 {
            sink.put_unsigned_varint(0);
        }
    }
}

/// A whole request, ready for the socket.
///
/// # Errors
/// The message or the client id cannot be written in this version.
pub fn encode_request<M: Request>(
    request: &M,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Frame, EncodeError> {
    let mut writer = Writer::for_frame();
    let header = RequestHeader {
        api_key: M::KEY.number(),
        api_version: version,
        correlation_id,
        client_id: client_id.map(str::as_bytes),
    };
    header.encode(&mut writer)?;
    request.encode(&mut writer, version)?;
    writer.finish()
}

/// A whole response, ready for the socket.
///
/// # Errors
/// The message cannot be written in this version.
pub fn encode_response<M: Message>(
    response: &M,
    version: i16,
    correlation_id: i32,
) -> Result<Frame, EncodeError> {
    let mut writer = Writer::for_frame();
    ResponseHeader { correlation_id }.encode(&mut writer, M::KEY, version);
    response.encode(&mut writer, version)?;
    writer.finish()
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
