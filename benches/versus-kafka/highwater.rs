//! The release binary of this repository, one shard on each core that it gets; alone, or as nodes
//! of a cluster on the same cores.

use std::fs;
use std::path::Path;

use crate::failure::Failure;
use crate::server::{Broker, Node, Purpose, Server, pinned};

const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";

/// Starts it on empty directories.
pub(crate) fn start(
    binary: &Path,
    data: &Path,
    cores: &[usize],
    purpose: Purpose,
) -> Result<Server, Failure> {
    let nodes = Node::all(data, purpose.nodes())?;
    let start = |node| start_node(binary, (node, &nodes), cores, purpose);
    Ok(Server::cluster(nodes.iter().map(start).collect::<Result<_, Failure>>()?))
}

fn start_node(
    binary: &Path,
    (node, nodes): (&Node, &[Node]),
    cores: &[usize],
    purpose: Purpose,
) -> Result<Server, Failure> {
    if node.data.exists() {
        fs::remove_dir_all(&node.data)?;
    }
    let mut command = pinned(binary, cores);
    let mut overrides = vec![
        ("listeners", format!("PLAINTEXT://{}", node.address())),
        ("log.dirs", node.data.display().to_string()),
        ("highwater.cores", cores.len().to_string()),
    ];
    if nodes.len() > 1 {
        let voters = nodes.iter().map(|node| format!("{}@{}", node.id, node.address()));
        overrides.push(("node.id", node.id.to_string()));
        overrides.push(("controller.quorum.voters", voters.collect::<Vec<_>>().join(",")));
        overrides.push(("highwater.cluster.id", CLUSTER_ID.to_owned()));
    }
    if matches!(purpose, Purpose::Groups | Purpose::Restarts) {
        // Internal topics are acknowledged from the page cache, as Kafka's are.
        overrides.push(("highwater.durability", "kernel".to_owned()));
    }
    overrides.extend(purpose.config().iter().map(|(key, value)| (*key, (*value).to_owned())));
    for (key, value) in overrides {
        command.arg("--override").arg(format!("{key}={value}"));
    }
    Server::start(Broker::Highwater, node.address(), command, &node.data)
}
