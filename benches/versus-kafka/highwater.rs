//! The release binary of this repository, one shard on one core.

use std::fs;
use std::path::Path;

use crate::failure::Failure;
use crate::server::{Broker, Server, free_port, pinned};

/// Starts it on an empty directory.
pub(crate) fn start(binary: &Path, data: &Path, core: usize) -> Result<Server, Failure> {
    if data.exists() {
        fs::remove_dir_all(data)?;
    }
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = pinned(binary, core);
    for (key, value) in [
        ("listeners", format!("PLAINTEXT://{address}")),
        ("log.dirs", data.display().to_string()),
        ("highwater.cores", "1".to_owned()),
    ] {
        command.arg("--override").arg(format!("{key}={value}"));
    }
    Server::start(Broker::Highwater, address, &mut command, data)
}
