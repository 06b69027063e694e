//! The `highwater` command: a broker when called without a sub-command.

use std::process::ExitCode;

/// Freed memory is kept for a while and used again: the first touch of new memory is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    end_the_process_at_a_panic();
    highwater::cli::run()
}

/// A panic on any core ends the process in every build: in releases by their profile, in
/// development by this, because tests unwind and all crates would be built twice for a binary that
/// does not.
fn end_the_process_at_a_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
