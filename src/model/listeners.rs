//! Where the broker listens, and where clients are told to find it.
//!
//! Syntax and rules are Kafka's: `NAME://host:port,...`, names mapped to security protocols by
//! `listener.security.protocol.map`. A process that is broker and controller has listeners of both
//! kinds, which serve different requests; one with one role has those of its kind only.

use crate::model::config_keys::list_items;
use crate::model::ids::CoreId;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A host and port as clients resolve them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
}

/// One address the broker listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Upper case, as in the map.
    pub name: String,
    /// Empty is every interface; port 0 lets the kernel choose.
    pub bind: Endpoint,
    /// Among `controller.listener.names`: for other processes of the cluster, not for clients.
    pub is_controllers: bool,
    /// What clients are told; `None` is the address each of them reached.
    pub advertised: Option<Endpoint>,
    /// The port at which each core alone is reached, by core; empty unless
    /// `highwater.listeners.per.core` is set and the ports are open.
    pub core_ports: Vec<u16>,
}

/// The process's listeners, at least one, of different names and ports; those of the controller
/// behind the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listeners {
    listeners: Vec<Listener>,
}

/// What is wrong with a list of listeners.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenerFault {
    #[error("'{item}' is not NAME://host:port, as in PLAINTEXT://127.0.0.1:9092")]
    Syntax { item: String },
    #[error("'{item}' has no port between 0 and 65535")]
    Port { item: String },
    #[error("there is no listener left: name at least one, as in PLAINTEXT://127.0.0.1:9092")]
    NoListener,
    #[error("the name {name} is used twice")]
    NameTwice { name: String },
    #[error("the port {port} is used twice")]
    PortTwice { port: u16 },
    #[error(
        "'{item}' is not NAME:PROTOCOL; a protocol is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )]
    Map { item: String },
    #[error(
        "the name {name} has no protocol; add {name}:PLAINTEXT to listener.security.protocol.map"
    )]
    NotMapped { name: String },
    #[error(
        "listener {name} wants {protocol}, and only PLAINTEXT is built in; map it to PLAINTEXT, or leave it out"
    )]
    NotBuilt { name: String, protocol: String },
    #[error("{name} is advertised, but not among the listeners")]
    NotListening { name: String },
    #[error("{name} is not among the listeners")]
    NoSuchListener { name: String },
    #[error(
        "{name} is not among controller.listener.names, and a controller has no other listeners: set both, as in listeners=CONTROLLER://:9093 and controller.listener.names=CONTROLLER"
    )]
    NotControllers { name: String },
    #[error(
        "{name} is in controller.listener.names, and process.roles=broker has no controller: leave it out of listeners"
    )]
    Controllers { name: String },
    #[error(
        "{host} cannot be advertised: no client can connect to it; name an address or host name that clients reach, or leave advertised.listeners out"
    )]
    Unreachable { host: String },
}

/// Why the cores cannot have ports of their own (`highwater.listeners.per.core`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CorePortFault {
    #[error("core {core} of listener {listener} would have port {port}, beyond 65535")]
    Range { listener: String, core: u16, port: u32 },
    #[error("core {core} of listener {listener} would have port {port}, which is given to another")]
    Taken { listener: String, core: u16, port: u16 },
}

const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

impl ListenerFault {
    /// True where `listener.security.protocol.map` itself is what must change.
    pub fn is_of_map(&self) -> bool {
        matches!(self, ListenerFault::Map { .. })
    }
}

impl Listeners {
    /// From the texts of `listeners`, the protocol map and `controller.listener.names`.
    pub fn parse(text: &str, map: &str, controllers: &str) -> Result<Listeners, ListenerFault> {
        let protocols = parse_map(map)?;
        let mut listeners: Vec<Listener> = Vec::new();
        for (name, bind) in parse_endpoints(text)? {
            check_protocol(&name, &protocols)?;
            if listeners.iter().any(|known| known.name == name) {
                return Err(ListenerFault::NameTwice { name });
            }
            if bind.port != 0 && listeners.iter().any(|known| known.bind.port == bind.port) {
                return Err(ListenerFault::PortTwice { port: bind.port });
            }
            let is_controllers = is_one_of(controllers, &name);
            let (advertised, core_ports) = (None, Vec::new());
            listeners.push(Listener { name, bind, is_controllers, advertised, core_ports });
        }
        listeners.sort_by_key(|listener| listener.is_controllers);
        match listeners.first() {
            Some(first) if !first.is_controllers => Ok(Listeners { listeners }),
            Some(_) | None => Err(ListenerFault::NoListener),
        }
    }

