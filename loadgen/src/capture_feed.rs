//! Records from a packet capture: the payload of each UDP datagram, at the capture's time.
//!
//! ```text
//! pcapng   | section | interface | packet | statistics | packet | ...   blocks with their lengths
//! pcap     | header | packet | packet | ...                              one interface
//! ```
//!
//! Invariants
//! - One block is in memory at a time, of at most `BLOCK_BYTES_MAX`; nothing is reserved for a
//!   length that the file does not hold.
//! - Whatever the bytes are, a block is read or is refused by its number and its place in the file.
//!   Behind a block whose end is not known nothing is read.

use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::net::SocketAddr;
use std::path::Path;

use pcap_parser::pcap::{parse_pcap_frame, parse_pcap_frame_be, parse_pcap_header};
use pcap_parser::pcapng::{Block, InterfaceDescriptionBlock, OptionCode};
use pcap_parser::pcapng::{parse_block_be, parse_block_le};
use pcap_parser::traits::PcapNGPacketBlock;

use crate::datagram::{Datagram, datagram_of};
use crate::failure::Failure;
use crate::feed::{BadLine, FeedRecord, FeedShape};

/// Above any packet, and above what tools write into blocks of other kinds.
const BLOCK_BYTES_MAX: u32 = 16 * 1024 * 1024;
const BLOCK_BYTES_MIN: u32 = 12;
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Of pcap, as the file has it: microseconds and nanoseconds, in both byte orders.
const PCAP_MAGICS: [[u8; 4]; 4] = [
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
];
const PCAP_HEADER_BYTES: usize = 24;
const PCAP_FRAME_BYTES: usize = 16;
/// Of its type number, the older form of a packet.
const OBSOLETE_PACKET: u32 = 2;

const SECOND_NS: i128 = 1_000_000_000;

/// Which end of a datagram is the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyEnd {
    Source,
    Destination,
}

/// Where packets of one kind come from.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link: i32,
    ticks_per_second: i128,
    offset_seconds: i64,
}

#[derive(Debug)]
enum Layout {
    Blocks { is_big_endian: bool, interfaces: Vec<Interface> },
    Frames { is_big_endian: bool, interface: Interface },
}

/// A capture that is read from its start to its end.
pub(crate) struct CaptureFeed {
    reader: BufReader<Chain<Cursor<Vec<u8>>, File>>,
    key: Option<KeyEnd>,
    is_timed: bool,
    layout: Layout,
    /// Number of the block at hand, from 1, and where in the file it begins.
    block: u64,
    offset: u64,
    bytes: Vec<u8>,
    /// Packets that are no UDP datagrams.
    pub(crate) left_out: u64,
    is_over: bool,
}

impl CaptureFeed {
    /// Opens `path`; by its first bytes it is pcapng or pcap.
    ///
    /// # Errors
    /// It cannot be read, is neither, or a column is asked for that captures do not have.
    pub(crate) fn open(path: &Path, shape: &FeedShape) -> Result<CaptureFeed, Failure> {
        let refusal = |reason: String| Failure::BadRun { path: path.to_owned(), reason };
        let key = key_end(shape).map_err(refusal)?;
        let mut file = File::open(path).map_err(|error| refusal(error.to_string()))?;
        let mut magic = Vec::new();
        let read = (&mut file).take(4).read_to_end(&mut magic);
        read.map_err(|error| refusal(error.to_string()))?;
        let reader = Cursor::new(magic.clone()).chain(file);
        let mut feed = CaptureFeed {
            reader: BufReader::with_capacity(256 * 1024, reader),
            key,
            is_timed: shape.is_timed,
            layout: Layout::Blocks { is_big_endian: false, interfaces: Vec::new() },
            block: 0,
            offset: 0,
            bytes: Vec::new(),
            left_out: 0,
            is_over: false,
        };
        if magic != SECTION {
            let layout = feed.read_pcap_header();
            feed.layout = layout.map_err(|reason| {
                let bad = feed.bad(&reason);
                Failure::BadLine { path: path.to_owned(), line: bad.line, reason: bad.reason }
            })?;
        }
        Ok(feed)
    }

