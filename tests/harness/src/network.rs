//! Hosts that are network namespaces, joined by a bridge in one more, the hub.
//!
//! Nothing outside of the namespaces is changed. Packets are lost by neighbour entries that lead
//! nowhere: the sender notices as little as it would of a broken switch.
//!
//! Invariants
//! - Namespaces are removed with their owner. Those of a run that was killed are removed by the
//!   next one, with what still runs inside: their names say whose they were.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{self, Command};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::toolchain::Missing;

const NAMES: &str = "/run/netns";
const PREFIX: &str = "highwater-";
const SUBNET: &str = "10.66.0";
const HUB: &str = "hub";
/// The hub's own address: clients live there.
const HUB_ADDRESS: &str = "10.66.0.254";
/// Nobody's address: frames to it are delivered to nobody.
const NOWHERE: &str = "02:00:00:00:00:00";

/// Some hosts, numbered from 1 on, and the hub between them.
pub struct Network {
    hosts: usize,
}

impl Network {
    /// Makes and joins them.
    ///
    /// # Errors
    /// Without `ip` of iproute2, or without the right to make namespaces.
    pub fn create(hosts: usize) -> Result<Network, Missing> {
        remove_those_of_the_dead();
        let network = Network { hosts };
        let hub = name(HUB);
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "set", "lo", "up"])?;
        ip(&["-n", &hub, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", &hub, "address", "add", &format!("{HUB_ADDRESS}/24"), "dev", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "bridge", "up"])?;
        for host in 1..=hosts {
            network.join(host)?;
        }
        Ok(network)
    }

    fn join(&self, host: usize) -> Result<(), Missing> {
        let (hub, own, port) = (name(HUB), name_of(host), port(host));
        ip(&["netns", "add", &own])?;
        ip(&["-n", &own, "link", "set", "lo", "up"])?;
        let pair = ["type", "veth", "peer", "name", "eth0", "netns", &own];
        ip(&[&["-n", &hub, "link", "add", &port], &pair[..]].concat())?;
        ip(&["-n", &hub, "link", "set", &port, "master", "bridge", "up"])?;
        let address = format!("{}/24", self.address(host));
        ip(&["-n", &own, "address", "add", &address, "dev", "eth0"])?;
        ip(&["-n", &own, "link", "set", "eth0", "up"])
    }

    /// Moves this thread into the hub, and what it starts from now on.
    pub fn enter_hub(&self) {
        let file = File::open(Path::new(NAMES).join(name(HUB))).expect("made above");
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(file.as_fd(), kind).expect("who may make it may enter it");
    }

    /// The command that runs another one on a host, as the same process.
    pub fn launcher(&self, host: usize) -> Vec<String> {
        ["ip", "netns", "exec", &name_of(host)].map(str::to_owned).to_vec()
    }

    pub fn address(&self, host: usize) -> String {
        format!("{SUBNET}.{host}")
    }

    /// The host's link goes down.
    pub fn cut(&self, host: usize) {
        must(&["-n", &name(HUB), "link", "set", &port(host), "down"]);
    }

    /// The host's link comes up again.
    pub fn join_again(&self, host: usize) {
        must(&["-n", &name(HUB), "link", "set", &port(host), "up"]);
    }

    /// Whatever `from` sends to `to` is lost; what comes back is not.
    pub fn deafen(&self, from: usize, to: usize) {
        self.lose(from, &self.address(to));
    }

    /// Whatever a host sends to anybody is lost, clients included.
    pub fn mute(&self, host: usize) {
        self.lose(host, HUB_ADDRESS);
        for to in (1..=self.hosts).filter(|to| *to != host) {
            self.deafen(host, to);
        }
    }

    fn lose(&self, from: usize, to: &str) {
        let entry = ["lladdr", NOWHERE, "nud", "permanent", "dev", "eth0"];
        must(&[&["-n", &name_of(from), "neigh", "replace", to], &entry[..]].concat());
    }

    /// Nothing that a host sends is lost any more.
    pub fn unmute(&self, host: usize) {
        must(&["-n", &name_of(host), "neigh", "flush", "dev", "eth0", "nud", "permanent"]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let hosts = (1..=self.hosts).map(name_of);
        hosts.chain([name(HUB)]).for_each(|name| remove(&name));
    }
}

/// What still runs inside ends first; errors say that there is nothing to remove.
fn remove(name: &str) {
    let inside = Command::new("ip").args(["netns", "pids", name]).output();
    let inside = inside.map(|output| output.stdout).unwrap_or_default();
    for id in String::from_utf8_lossy(&inside).split_whitespace() {
        // The test's own thread may have moved in.
        if id != process::id().to_string() {
            drop(Command::new("kill").args(["-KILL", id]).status());
        }
    }
    drop(ip(&["netns", "delete", name]));
}

fn remove_those_of_the_dead() {
    let Ok(names) = fs::read_dir(NAMES) else { return };
    for name in names.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            remove(&name);
        }
    }
}

fn name(of: &str) -> String {
    format!("{PREFIX}{}-{of}", process::id())
}

fn name_of(host: usize) -> String {
    name(&host.to_string())
}

fn port(host: usize) -> String {
    format!("port{host}")
}

fn must(arguments: &[&str]) {
    ip(arguments).unwrap_or_else(|error| panic!("{error}"));
}

fn ip(arguments: &[&str]) -> Result<(), Missing> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| Missing::new(format!("ip of iproute2: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Missing::new(format!("ip {} (as root?): {}", arguments.join(" "), said.trim())))
}
