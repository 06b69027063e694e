//! The share coordinator and share partitions, step by step and at random.

mod coordinator;
mod records;
