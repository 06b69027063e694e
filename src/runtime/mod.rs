//! The driver that serves: the only user of glommio, of threads, of unsafe, of clocks and sockets.

mod awake;
pub mod clock;
mod congestion;
pub mod cores;
pub mod data_dir;
mod direct;
pub mod disk;
pub mod exclusive;
pub mod inspector;
mod lookout;
mod mesh;
pub mod offline;
mod page_cache;
mod peer;
mod peer_links;
pub mod probe;
mod read_pool;
mod reserve;
mod run_shard;
mod sockets;
pub mod start;

#[cfg(test)]
mod lending_tests;
#[cfg(test)]
pub(crate) mod tests {
    use glommio::{LocalExecutorBuilder, Placement};
    use std::future::Future;

    /// Runs a test's future on an executor of its own.
    pub(crate) fn on_executor<F>(make: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        let builder = LocalExecutorBuilder::new(Placement::Unbound).io_memory(64 * 1024);
        let run = || async {
            let _awake = super::awake::keep();
            make().await;
        };
        builder.spawn(run).unwrap().join().unwrap();
    }
}
