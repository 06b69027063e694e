use std::os::fd::OwnedFd;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn written(write: impl FnOnce(&mut Writer)) -> Bytes {
    let mut writer = Writer::new();
    write(&mut writer);
    writer.finish().unwrap().into_bytes()
}

fn read<T>(bytes: &[u8], read: impl FnOnce(&mut Reader<'_>) -> T) -> T {
    read(&mut Reader::new(&Bytes::copy_from_slice(bytes)))
}

proptest! {
    #[test]
    fn varints_read_back_as_written(signed in any::<i64>(), narrow in any::<i32>()) {
        let bytes = written(|writer| {
            writer.put_varlong(signed);
            writer.put_varint(narrow);
            writer.put_unsigned_varlong(signed.cast_unsigned());
            writer.put_unsigned_varint(narrow.cast_unsigned());
        });
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(reader.get_varlong(), Ok(signed));
        prop_assert_eq!(reader.get_varint(), Ok(narrow));
        prop_assert_eq!(reader.get_unsigned_varlong(), Ok(signed.cast_unsigned()));
        prop_assert_eq!(reader.get_unsigned_varint(), Ok(narrow.cast_unsigned()));
        prop_assert_eq!(reader.left(), 0);
    }

    #[test]
    fn strings_and_bytes_read_back_in_both_forms(
        string in proptest::option::of(".{0,200}"),
        bytes in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..2000)),
    ) {
        let bytes = bytes.map(Bytes::from);
        for form in [LengthForm::Fixed, LengthForm::Compact] {
            let encoded = written(|writer| {
                writer.put_nullable_str(string.as_deref(), form).unwrap();
                writer.put_nullable_bytes(bytes.as_ref(), form).unwrap();
            });
            let mut reader = Reader::new(&encoded);
            prop_assert_eq!(reader.get_nullable_str(form), Ok(string.as_deref()));
            prop_assert_eq!(reader.get_nullable_bytes(form), Ok(bytes.clone()));
            prop_assert_eq!(reader.left(), 0);
        }
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..64)) {
        for form in [LengthForm::Fixed, LengthForm::Compact] {
            let read = |with: fn(&mut Reader<'_>, LengthForm) -> bool| {
                read(&noise, |reader| while with(reader, form) && reader.left() > 0 {});
            };
            read(|reader, form| reader.get_nullable_str(form).is_ok());
            read(|reader, form| reader.get_nullable_bytes(form).is_ok());
            read(|reader, form| reader.get_nullable_count(form, 1).is_ok());
            read(|reader, _| reader.get_varlong().is_ok());
            read(|reader, _| reader.skip_tagged_fields().is_ok());
        }
    }

    #[test]
    fn the_counter_counts_what_the_writer_writes(
        payload in proptest::collection::vec(any::<u8>(), 0..3000),
        number in any::<i64>(),
    ) {
        fn put(sink: &mut impl Sink, payload: &Bytes, number: i64) {
            sink.put_varlong(number);
            sink.put_nullable_bytes(Some(payload), LengthForm::Compact).unwrap();
            sink.put_i64(number);
        }
        let payload = Bytes::from(payload);
        let (mut writer, mut counter) = (Writer::new(), SizeCounter::default());
        put(&mut writer, &payload, number);
        put(&mut counter, &payload, number);
        prop_assert_eq!(writer.size(), counter.size());
        let frame = writer.finish().unwrap();
        prop_assert_eq!(frame.size, counter.size());
        prop_assert_eq!(frame.parts.iter().map(Part::len).sum::<usize>(), frame.size);
    }
}

