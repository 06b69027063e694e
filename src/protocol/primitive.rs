//! Kafka's primitive types on the wire; the only reader and the only writer.
//!
//! Why one reader: everything a client sends passes through it, so the rule that keeps the broker
//! alive lives in one place: a length or count is compared with the bytes left before anything is
//! allocated for it.
//!
//! Invariants
//! - Nothing here panics on foreign bytes; every refusal is a [`DecodeError`].
//! - A count claims at least its smallest possible size from the bytes left (KIP-482 compact forms
//!   included), so a frame cannot make us allocate more than a fixed multiple of itself.
//! - `Bytes` that are read are slices of the frame, `Bytes` that are written are shared from
//!   [`SHARED_BYTES_MIN`] on: payload is not copied by the codec.

use crate::protocol::part::{FileRange, Part, join};
use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// From this size on the writer takes a `Bytes` by reference; below it a copy is cheaper than
/// another part in the vectored write.
pub const SHARED_BYTES_MIN: usize = 1024;

/// Room for the head of a frame that is begun: most answers fit, so it does not grow.
const HEAD_BYTES: usize = 256;

/// Size of the length that stands in front of each frame.
pub const LENGTH_PREFIX_SIZE: usize = 4;

/// What is wrong with bytes from the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("needs {needed} bytes, {left} are left")]
    Truncated { needed: usize, left: usize },
    #[error("length {length} is negative and not the null marker -1")]
    NegativeLength { length: i32 },
    #[error("null where a value is required")]
    UnexpectedNull,
    #[error("{count} elements of {size_min} or more bytes do not fit in the {left} bytes left")]
    CountTooLarge { count: usize, size_min: usize, left: usize },
    #[error("varint is longer than its type")]
    VarintTooLong,
    #[error("string is not UTF-8")]
    NotUtf8,
    #[error("tagged field {tag} has {left} bytes more than its type")]
    TaggedFieldTooLong { tag: u32, left: usize },
    #[error("struct marker {marker} is neither -1 nor 1")]
    BadStructMarker { marker: i8 },
    #[error("{api} has no version {version} here")]
    UnsupportedVersion { api: &'static str, version: i16 },
}

/// Why a message cannot be written in the asked version. A caller's mistake, never a peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{field} is set but version {version} has no such field")]
    FieldNotInVersion { field: &'static str, version: i16 },
    #[error("null is not allowed in version {version}")]
    UnexpectedNull { version: i16 },
    #[error("length {length} is above {length_max}")]
    TooLong { length: usize, length_max: usize },
    #[error("{api} has no version {version} here")]
    UnsupportedVersion { api: &'static str, version: i16 },
}

/// How lengths are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthForm {
    /// int16 for strings, int32 for bytes and arrays; -1 is null.
    Fixed,
    /// Unsigned varint of length + 1; 0 is null (KIP-482, flexible versions).
    Compact,
}

