//! What a broker knows of the cluster that it belongs to before it has spoken to anybody.
//!
//! A broker without `controller.quorum.voters`, or that is its only voter, is a cluster of its own.

use crate::model::config_keys::list_items;
use crate::model::ids::BrokerId;
use crate::model::listeners::Endpoint;

/// What a process is (`process.roles`); at least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Holds partitions and serves clients.
    pub broker: bool,
    /// Votes about the metadata, and may be the active controller.
    pub controller: bool,
}

/// A member of the metadata quorum (`controller.quorum.voters`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    pub id: BrokerId,
    /// Where other members reach it.
    pub endpoint: Endpoint,
}

/// When leaders go back to their preferred replicas by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderRebalance {
    /// `auto.leader.rebalance.enable`.
    pub is_enabled: bool,
    /// `leader.imbalance.check.interval.seconds`, in milliseconds.
    pub check_interval_ms: u64,
    /// `leader.imbalance.per.broker.percentage`: share of the partitions that prefer a broker which
    /// may be led by others.
    pub percentage_max: u32,
}

/// The cluster's configuration, fixed at start. Part of the broker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    pub roles: Roles,
    /// Sorted by id; empty for a broker by itself.
    pub voters: Vec<Voter>,
    /// `controller.quorum.bootstrap.servers`: any members of the quorum.
    pub bootstrap: Vec<Endpoint>,
    /// `inter.broker.listener.name`, upper case; the first listener unless set. Whoever has none
    /// of this name is reached at the first that it registered.
    pub peer_listener: String,
    /// `broker.session.timeout.ms`: silence after which a broker is taken for dead.
    pub session_timeout_ms: u64,
    /// `broker.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: u64,
    /// `controlled.shutdown.enable`: leaders move away before a stop.
    pub controlled_shutdown: bool,
    /// `replica.lag.time.max.ms`: lag after which a replica leaves the in-sync set.
    pub replica_lag_max_ms: u64,
    /// `request.timeout.ms`: how long a request to another broker may take.
    pub request_timeout_ms: u64,
    /// `replica.selector.class`: consumers are sent to an in-sync replica in their rack (KIP-392).
    pub reads_by_rack: bool,
    pub rebalance: LeaderRebalance,
}

impl ClusterConfig {
    /// Whether `local` is a cluster of its own: nobody else has a vote.
    pub fn is_alone(&self, local: BrokerId) -> bool {
        self.bootstrap.is_empty() && self.voters.iter().all(|voter| voter.id == local)
    }

    /// Whether this broker votes.
    pub fn is_voter(&self, local: BrokerId) -> bool {
        self.voters.iter().any(|voter| voter.id == local)
    }
}

/// Reads `1@host:port,2@host:port`; `None` where it is something else or an id is named twice.
pub fn parse_voters(text: &str) -> Option<Vec<Voter>> {
    let mut voters = list_items(text).map(parse_voter).collect::<Option<Vec<Voter>>>()?;
    voters.sort_by_key(|voter| voter.id);
    let is_twice = voters.windows(2).any(|pair| pair[0].id == pair[1].id);
    (!is_twice).then_some(voters)
}

/// Reads `host:port`, with the brackets of IPv6 addresses.
pub fn parse_address(text: &str) -> Option<Endpoint> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then(|| Endpoint { host: host.to_owned(), port })
}

fn parse_voter(item: &str) -> Option<Voter> {
    let (id, address) = item.split_once('@')?;
    let id = id.parse().ok().filter(|id| *id >= 0)?;
    Some(Voter { id: BrokerId(id), endpoint: parse_address(address)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_are_ids_with_addresses() {
        let voter = |id, host: &str, port| Voter {
            id: BrokerId(id),
            endpoint: Endpoint { host: host.to_owned(), port },
        };
        assert_eq!(
            parse_voters("2@b:9093, 1@[::1]:9094"),
            Some(vec![voter(1, "::1", 9094), voter(2, "b", 9093)])
        );
        assert_eq!(parse_voters(""), Some(Vec::new()));
        for wrong in ["1@a", "a:1", "-1@a:1", "1@a:0", "1@:1", "1@a:1,1@b:1", "1@::1:9"] {
            assert_eq!(parse_voters(wrong), None, "{wrong}");
        }
    }
}
