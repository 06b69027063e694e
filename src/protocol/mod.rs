//! Bytes to messages and back: the Kafka protocol without I/O and without a clock.
//!
//! Why by hand: published codecs allocate what a client claims and copy the payload; this one
//! bounds the first and avoids the second (see `primitive.rs`).

pub mod api_key;
pub mod compression;
pub mod crc32c;
pub mod fetch_view;
pub mod frame;
mod lz4_frame;
pub mod messages;
pub mod part;
pub mod partitioner;
pub mod peer;
pub mod primitive;
pub mod produce_view;
pub mod record;
pub mod record_batch;
pub mod record_walk;
pub mod records;
pub mod schema;

#[cfg(test)]
mod differential_tests;
#[cfg(test)]
pub mod entropy;
