//! Coordinators: state that lives in a partition's records and is held in memory by the core that
//! owns the partition. Pure steps: events in, records and answers out.

pub mod group;
pub mod replayed;
