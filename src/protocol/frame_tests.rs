use super::*;
use crate::protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::messages::metadata::MetadataRequest;
use crate::protocol::messages::sasl_handshake::SaslHandshakeRequest;

fn received(bytes: &[u8]) -> BytesMut {
    BytesMut::from(bytes)
}

#[test]
fn frames_come_out_whole_and_in_order() {
    let mut stream = received(&[0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3, 9]);
    assert_eq!(next_frame(&mut stream, 100), Ok(Some(Bytes::from_static(&[1, 2]))));
    assert_eq!(next_frame(&mut stream, 100), Ok(Some(Bytes::new())));
    assert_eq!(next_frame(&mut stream, 100), Ok(None));
    stream.extend_from_slice(&[8, 7]);
    assert_eq!(next_frame(&mut stream, 100), Ok(Some(Bytes::from_static(&[9, 8, 7]))));
    assert_eq!(next_frame(&mut stream, 100), Ok(None));
}

#[test]
fn a_partial_frame_makes_room_for_the_rest_but_not_before_its_length_is_known() {
    let mut stream = received(&[0, 0, 1]);
    assert_eq!(next_frame(&mut stream, 1000), Ok(None));
    assert!(stream.capacity() < 260);
    stream.extend_from_slice(&[0]);
    assert_eq!(next_frame(&mut stream, 1000), Ok(None));
    assert!(stream.capacity() >= 260);
}

#[test]
fn a_length_alone_does_not_cost_its_size_in_memory() {
    let mut stream = received(&[6, 0, 0, 0]);
    assert_eq!(next_frame(&mut stream, 200 << 20), Ok(None));
    assert!(stream.capacity() <= 2 << 20);
}

#[test]
fn lengths_that_are_negative_or_too_large_end_the_connection() {
    let negative = next_frame(&mut received(&[0xff, 0xff, 0xff, 0xff]), 100);
    assert_eq!(negative, Err(FrameError::NegativeLength { length: -1 }));
    let too_large = next_frame(&mut received(&[0, 0, 0, 101]), 100);
    assert_eq!(too_large, Err(FrameError::TooLarge { size: 101, size_max: 100 }));
    assert_eq!(next_frame(&mut received(&[0, 0, 0, 100]), 100), Ok(None));
}

fn request_round_trip(version: i16) -> (RequestHeader<'static>, usize) {
    let request = MetadataRequest::default();
    let mut bytes = encode_request(&request, version, 7, Some("client")).unwrap().into_bytes();
    assert_eq!(bytes.len() - 4, usize::try_from(bytes.get_i32()).unwrap());
    let mut reader = Reader::new(&bytes);
    let header = RequestHeader::decode(&mut reader).unwrap();
    let position = reader.position();
    assert_eq!(MetadataRequest::decode(&mut reader, version), Ok(request));
    assert_eq!(header.client_name(), "client");
    (RequestHeader { client_id: None, ..header }, position)
}

#[test]
fn the_client_id_keeps_its_int16_length_in_flexible_headers() {
    let header =
        |api_version| RequestHeader { api_key: 3, api_version, correlation_id: 7, client_id: None };
    assert_eq!(request_round_trip(8), (header(8), 8 + 2 + 6));
    assert_eq!(request_round_trip(9), (header(9), 8 + 2 + 6 + 1));
}

#[test]
fn sasl_handshake_is_never_flexible() {
    let request = SaslHandshakeRequest { mechanism: "PLAIN".to_owned() };
    let frame = encode_request(&request, 1, 7, None).unwrap().into_bytes();
    assert_eq!(frame.len(), 4 + 8 + 2 + 2 + 5);
}

#[test]
fn an_api_versions_response_has_the_plain_header_in_flexible_versions() {
    let frame = encode_response(&ApiVersionsResponse::default(), 3, 7).unwrap().into_bytes();
    // Length, correlation id, error code, empty keys, throttle time, no tagged fields.
    assert_eq!(frame[..], [0, 0, 0, 12, 0, 0, 0, 7, 0, 0, 1, 0, 0, 0, 0, 0]);
    let body = frame.slice(4..);
    let mut reader = Reader::new(&body);
    let header = ResponseHeader::decode(&mut reader, ApiVersionsRequest::KEY, 3).unwrap();
    assert_eq!(header.correlation_id, 7);
    assert!(ApiVersionsResponse::decode(&mut reader, 3).is_ok());
}

#[test]
fn the_header_of_an_api_or_version_we_do_not_know_is_still_read() {
    let unknown = Bytes::from_static(&[0x12, 0x34, 0, 1, 0, 0, 0, 5, 0, 1, b'x', 9, 9]);
    let header = RequestHeader::decode(&mut Reader::new(&unknown)).unwrap();
    assert_eq!(
        (header.api_key, header.correlation_id, header.client_id),
        (0x1234, 5, Some(&b"x"[..]))
    );

    let newer = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 5, 0xff, 0xff, 0]);
    let mut reader = Reader::new(&newer);
    let header = RequestHeader::decode(&mut reader).unwrap();
    assert_eq!((header.api_version, header.client_id, reader.left()), (99, None, 0));
}