#[test]
fn varints_are_those_of_kafka() {
    let examples: [(i32, &[u8]); 6] = [
        (0, &[0]),
        (-1, &[1]),
        (1, &[2]),
        (-64, &[0x7f]),
        (64, &[0x80, 1]),
        (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ];
    for (value, bytes) in examples {
        assert_eq!(written(|writer| writer.put_varint(value)), bytes);
        assert_eq!(read(bytes, |reader| reader.get_varint()), Ok(value));
    }
}

#[test]
fn varints_longer_than_their_type_are_refused() {
    let too_long = DecodeError::VarintTooLong;
    assert_eq!(
        read(&[0xff, 0xff, 0xff, 0xff, 0x10], |reader| reader.get_unsigned_varint()),
        Err(too_long)
    );
    assert_eq!(read(&[0x80; 11], |reader| reader.get_unsigned_varint()), Err(too_long));
    assert_eq!(read(&[0xff; 10], |reader| reader.get_unsigned_varlong()), Err(too_long));
}

#[test]
fn negative_lengths_other_than_null_are_refused() {
    let refused = Err(DecodeError::NegativeLength { length: -2 });
    assert_eq!(
        read(&[0xff, 0xfe], |reader| reader.get_nullable_str(LengthForm::Fixed).map(drop)),
        refused
    );
    let bytes = [0xff, 0xff, 0xff, 0xfe];
    assert_eq!(
        read(&bytes, |reader| reader.get_nullable_bytes(LengthForm::Fixed).map(drop)),
        refused
    );
    assert_eq!(
        read(&bytes, |reader| reader.get_nullable_count(LengthForm::Fixed, 1).map(drop)),
        refused
    );
}

#[test]
fn a_count_is_refused_when_its_smallest_elements_do_not_fit() {
    let bytes = [0, 0, 0, 3, 1, 2, 3, 4, 5];
    let count = |size_min| read(&bytes, |reader| reader.get_count(LengthForm::Fixed, size_min));
    assert_eq!(count(1), Ok(3));
    assert_eq!(count(2), Err(DecodeError::CountTooLarge { count: 3, size_min: 2, left: 5 }));
}

#[test]
fn null_is_refused_where_a_value_is_required() {
    let null = Err(DecodeError::UnexpectedNull);
    assert_eq!(read(&[0], |reader| reader.get_str(LengthForm::Compact).map(drop)), null);
    assert_eq!(read(&[0], |reader| reader.get_bytes(LengthForm::Compact).map(drop)), null);
    assert_eq!(read(&[0xff; 4], |reader| reader.get_count(LengthForm::Fixed, 1).map(drop)), null);
}

#[test]
fn strings_must_be_utf_8() {
    let outcome = read(&[2, 0xff], |reader| reader.get_str(LengthForm::Compact).map(str::to_owned));
    assert_eq!(outcome, Err(DecodeError::NotUtf8));
}

#[test]
fn unknown_tagged_fields_are_skipped_and_known_ones_read_to_their_end() {
    let bytes = [2, 0, 1, 9, 7, 2, 1, 2, 0xaa];
    let mut seen = Vec::new();
    let outcome = read(&bytes, |reader| {
        reader.get_tagged_fields(|tag, field| {
            seen.push((tag, field.left()));
            if tag == 0 {
                field.get_i8()?;
            }
            Ok(tag == 0)
        })?;
        reader.get_u16()
    });
    assert_eq!(seen, [(0, 1), (7, 2)]);
    assert_eq!(outcome, Err(DecodeError::Truncated { needed: 2, left: 1 }));

    let too_long = read(&bytes, |reader| reader.get_tagged_fields(|_, _| Ok(true)));
    assert_eq!(too_long, Err(DecodeError::TaggedFieldTooLong { tag: 0, left: 1 }));
}

#[test]
fn bytes_that_are_read_share_the_frame() {
    let frame = Bytes::from_static(&[0, 0, 0, 2, 7, 8]);
    let bytes = Reader::new(&frame).get_bytes(LengthForm::Fixed).unwrap();
    assert_eq!(bytes.as_ptr(), frame[4..].as_ptr());
}

#[test]
fn a_frame_begins_with_its_length_and_shares_large_payload() {
    let payload = Bytes::from(vec![7; SHARED_BYTES_MIN]);
    let mut writer = Writer::for_frame();
    writer.put_i16(1);
    writer.put_bytes_shared(&payload);
    writer.put_bytes_shared(&payload.slice(1..));
    writer.put_i16(2);
    let frame = writer.finish().unwrap();
    assert_eq!(frame.size, 4 + 2 + 1024 + 1023 + 2);
    assert_eq!(frame.parts.len(), 3);
    assert_eq!(frame.parts[0].memory().unwrap()[..], [0, 0, 8, 3, 0, 1]);
    assert_eq!(frame.parts[1].memory().unwrap().as_ptr(), payload.as_ptr());
    assert_eq!(frame.into_bytes().len(), 2055);
}

#[test]
fn payload_first_needs_no_copied_head() {
    let payload = Bytes::from(vec![7; SHARED_BYTES_MIN]);
    let mut writer = Writer::new();
    writer.put_bytes_shared(&payload);
    writer.put_i8(1);
    let frame = writer.finish().unwrap();
    assert_eq!(frame.parts.len(), 2);
    assert_eq!(frame.parts[0].memory(), Some(&payload));
    assert_eq!(frame.parts[1].memory().unwrap()[..], [1]);
}

#[test]
fn strings_above_an_int16_are_refused_in_both_forms() {
    let long = "x".repeat(32_768);
    for form in [LengthForm::Fixed, LengthForm::Compact] {
        let refused = Writer::new().put_nullable_str(Some(&long), form);
        assert_eq!(refused, Err(EncodeError::TooLong { length: 32_768, length_max: 32_767 }));
    }
}

#[test]
fn a_range_of_a_file_is_counted_and_kept_in_its_place() {
    let file = Arc::new(OwnedFd::from(tempfile::tempfile().unwrap()));
    let range = FileRange { file, position: 5, len: 70_000 };
    let mut writer = Writer::for_frame();
    writer.put_i16(1);
    writer.put_part(&range.into());
    writer.put_i16(2);
    let frame = writer.finish().unwrap();
    assert_eq!(frame.size, 4 + 2 + 70_000 + 2);
    assert_eq!(frame.parts[0].memory().unwrap()[..], [0, 1, 17, 116, 0, 1]);
    assert!(matches!(&frame.parts[1], Part::File(range) if range.position == 5));
    assert_eq!(frame.parts[2].memory().unwrap()[..], [0, 2]);
}