    /// The next record; `None` at the end of the file, or behind a block that ends nowhere.
    pub(crate) fn next(&mut self) -> Option<Result<FeedRecord, BadLine>> {
        while !self.is_over {
            let outcome = match self.read_block() {
                Ok(true) => {
                    let bytes = std::mem::take(&mut self.bytes);
                    let outcome = self.record(&bytes);
                    self.bytes = bytes;
                    outcome
                }
                Ok(false) => {
                    self.is_over = true;
                    return None;
                }
                Err(reason) => {
                    self.is_over = true;
                    Err(reason)
                }
            };
            match outcome {
                Ok(Some(record)) => return Some(Ok(record)),
                Ok(None) => {}
                Err(reason) => return Some(Err(self.bad(&reason))),
            }
        }
        None
    }

    fn bad(&self, reason: &str) -> BadLine {
        BadLine { line: self.block, reason: format!("block at byte {}: {reason}", self.offset) }
    }

    /// Begins a block.
    fn begin(&mut self) {
        self.offset += u64::try_from(self.bytes.len()).expect("usize fits in 64 bits");
        self.bytes.clear();
        self.block += 1;
    }

    /// Reads on until the block at hand has `size` bytes, as far as the file has them.
    fn read_to(&mut self, size: usize) -> Result<usize, String> {
        let more = u64::try_from(size - self.bytes.len()).expect("usize fits in 64 bits");
        let read: io::Result<usize> = (&mut self.reader).take(more).read_to_end(&mut self.bytes);
        read.map_err(|error| error.to_string())?;
        Ok(self.bytes.len())
    }

    fn read_pcap_header(&mut self) -> Result<Layout, String> {
        self.begin();
        let held = self.read_to(PCAP_HEADER_BYTES)?;
        let magic = self.bytes.get(..4).unwrap_or(&self.bytes);
        if !PCAP_MAGICS.iter().any(|known| known == magic) {
            let expected = "a capture is expected, which begins with 0a0d0d0a (pcapng) or with \
                            a1b2c3d4 or a1b23c4d in either byte order (pcap)";
            return Err(format!("{expected}, not with {}", hexadecimal(magic)));
        }
        let (_, header) = parse_pcap_header(&self.bytes).map_err(|_| {
            format!("a header of {PCAP_HEADER_BYTES} bytes is expected, the file ends after {held}")
        })?;
        let is_fine = header.is_nanosecond_precision();
        let interface = Interface {
            // Above the link type, whether frames have a checksum at their end.
            link: header.network.0 & 0xffff,
            ticks_per_second: if is_fine { SECOND_NS } else { 1_000_000 },
            offset_seconds: 0,
        };
        Ok(Layout::Frames { is_big_endian: header.is_bigendian(), interface })
    }

    /// Reads the next block or packet whole; false at the end of the file.
    fn read_block(&mut self) -> Result<bool, String> {
        self.begin();
        let (header_bytes, kind) = match self.layout {
            Layout::Blocks { .. } => (8, "block"),
            Layout::Frames { .. } => (PCAP_FRAME_BYTES, "packet"),
        };
        let held = self.read_to(header_bytes)?;
        if held == 0 {
            return Ok(false);
        }
        if held < header_bytes {
            return Err(format!(
                "a {kind} with a header of {header_bytes} bytes is expected, the file ends after \
                 {held}"
            ));
        }
        let size = match self.layout {
            Layout::Blocks { .. } => self.block_size()?,
            Layout::Frames { is_big_endian, .. } => {
                let captured = number(&self.bytes, 8, is_big_endian);
                if captured > BLOCK_BYTES_MAX {
                    return Err(format!(
                        "a packet of at most {BLOCK_BYTES_MAX} bytes is expected, not {captured}"
                    ));
                }
                PCAP_FRAME_BYTES + usize::try_from(captured).expect("u32 fits in usize")
            }
        };
        let held = self.read_to(size)?;
        if held < size {
            return Err(format!(
                "a {kind} of {size} bytes is expected, the file ends after {held}: it is cut"
            ));
        }
        Ok(true)
    }

