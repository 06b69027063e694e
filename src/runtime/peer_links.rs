//! Sockets to other brokers: what `shard/peers.rs` decides, carried out.
//!
//! Each connection is one task from its connect to its end. A name is resolved on the blocking
//! pool; nothing else waits outside the ring. The kernel gives a connection up by itself when the
//! other side has been silent for `PEER_SILENCE`, so that a pulled cable is noticed while data
//! waits.
//!
//! Invariant: a socket is kept under its link only while the shard wants that link. One that is
//! connected after it was given up would take the place of another, whose frames then went nowhere.

use super::peer::{Inbox, Peer, Sent};
use super::run_shard::Driver;
use crate::model::limits::{PEER_CONNECT_MS, PEER_UNSENT_BYTES_MAX};
use crate::model::listeners::Endpoint;
use crate::protocol::part::Part;
use crate::shard::connection::ConnectionId;
use crate::shard::peers::LinkId;
use crate::shard::presence::LinkEnd;
use glommio::net::TcpStream;
use rustix::net::sockopt;
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

/// How long sent bytes may stay unacknowledged before the kernel gives a connection up.
const PEER_SILENCE: Duration = Duration::from_millis(5000);

/// The open sockets by the index of their link.
#[derive(Default)]
pub(super) struct PeerLinks {
    sockets: RefCell<Vec<Option<Socket>>>,
}

/// An open socket and the link that it is of.
type Socket = (LinkId, Rc<Peer>);

impl PeerLinks {
    fn get(&self, link: LinkId) -> Option<Rc<Peer>> {
        let sockets = self.sockets.borrow();
        let (id, peer) = sockets.get(link.index)?.as_ref()?;
        (*id == link).then(|| Rc::clone(peer))
    }

    fn add(&self, link: LinkId, peer: &Rc<Peer>) {
        let mut sockets = self.sockets.borrow_mut();
        if sockets.len() <= link.index {
            sockets.resize(link.index + 1, None);
        }
        sockets[link.index] = Some((link, Rc::clone(peer)));
    }

    fn remove(&self, link: LinkId) {
        if self.get(link).is_some() {
            self.sockets.borrow_mut()[link.index] = None;
        }
    }

    /// Sends on a connection that is up; `None` when it is gone meanwhile.
    pub(super) fn send(&self, link: LinkId, parts: Vec<Part>) -> Option<(Rc<Peer>, Sent)> {
        let peer = self.get(link)?;
        let sent = peer.send(parts);
        if peer.unsent_bytes() > PEER_UNSENT_BYTES_MAX {
            peer.break_off();
        }
        Some((peer, sent))
    }

    /// Closes a connection at once; its task ends.
    pub(super) fn close(&self, link: LinkId) {
        if let Some(peer) = self.get(link) {
            peer.break_off();
            self.remove(link);
        }
    }
}

/// One connection from its connect to its end.
pub(super) async fn run(driver: Rc<Driver>, link: LinkId, address: Endpoint) {
    let (end, cause) = match connect(&address).await {
        Ok(stream) => match talk(&driver, link, stream).await {
            Ok(()) => (LinkEnd::Closed, "the connection was closed".to_owned()),
            Err(error) => (end_of(&error), error.to_string()),
        },
        Err(error) => (end_of(&error), format!("{}:{}: {error}", address.host, address.port)),
    };
    driver.on_event();
    driver.links.remove(link);
    driver.shard.borrow_mut().on_link_down(link, end, &cause);
}

/// What an error says of the process at the other end.
fn end_of(error: &io::Error) -> LinkEnd {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => LinkEnd::Refused,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => LinkEnd::Closed,
        _ => LinkEnd::Failed,
    }
}

async fn talk(driver: &Rc<Driver>, link: LinkId, stream: TcpStream) -> io::Result<()> {
    prepare(&stream)?;
    driver.on_event();
    if !driver.shard.borrow().peers.is_open(link) {
        return Ok(());
    }
    let now_us = driver.shard.borrow().now.monotonic_us;
    let id = ConnectionId { index: link.index, generation: link.generation };
    let peer = Rc::new(Peer::new(id, stream, now_us));
    driver.links.add(link, &peer);
    driver.shard.borrow_mut().on_link_up(link);
    let mut inbox = Inbox::default();
    let read = async {
        loop {
            if peer.receive(&driver.shared, &mut inbox).await? == 0 {
                return Ok(());
            }
            driver.on_event();
            if !driver.shard.borrow_mut().on_link_bytes(link, &mut inbox.bytes) {
                return Ok(());
            }
            inbox.unpin();
        }
    }
    .await;
    peer.break_off();
    read
}

// For options of the socket: glommio's stream sets few of them, and lends no descriptor.
#[allow(unsafe_code, reason = "glommio's stream has no borrow of its descriptor")]
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // SAFETY: the stream owns the descriptor and outlives this borrow.
    let socket = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
    rustix::io::ioctl_fionbio(socket, true)?;
    let silence_ms = u32::try_from(PEER_SILENCE.as_millis()).expect("a few seconds");
    sockopt::set_tcp_user_timeout(socket, silence_ms)?;
    Ok(())
}

async fn connect(address: &Endpoint) -> io::Result<TcpStream> {
    let limit = Duration::from_millis(PEER_CONNECT_MS);
    let address = resolve(address).await?;
    Ok(TcpStream::connect_timeout(address, limit).await?)
}

async fn resolve(address: &Endpoint) -> io::Result<SocketAddr> {
    if let Ok(ip) = address.host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, address.port));
    }
    let (host, port) = (address.host.clone(), address.port);
    let found = glommio::executor()
        .spawn_blocking(move || (host.as_str(), port).to_socket_addrs().map(|mut all| all.next()))
        .await?;
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}
