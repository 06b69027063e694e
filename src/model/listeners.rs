//! Where the broker listens, and where clients are told to find it.
//!
//! Syntax and rules are Kafka's: `NAME://host:port,...`, names mapped to security protocols by
//! `listener.security.protocol.map`. Listeners of the controller are left out: it is built in.

use crate::model::config_keys::list_items;
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
    /// What clients are told; `None` is the address each of them reached.
    pub advertised: Option<Endpoint>,
}

/// The broker's listeners, at least one, of different names and ports.
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
    #[error(
        "{host} cannot be advertised: no client can connect to it; name an address or host name that clients reach, or leave advertised.listeners out"
    )]
    Unreachable { host: String },
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
        for (name, bind) in parse_endpoints(text, controllers)? {
            check_protocol(&name, &protocols)?;
            if listeners.iter().any(|known| known.name == name) {
                return Err(ListenerFault::NameTwice { name });
            }
            if bind.port != 0 && listeners.iter().any(|known| known.bind.port == bind.port) {
                return Err(ListenerFault::PortTwice { port: bind.port });
            }
            listeners.push(Listener { name, bind, advertised: None });
        }
        match listeners.is_empty() {
            true => Err(ListenerFault::NoListener),
            false => Ok(Listeners { listeners }),
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

    /// Takes what clients shall be told, by listener name.
    pub fn advertise(&mut self, text: &str, controllers: &str) -> Result<(), ListenerFault> {
        for (name, endpoint) in parse_endpoints(text, controllers)? {
            let is_nowhere = endpoint.host.is_empty()
                || endpoint.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
            if is_nowhere {
                let host = format!("'{}'", endpoint.host);
                return Err(ListenerFault::Unreachable { host });
            }
            match self.listeners.iter_mut().find(|listener| listener.name == name) {
                Some(listener) => listener.advertised = Some(endpoint),
                None => return Err(ListenerFault::NotListening { name }),
            }
        }
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter()
    }

    /// What a client that reached us at `local` is told.
    pub fn advertised(&self, local: SocketAddr) -> Endpoint {
        self.at(local).and_then(|listener| listener.advertised.clone()).unwrap_or_else(|| {
            Endpoint { host: local.ip().to_canonical().to_string(), port: local.port() }
        })
    }

    /// Name of the listener that a client reached at `local`.
    pub fn name(&self, local: SocketAddr) -> &str {
        let chosen_by_the_kernel = || self.listeners.iter().find(|known| known.bind.port == 0);
        let listener = self.at(local).or_else(chosen_by_the_kernel).or(self.listeners.first());
        listener.map_or("", |listener| listener.name.as_str())
    }

    fn at(&self, local: SocketAddr) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.bind.port == local.port())
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

/// `NAME://host:port,...` without the controllers' own.
fn parse_endpoints(
    text: &str,
    controllers: &str,
) -> Result<Vec<(String, Endpoint)>, ListenerFault> {
    let mut endpoints = Vec::new();
    for item in list_items(text) {
        let (name, endpoint) = parse_endpoint(item)?;
        let is_controllers =
            list_items(controllers).any(|controller| controller.eq_ignore_ascii_case(&name));
        if !is_controllers {
            endpoints.push((name, endpoint));
        }
    }
    Ok(endpoints)
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
