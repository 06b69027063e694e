//! Frames and versions: what is closed, what is answered, and what ApiVersions says.

use bytes::{BufMut, BytesMut};
use highwater::protocol::messages::api_versions::ApiVersionsRequest;

use crate::{Pair, Side};

const API_VERSIONS: i16 = 18;
/// Highest request number that Kafka 4.1 knows is below.
const KEYS: i16 = 95;

/// A request with header v1 and a body, in a frame.
fn frame(key: i16, version: i16, body: &[u8]) -> BytesMut {
    let mut request = BytesMut::new();
    request.put_i16(key);
    request.put_i16(version);
    request.put_i32(7);
    request.put_i16(4);
    request.put_slice(b"wire");
    request.put_slice(body);
    let mut framed = BytesMut::new();
    framed.put_u32(u32::try_from(request.len()).expect("short"));
    framed.put_slice(&request);
    framed
}

/// Sends bytes; what came back, as hexadecimal text, or how it ended.
fn send(side: &mut Side, bytes: &[u8]) -> String {
    let wire = side.wire();
    let answer = wire.send_bytes(bytes).and_then(|()| wire.receive_frame());
    match answer {
        Ok(frame) => frame.iter().map(|byte| format!("{byte:02x}")).collect(),
        Err(error) => side.ended(&error),
    }
}

/// Error code and, where it is an answer in v0's form, nothing else.
fn api_versions_code(side: &mut Side, version: i16) -> String {
    let answer = send(side, &frame(API_VERSIONS, version, &[0, 2, b'a', 2, b'b', 0]));
    answer.get(..12).unwrap_or(&answer).to_owned()
}

pub(crate) fn run(pair: &mut Pair) {
    pair.case("ApiVersions newer than known", |side| api_versions_code(side, 99));
    pair.case("ApiVersions v5", |side| api_versions_code(side, 5));
    pair.case("ApiVersions v4", |side| api_versions_code(side, 4));
    pair.case("ApiVersions of a negative version", |side| api_versions_code(side, -1));
    pair.case("ApiVersions v3 without a client's name", |side| {
        let name = String::new();
        let version = "1".to_owned();
        let request =
            ApiVersionsRequest { client_software_name: name, client_software_version: version };
        let answer = side.wire().call(&request, 3);
        answer.map_or_else(|error| side.ended(&error), |answer| answer.error_code.to_string())
    });
    pair.case("ApiVersions v3 with a name that is no name", |side| {
        let name = "a b".to_owned();
        let version = "1".to_owned();
        let request =
            ApiVersionsRequest { client_software_name: name, client_software_version: version };
        let answer = side.wire().call(&request, 3);
        answer.map_or_else(|error| side.ended(&error), |answer| answer.error_code.to_string())
    });
    pair.case("a request that does not exist", |side| send(side, &frame(KEYS + 100, 0, &[])));
    pair.case("a negative request number", |side| send(side, &frame(-1, 0, &[])));
    pair.case("LeaderAndIsr, which Kafka 4 has dropped", |side| send(side, &frame(4, 0, &[])));
    for version in [0_i16, 1, 2] {
        let name = ["Produce v0", "Produce v1", "Produce v2"][usize::from(version.unsigned_abs())];
        // acks 1, timeout, one topic "a" with one partition without records.
        let body = [0, 1, 0, 0, 0x3a, 0x98, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let body = [&body[..], &[0, 0]].concat();
        pair.case(name, move |side| send(side, &frame(0, version, &body)));
    }
    pair.case("Produce newer than known", |side| send(side, &frame(0, 99, &[])));
    pair.case("Fetch v3, dropped by KIP-896", |side| send(side, &frame(1, 3, &[0; 30])));
    pair.case("ListOffsets v0, dropped by KIP-896", |side| send(side, &frame(2, 0, &[0; 8])));
    pair.case("Metadata newer than known", |side| send(side, &frame(3, 99, &[])));
    pair.case("Metadata v0 without a body", |side| send(side, &frame(3, 0, &[])));
    pair.case("Metadata v1 with a null topic name", |side| {
        send(side, &frame(3, 1, &[0, 0, 0, 1, 0xff, 0xff]))
    });
    pair.case("Metadata v0 with a negative count", |side| {
        send(side, &frame(3, 0, &[0xff, 0xff, 0xff, 0xfe]))
    });
    pair.case("Metadata v0 with a count beyond the frame", |side| {
        send(side, &frame(3, 0, &[0x7f, 0xff, 0xff, 0xff]))
    });
    pair.case("a topic name that is no UTF-8", |side| {
        let answer = send(side, &frame(3, 0, &[0, 0, 0, 1, 0, 2, 0xff, 0xfe]));
        if answer == "closed" { answer } else { "answered".to_owned() }
    });
    pair.case("a frame of no bytes", |side| send(side, &[0, 0, 0, 0]));
    pair.case("a frame of a negative size", |side| send(side, &[0xff, 0xff, 0xff, 0xff]));
    pair.case("a frame above socket.request.max.bytes", |side| send(side, &[0x06, 0x40, 0, 1]));
    pair.case("a frame too short for a header", |side| send(side, &[0, 0, 0, 2, 0, 18]));
    pair.case("a client id that ends behind the frame", |side| {
        send(side, &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0, 9])
    });
    pair.case("a null client id", |side| {
        let answer = send(side, &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
        answer.get(..12).unwrap_or(&answer).to_owned()
    });
    pair.case("bytes behind a request", |side| {
        let answer = send(side, &frame(18, 0, &[1, 2, 3]));
        answer.get(..12).unwrap_or(&answer).to_owned()
    });
    pair.case("SaslHandshake at a listener without SASL", |side| {
        send(side, &frame(17, 1, &[0, 5, b'P', b'L', b'A', b'I', b'N']))
    });
}
