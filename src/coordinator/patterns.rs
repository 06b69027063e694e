//! Regular expressions that clients send: subscriptions (KIP-848), filters of lists (KIP-1152).
//!
//! Kafka uses RE2J, or Java's own; the crate `regex` has the roots of the first: linear time, no
//! look-around. Size of a pattern and of what is compiled from it are bounded, so a client cannot
//! buy much memory or time with few bytes.

use crate::model::limits::{REGEX_BYTES_MAX, REGEX_COMPILED_BYTES_MAX};
use regex::{Regex, RegexBuilder};

/// The pattern, compiled to match whole texts.
///
/// # Errors
/// Why it cannot be compiled, in words for the client.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    assert!(!pattern.is_empty());
    if pattern.len() > REGEX_BYTES_MAX {
        return Err(format!("it is longer than {REGEX_BYTES_MAX} bytes"));
    }
    // Compiled by itself first: `a)|(b` must not become legal by what is put around it.
    let build =
        |pattern: &str| RegexBuilder::new(pattern).size_limit(REGEX_COMPILED_BYTES_MAX).build();
    build(pattern).map_err(|error| error.to_string())?;
    build(&format!("^(?:{pattern})$")).map_err(|error| error.to_string())
}
