use super::*;
use crate::feed::FeedFormat;
use crate::feed_time::TimeUnit;
use etherparse::PacketBuilder;

fn shape() -> FeedShape {
    FeedShape {
        format: FeedFormat::Pcapng,
        delimiter: ',',
        is_timed: true,
        time_column: None,
        unit: TimeUnit::Auto,
        key_column: Some("source".to_owned()),
        value_column: None,
    }
}

/// An IPv4 packet with a UDP datagram.
fn datagram(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [239, 1, 1, 1], 4).udp(4000, 5000);
    builder.write(&mut packet, payload).unwrap();
    packet
}

fn segment() -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 4).tcp(1, 2, 3, 4);
    builder.write(&mut packet, b"no record").unwrap();
    packet
}

/// Writes files in one byte order.
#[derive(Clone, Copy)]
struct Writer {
    is_big_endian: bool,
}

const LITTLE: Writer = Writer { is_big_endian: false };
const BIG: Writer = Writer { is_big_endian: true };

impl Writer {
    fn u32(self, number: u32) -> [u8; 4] {
        if self.is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u16(self, number: u16) -> [u8; 2] {
        if self.is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let size = u32::try_from(12 + body.len() + padding.len()).unwrap();
        [&self.u32(kind)[..], &self.u32(size), body, &padding, &self.u32(size)].concat()
    }

    fn section(self) -> Vec<u8> {
        let version = [self.u16(1), self.u16(0)].concat();
        self.block(0x0a0d_0d0a, &[&self.u32(0x1a2b_3c4d)[..], &version, &[0xff; 8]].concat())
    }

    /// With a resolution, and an offset in seconds, of its times.
    fn interface(self, link: u16, resolution: u8, offset: i64) -> Vec<u8> {
        let offset = if self.is_big_endian { offset.to_be_bytes() } else { offset.to_le_bytes() };
        let options = [
            &self.u16(9)[..],
            &self.u16(1),
            &[resolution, 0, 0, 0],
            &self.u16(14),
            &self.u16(8),
            &offset,
            &[0; 4],
        ];
        let body = [&self.u16(link)[..], &[0; 2], &[0; 4], &options.concat()].concat();
        self.block(1, &body)
    }

    fn packet(self, interface: u32, ticks: u64, packet: &[u8]) -> Vec<u8> {
        let size = self.u32(u32::try_from(packet.len()).unwrap());
        let high = self.u32(u32::try_from(ticks >> 32).unwrap());
        let low = self.u32(u32::try_from(ticks & 0xffff_ffff).unwrap());
        let header = [self.u32(interface), high, low, size, size].concat();
        self.block(6, &[&header[..], packet].concat())
    }

    fn pcap(self, magic: u32, link: u32) -> Vec<u8> {
        let version = [self.u16(2), self.u16(4)].concat();
        let rest = [self.u32(65_535), self.u32(link)].concat();
        [&self.u32(magic)[..], &version, &[0; 8], &rest].concat()
    }

    fn frame(self, seconds: u32, fraction: u32, packet: &[u8]) -> Vec<u8> {
        let size = u32::try_from(packet.len()).unwrap();
        let header = [seconds, fraction, size, size].map(|number| self.u32(number)).concat();
        [&header[..], packet].concat()
    }
}

type Outcome = Result<FeedRecord, BadLine>;

fn read(bytes: &[u8], shape: &FeedShape) -> (Vec<Outcome>, u64) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let mut feed = CaptureFeed::open(file.path(), shape).unwrap();
    let records = std::iter::from_fn(|| feed.next()).collect();
    (records, feed.left_out)
}

fn good(bytes: &[u8]) -> Vec<(u64, i64, String)> {
    let records = read(bytes, &shape()).0.into_iter().map(|record| {
        let record = record.unwrap();
        assert_eq!(record.key.as_deref(), Some(&b"10.0.0.1:4000"[..]));
        (record.line, record.time_ns, String::from_utf8(record.value).unwrap())
    });
    records.collect()
}

fn refusal(bytes: &[u8], shape: &FeedShape) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let failure = CaptureFeed::open(file.path(), shape).err().unwrap();
    assert!(failure.to_string().contains(&file.path().display().to_string()), "{failure}");
    failure.to_string()
}

#[test]
fn blocks_of_either_byte_order_give_payloads_at_their_times() {
    for writer in [LITTLE, BIG] {
        let file = [
            writer.section(),
            writer.interface(101, 6, 0),
            writer.interface(101, 9, 1_700_000_000),
            writer.packet(0, 1_769_765_400_000_001, &datagram(b"first")),
            // Statistics, and a kind that nobody knows.
            writer.block(5, &[0; 12]),
            writer.block(0x0bad_cafe, &[1, 2, 3]),
            writer.packet(1, 69_765_400_000_001_500, &datagram(b"second")),
        ]
        .concat();
        let expected = [
            (4, 1_769_765_400_000_001_000, "first".to_owned()),
            (7, 1_769_765_400_000_001_500, "second".to_owned()),
        ];
        assert_eq!(good(&file), expected);
    }
    // A resolution of 2^-10 s, in a second section of the other byte order.
    let file = [
        LITTLE.section(),
        BIG.section(),
        BIG.interface(101, 0x8a, 0),
        BIG.packet(0, 1536, &datagram(b"third")),
    ];
    assert_eq!(good(&file.concat()), [(4, 1_500_000_000, "third".to_owned())]);
}

