//! The command line: what a person or a unit file starts. The only place that prints.

pub mod config_source; // files, environment and flags become settings
