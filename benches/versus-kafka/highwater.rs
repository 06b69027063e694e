//! The release binary of this repository, one shard on one core.

use std::fs;
use std::path::Path;

use crate::failure::Failure;
use crate::server::{Broker, Purpose, Server, free_port, pinned};

/// Starts it on an empty directory.
pub(crate) fn start(
    binary: &Path,
    data: &Path,
    core: usize,
    purpose: Purpose,
) -> Result<Server, Failure> {
    if data.exists() {
        fs::remove_dir_all(data)?;
    }
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = pinned(binary, core);
    let mut overrides = vec![
        ("listeners", format!("PLAINTEXT://{address}")),
        ("log.dirs", data.display().to_string()),
        ("highwater.cores", "1".to_owned()),
    ];
    if purpose != Purpose::Records {
        overrides.push(("highwater.durability", "kernel".to_owned()));
        overrides.push(("group.initial.rebalance.delay.ms", "0".to_owned()));
    }
    for (key, value) in overrides {
        command.arg("--override").arg(format!("{key}={value}"));
    }
    Server::start(Broker::Highwater, address, command, data)
}