#[test]
fn a_classic_capture_is_told_by_its_first_bytes() {
    for (magic, fraction_ns) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1)] {
        for writer in [LITTLE, BIG] {
            let frames = [writer.frame(5, 7, &datagram(b"a")), writer.frame(6, 0, &datagram(b""))];
            let file = [writer.pcap(magic, 101), frames.concat()].concat();
            let expected = [
                (2, 5_000_000_000 + 7 * fraction_ns, "a".to_owned()),
                (3, 6_000_000_000, String::new()),
            ];
            assert_eq!(good(&file), expected);
        }
    }
}

#[test]
fn the_key_is_an_end_of_the_datagram_or_none_and_other_packets_are_counted() {
    let packets = [
        LITTLE.packet(0, 1, &segment()),
        LITTLE.packet(0, 2, &datagram(b"a")),
        LITTLE.packet(0, 3, &segment()),
    ];
    let file = [LITTLE.section(), LITTLE.interface(101, 6, 0), packets.concat()].concat();
    for (column, key) in [(None, None), (Some("destination"), Some("239.1.1.1:5000"))] {
        let shape = FeedShape { key_column: column.map(str::to_owned), ..shape() };
        let (records, left_out) = read(&file, &shape);
        assert_eq!((records.len(), left_out), (1, 2));
        assert_eq!(records[0].as_ref().unwrap().key.as_deref(), key.map(str::as_bytes));
    }
}

#[test]
fn a_packet_that_cannot_be_read_is_refused_by_its_place_and_the_next_is_read() {
    let mut overlong = LITTLE.packet(0, 3, &datagram(b"b"));
    // More captured than the block holds.
    overlong[20..24].copy_from_slice(&[0xff, 0, 0, 0]);
    let file = [
        LITTLE.section(),
        LITTLE.interface(101, 6, 0),
        LITTLE.interface(147, 6, 0),
        LITTLE.packet(0, 1, &datagram(b"a")),
        LITTLE.packet(1, 2, &datagram(b"a")),
        LITTLE.packet(7, 2, &datagram(b"a")),
        overlong,
        LITTLE.packet(0, 4, &datagram(b"whole")[..30]),
        LITTLE.block(2, &[0; 32]),
        LITTLE.block(3, &[&[29, 0, 0, 0][..], &datagram(b"c")].concat()),
        LITTLE.packet(0, u64::MAX, &datagram(b"a")),
        LITTLE.packet(0, 5, &datagram(b"last")),
    ];
    let places: Vec<usize> = file
        .iter()
        .scan(0, |place, block| {
            *place += block.len();
            Some(*place - block.len())
        })
        .collect();
    let (records, _) = read(&file.concat(), &shape());
    assert_eq!(records.len(), 9);
    let bad: Vec<&BadLine> = records.iter().filter_map(|record| record.as_ref().err()).collect();
    let expected = [
        (5, "link type 147 is not known; Ethernet (1), raw IP"),
        (6, "one of the section's 2 interfaces is expected, not 7"),
        (7, "the block of type 6 contradicts its own lengths"),
        (8, "a datagram of 13 bytes is expected, here are 10"),
        (9, "an enhanced packet (type 6) is expected, not an obsolete one"),
        (10, "a simple packet has none"),
        (11, "a time before the year 2262"),
    ];
    assert_eq!(bad.len(), expected.len());
    for (bad, (block, reason)) in bad.iter().zip(expected) {
        let place = format!("block at byte {}: ", places[block - 1]);
        assert!(bad.reason.starts_with(&place) && bad.reason.contains(reason), "{bad:?}");
        assert_eq!(bad.line, u64::try_from(block).unwrap());
    }
    assert_eq!(records[8].as_ref().unwrap().value, b"last");
    // Where times do not matter, a packet without one is a record.
    let shape = FeedShape { is_timed: false, ..shape() };
    assert_eq!(read(&file.concat(), &shape).0.iter().filter(|record| record.is_ok()).count(), 3);
}

