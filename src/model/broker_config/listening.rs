//! Where the process listens, by what it is.

use super::{BrokerConfigError, ConfigWarning, Reader};
use crate::model::cluster_config::{Roles, parse_address};
use crate::model::config_keys::list_items;
use crate::model::ids::BrokerId;
use crate::model::limits::CORE_ID_STRIDE;
use crate::model::listeners::{Endpoint, Listener, ListenerFault, Listeners};

const MAP: &str = "listener.security.protocol.map";

impl Reader {
    pub(super) fn listeners(&mut self, roles: Roles) -> Listeners {
        let mut map = self.text(MAP).unwrap_or_default();
        let controllers = self.text("controller.listener.names").unwrap_or_default();
        if !self.settings.contains_key(MAP) {
            // As in Kafka: names of the controller's listeners need no protocol.
            let names = list_items(&controllers);
            names.for_each(|name| map.push_str(&format!(",{name}:PLAINTEXT")));
        }
        if !roles.broker {
            return self.controllers_listeners(&controllers, &map);
        }
        let is_derived = !self.settings.contains_key("listeners")
            && self.settings.contains_key("advertised.listeners");
        let source = if is_derived { "advertised.listeners" } else { "listeners" };
        let text = self.text(source).unwrap_or_default();
        let checked = match roles.controller {
            true => Ok(()),
            false => Listeners::check_without_controller(&text, &controllers),
        };
        let parsed = checked.and_then(|()| match is_derived {
            true => Listeners::everywhere(&text, &map, &controllers),
            false => Listeners::parse(&text, &map, &controllers),
        });
        let mut listeners = match parsed {
            Ok(listeners) => listeners,
            Err(fault) => {
                self.refuse_listener(source, fault);
                return Listeners::default();
            }
        };
        if is_derived {
            let listed: Vec<String> = listeners.iter().map(Listener::to_string).collect();
            let listeners = listed.join(",");
            self.warnings.push(ConfigWarning::ListenersFromAdvertised { listeners });
        }
        self.advertise(&mut listeners, &controllers);
        listeners
    }

    /// Of a process that is nothing but a controller.
    fn controllers_listeners(&mut self, controllers: &str, map: &str) -> Listeners {
        let text = self.text("listeners").unwrap_or_default();
        match Listeners::of_controller(&text, map, controllers) {
            Ok(mut listeners) => {
                self.advertise(&mut listeners, "");
                listeners
            }
            Err(fault) => {
                let is_of_names = matches!(fault, ListenerFault::NoSuchListener { .. });
                let source = if is_of_names { "controller.listener.names" } else { "listeners" };
                self.refuse_listener(source, fault);
                Listeners::default()
            }
        }
    }

    fn advertise(&mut self, listeners: &mut Listeners, controllers: &str) {
        if let Some(advertised) = self.text("advertised.listeners")
            && let Err(fault) = listeners.advertise(&advertised, controllers)
        {
            self.refuse_listener("advertised.listeners", fault);
        }
    }

    pub(super) fn first_core_port(&mut self, node_id: BrokerId, roles: Roles) -> Option<u16> {
        if !self.bool("highwater.listeners.per.core") {
            return None;
        }
        if !roles.broker {
            self.refuse_one_of(
                &["highwater.listeners.per.core"],
                "a controller has no partitions to lead clients to; leave it out where \
                 process.roles=controller",
            );
        }
        if node_id.0 >= CORE_ID_STRIDE {
            self.refuse_one_of(
                &["node.id", "broker.id"],
                "node.id is below 1000000 where highwater.listeners.per.core is true: the ids \
                 above are those of the cores",
            );
        }
        Some(self.default_number("highwater.listeners.per.core.first.port"))
    }

    pub(super) fn metrics_listener(&mut self) -> Option<Endpoint> {
        let setting = self.settings.get("highwater.metrics.listener").cloned()?;
        let address = parse_address(setting.value.trim());
        if address.is_none() {
            self.refuse(&setting, "an address is HOST:PORT, as 127.0.0.1:9644");
        }
        address
    }

    /// The map's own faults are laid at the map's door, and those of listeners that nobody set at
    /// that of the roles, which ask for others.
    fn refuse_listener(&mut self, name: &str, fault: ListenerFault) {
        let name = if fault.is_of_map() { MAP } else { name };
        let mut keys = [name, "listeners", "process.roles"].into_iter();
        let setting = keys.find_map(|key| self.settings.get(key)).cloned();
        let setting = setting.expect("the defaults are legal, so somebody set one of them");
        self.errors.push(BrokerConfigError::Listener { setting, fault });
    }
}
