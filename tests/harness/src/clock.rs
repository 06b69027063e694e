//! The time that records of tests are stamped with.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in milliseconds since 1970. A record without a time is of 1970: half a minute after its
/// start a broker, ours or Kafka, would delete it for its age while the test looks on.
pub fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_1970.as_millis()).expect("before 292 million")
}
