//! Requests of clients: one file per Kafka API, and the one table that says which are served.
//!
//! Produce and Fetch run without a task of their own and park in the shard; everything else is an
//! async handler that the driver runs as a task, one at a time per connection.

pub mod api_versions; // 18
pub mod context; // what a handler knows of its request
pub mod delete_groups; // 42
pub mod describe_groups; // 15
pub mod dispatch; // frames to handlers; the table of APIs and versions
pub mod fetch; // 1
pub mod find_coordinator; // 10
pub mod heartbeat; // 12
pub mod join_group; // 11
pub mod leave_group; // 13
pub mod list_groups; // 16
pub mod offset_commit; // 8
pub mod offset_delete; // 47
pub mod offset_fetch; // 9
pub mod produce; // 0
pub mod sync_group; // 14
