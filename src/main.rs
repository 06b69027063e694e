//! The `highwater` command: a broker when called without a sub-command.

use std::process::ExitCode;

/// Freed memory is kept and reused: the first touch of new memory is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    highwater::cli::run()
}