    /// The size of the block that the first 8 bytes begin.
    fn block_size(&mut self) -> Result<usize, String> {
        if self.bytes.starts_with(&SECTION) {
            // A section says its own byte order, behind its length.
            self.read_to(12)?;
            let is_big_endian = match self.bytes.get(8..12) {
                Some([0x1a, 0x2b, 0x3c, 0x4d]) => true,
                Some([0x4d, 0x3c, 0x2b, 0x1a]) => false,
                other => {
                    let found = hexadecimal(other.unwrap_or_default());
                    return Err(format!(
                        "a byte order of 1a2b3c4d or 4d3c2b1a is expected, not {found}"
                    ));
                }
            };
            self.layout = Layout::Blocks { is_big_endian, interfaces: Vec::new() };
        }
        let is_big_endian = matches!(self.layout, Layout::Blocks { is_big_endian: true, .. });
        let size = number(&self.bytes, 4, is_big_endian);
        if !size.is_multiple_of(4) || !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&size) {
            return Err(format!(
                "a block of {BLOCK_BYTES_MIN} to {BLOCK_BYTES_MAX} bytes, a multiple of 4, is \
                 expected, not of {size}"
            ));
        }
        Ok(usize::try_from(size).expect("u32 fits in usize"))
    }

    /// The record of a whole block; `None` for one that carries no datagram.
    fn record(&mut self, bytes: &[u8]) -> Result<Option<FeedRecord>, String> {
        match self.layout {
            Layout::Blocks { is_big_endian, .. } => self.block_record(bytes, is_big_endian),
            Layout::Frames { is_big_endian, interface } => {
                let parse = if is_big_endian { parse_pcap_frame_be } else { parse_pcap_frame };
                let (_, frame) =
                    parse(bytes).map_err(|_| "the packet cannot be read".to_owned())?;
                let ticks = i128::from(frame.ts_sec) * interface.ticks_per_second;
                let time_ns = interface.time_ns(ticks + i128::from(frame.ts_usec))?;
                self.packet_record(interface.link, time_ns, frame.data)
            }
        }
    }

    fn block_record(
        &mut self,
        bytes: &[u8],
        is_big_endian: bool,
    ) -> Result<Option<FeedRecord>, String> {
        let parse = if is_big_endian { parse_block_be } else { parse_block_le };
        let Ok((_, block)) = parse(bytes) else {
            // Interfaces are numbered by their blocks: without one the next are not known either.
            let kind = number(bytes, 0, is_big_endian);
            self.is_over |= matches!(kind, 1 | 0x0a0d_0d0a);
            return Err(format!("the block of type {kind} contradicts its own lengths"));
        };
        match block {
            Block::InterfaceDescription(block) => {
                let interface = Interface::of(&block, is_big_endian);
                self.is_over |= interface.is_err();
                let interface = interface?;
                if let Layout::Blocks { interfaces, .. } = &mut self.layout {
                    interfaces.push(interface);
                }
                Ok(None)
            }
            Block::EnhancedPacket(block) => {
                let interface = self.interface(block.if_id)?;
                let ticks = i128::from(block.ts_high) << 32 | i128::from(block.ts_low);
                let time_ns = interface.time_ns(ticks)?;
                self.packet_record(interface.link, time_ns, block.packet_data())
            }
            Block::SimplePacket(_) if self.is_timed => Err(
                "a packet with a time is expected, a simple packet has none; --speed max plays it"
                    .to_owned(),
            ),
            Block::SimplePacket(block) => {
                let interface = self.interface(0)?;
                self.packet_record(interface.link, 0, block.packet_data())
            }
            Block::Unknown(block) if block.block_type == OBSOLETE_PACKET => Err(
                "an enhanced packet (type 6) is expected, not an obsolete one (type 2); a newer \
                 tool writes the file anew"
                    .to_owned(),
            ),
            _ => Ok(None),
        }
    }

    fn interface(&self, index: u32) -> Result<Interface, String> {
        let Layout::Blocks { interfaces, .. } = &self.layout else {
            return Err("only pcapng numbers its interfaces".to_owned());
        };
        let found = usize::try_from(index).ok().and_then(|index| interfaces.get(index)).copied();
        found.ok_or_else(|| {
            format!("one of the section's {} interfaces is expected, not {index}", interfaces.len())
        })
    }

    fn packet_record(
        &mut self,
        link: i32,
        time_ns: i64,
        packet: &[u8],
    ) -> Result<Option<FeedRecord>, String> {
        let Some(Datagram { source, destination, payload }) = datagram_of(link, packet)? else {
            self.left_out += 1;
            return Ok(None);
        };
        let end = self.key.map(|key| match key {
            KeyEnd::Source => source,
            KeyEnd::Destination => destination,
        });
        let key = end.map(|end: SocketAddr| end.to_string().into_bytes());
        Ok(Some(FeedRecord { line: self.block, time_ns, key, value: payload.to_vec() }))
    }
}

