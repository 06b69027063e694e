//! Scripts in, transcripts out: see `script.rs` for the words.

mod assignor;
mod classic;
mod consumer;
mod consumer_random;
mod consumer_script;
mod migration;
mod offsets;
mod random;
mod records;
mod refusals;
mod script;
mod share;
mod share_random;
mod share_script;
mod static_members;
mod transactions;

use crate::coordinator::partition_of;

#[test]
fn a_group_lies_in_the_partition_that_kafkas_tools_compute() {
    // Java: "".hashCode() = 0, "my-group".hashCode() = 1643611573, "polygenelubricants" hashes to
    // Integer.MIN_VALUE, whose absolute value does not exist.
    assert_eq!(partition_of("", 50), 0);
    assert_eq!(partition_of("a", 50), 97 % 50);
    assert_eq!(partition_of("ab", 50), (97 * 31 + 98) % 50);
    assert_eq!(partition_of("polygenelubricants", 50), 0);
    assert_eq!(partition_of("\u{1F600}", 50), (0xd83d_u32 * 31 + 0xde00) % 50);
}
