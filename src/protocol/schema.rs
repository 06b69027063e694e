//! One field table per message yields the struct, decode, encode and size, for all versions.
//!
//! Why a table: two hand-written copies of a message drift apart, and nobody notices until a
//! client of another version does. A table line reads like Kafka's own definition:
//!
//! ```text
//! schema! {
//!     api Metadata: MetadataRequest => MetadataResponse, versions 0..=13;
//!     struct MetadataRequest {
//!         topics: Option<Vec<MetadataRequestTopic>>, "0+", null("1+");
//!         allow_auto_topic_creation: bool = true, "4+";
//!     }
//! }
//! ```
//!
//! name: type = default when it is not the type's own, versions that have the field, options:
//! `null` (versions in which it may be null), `tag` (number and versions in which it is a tagged
//! field), `ignorable` (dropped without an error where the version lacks it).
//!
//! Invariants
//! - Tagged fields stand in the order of their tags; absent ones are not written when default.
//! - A field that the version lacks reads as its default.
//! - A value that the version cannot carry is an [`EncodeError`] unless the field is ignorable.

use std::ops::RangeInclusive;

use bytes::Bytes;
use uuid::Uuid;

use crate::protocol::api_key::ApiKey;
use crate::protocol::primitive::{
    DecodeError, EncodeError, LengthForm, Reader, Sink, SizeCounter, Writer,
};
use crate::protocol::records::Records;

#[cfg(test)]
use crate::protocol::entropy::Entropy;

/// A request or response body.
pub trait Message: Wire + Default {
    const KEY: ApiKey;
    /// The versions we read and write.
    const VERSIONS: RangeInclusive<i16>;
    /// First version with compact lengths and tagged fields (KIP-482).
    const FLEXIBLE_FROM: i16 = Self::KEY.flexible_from();

    /// Reads the body; bytes after it are left to the caller, as Kafka tolerates them.
    ///
    /// # Errors
    /// Whatever the bytes or the version have wrong; nothing panics.
    fn decode(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { api: Self::KEY.name(), version });
        }
        Self::read(reader, Context::of_message(version, Self::FLEXIBLE_FROM))
    }

    /// Writes the body.
    ///
    /// # Errors
    /// A value that `version` cannot carry.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        encode_into(self, writer, version)
    }

    /// Bytes that [`Message::encode`] writes.
    ///
    /// # Errors
    /// The same as [`Message::encode`].
    fn encoded_size(&self, version: i16) -> Result<usize, EncodeError> {
        let mut counter = SizeCounter::default();
        encode_into(self, &mut counter, version)?;
        Ok(counter.size())
    }
}

fn encode_into<M: Message>(
    message: &M,
    sink: &mut impl Sink,
    version: i16,
) -> Result<(), EncodeError> {
    if !M::VERSIONS.contains(&version) {
        return Err(EncodeError::UnsupportedVersion { api: M::KEY.name(), version });
    }
    message.write(sink, Context::of_message(version, M::FLEXIBLE_FROM))
}

/// A request body, and the type of its answer.
pub trait Request: Message {
    type Response: Message;
}

/// How the value at hand is written.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    pub version: i16,
    /// Compact lengths and tagged fields.
    pub is_flexible: bool,
    /// Null is allowed for this value.
    pub is_nullable: bool,
}

impl Context {
    /// For the outermost struct of a message whose first flexible version is `flexible_from`.
    pub const fn of_message(version: i16, flexible_from: i16) -> Context {
        Context { version, is_flexible: version >= flexible_from, is_nullable: false }
    }

    /// Form of lengths.
    #[inline]
    pub const fn form(self) -> LengthForm {
        if self.is_flexible { LengthForm::Compact } else { LengthForm::Fixed }
    }

    const fn of_element(self) -> Context {
        Context { is_nullable: false, ..self }
    }

    fn require<T>(self, value: Option<T>) -> Result<Option<T>, DecodeError> {
        match value {
            None if !self.is_nullable => Err(DecodeError::UnexpectedNull),
            value => Ok(value),
        }
    }

