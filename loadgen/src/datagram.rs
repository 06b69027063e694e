//! The UDP datagram in a captured packet, if there is one.
//!
//! Invariant: a datagram is whole or is refused. Packets of other kinds (TCP, ARP and so on) are
//! told apart from packets that cannot be read.

use std::net::SocketAddr;

use etherparse::err::Layer;
use etherparse::{EtherType, IpNumber, LaxNetSlice, LaxSlicedPacket, TransportSlice};

/// Link types that are read, as the capture's interface names them.
pub(crate) const LINKS: &str =
    "Ethernet (1), raw IP (101, 228, 229) and Linux cooked (113, 276) are read";

const ETHERNET: i32 = 1;
const RAW: i32 = 101;
const LINUX_SLL: i32 = 113;
const IPV4: i32 = 228;
const IPV6: i32 = 229;
const LINUX_SLL2: i32 = 276;

/// One datagram, without the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Datagram<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) payload: &'a [u8],
}

/// The datagram of a packet; `None` for a packet that is none.
///
/// # Errors
/// What was expected and what was found.
pub(crate) fn datagram_of(link: i32, packet: &[u8]) -> Result<Option<Datagram<'_>>, String> {
    let sliced = match link {
        ETHERNET => LaxSlicedPacket::from_ethernet(packet).map_err(|error| error.to_string())?,
        RAW | IPV4 | IPV6 => LaxSlicedPacket::from_ip(packet).map_err(|error| error.to_string())?,
        // The cooked header ends with the protocol, its second version begins with it.
        LINUX_SLL => cooked(packet, 14, 16)?,
        LINUX_SLL2 => cooked(packet, 0, 20)?,
        other => return Err(format!("link type {other} is not known; {LINKS}")),
    };
    let Some(net) = &sliced.net else {
        return match &sliced.stop_err {
            Some((_, Layer::Arp)) | None => Ok(None),
            Some((error, _)) => Err(error.to_string()),
        };
    };
    let (source, destination, payload) = match net {
        LaxNetSlice::Ipv4(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into(), ip.payload())
        }
        LaxNetSlice::Ipv6(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into(), ip.payload())
        }
        LaxNetSlice::Arp(_) => return Ok(None),
    };
    if payload.ip_number != IpNumber::UDP {
        return Ok(None);
    }
    if payload.fragmented {
        return Err("a whole datagram is expected, this is a fragment of one".to_owned());
    }
    let Some(TransportSlice::Udp(udp)) = &sliced.transport else {
        let held = payload.payload.len();
        return Err(format!("a UDP header of 8 bytes is expected, here are {held}"));
    };
    let (told, held) = (usize::from(udp.length()), udp.slice().len());
    if payload.incomplete || told != held {
        return Err(format!(
            "a datagram of {told} bytes is expected, here are {held}; a capture with a snap length \
             of 0 cuts none"
        ));
    }
    Ok(Some(Datagram {
        source: SocketAddr::new(source, udp.source_port()),
        destination: SocketAddr::new(destination, udp.destination_port()),
        payload: udp.payload(),
    }))
}

