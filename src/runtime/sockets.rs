//! Listening sockets, one per core and address, and what each accepts.
//!
//! Every core listens on the same address (SO_REUSEPORT) and keeps the connections that the kernel
//! gives it. All are bound before any core starts, so that a port that is taken is one clear error.
//! SO_REUSEPORT would let a second broker of the same user share the port in silence: a first bind
//! without it finds that out.

use super::congestion;
use glommio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::time::Duration;

/// Connections that the kernel keeps waiting for one listener; `net.core.somaxconn` caps it.
const BACKLOG: i32 = 4096;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{address} is in use by another process")]
    InUse { address: SocketAddr },
    #[error("{address} is not an address of this machine")]
    NotLocal { address: SocketAddr },
    #[error("{address} may not be listened on by this user")]
    Forbidden { address: SocketAddr },
    #[error("listen on {address}")]
    Other { address: SocketAddr, source: io::Error },
}

impl ListenError {
    fn of(address: SocketAddr, source: io::Error) -> ListenError {
        match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address },
            io::ErrorKind::AddrNotAvailable => ListenError::NotLocal { address },
            io::ErrorKind::PermissionDenied => ListenError::Forbidden { address },
            _ => ListenError::Other { address, source },
        }
    }

    /// What the operator can do.
    pub fn fix(&self) -> String {
        match self {
            ListenError::InUse { address } => {
                format!("stop what listens there (ss -ltnp 'sport = :{}'), or change listeners", {
                    address.port()
                })
            }
            ListenError::NotLocal { .. } => {
                "use an address that `ip addr` shows, or 0.0.0.0 for all".into()
            }
            ListenError::Forbidden { .. } => {
                "use a port above 1023, or give the program CAP_NET_BIND_SERVICE".into()
            }
            ListenError::Other { .. } => "check the listeners key".into(),
        }
    }
}

/// How often, and at which distance, an address in use is tried again.
const BIND_TRIES: u32 = 100;
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// One bound socket per core for `address`; port 0 takes a free port, the same for all.
pub(super) fn bind_all(address: SocketAddr, cores: u16) -> Result<Vec<Socket>, ListenError> {
    let explain = |source| ListenError::of(address, source);
    let first = bind_patiently(address).map_err(explain)?;
    let bound = first.local_addr().map_err(explain)?;
    let bound = bound.as_socket().expect("bound to an internet address");
    drop(first);
    (0..cores)
        .map(|_| {
            let socket = bind(bound, true).map_err(explain)?;
            socket.listen(BACKLOG).map_err(explain)?;
            Ok(socket)
        })
        .collect()
}

/// Binds, waiting a little for a process that is going away: the kernel gives the sockets of a
/// killed process back once its rings are torn down, which may be after its end was reported.
#[allow(clippy::disallowed_methods, reason = "the main thread waits before any executor runs")]
fn bind_patiently(address: SocketAddr) -> io::Result<Socket> {
    let mut tries = 0;
    loop {
        match bind(address, false) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < BIND_TRIES => {
                tries += 1;
                std::thread::sleep(BIND_PAUSE);
            }
            bound => return bound,
        }
    }
}

fn bind(address: SocketAddr, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    if is_shared {
        rustix::net::sockopt::set_socket_reuseport(&socket, true)?;
        congestion::begin_unpaced(&socket);
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The sockets of one core; only usable on its executor.
pub(super) struct Acceptor {
    listener: TcpListener,
    /// Congestion control of connections from other hosts, where it is not the listener's.
    congestion: Option<String>,
}

/// A connection just accepted.
pub(super) struct Accepted {
    pub stream: TcpStream,
    pub local: SocketAddr,
    pub peer: SocketAddr,
}

impl Acceptor {
    /// Takes over a socket bound by [`bind_all`].
    #[allow(unsafe_code, reason = "see SAFETY below")]
    pub(super) fn new(socket: Socket) -> Acceptor {
        let congestion = congestion::for_other_hosts(&socket);
        // SAFETY: the descriptor was just given up by its owner, so the listener is its only one.
        let listener = unsafe { TcpListener::from_raw_fd(socket.into_raw_fd()) };
        Acceptor { listener, congestion }
    }

    /// The next connection; no system call on it waits, sendfile included. One that is gone again
    /// before it can be looked at is an error too.
    #[allow(unsafe_code, reason = "glommio's stream has no borrow of its descriptor")]
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        // The accepted descriptor has no owner until it is bound: nothing may come in between.
        let stream = self.listener.shared_accept().await?.bind_to_executor();
        stream.set_nodelay(true)?;
        // SAFETY: the stream owns the descriptor and outlives this borrow.
        let descriptor = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
        rustix::io::ioctl_fionbio(descriptor, true)?;
        let (local, peer) = (unmapped(stream.local_addr()?), unmapped(stream.peer_addr()?));
        congestion::settle(descriptor, (local, peer), self.congestion.as_deref());
        Ok(Accepted { stream, local, peer })
    }
}

/// An IPv4 client of an IPv6 socket, as the IPv4 address it is.
fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cores_share_one_port_and_a_stranger_is_refused() {
        let sockets = bind_all("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let ports: Vec<u16> = sockets
            .iter()
            .map(|socket| socket.local_addr().unwrap().as_socket().unwrap().port())
            .collect();
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0));
        let address = SocketAddr::from(([127, 0, 0, 1], ports[0]));
        let error = bind_all(address, 1).unwrap_err();
        assert_eq!(error.to_string(), format!("{address} is in use by another process"));
        assert!(error.fix().contains(&format!("sport = :{}", ports[0])));
    }

    #[test]
    fn a_foreign_address_is_named_as_such() {
        let error = bind_all("192.0.2.1:9092".parse().unwrap(), 1).unwrap_err();
        assert_eq!(error.to_string(), "192.0.2.1:9092 is not an address of this machine");
    }
}
