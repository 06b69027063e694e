//! The keys of a cluster, and the rules between them.

use super::{BrokerConfigError, Reader};
use crate::model::cluster_config::{
    ClusterConfig, LeaderRebalance, Roles, Voter, parse_address, parse_voters,
};
use crate::model::config_keys::{RACK_SELECTOR, list_items};
use crate::model::ids::BrokerId;
use crate::model::listeners::{Endpoint, ListenerFault, Listeners};

const MS_PER_SECOND: u64 = 1000;

impl Reader {
    pub(super) fn cluster(
        &mut self,
        local: BrokerId,
        roles: Roles,
        listeners: &Listeners,
    ) -> ClusterConfig {
        let voters = self.voters(local, roles);
        let bootstrap = self.bootstrap();
        self.check_way_to_quorum(roles);
        ClusterConfig {
            roles,
            voters,
            bootstrap,
            peer_listener: self.peer_listener(roles, listeners),
            session_timeout_ms: self.session_timeout(),
            heartbeat_interval_ms: self.at_least_0("broker.heartbeat.interval.ms"),
            controlled_shutdown: self.bool("controlled.shutdown.enable"),
            replica_lag_max_ms: self.at_least_0("replica.lag.time.max.ms"),
            request_timeout_ms: self.at_least_0("request.timeout.ms"),
            reads_by_rack: self.text("replica.selector.class").as_deref() == Some(RACK_SELECTOR),
            rebalance: LeaderRebalance {
                is_enabled: self.bool("auto.leader.rebalance.enable"),
                check_interval_ms: self
                    .at_least_0::<u64>("leader.imbalance.check.interval.seconds")
                    .saturating_mul(MS_PER_SECOND),
                percentage_max: self.at_least_0("leader.imbalance.per.broker.percentage"),
            },
        }
    }

    /// No role at all is what old files say, and means both.
    pub(super) fn roles(&self) -> Roles {
        let text = self.text("process.roles").unwrap_or_default();
        let has = |role: &str| list_items(&text).any(|known| known == role);
        let is_empty = list_items(&text).next().is_none();
        Roles { broker: is_empty || has("broker"), controller: is_empty || has("controller") }
    }

    /// A process that has both roles may be a cluster of its own; one that has not is told of
    /// others, as in Kafka.
    fn check_way_to_quorum(&mut self, roles: Roles) {
        const KEYS: [&str; 2] = ["controller.quorum.voters", "controller.quorum.bootstrap.servers"];
        let is_set = |key: &&str| {
            let setting = self.settings.get(*key);
            setting.is_some_and(|setting| list_items(&setting.value).next().is_some())
        };
        let has_both = roles.broker && roles.controller;
        if has_both || KEYS.iter().any(is_set) {
            return;
        }
        self.refuse_one_of(
            &["process.roles"],
            "a process with one role finds its quorum by controller.quorum.voters or \
             controller.quorum.bootstrap.servers; set one of them",
        );
    }

    fn voters(&mut self, local: BrokerId, roles: Roles) -> Vec<Voter> {
        let Some(setting) = self.settings.get("controller.quorum.voters").cloned() else {
            return Vec::new();
        };
        let Some(voters) = parse_voters(&setting.value) else {
            self.refuse(&setting, "voters are ID@HOST:PORT,... with each id once");
            return Vec::new();
        };
        let is_voter = voters.iter().any(|voter| voter.id == local);
        if !voters.is_empty() && roles.controller && !is_voter {
            self.refuse(
                &setting,
                "a controller is among the voters; name this node.id, or set process.roles=broker",
            );
        }
        if is_voter && !roles.controller {
            self.refuse(&setting, "a process without the controller role is not among the voters");
        }
        voters
    }

    fn bootstrap(&mut self) -> Vec<Endpoint> {
        let name = "controller.quorum.bootstrap.servers";
        let Some(setting) = self.settings.get(name).cloned() else { return Vec::new() };
        let servers: Option<Vec<Endpoint>> =
            list_items(&setting.value).map(parse_address).collect();
        servers.unwrap_or_else(|| {
            self.refuse(&setting, "servers are HOST:PORT,...");
            Vec::new()
        })
    }

    /// A controller by itself may name the brokers' listener, of which it has none.
    fn peer_listener(&mut self, roles: Roles, listeners: &Listeners) -> String {
        let first = listeners.iter().next().map(|listener| listener.name.clone());
        let Some(setting) = self.settings.get("inter.broker.listener.name").cloned() else {
            return first.unwrap_or_default();
        };
        let name = setting.value.trim().to_ascii_uppercase();
        let own = listeners.iter().find(|listener| listener.name == name);
        if own.is_some_and(|own| own.is_controllers) {
            self.refuse(
                &setting,
                "a controller's listener is not between brokers; name theirs, or leave it out",
            );
        }
        if roles.broker && first.is_some() && own.is_none() {
            let fault = ListenerFault::NoSuchListener { name: name.clone() };
            self.errors.push(BrokerConfigError::Listener { setting, fault });
        }
        name
    }

    /// A session outlives the pause between two heartbeats, else every broker is taken for dead.
    fn session_timeout(&mut self) -> u64 {
        let session = self.at_least_0("broker.session.timeout.ms");
        if session <= self.at_least_0::<u64>("broker.heartbeat.interval.ms") {
            self.refuse_one_of(
                &["broker.session.timeout.ms", "broker.heartbeat.interval.ms"],
                "broker.session.timeout.ms is longer than broker.heartbeat.interval.ms (9000 and \
                 2000 unless set)",
            );
        }
        session
    }
}