/// Reads primitives from a frame, from front to back.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `frame` from its first byte; `Bytes` that are read share its memory.
    pub fn new(frame: &'a Bytes) -> Reader<'a> {
        Reader { frame, rest: frame }
    }

    /// Reads `frame` from a byte further on; there is nothing to read behind its end.
    pub fn starting_at(frame: &'a Bytes, position: usize) -> Reader<'a> {
        Reader { frame, rest: frame.get(position..).unwrap_or_default() }
    }

    /// The whole frame.
    pub fn frame(&self) -> &'a Bytes {
        self.frame
    }

    /// The bytes not yet read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Count of the bytes not yet read.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// Position of the next byte, counted from the first byte of the frame.
    #[inline]
    pub fn position(&self) -> usize {
        self.rest.as_ptr().addr() - self.frame.as_ptr().addr()
    }

    /// The next `size` bytes, as a slice of the frame.
    #[inline]
    pub fn get_slice(&mut self, size: usize) -> Result<&'a [u8], DecodeError> {
        let Some((head, rest)) = self.rest.split_at_checked(size) else {
            return Err(DecodeError::Truncated { needed: size, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    fn get_array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], DecodeError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<SIZE>() else {
            return Err(DecodeError::Truncated { needed: SIZE, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(*head)
    }

    /// Fields of fixed size, read in one piece.
    #[inline]
    pub fn get_fixed<T>(&mut self) -> Result<&'a T, DecodeError>
    where
        T: FromBytes + Immutable + KnownLayout + Unaligned,
    {
        let Ok((fixed, rest)) = T::ref_from_prefix(self.rest) else {
            return Err(DecodeError::Truncated { needed: size_of::<T>(), left: self.rest.len() });
        };
        self.rest = rest;
        Ok(fixed)
    }

    /// One byte; any value but 0 is true, as in Kafka.
    #[inline]
    pub fn get_bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.get_i8()? != 0)
    }

    #[inline]
    pub fn get_i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.get_array()?))
    }

    #[inline]
    pub fn get_i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.get_array()?))
    }

    #[inline]
    pub fn get_u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.get_array()?))
    }

    #[inline]
    pub fn get_i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.get_array()?))
    }

    #[inline]
    pub fn get_u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.get_array()?))
    }

    #[inline]
    pub fn get_i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.get_array()?))
    }

    #[inline]
    pub fn get_f64(&mut self) -> Result<f64, DecodeError> {
        Ok(f64::from_be_bytes(self.get_array()?))
    }

    #[inline]
    pub fn get_uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid::from_bytes(self.get_array()?))
    }

    /// Base-128 little-endian groups, at most 5 bytes.
    #[inline]
    pub fn get_unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        // Lengths of names take one byte and those of most batches two.
        match *self.rest {
            [first, ref rest @ ..] if first < 0x80 => {
                self.rest = rest;
                Ok(u32::from(first))
            }
            [first, second, ref rest @ ..] if second < 0x80 => {
                self.rest = rest;
                Ok(u32::from(first & 0x7f) | u32::from(second) << 7)
            }
            _ => self.get_long_varint(),
        }
    }

    #[cold]
    fn get_long_varint(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.get_unsigned_varlong()?).map_err(|_| DecodeError::VarintTooLong)
    }

    /// Base-128 little-endian groups, at most 10 bytes.
    #[inline]
    pub fn get_unsigned_varlong(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.get_array()?;
            let group = u64::from(byte & 0x7f);
            if shift == 63 && group > 1 {
                return Err(DecodeError::VarintTooLong);
            }
            value |= group << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong)
    }

    /// Zigzag varint of 32 bits.
    #[inline]
    pub fn get_varint(&mut self) -> Result<i32, DecodeError> {
        let zigzag = self.get_unsigned_varint()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// Zigzag varint of 64 bits.
    #[inline]
    pub fn get_varlong(&mut self) -> Result<i64, DecodeError> {
        let zigzag = self.get_unsigned_varlong()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    #[inline]
    fn get_compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        let length_plus_one = self.get_unsigned_varint()?;
        Ok(length_plus_one.checked_sub(1).map(widen))
    }

    /// Length of bytes or count of an array, not yet compared with what is left.
    #[inline]
    fn get_length(&mut self, form: LengthForm) -> Result<Option<usize>, DecodeError> {
        match form {
            LengthForm::Compact => self.get_compact_length(),
            LengthForm::Fixed => length_of(self.get_i32()?),
        }
    }

    /// The bytes of a string that may be null, not looked into.
    #[inline]
    pub fn get_nullable_text(&mut self, form: LengthForm) -> Result<Option<&'a [u8]>, DecodeError> {
        let length = match form {
            LengthForm::Compact => self.get_compact_length()?,
            LengthForm::Fixed => length_of(i32::from(self.get_i16()?))?,
        };
        match length {
            Some(length) => self.get_slice(length).map(Some),
            None => Ok(None),
        }
    }

    /// A string that may be null, borrowed from the frame.
    #[inline]
    pub fn get_nullable_str(&mut self, form: LengthForm) -> Result<Option<&'a str>, DecodeError> {
        let Some(bytes) = self.get_nullable_text(form)? else {
            return Ok(None);
        };
        std::str::from_utf8(bytes).map(Some).map_err(|_| DecodeError::NotUtf8)
    }

    /// A string, borrowed from the frame.
    #[inline]
    pub fn get_str(&mut self, form: LengthForm) -> Result<&'a str, DecodeError> {
        self.get_nullable_str(form)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// Bytes that may be null, borrowed from the frame.
    #[inline]
    pub fn get_nullable_byte_slice(
        &mut self,
        form: LengthForm,
    ) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.get_length(form)? {
            Some(length) => self.get_slice(length).map(Some),
            None => Ok(None),
        }
    }

    /// Bytes that may be null, sharing the frame's memory.
    pub fn get_nullable_bytes(&mut self, form: LengthForm) -> Result<Option<Bytes>, DecodeError> {
        let slice = self.get_nullable_byte_slice(form)?;
        Ok(slice.map(|slice| self.frame.slice_ref(slice)))
    }

    /// Bytes, sharing the frame's memory.
    pub fn get_bytes(&mut self, form: LengthForm) -> Result<Bytes, DecodeError> {
        self.get_nullable_bytes(form)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// Count of an array that may be null.
    ///
    /// `size_min` is the least number of bytes one element takes: a count that cannot fit in the
    /// bytes left is refused before anything is allocated for it.
    #[inline]
    pub fn get_nullable_count(
        &mut self,
        form: LengthForm,
        size_min: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let Some(count) = self.get_length(form)? else {
            return Ok(None);
        };
        let size_min = size_min.max(1);
        if count > self.rest.len() / size_min {
            return Err(DecodeError::CountTooLarge { count, size_min, left: self.rest.len() });
        }
        Ok(Some(count))
    }

    /// Count of an array, checked as in [`Reader::get_nullable_count`].
    #[inline]
    pub fn get_count(&mut self, form: LengthForm, size_min: usize) -> Result<usize, DecodeError> {
        self.get_nullable_count(form, size_min)?.ok_or(DecodeError::UnexpectedNull)
    }

    /// The tagged fields at the end of a flexible struct (KIP-482).
    ///
    /// `visit` gets a reader over exactly the field's bytes. It leaves an unknown field unread and
    /// returns false; a known field must be read to its end.
    #[inline]
    pub fn get_tagged_fields(
        &mut self,
        mut visit: impl FnMut(u32, &mut Reader<'a>) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.get_unsigned_varint()?;
        for _ in 0..count {
            let tag = self.get_unsigned_varint()?;
            let size = self.get_unsigned_varint()?;
            let mut field = Reader { frame: self.frame, rest: self.get_slice(widen(size))? };
            let is_known = visit(tag, &mut field)?;
            if is_known && field.left() > 0 {
                return Err(DecodeError::TaggedFieldTooLong { tag, left: field.left() });
            }
        }
        Ok(())
    }

    /// Steps over tagged fields, whatever they hold.
    #[inline]
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        match *self.rest {
            [0, ref rest @ ..] => {
                self.rest = rest;
                Ok(())
            }
            _ => self.get_tagged_fields(|_, _| Ok(false)),
        }
    }
}

