//! Which congestion control a connection gets: the host's, except within the host.
//!
//! Why: BBR paces each socket by a timer, over loopback too, where there is nothing to congest. A
//! large answer then leaves in timer interrupts and costs the core about twice as much
//! (`docs/decisions/009-hot-path-2.md`). A socket that has begun with BBR stays paced whatever it
//! is given later, so listeners begin without it, and a connection from another host is given the
//! host's choice when it is accepted.

use rustix::net::sockopt;
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

/// What the names of algorithms that pace begin with.
const PACED: &str = "bbr";

/// In every kernel, and open to every process.
const UNPACED: &str = "reno";

/// Has connections of a socket that does not listen yet begin unpaced. Where the kernel does not
/// allow that, or would not allow to go back, everything stays as the host has it.
pub(super) fn begin_unpaced(socket: &Socket) {
    let Ok(host) = sockopt::tcp_congestion(socket) else { return };
    if host.starts_with(PACED) && sockopt::set_tcp_congestion(socket, &host).is_ok() {
        let _ = sockopt::set_tcp_congestion(socket, UNPACED); // Refused: as the host has it.
    }
}

/// What connections of a listener from other hosts are to be given, if they begin otherwise.
pub(super) fn for_other_hosts(listener: &Socket) -> Option<String> {
    let address = listener.local_addr().ok()?.as_socket()?;
    let fresh = Socket::new(Domain::for_address(address), Type::STREAM, None).ok()?;
    let host = sockopt::tcp_congestion(&fresh).ok()?;
    let own = sockopt::tcp_congestion(listener).ok()?;
    (own != host).then_some(host)
}

/// Gives the host's algorithm to a connection that leaves the host.
pub(super) fn settle(
    connection: BorrowedFd<'_>,
    (local, peer): (SocketAddr, SocketAddr),
    for_other_hosts: Option<&str>,
) {
    let is_local = peer.ip().is_loopback() || peer.ip() == local.ip();
    if let Some(algorithm) = for_other_hosts.filter(|_| !is_local)
        && let Err(error) = sockopt::set_tcp_congestion(connection, algorithm)
    {
        tracing::debug!(%peer, %error, algorithm, "congestion control");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn socket() -> Socket {
        Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
    }

    fn addresses(local: &str, peer: &str) -> (SocketAddr, SocketAddr) {
        (local.parse().unwrap(), peer.parse().unwrap())
    }

    #[test]
    fn a_connection_within_the_host_is_not_paced_and_one_from_elsewhere_is_as_the_host_says() {
        let host = sockopt::tcp_congestion(socket()).unwrap();
        let listener = socket();
        begin_unpaced(&listener);
        assert!(!sockopt::tcp_congestion(&listener).unwrap().starts_with(PACED));
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(1).unwrap();
        let others = for_other_hosts(&listener);
        let client = socket();
        client.connect(&listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let near = addresses("127.0.0.1:9092", "127.0.0.1:40000");
        settle(accepted.as_fd(), near, others.as_deref());
        assert!(!sockopt::tcp_congestion(&accepted).unwrap().starts_with(PACED));
        let own = addresses("192.0.2.1:9092", "192.0.2.1:40000");
        settle(accepted.as_fd(), own, others.as_deref());
        assert!(!sockopt::tcp_congestion(&accepted).unwrap().starts_with(PACED));
        let far = addresses("192.0.2.1:9092", "192.0.2.2:40000");
        settle(accepted.as_fd(), far, others.as_deref());
        assert_eq!(sockopt::tcp_congestion(&accepted).unwrap(), host);
    }

    #[test]
    fn a_listener_that_begins_as_the_host_has_it_asks_for_nothing() {
        let listener = socket();
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        assert_eq!(for_other_hosts(&listener), None);
    }
}
