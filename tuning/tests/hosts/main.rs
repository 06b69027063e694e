//! The built command against copied hosts: nothing outside of the copies is read or written.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod apply;
mod check;
mod explain;
mod fixture;
mod measure;
mod plan;
mod snapshots;
