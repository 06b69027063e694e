//! Requests of clients: one file per Kafka API, and the one table that says which are served.
//!
//! Produce and Fetch run without a task of their own and park in the shard; everything else is an
//! async handler that the driver runs as a task, one at a time per connection.

pub mod api_versions; // 18
pub mod context; // what a handler knows of its request
pub mod dispatch; // frames to handlers; the table of APIs and versions
pub mod fetch; // 1
pub mod produce; // 0