    fn check_null<T>(self, value: Option<&T>) -> Result<(), EncodeError> {
        match value {
            None if !self.is_nullable => Err(EncodeError::UnexpectedNull { version: self.version }),
            _ => Ok(()),
        }
    }
}

/// A range of versions in Kafka's notation: `"4+"`, `"4-7"`, `"4"`.
#[derive(Clone, Copy, Debug)]
pub struct Versions {
    first: i16,
    last: i16,
}

impl Versions {
    const NONE: Versions = Versions { first: 0, last: -1 };

    const fn parse(text: &str) -> Versions {
        let bytes = text.as_bytes();
        let (first, at) = Self::parse_number(bytes, 0);
        if at == bytes.len() {
            return Versions { first, last: first };
        }
        if bytes[at] == b'+' {
            assert!(at + 1 == bytes.len());
            return Versions { first, last: i16::MAX };
        }
        assert!(bytes[at] == b'-');
        let (last, at) = Self::parse_number(bytes, at + 1);
        assert!(at == bytes.len() && first <= last);
        Versions { first, last }
    }

    const fn parse_number(bytes: &[u8], start: usize) -> (i16, usize) {
        let mut value = 0i16;
        let mut at = start;
        while at < bytes.len() && bytes[at].is_ascii_digit() {
            value = value * 10 + (bytes[at] - b'0') as i16;
            at += 1;
        }
        assert!(at > start, "a version is a number");
        (value, at)
    }

    #[inline]
    const fn contains(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }
}

/// One line of a field table, without name's type and default.
#[derive(Clone, Copy, Debug)]
pub struct FieldSpec {
    pub name: &'static str,
    versions: Versions,
    null: Versions,
    /// Number of the tagged field, where it is one.
    pub tag: u32,
    tagged: Versions,
    /// Dropped without an error where the version lacks it.
    pub is_ignorable: bool,
}

impl FieldSpec {
    /// A field of these versions: never null, no tag, a default that may be dropped in none.
    pub const fn new(name: &'static str, versions: &str) -> FieldSpec {
        FieldSpec {
            name,
            versions: Versions::parse(versions),
            null: Versions::NONE,
            tag: 0,
            tagged: Versions::NONE,
            is_ignorable: false,
        }
    }

    pub const fn null(self, versions: &str) -> FieldSpec {
        FieldSpec { null: Versions::parse(versions), ..self }
    }

    pub const fn tag(self, tag: u32, versions: &str) -> FieldSpec {
        FieldSpec { tag, tagged: Versions::parse(versions), ..self }
    }

    pub const fn ignorable(self) -> FieldSpec {
        FieldSpec { is_ignorable: true, ..self }
    }

    /// Whether `version` has the field among the others, in their order.
    #[inline]
    pub const fn is_inline(&self, version: i16) -> bool {
        self.versions.contains(version) && !self.tagged.contains(version)
    }

    /// Whether `version` has the field as a tagged one.
    #[inline]
    pub const fn is_tagged(&self, version: i16) -> bool {
        self.versions.contains(version) && self.tagged.contains(version)
    }

    /// The struct's context, with this field's nullability.
    #[inline]
    pub const fn context(&self, context: Context) -> Context {
        Context { is_nullable: self.null.contains(context.version), ..context }
    }

    /// The error for a value in a version without the field.
    pub const fn absent(&self, version: i16) -> EncodeError {
        EncodeError::FieldNotInVersion { field: self.name, version }
    }
}

/// A value that a field table can hold.
pub trait Wire: Sized + PartialEq {
    /// Kafka's default: zero, empty, not null.
    fn wire_default() -> Self;

    /// The least number of bytes that any value takes.
    fn size_min(context: Context) -> usize;