/// -1 is null, other negative lengths are refused.
#[inline]
fn length_of(length: i32) -> Result<Option<usize>, DecodeError> {
    match length {
        -1 => Ok(None),
        _ => usize::try_from(length).map(Some).map_err(|_| DecodeError::NegativeLength { length }),
    }
}

#[inline]
fn widen(length: u32) -> usize {
    const { assert!(usize::BITS >= u32::BITS) };
    length as usize
}

/// Where primitives are written to: a [`Writer`], or a [`SizeCounter`] that only adds up.
///
/// Encoding and size come from the same code through this seam, so they cannot disagree.
pub trait Sink {
    fn put_slice(&mut self, bytes: &[u8]);

    /// Payload: may be kept by reference instead of copied.
    fn put_bytes_shared(&mut self, bytes: &Bytes);

    /// Payload that stays in its file.
    fn put_file(&mut self, range: &FileRange);

    fn put_part(&mut self, part: &Part) {
        match part {
            Part::Memory(bytes) => self.put_bytes_shared(bytes),
            Part::File(range) => self.put_file(range),
        }
    }

    #[inline]
    fn put_bool(&mut self, value: bool) {
        self.put_i8(i8::from(value));
    }

    #[inline]
    fn put_i8(&mut self, value: i8) {
        self.put_slice(&value.to_be_bytes());
    }

    #[inline]
    fn put_i16(&mut self, value: i16) {
        self.put_slice(&value.to_be_bytes());
    }

    #[inline]
    fn put_u16(&mut self, value: u16) {
        self.put_slice(&value.to_be_bytes());
    }

    #[inline]
    fn put_i32(&mut self, value: i32) {
        self.put_slice(&value.to_be_bytes());
    }

    #[inline]
    fn put_u32(&mut self, value: u32) {
        self.put_slice(&value.to_be_bytes());
    }

    #[inline]
    fn put_i64(&mut self, value: i64) {
        self.put_slice(&value.to_be_bytes());
    }

