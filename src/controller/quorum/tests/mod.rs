//! The quorum in memory: formats, files after crashes, and whole quorums under a seed.

mod crashes;
mod formats;
mod model;
mod runs;
