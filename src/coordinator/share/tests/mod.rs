//! The share coordinator and share partitions, step by step and at random.

mod coordinator;
mod partition;
mod partition_random;
mod records;
