//! Highwater, a Kafka-compatible broker: the modules in layer order, arrows only downwards.

pub mod model; // L0  words of the domain: ids, limits, error codes, configuration keys
pub mod protocol; // L1  bytes to messages and back: frames, messages, batches
pub mod storage; // L2  one partition on disk: journal, segments, indexes, recovery
pub mod replication; // L2  leaders and followers: who has what, and what is committed
pub mod controller; // L2  metadata as replayed records, and the decisions that write them
pub mod coordinator; // L2  groups: who consumes what, and how far each has read
pub mod shard; // L3  one core: partitions, connections, group commit, fetches
pub mod api; // L4  one file per Kafka API
pub mod runtime; // L5  the driver that serves: executors, sockets, disk, clock, mesh
#[cfg(feature = "sim")]
pub mod sim; // L5  the other driver: seeded tasks, disk, clock
pub mod admin; // L5  what is shown over HTTP
pub mod cli; // L6  the command line: configuration, sub-commands, exit codes