    fn read(reader: &mut Reader<'_>, context: Context) -> Result<Self, DecodeError>;

    fn write<S: Sink>(&self, sink: &mut S, context: Context) -> Result<(), EncodeError>;

    /// A value that `context` can carry, made from `entropy`.
    #[cfg(test)]
    fn arbitrary(entropy: &mut Entropy<'_>, context: Context) -> Self;
}

macro_rules! fixed_size {
    ($( $type:ty, $size:literal, $get:ident, $put:ident, $arbitrary:ident; )*) => { $(
        impl Wire for $type {
            fn wire_default() -> Self {
                <$type>::default()
            }

            #[inline]
            fn size_min(_: Context) -> usize {
                $size
            }

            #[inline]
            fn read(reader: &mut Reader<'_>, _: Context) -> Result<Self, DecodeError> {
                reader.$get()
            }

            #[inline]
            fn write<S: Sink>(&self, sink: &mut S, _: Context) -> Result<(), EncodeError> {
                sink.$put(*self);
                Ok(())
            }

            #[cfg(test)]
            fn arbitrary(entropy: &mut Entropy<'_>, _: Context) -> Self {
                entropy.$arbitrary()
            }
        }
    )* };
}

fixed_size! {
    bool, 1, get_bool, put_bool, bool;
    i8, 1, get_i8, put_i8, i8;
    i16, 2, get_i16, put_i16, i16;
    u16, 2, get_u16, put_u16, u16;
    i32, 4, get_i32, put_i32, i32;
    i64, 8, get_i64, put_i64, i64;
    f64, 8, get_f64, put_f64, f64;
    Uuid, 16, get_uuid, put_uuid, uuid;
}

impl Wire for Option<String> {
    fn wire_default() -> Self {
        Some(String::new())
    }

    #[inline]
    fn size_min(context: Context) -> usize {
        if context.is_flexible { 1 } else { 2 }
    }

    #[inline]
    fn read(reader: &mut Reader<'_>, context: Context) -> Result<Self, DecodeError> {
        let value = context.require(reader.get_nullable_str(context.form())?)?;
        Ok(value.map(str::to_owned))
    }

    #[inline]
    fn write<S: Sink>(&self, sink: &mut S, context: Context) -> Result<(), EncodeError> {
        context.check_null(self.as_ref())?;
        sink.put_nullable_str(self.as_deref(), context.form())
    }

    #[cfg(test)]
    fn arbitrary(entropy: &mut Entropy<'_>, context: Context) -> Self {
        entropy.nullable(context, Entropy::string)
    }
}

impl Wire for String {
    fn wire_default() -> Self {
        String::new()
    }

    #[inline]
    fn size_min(context: Context) -> usize {
        Option::<String>::size_min(context)
    }

    #[inline]
    fn read(reader: &mut Reader<'_>, context: Context) -> Result<Self, DecodeError> {
        Ok(reader.get_str(context.form())?.to_owned())
    }

    #[inline]
    fn write<S: Sink>(&self, sink: &mut S, context: Context) -> Result<(), EncodeError> {
        sink.put_nullable_str(Some(self), context.form())
    }

    #[cfg(test)]
    fn arbitrary(entropy: &mut Entropy<'_>, _: Context) -> Self {
        entropy.string()
    }
}

impl Wire for Option<Bytes> {
    fn wire_default() -> Self {
        Some(Bytes::new())
    }

    #[inline]
    fn size_min(context: Context) -> usize {
        if context.is_flexible { 1 } else { 4 }
    }

    #[inline]
    fn read(reader: &mut Reader<'_>, context: Context) -> Result<Self, DecodeError> {
        context.require(reader.get_nullable_bytes(context.form())?)
    }

    #[inline]
    fn write<S: Sink>(&self, sink: &mut S, context: Context) -> Result<(), EncodeError> {
        context.check_null(self.as_ref())?;
        sink.put_nullable_bytes(self.as_ref(), context.form())
    }

    #[cfg(test)]
    fn arbitrary(entropy: &mut Entropy<'_>, context: Context) -> Self {
        entropy.nullable(context, Entropy::bytes)
    }
}

impl Wire for Bytes {
    fn wire_default() -> Self {
        Bytes::new()
    }

    #[inline]
    fn size_min(context: Context) -> usize {
        Option::<Bytes>::size_min(context)
    }

    #[inline]
    fn read(reader: &mut Reader<'_>, context: Context) -> Result<Self, DecodeError> {
        reader.get_bytes(context.form())
    }

    #[inline]
    fn write<S: Sink>(&self, sink: &mut S, context: Context) -> Result<(), EncodeError> {
        sink.put_nullable_bytes(Some(self), context.form())
    }

    #[cfg(test)]
    fn arbitrary(entropy: &mut Entropy<'_>, _: Context) -> Self {
        entropy.bytes()
    }
}

/// Null reads as empty, empty is written as length 0 (see `records.rs`).
impl Wire for Records {
    fn wire_default() -> Self {
        Records::default()
    }

    #[inline]
    fn size_min(context: Context) -> usize {
        Option::<Bytes>::size_min(context)
    }

    #[inline]
    fn read(reader: &mut Reader<'_>, context: Context) -> Result<Self, DecodeError> {
        let value = reader.get_nullable_bytes(context.form())?;
        Ok(context.require(value)?.map(Records::from).unwrap_or_default())
    }

    #[inline]
    fn write<S: Sink>(&self, sink: &mut S, context: Context) -> Result<(), EncodeError> {
        sink.put_length(Some(self.len()), context.form())?;
        for part in self.parts() {
            sink.put_part(part);
        }
        Ok(())
    }

    #[cfg(test)]
    fn arbitrary(entropy: &mut Entropy<'_>, _: Context) -> Self {
        Records::from(entropy.bytes())
    }
}

/// Room made for an array before its first element is read: an honest small array needs no second
/// allocation, and a claimed large one grows only as its elements arrive.
const ELEMENTS_PREALLOCATED_MAX: usize = 64;

fn read_elements<T: Wire>(
    reader: &mut Reader<'_>,
    count: usize,
    context: Context,
) -> Result<Vec<T>, DecodeError> {
    let mut elements = Vec::with_capacity(count.min(ELEMENTS_PREALLOCATED_MAX));
    for _ in 0..count {
        elements.push(T::read(reader, context)?);
    }
    Ok(elements)
}

impl<T: Wire> Wire for Option<Vec<T>> {
    fn wire_default() -> Self {
        Some(Vec::new())
    }

    #[inline]
    fn size_min(context: Context) -> usize {
        if context.is_flexible { 1 } else { 4 }
    }

    fn read(reader: &mut Reader<'_>, context: Context) -> Result<Self, DecodeError> {
        let size_min = T::size_min(context.of_element());
        let count = reader.get_nullable_count(context.form(), size_min)?;
        match context.require(count)? {
            Some(count) => read_elements(reader, count, context.of_element()).map(Some),
            None => Ok(None),
        }
    }

    fn write<S: Sink>(&self, sink: &mut S, context: Context) -> Result<(), EncodeError> {
        context.check_null(self.as_ref())?;
        sink.put_length(self.as_ref().map(Vec::len), context.form())?;
        for element in self.iter().flatten() {
            element.write(sink, context.of_element())?;
        }
        Ok(())
    }

    #[cfg(test)]
    fn arbitrary(entropy: &mut Entropy<'_>, context: Context) -> Self {
        entropy.nullable(context, |entropy| Vec::<T>::arbitrary(entropy, context))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn wire_default() -> Self {
        Vec::new()
    }

    #[inline]
    fn size_min(context: Context) -> usize {
        Option::<Vec<T>>::size_min(context)
    }

    fn read(reader: &mut Reader<'_>, context: Context) -> Result<Self, DecodeError> {
        let size_min = T::size_min(context.of_element());
        let count = reader.get_count(context.form(), size_min)?;
        read_elements(reader, count, context.of_element())
    }

    fn write<S: Sink>(&self, sink: &mut S, context: Context) -> Result<(), EncodeError> {
        sink.put_length(Some(self.len()), context.form())?;
        for element in self {
            element.write(sink, context.of_element())?;
        }
        Ok(())
    }

    #[cfg(test)]
    fn arbitrary(entropy: &mut Entropy<'_>, context: Context) -> Self {
        let count = entropy.count();
        (0..count).map(|_| T::arbitrary(entropy, context.of_element())).collect()
    }
}

/// Reads a struct that may be null: one byte, -1 for null, else 1 and the struct.
pub(crate) fn read_nullable_struct<T: Wire>(
    reader: &mut Reader<'_>,
    context: Context,
) -> Result<Option<T>, DecodeError> {
    if !context.is_nullable {
        return T::read(reader, context).map(Some);
    }
    match reader.get_i8()? {
        -1 => Ok(None),
        1 => T::read(reader, context.of_element()).map(Some),
        marker => Err(DecodeError::BadStructMarker { marker }),
    }
}

/// Writes what [`read_nullable_struct`] reads.
pub(crate) fn write_nullable_struct<T: Wire, S: Sink>(
    value: Option<&T>,
    sink: &mut S,
    context: Context,
) -> Result<(), EncodeError> {
    context.check_null(value)?;
    if context.is_nullable {
        sink.put_i8(if value.is_some() { 1 } else { -1 });
    }
    match value {
        Some(value) => value.write(sink, context.of_element()),
        None => Ok(()),
    }
}

/// Writes number, size and value of a tagged field.
pub(crate) fn write_tagged<T: Wire, S: Sink>(
    value: &T,
    tag: u32,
    sink: &mut S,
    context: Context,
) -> Result<(), EncodeError> {
    let mut counter = SizeCounter::default();
    value.write(&mut counter, context)?;
    let size = counter.size();
    let size_on_wire = u32::try_from(size)
        .map_err(|_| EncodeError::TooLong { length: size, length_max: u32::MAX as usize })?;
    sink.put_unsigned_varint(tag);
    sink.put_unsigned_varint(size_on_wire);
    value.write(sink, context)
}

/// The field table of an API's messages: see the head of this file.
macro_rules! schema {
    (
        api $key:ident: $request:ident => $response:ident,
        versions $oldest:literal..=$latest:literal;
        $($structs:tt)*
    ) => {
        impl $crate::protocol::schema::Message for $request {
            const KEY: $crate::protocol::api_key::ApiKey =
                $crate::protocol::api_key::ApiKey::$key;
            const VERSIONS: ::std::ops::RangeInclusive<i16> = $oldest..=$latest;
        }

        impl $crate::protocol::schema::Message for $response {
            const KEY: $crate::protocol::api_key::ApiKey =
                $crate::protocol::api_key::ApiKey::$key;
            const VERSIONS: ::std::ops::RangeInclusive<i16> = $oldest..=$latest;
        }

        impl $crate::protocol::schema::Request for $request {
            type Response = $response;
        }

        $crate::protocol::schema::schema! { $($structs)* }
    };

    (@default $type:ty) => { <$type as $crate::protocol::schema::Wire>::wire_default() };
    (@default $type:ty, $default:expr) => { $default };

    ($(
        $(#[$attribute:meta])*
        struct $name:ident {
            $(
                $field:ident: $type:ty $(= $default:expr)?, $versions:literal
                $(, $option:ident($($argument:literal),*))*;
            )*
        }
    )*) => { $(
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                $name {
                    $( $field: $crate::protocol::schema::schema!(@default $type $(, $default)?), )*
                }
            }
        }

        #[allow(non_upper_case_globals, reason = "one constant per field, named as the field")]
        impl $name {
            $(
                const $field: $crate::protocol::schema::FieldSpec =
                    $crate::protocol::schema::FieldSpec::new(stringify!($field), $versions)
                        $(.$option($($argument),*))*;
            )*
        }

        impl $crate::protocol::schema::Wire for $name {
            fn wire_default() -> Self {
                <$name as Default>::default()
            }

            #[inline]
            fn size_min(context: $crate::protocol::schema::Context) -> usize {
                let tagged_fields = usize::from(context.is_flexible);
                tagged_fields $(
                    + if Self::$field.is_inline(context.version) {
                        <$type as $crate::protocol::schema::Wire>::size_min(
                            Self::$field.context(context),
                        )
                    } else {
                        0
                    }
                )*
            }

            fn read(
                reader: &mut $crate::protocol::primitive::Reader<'_>,
                context: $crate::protocol::schema::Context,
            ) -> Result<Self, $crate::protocol::primitive::DecodeError> {
                use $crate::protocol::schema::Wire;
                #[allow(unused_mut, reason = "a struct may have no fields")]
                let mut value = <$name as Default>::default();
                $(
                    if Self::$field.is_inline(context.version) {
                        value.$field = Wire::read(reader, Self::$field.context(context))?;
                    }
                )*
                if context.is_flexible {
                    #[allow(unused_variables, reason = "most structs have no tagged fields")]
                    reader.get_tagged_fields(|tag, reader| {
                        $(
                            if Self::$field.is_tagged(context.version) && Self::$field.tag == tag {
                                value.$field = Wire::read(reader, Self::$field.context(context))?;
                                return Ok(true);
                            }
                        )*
                        Ok(false)
                    })?;
                }
                Ok(value)
            }

            fn write<S: $crate::protocol::primitive::Sink>(
                &self,
                sink: &mut S,
                context: $crate::protocol::schema::Context,
            ) -> Result<(), $crate::protocol::primitive::EncodeError> {
                use $crate::protocol::schema::Wire;
                #[allow(unused_mut, reason = "most structs have no tagged fields")]
                let mut tagged_count = 0;
                $(
                    if Self::$field.is_inline(context.version) {
                        Wire::write(&self.$field, sink, Self::$field.context(context))?;
                    } else if self.$field
                        != $crate::protocol::schema::schema!(@default $type $(, $default)?)
                    {
                        if Self::$field.is_tagged(context.version) {
                            tagged_count += 1;
                        } else if !Self::$field.is_ignorable {
                            return Err(Self::$field.absent(context.version));
                        }
                    }
                )*
                if !context.is_flexible {
                    return Ok(());
                }
                sink.put_unsigned_varint(tagged_count);
                if tagged_count == 0 {
                    return Ok(());
                }
                $(
                    if Self::$field.is_tagged(context.version)
                        && self.$field
                            != $crate::protocol::schema::schema!(@default $type $(, $default)?)
                    {
                        $crate::protocol::schema::write_tagged(
                            &self.$field,
                            Self::$field.tag,
                            sink,
                            Self::$field.context(context),
                        )?;
                    }
                )*
                Ok(())
            }

            #[cfg(test)]
            fn arbitrary(
                entropy: &mut $crate::protocol::entropy::Entropy<'_>,
                context: $crate::protocol::schema::Context,
            ) -> Self {
                use $crate::protocol::schema::Wire;
                let mut value = <$name as Default>::default();
                $(
                    if Self::$field.is_inline(context.version)
                        || Self::$field.is_tagged(context.version)
                    {
                        value.$field = Wire::arbitrary(entropy, Self::$field.context(context));
                    }
                )*
                value
            }
        }

        impl $crate::protocol::schema::Wire for Option<$name> {
            fn wire_default() -> Self {
                Some(<$name as Default>::default())
            }

            #[inline]
            fn size_min(_: $crate::protocol::schema::Context) -> usize {
                1
            }

            fn read(
                reader: &mut $crate::protocol::primitive::Reader<'_>,
                context: $crate::protocol::schema::Context,
            ) -> Result<Self, $crate::protocol::primitive::DecodeError> {
                $crate::protocol::schema::read_nullable_struct(reader, context)
            }

            fn write<S: $crate::protocol::primitive::Sink>(
                &self,
                sink: &mut S,
                context: $crate::protocol::schema::Context,
            ) -> Result<(), $crate::protocol::primitive::EncodeError> {
                $crate::protocol::schema::write_nullable_struct(self.as_ref(), sink, context)
            }

            #[cfg(test)]
            fn arbitrary(
                entropy: &mut $crate::protocol::entropy::Entropy<'_>,
                context: $crate::protocol::schema::Context,
            ) -> Self {
                entropy.nullable(context, |entropy| {
                    $crate::protocol::schema::Wire::arbitrary(entropy, context)
                })
            }
        }
    )* };
}

pub(crate) use schema;

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