/// A packet behind a header of `size` bytes with the protocol at `place`.
fn cooked(packet: &[u8], place: usize, size: usize) -> Result<LaxSlicedPacket<'_>, String> {
    match (packet.get(place..place + 2), packet.get(size..)) {
        (Some(protocol), Some(rest)) => {
            let protocol = EtherType(u16::from_be_bytes([protocol[0], protocol[1]]));
            Ok(LaxSlicedPacket::from_ether_type(protocol, rest))
        }
        _ => Err(format!("a cooked header of {size} bytes is expected, here are {}", packet.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    const PAYLOAD: &[u8] = b"quote";

    fn raw_ip() -> Vec<u8> {
        let builder = PacketBuilder::ipv4([10, 0, 0, 1], [239, 1, 1, 1], 4).udp(4000, 5000);
        let mut packet = Vec::new();
        builder.write(&mut packet, PAYLOAD).unwrap();
        packet
    }

    fn raw_ipv6() -> Vec<u8> {
        let to = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let from = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let mut packet = Vec::new();
        PacketBuilder::ipv6(from, to, 4).udp(4000, 5000).write(&mut packet, PAYLOAD).unwrap();
        packet
    }

    fn ethernet(ether_type: [u8; 2], payload: &[u8]) -> Vec<u8> {
        [&[1; 12][..], &ether_type, payload].concat()
    }

    fn read(link: i32, packet: &[u8]) -> (String, String, Vec<u8>) {
        let found = datagram_of(link, packet).unwrap().unwrap();
        (found.source.to_string(), found.destination.to_string(), found.payload.to_vec())
    }

    #[test]
    fn every_link_type_leads_to_the_payload_and_its_ends() {
        let expected = ("10.0.0.1:4000".to_owned(), "239.1.1.1:5000".to_owned(), PAYLOAD.to_vec());
        let ip = raw_ip();
        assert_eq!(read(101, &ip), expected);
        assert_eq!(read(228, &ip), expected);
        // Short frames are padded on the wire.
        let frame = ethernet([8, 0], &[&ip[..], &[0; 13]].concat());
        assert_eq!(read(1, &frame), expected);
        let tagged = ethernet([0x81, 0], &[&[0, 7, 8, 0][..], &ip].concat());
        assert_eq!(read(1, &tagged), expected);
        assert_eq!(read(113, &[&[0; 14][..], &[8, 0], &ip].concat()), expected);
        assert_eq!(read(276, &[&[8, 0][..], &[0; 18], &ip].concat()), expected);
        let (source, destination, payload) = read(1, &ethernet([0x86, 0xdd], &raw_ipv6()));
        assert_eq!((&source[..], &destination[..]), ("[::1]:4000", "[ff02::1]:5000"));
        assert_eq!(payload, PAYLOAD);
        assert_eq!(read(229, &raw_ipv6()).2, PAYLOAD);
    }

    #[test]
    fn other_packets_are_none() {
        let mut tcp = Vec::new();
        let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 4).tcp(1, 2, 3, 4);
        builder.write(&mut tcp, PAYLOAD).unwrap();
        // One that the network card is to divide is longer than its header says.
        let mut offloaded = tcp.clone();
        offloaded[2..4].copy_from_slice(&[0, 0]);
        for packet in [tcp, offloaded] {
            assert_eq!(datagram_of(101, &packet), Ok(None));
        }
        assert_eq!(datagram_of(1, &ethernet([8, 6], &[0; 5])), Ok(None));
        assert_eq!(datagram_of(1, &ethernet([0x88, 0xcc], &[1, 2])), Ok(None));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_what_was_found() {
        let refused = |link: i32, packet: &[u8], expected: &str| {
            let reason = datagram_of(link, packet).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        };
        let ip = raw_ip();
        refused(127, &ip, "link type 127 is not known; Ethernet (1), raw IP");
        refused(101, &ip[..ip.len() - 2], "a datagram of 13 bytes is expected, here are 11");
        refused(101, &ip[..24], "a UDP header of 8 bytes is expected, here are 4");
        // The packet is whole, and its UDP header says otherwise.
        for (length, expected) in
            [(255, "of 255 bytes is expected, here are 13"), (3, "of 3 bytes")]
        {
            let mut contrary = ip.clone();
            contrary[25] = length;
            refused(101, &contrary, expected);
        }
        let mut fragment = ip;
        fragment[6] = 0x20;
        refused(101, &fragment, "this is a fragment");
        refused(113, &[0; 5], "a cooked header of 16 bytes is expected, here are 5");
        for garbage in [&[][..], &[0xff; 40], &[0x45; 9]] {
            assert!(datagram_of(101, garbage).is_err(), "{garbage:?}");
        }
        assert!(datagram_of(1, &[1; 7]).is_err());
        assert!(datagram_of(1, &ethernet([8, 0], &[0x45; 9])).is_err());
    }
}
