//! The topics in a consumer's subscription: the one part of a member's metadata that the
//! coordinator looks into, to know which offsets are in use.

use bytes::{Buf, Bytes};

/// Topics of a ConsumerProtocolSubscription of any version: every version begins with an i16
/// version and the array of topic names. `None` when the bytes are something else.
pub(super) fn topics(metadata: &Bytes) -> Option<Vec<String>> {
    let mut bytes = metadata.clone();
    let version = bytes.try_get_i16().ok()?;
    if version < 0 {
        return None;
    }
    let count = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
    // Each name takes two bytes at least, so a count that cannot be true allocates nothing.
    if count > bytes.remaining() / 2 {
        return None;
    }
    (0..count).map(|_| topic(&mut bytes)).collect()
}

fn topic(bytes: &mut Bytes) -> Option<String> {
    let len = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    if len > bytes.remaining() {
        return None;
    }
    String::from_utf8(bytes.split_to(len).to_vec()).ok()
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
        }
    }
}