    /// Listeners of a process that is nothing but a controller: those that `controllers` names, and
    /// no others.
    pub fn of_controller(
        text: &str,
        map: &str,
        controllers: &str,
    ) -> Result<Listeners, ListenerFault> {
        let mut listeners = Listeners::parse(text, map, "")?;
        for listener in &mut listeners.listeners {
            listener.is_controllers = is_one_of(controllers, &listener.name);
            if !listener.is_controllers {
                return Err(ListenerFault::NotControllers { name: listener.name.clone() });
            }
        }
        let mut names = list_items(controllers).map(str::to_ascii_uppercase);
        let is_missing = |name: &String| listeners.iter().all(|known| known.name != *name);
        match names.find(is_missing) {
            Some(name) => Err(ListenerFault::NoSuchListener { name }),
            None => Ok(listeners),
        }
    }

    /// Refuses listeners of a controller where there is none.
    pub fn check_without_controller(text: &str, controllers: &str) -> Result<(), ListenerFault> {
        let all = parse_endpoints(text)?;
        match all.into_iter().find(|(name, _)| is_one_of(controllers, name)) {
            Some((name, _)) => Err(ListenerFault::Controllers { name }),
            None => Ok(()),
        }
    }

    /// Listeners on every interface at the ports that are advertised: what container set-ups mean
    /// that set `advertised.listeners` alone.
    pub fn everywhere(
        advertised: &str,
        map: &str,
        controllers: &str,
    ) -> Result<Listeners, ListenerFault> {
        let mut listeners = Listeners::parse(advertised, map, controllers)?;
        for listener in &mut listeners.listeners {
            listener.bind.host.clear();
        }
        Ok(listeners)
    }

    /// Takes what clients shall be told, by listener name; of controllers that are elsewhere it may
    /// speak, too.
    pub fn advertise(&mut self, text: &str, controllers: &str) -> Result<(), ListenerFault> {
        for (name, endpoint) in parse_endpoints(text)? {
            let is_nowhere = endpoint.host.is_empty()
                || endpoint.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
            if is_nowhere {
                let host = format!("'{}'", endpoint.host);
                return Err(ListenerFault::Unreachable { host });
            }
            match self.listeners.iter_mut().find(|listener| listener.name == name) {
                Some(listener) => listener.advertised = Some(endpoint),
                None if is_one_of(controllers, &name) => {}
                None => return Err(ListenerFault::NotListening { name }),
            }
        }
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter()
    }

    /// Listeners as they are once their sockets are bound: each with its port, and its cores'.
    pub fn opened(&self, ports: Vec<(u16, Vec<u16>)>) -> Listeners {
        assert_eq!(ports.len(), self.listeners.len());
        let mut opened = self.clone();
        for (listener, (port, core_ports)) in opened.listeners.iter_mut().zip(ports) {
            listener.bind.port = port;
            listener.core_ports = core_ports;
        }
        opened
    }

    /// What a client that reached us at `local` is told.
    pub fn advertised(&self, local: SocketAddr) -> Endpoint {
        let listener = self.at(local);
        listener.and_then(|listener| listener.advertised.clone()).unwrap_or_else(|| Endpoint {
            host: local.ip().to_canonical().to_string(),
            port: listener.map_or(local.port(), |listener| listener.bind.port),
        })
    }

    /// Where a client that reached us at `local` finds one core alone; `None` where no core has a
    /// port of its own.
    pub fn advertised_core(&self, local: SocketAddr, core: CoreId) -> Option<Endpoint> {
        let listener = self.at(local)?;
        let bound = *listener.core_ports.get(core.index())?;
        match &listener.advertised {
            None => Some(Endpoint { host: self.advertised(local).host, port: bound }),
            Some(shown) => {
                let distance = bound.wrapping_sub(listener.bind.port);
                let port = shown.port.wrapping_add(distance);
                Some(Endpoint { host: shown.host.clone(), port })
            }
        }
    }

    /// Whether `local` is a listener of the controller.
    pub fn is_controllers(&self, local: SocketAddr) -> bool {
        self.at(local).or(self.listeners.first()).is_some_and(|listener| listener.is_controllers)
    }