    #[inline]
    fn put_f64(&mut self, value: f64) {
        self.put_slice(&value.to_be_bytes());
    }

    #[inline]
    fn put_uuid(&mut self, value: Uuid) {
        self.put_slice(value.as_bytes());
    }

    /// Base-128 little-endian groups.
    #[inline]
    fn put_unsigned_varint(&mut self, value: u32) {
        // Counts and names take one byte: a constant size, so that the copy is no call.
        match u8::try_from(value) {
            Ok(short @ 0..0x80) => self.put_slice(&[short]),
            _ => self.put_unsigned_varlong(u64::from(value)),
        }
    }

    /// Base-128 little-endian groups.
    #[inline]
    fn put_unsigned_varlong(&mut self, value: u64) {
        let mut groups = [0u8; 10];
        let mut rest = value;
        let mut size = 0;
        for group in &mut groups {
            let low = rest.to_le_bytes()[0] & 0x7f;
            rest >>= 7;
            size += 1;
            *group = if rest == 0 { low } else { low | 0x80 };
            if rest == 0 {
                break;
            }
        }
        self.put_slice(&groups[..size]);
    }

    /// Zigzag varint of 32 bits.
    #[inline]
    fn put_varint(&mut self, value: i32) {
        self.put_unsigned_varint(((value << 1) ^ (value >> 31)).cast_unsigned());
    }

    /// Zigzag varint of 64 bits.
    #[inline]
    fn put_varlong(&mut self, value: i64) {
        self.put_unsigned_varlong(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    /// Length of bytes or count of an array; `None` is null.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] when it exceeds an int32.
    #[inline]
    fn put_length(&mut self, length: Option<usize>, form: LengthForm) -> Result<(), EncodeError> {
        match form {
            LengthForm::Fixed => self.put_i32(match length {
                Some(length) => length_within_i32(length)?,
                None => -1,
            }),
            LengthForm::Compact => self.put_unsigned_varint(match length {
                Some(length) => length_within_i32(length)?.cast_unsigned() + 1,
                None => 0,
            }),
        }
        Ok(())
    }

    /// A string; `None` is null.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] above 32,767 bytes, the limit of the fixed form, which Kafka keeps
    /// for the compact form too.
    #[inline]
    fn put_nullable_str(
        &mut self,
        value: Option<&str>,
        form: LengthForm,
    ) -> Result<(), EncodeError> {
        self.put_nullable_text(value.map(str::as_bytes), form)
    }

    /// A string as it was read, whatever it holds; `None` is null.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] above 32,767 bytes.
    #[inline]
    fn put_nullable_text(
        &mut self,
        value: Option<&[u8]>,
        form: LengthForm,
    ) -> Result<(), EncodeError> {
        let length = match value {
            Some(value) => Some(length_within_i16(value.len())?),
            None => None,
        };
        match form {
            LengthForm::Fixed => self.put_i16(length.unwrap_or(-1)),
            LengthForm::Compact => {
                let length = length.map_or(0, |length| u32::from(length.cast_unsigned()) + 1);
                self.put_unsigned_varint(length);
            }
        }
        self.put_slice(value.unwrap_or_default());
        Ok(())
    }

    /// Bytes; `None` is null.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] when the length exceeds an int32.
    #[inline]
    fn put_nullable_bytes(
        &mut self,
        value: Option<&Bytes>,
        form: LengthForm,
    ) -> Result<(), EncodeError> {
        self.put_length(value.map(Bytes::len), form)?;
        if let Some(bytes) = value {
            self.put_bytes_shared(bytes);
        }
        Ok(())
    }
}

fn length_within_i32(length: usize) -> Result<i32, EncodeError> {
    const LENGTH_MAX: i32 = i32::MAX - 1;
    match i32::try_from(length) {
        Ok(length) if length <= LENGTH_MAX => Ok(length),
        _ => Err(EncodeError::TooLong { length, length_max: LENGTH_MAX as usize }),
    }
}

fn length_within_i16(length: usize) -> Result<i16, EncodeError> {
    i16::try_from(length)
        .map_err(|_| EncodeError::TooLong { length, length_max: i16::MAX as usize })
}

/// Adds up what a [`Writer`] would write.
#[derive(Debug, Default)]
pub struct SizeCounter {
    size: usize,
}

impl SizeCounter {
    /// Bytes so far.
    pub fn size(&self) -> usize {
        self.size
    }
}

impl Sink for SizeCounter {
    #[inline]
    fn put_slice(&mut self, bytes: &[u8]) {
        self.size += bytes.len();
    }

    #[inline]
    fn put_bytes_shared(&mut self, bytes: &Bytes) {
        self.size += bytes.len();
    }

    fn put_file(&mut self, range: &FileRange) {
        self.size += range.len;
    }
}

/// What goes to the socket: the parts in order, for one vectored write.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// In order; the first begins with the length prefix when the writer had one.
    pub parts: Vec<Part>,
    /// Sum of the parts' lengths, in bytes.
    pub size: usize,
}

impl Frame {
    /// The parts of a frame that a client made: all of them are in memory.
    pub fn memory(&self) -> impl Iterator<Item = &Bytes> {
        self.parts.iter().map(|part| part.memory().expect("a client's frame has no file in it"))
    }