impl Interface {
    fn of(block: &InterfaceDescriptionBlock<'_>, is_big_endian: bool) -> Result<Interface, String> {
        // By the format: a power of ten, or of two where the highest bit is set.
        let exponent = u32::from(block.if_tsresol & 0x7f);
        let base: i128 = if block.if_tsresol & 0x80 == 0 { 10 } else { 2 };
        let ticks_per_second = base.checked_pow(exponent).ok_or_else(|| {
            format!("a time resolution of at most {base}^-38 s is expected, not {base}^-{exponent}")
        })?;
        let offset = block.options.iter().find(|option| option.code == OptionCode::IfTsoffset);
        let offset: Option<[u8; 8]> = offset.and_then(|option| option.value().try_into().ok());
        let read = if is_big_endian { i64::from_be_bytes } else { i64::from_le_bytes };
        let offset_seconds = offset.map_or(0, read);
        Ok(Interface { link: block.linktype.0, ticks_per_second, offset_seconds })
    }

    /// Nanoseconds since 1970.
    fn time_ns(self, ticks: i128) -> Result<i64, String> {
        let since_offset = ticks.checked_mul(SECOND_NS).map(|ns| ns / self.ticks_per_second);
        let offset = i128::from(self.offset_seconds) * SECOND_NS;
        let ns = since_offset.and_then(|ns| i64::try_from(ns + offset).ok());
        ns.ok_or_else(|| "a time before the year 2262 is expected".to_owned())
    }
}

/// The number in the four bytes at `place`, which are there.
fn number(bytes: &[u8], place: usize, is_big_endian: bool) -> u32 {
    let bytes: [u8; 4] = bytes[place..place + 4].try_into().expect("four bytes");
    if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}

/// What the columns of `shape` ask of a capture.
fn key_end(shape: &FeedShape) -> Result<Option<KeyEnd>, String> {
    let needless = [("--time-column", &shape.time_column), ("--value-column", &shape.value_column)];
    if let Some((flag, _)) = needless.iter().find(|(_, column)| column.is_some()) {
        return Err(format!(
            "a capture has no columns, so no {flag}: packets have their own times"
        ));
    }
    match shape.key_column.as_deref() {
        None => Ok(None),
        Some("source") => Ok(Some(KeyEnd::Source)),
        Some("destination") => Ok(Some(KeyEnd::Destination)),
        Some(other) => Err(format!(
            "the key of a packet is its source or its destination (address:port), not {other}"
        )),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    match bytes {
        [] => "nothing".to_owned(),
        bytes => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

#[cfg(test)]
mod tests;