    /// The core whose own port a client reached at `local`; `None` for the shared port.
    pub fn core_at(&self, local: SocketAddr) -> Option<CoreId> {
        let ports = &self.at(local)?.core_ports;
        let index = ports.iter().position(|port| *port == local.port())?;
        Some(CoreId(u16::try_from(index).expect("cores are numbered by u16")))
    }

    /// The port of each core at each listener: the listener's own, `first` and the core's number
    /// added up. 0 where the kernel chooses, and none at listeners of the controller.
    ///
    /// # Errors
    /// A port above 65535, or one that something else has.
    pub fn plan_core_ports(&self, first: u16, cores: u16) -> Result<Vec<Vec<u16>>, CorePortFault> {
        let mut taken: Vec<u16> = self.listeners.iter().map(|known| known.bind.port).collect();
        let mut planned = Vec::with_capacity(self.listeners.len());
        for listener in &self.listeners {
            let mut ports = Vec::with_capacity(usize::from(cores));
            let cores = if listener.is_controllers { 0 } else { cores };
            for core in 0..cores {
                let name = || listener.name.clone();
                let of = |base: u16| {
                    let port = u32::from(base) + u32::from(first) + u32::from(core);
                    let fault = || CorePortFault::Range { listener: name(), core, port };
                    u16::try_from(port).map_err(|_| fault())
                };
                if let Some(shown) = &listener.advertised {
                    of(shown.port)?;
                }
                let port = if listener.bind.port == 0 { 0 } else { of(listener.bind.port)? };
                if port != 0 && taken.contains(&port) {
                    return Err(CorePortFault::Taken { listener: name(), core, port });
                }
                taken.push(port);
                ports.push(port);
            }
            planned.push(ports);
        }
        Ok(planned)
    }

    /// Name of the listener that a client reached at `local`.
    pub fn name(&self, local: SocketAddr) -> &str {
        let chosen_by_the_kernel = || self.listeners.iter().find(|known| known.bind.port == 0);
        let listener = self.at(local).or_else(chosen_by_the_kernel).or(self.listeners.first());
        listener.map_or("", |listener| listener.name.as_str())
    }

    fn at(&self, local: SocketAddr) -> Option<&Listener> {
        let port = local.port();
        let is_at = |known: &&Listener| known.bind.port == port || known.core_ports.contains(&port);
        self.listeners.iter().find(is_at)
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.name, self.bind)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

fn is_one_of(names: &str, name: &str) -> bool {
    list_items(names).any(|known| known.eq_ignore_ascii_case(name))
}

/// `NAME://host:port,...`
fn parse_endpoints(text: &str) -> Result<Vec<(String, Endpoint)>, ListenerFault> {
    list_items(text).map(parse_endpoint).collect()
}

fn parse_endpoint(item: &str) -> Result<(String, Endpoint), ListenerFault> {
    let syntax = || ListenerFault::Syntax { item: item.to_owned() };
    let (name, address) = item.split_once("://").ok_or_else(syntax)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(syntax)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(syntax)?,
        None if host.contains(':') => return Err(syntax()),
        None => host,
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
    if name.is_empty() || !host.bytes().all(is_host) {
        return Err(syntax());
    }
    let port = port.parse().map_err(|_| ListenerFault::Port { item: item.to_owned() })?;
    Ok((name.to_ascii_uppercase(), Endpoint { host: host.to_owned(), port }))
}

fn parse_map(text: &str) -> Result<Vec<(String, &'static str)>, ListenerFault> {
    let mut map = Vec::new();
    for item in list_items(text) {
        let fault = || ListenerFault::Map { item: item.to_owned() };
        let (name, protocol) = item.split_once(':').ok_or_else(fault)?;
        let known = PROTOCOLS.iter().find(|known| known.eq_ignore_ascii_case(protocol.trim()));
        map.push((name.trim().to_ascii_uppercase(), *known.ok_or_else(fault)?));
    }
    Ok(map)
}

fn check_protocol(name: &str, map: &[(String, &str)]) -> Result<(), ListenerFault> {
    let name = name.to_owned();
    match map.iter().find(|(known, _)| *known == name) {
        None => Err(ListenerFault::NotMapped { name }),
        Some((_, "PLAINTEXT")) => Ok(()),
        Some((_, protocol)) => {
            Err(ListenerFault::NotBuilt { name, protocol: (*protocol).to_owned() })
        }
    }
}
