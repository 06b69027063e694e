//! The log and the journal by behaviour, on a simulated disk: one rule a test.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "storage/appends.rs"]
mod appends;
#[path = "storage/bench.rs"]
mod bench;
#[path = "storage/compaction.rs"]
mod compaction;
#[path = "storage/damage.rs"]
mod damage;
#[path = "storage/foreign.rs"]
mod foreign;
#[path = "storage/journal.rs"]
mod journal;
#[path = "storage/reads.rs"]
mod reads;
#[path = "storage/records.rs"]
mod records;
#[path = "storage/transactions.rs"]
mod transactions;
#[path = "storage/truncation.rs"]
mod truncation;