    /// All parts in one piece. Copies when there is more than one; for tests and cold paths, whose
    /// parts are in memory.
    pub fn into_bytes(self) -> Bytes {
        join(self.parts)
    }
}

/// Writes primitives as a rope: small things are copied together, payload is kept by reference.
#[derive(Debug, Default)]
pub struct Writer {
    /// The first copied run. Kept apart because the length prefix in it is filled in last.
    head: Option<BytesMut>,
    /// What follows `head`.
    parts: Vec<Part>,
    current: BytesMut,
    size: usize,
    has_length_prefix: bool,
}

impl Writer {
    /// Writes without a length prefix.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// As [`Writer::new`], with room for `size` bytes: what fits is not moved again.
    pub fn with_room(size: usize) -> Writer {
        Writer { current: BytesMut::with_capacity(size), ..Writer::default() }
    }

    /// Writes a frame: 4 bytes of length first, filled in by [`Writer::finish`].
    pub fn for_frame() -> Writer {
        Writer::for_frame_in(BytesMut::with_capacity(HEAD_BYTES))
    }

    /// As [`Writer::for_frame`], copying into `buffer`, whose capacity is reused.
    pub fn for_frame_in(buffer: BytesMut) -> Writer {
        let mut writer = Writer { current: buffer, has_length_prefix: true, ..Writer::default() };
        writer.current.clear();
        writer.put_slice(&[0; LENGTH_PREFIX_SIZE]);
        writer
    }

    /// Bytes written so far, the length prefix included.
    pub fn size(&self) -> usize {
        self.size
    }

    fn seal_current(&mut self) {
        if self.current.is_empty() {
            return;
        }
        let run = self.current.split();
        if self.head.is_none() && self.parts.is_empty() {
            self.head = Some(run);
        } else {
            self.parts.push(run.freeze().into());
        }
    }

    /// Ends the frame and fills in its length.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] when the frame exceeds an int32.
    pub fn finish(mut self) -> Result<Frame, EncodeError> {
        self.seal_current();
        if self.has_length_prefix {
            let length = length_within_i32(self.size - LENGTH_PREFIX_SIZE)?;
            let head = self.head.as_mut().expect("for_frame wrote the prefix first");
            head[..LENGTH_PREFIX_SIZE].copy_from_slice(&length.to_be_bytes());
        }
        let mut parts = self.parts;
        if let Some(head) = self.head {
            parts.insert(0, head.freeze().into());
        }
        Ok(Frame { parts, size: self.size })
    }

    /// Ends what is no frame, in one piece: copied only when payload was kept by reference.
    ///
    /// # Errors
    /// As [`Writer::finish`].
    pub fn into_bytes(self) -> Result<Bytes, EncodeError> {
        if self.head.is_none() && self.parts.is_empty() && !self.has_length_prefix {
            return Ok(self.current.freeze());
        }
        Ok(self.finish()?.into_bytes())
    }
}

impl Sink for Writer {
    #[inline]
    fn put_slice(&mut self, bytes: &[u8]) {
        self.current.put_slice(bytes);
        self.size += bytes.len();
    }

    #[inline]
    fn put_bytes_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            self.put_slice(bytes);
            return;
        }
        self.seal_current();
        self.parts.push(bytes.clone().into());
        self.size += bytes.len();
    }

    fn put_file(&mut self, range: &FileRange) {
        self.seal_current();
        self.parts.push(Part::File(range.clone()));
        self.size += range.len;
    }
}

#[cfg(test)]
#[path = "primitive_tests.rs"]
mod tests;
