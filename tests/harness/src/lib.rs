//! What the integration tests share.
//!
//! Why a package and not a module: every test binary uses another part of it, and a package is
//! compiled once. It knows the broker only from outside, as a process and a socket; of the library
//! it uses the protocol layer, for a client of its own.
//!
//! Invariants
//! - Each wait is a condition with a deadline; what was seen instead is in the failure's text.
//! - Each process is ended with the value that owns it.
//! - A missing toolchain is told on standard error and is a failure where `CI=true` or
//!   `HIGHWATER_REQUIRE_CLIENTS=1` is set; it never passes in silence.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]
#![allow(clippy::print_stdout, reason = "the test runner shows these lines when a test fails")]

mod broker;
mod cases;
mod clock;
mod cluster;
mod commands;
mod daemon;
mod directories;
mod kafka;
mod loadgen;
mod mount;
mod network;
mod peer;
mod port;
mod process;
mod segments;
mod toolchain;
mod wire;
mod random;
mod recorder;
mod talker;
mod tools;

pub use broker::Broker;
pub use cases::{Report, run_cases, run_cases_and_kill};
pub use clock::now_ms;
pub use cluster::{Cluster, PartitionView};
pub use commands::{Commands, broker_state, node_ids};
pub use daemon::Daemon;
pub use directories::{clients_directory, repository, scratch_directory};
pub use kafka::{ApacheKafka, KafkaOptions};
pub use loadgen::loadgen;
pub use mount::MountNamespace;
pub use network::Network;
pub use peer::Peer;
pub use port::Port;
pub use process::{Finished, run_to_end, run_with_input, wait_until};
pub use random::Random;
pub use recorder::Recorder;
pub use segments::{batches_in, files_below, flip_bit, segments_below};
pub use talker::Talker;
pub use toolchain::{
    Missing, Toolchain, go_program, jars, java_classes, java_command, java_program, kafka_jars,
    kcat, node_modules, python,
};
pub use tools::{ToolOutput, Tools};
pub use wire::{Produced, Wire};