#[test]
fn a_file_that_is_cut_anywhere_keeps_what_was_whole_and_says_where() {
    let blocks = [LITTLE.section(), LITTLE.interface(101, 6, 0)].concat();
    let classic = LITTLE.pcap(0xa1b2_c3d4, 101);
    for (head, packet) in [
        (blocks, LITTLE.packet(0, 1, &datagram(b"a"))),
        (classic, LITTLE.frame(0, 1, &datagram(b"a"))),
    ] {
        let whole = [&head[..], &packet, &packet].concat();
        let second = head.len() + packet.len();
        assert_eq!(read(&whole, &shape()).0.len(), 2);
        assert_eq!(read(&whole[..second], &shape()).0.len(), 1);
        for end in second + 1..whole.len() {
            let (records, _) = read(&whole[..end], &shape());
            assert_eq!(records.len(), 2, "{end}");
            assert!(records[0].is_ok());
            let reason = &records[1].as_ref().unwrap_err().reason;
            assert!(reason.starts_with(&format!("block at byte {second}: ")), "{reason}");
            assert!(reason.contains("the file ends after"), "{reason}");
        }
    }
}

#[test]
fn behind_a_block_that_ends_nowhere_nothing_is_read() {
    let packet = LITTLE.packet(0, 1, &datagram(b"a"));
    for (size, reason) in [
        (7_u32, "a multiple of 4, is expected, not of 7"),
        (8, "not of 8"),
        (0xffff_fff0, "12 to 16777216 bytes"),
    ] {
        let mut broken = packet.clone();
        broken[4..8].copy_from_slice(&size.to_le_bytes());
        let head = [LITTLE.section(), LITTLE.interface(101, 6, 0)].concat();
        let (records, _) = read(&[&head[..], &packet, &broken, &packet].concat(), &shape());
        assert_eq!(records.len(), 2);
        let bad = records[1].as_ref().unwrap_err();
        assert!(bad.line == 4 && bad.reason.contains(reason), "{bad:?}");
    }
    let resolution = LITTLE.interface(101, 39, 0);
    let file = [LITTLE.section(), resolution, packet.clone()].concat();
    let (records, _) = read(&file, &shape());
    assert_eq!(records.len(), 1);
    let reason = &records[0].as_ref().unwrap_err().reason;
    assert!(reason.contains("10^-38 s is expected, not 10^-39"), "{reason}");
    let mut order = LITTLE.section();
    order[8] = 0;
    let (records, _) = read(&[order, packet].concat(), &shape());
    let reason = &records[0].as_ref().unwrap_err().reason;
    assert!(reason.contains("a byte order of 1a2b3c4d or 4d3c2b1a"), "{reason}");
    let mut frame = LITTLE.frame(0, 1, &datagram(b"a"));
    frame[8..12].copy_from_slice(&[0xff; 4]);
    let (records, _) = read(&[LITTLE.pcap(0xa1b2_c3d4, 101), frame].concat(), &shape());
    assert_eq!(records.len(), 1);
    let reason = &records[0].as_ref().unwrap_err().reason;
    assert!(reason.contains("a packet of at most 16777216 bytes"), "{reason}");
}

#[test]
fn what_is_no_capture_is_refused_with_what_was_found() {
    let text = refusal(b"ts,symbol\n1,A\n", &shape());
    assert!(text.contains(":1: block at byte 0: a capture is expected"), "{text}");
    assert!(text.contains("not with 74732c73"), "{text}");
    assert!(refusal(b"", &shape()).contains("not with nothing"));
    let short = refusal(&LITTLE.pcap(0xa1b2_c3d4, 1)[..20], &shape());
    assert!(short.contains("a header of 24 bytes is expected, the file ends after 20"), "{short}");
    for (change, reason) in [
        (FeedShape { time_column: Some("ts".to_owned()), ..shape() }, "no --time-column"),
        (FeedShape { value_column: Some("v".to_owned()), ..shape() }, "no --value-column"),
        (FeedShape { key_column: Some("port".to_owned()), ..shape() }, "not port"),
    ] {
        assert!(refusal(&LITTLE.section(), &change).contains(reason), "{reason}");
    }
}

/// Any bytes end, and end well: bits of a good file are turned one after the other.
#[test]
fn no_turned_bit_brings_the_reader_down() {
    let blocks = [
        LITTLE.section(),
        LITTLE.interface(101, 6, 0),
        LITTLE.packet(0, 1, &datagram(b"a")),
        LITTLE.block(5, &[0; 12]),
        LITTLE.block(3, &[&[29, 0, 0, 0][..], &datagram(b"c")].concat()),
    ];
    let classic = [LITTLE.pcap(0xa1b2_c3d4, 101), LITTLE.frame(0, 1, &datagram(b"a"))];
    for good in [blocks.concat(), classic.concat()] {
        for bit in 0..good.len() * 8 {
            let mut turned = good.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &turned).unwrap();
            let feed = CaptureFeed::open(file.path(), &shape());
            let records = feed.map(|mut feed| std::iter::from_fn(|| feed.next()).count());
            assert!(records.is_ok_and(|records| records <= 3) || bit < 32, "bit {bit}");
        }
    }
}
