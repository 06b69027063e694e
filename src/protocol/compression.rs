//! Compression of a batch's records: gzip, snappy, lz4, zstd.
//!
//! Why it is rarely called: batches stay as producers compressed them. Only a topic that asks for
//! its own compression, compaction, and our own tools come here.
//!
//! Invariants
//! - Decompression stops at the caller's bound: a small batch cannot become a large allocation.
//! - What is compressed here is read by Kafka's Java client and librdkafka: snappy in xerial
//!   frames of 32 KiB, lz4 in independent blocks of 64 KiB.

use std::io::{self, BufRead, Read, Write};

use crate::protocol::lz4_frame;

/// How the records of a batch are compressed; the low three bits of its attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    /// Since Produce v7 and Fetch v10 (KIP-110).
    Zstd,
}

impl Compression {
    /// Every compression, in the order of their numbers.
    pub const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// The number in a batch's attributes.
    pub const fn number(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// The compression of a number; `None` for 5 and above, which Kafka does not define.
    pub const fn from_number(number: u8) -> Option<Compression> {
        match number {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// Name as in `compression.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// The compression of a name as in `compression.type`.
    pub fn from_name(name: &str) -> Option<Compression> {
        Compression::ALL.into_iter().find(|compression| compression.name() == name)
    }
}

/// Why compressed bytes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CompressionError {
    #[error("{compression} data is damaged", compression = .compression.name())]
    Damaged {
        compression: Compression,
        #[source]
        source: io::Error,
    },
    #[error("{compression} data grows above {size_max} bytes", compression = .compression.name())]
    TooLarge { compression: Compression, size_max: usize },
}

/// Compresses `input`.
///
/// `level` is the codec's own: gzip 1 to 9, zstd -131072 to 22; `None` is its default. Values
/// outside are clamped. Snappy and lz4 have one level here.
///
/// # Errors
/// What the codec reports; none is known for a buffer in memory.
pub fn compress(
    compression: Compression,
    level: Option<i32>,
    input: &[u8],
) -> Result<Vec<u8>, CompressionError> {
    let compressed = match compression {
        Compression::None => Ok(input.to_vec()),
        Compression::Gzip => compress_gzip(level, input),
        Compression::Snappy => compress_snappy(input),
        Compression::Lz4 => compress_lz4(input),
        Compression::Zstd => compress_zstd(level, input),
    };
    compressed.map_err(|source| CompressionError::Damaged { compression, source })
}

/// Decompresses `input`.
///
/// # Errors
/// Damaged input, or more than `output_bytes_max` bytes of output.
pub fn decompress(
    compression: Compression,
    input: &[u8],
    output_bytes_max: usize,
) -> Result<Vec<u8>, CompressionError> {
    let too_large = CompressionError::TooLarge { compression, size_max: output_bytes_max };
    let output = match compression {
        Compression::None => Ok(input.to_vec()),
        Compression::Gzip => {
            read_bounded(flate2::read::MultiGzDecoder::new(input), output_bytes_max)
        }
        Compression::Snappy => decompress_snappy(input, output_bytes_max),
        Compression::Lz4 => decompress_lz4(input, output_bytes_max),
        Compression::Zstd => zstd::stream::read::Decoder::new(input)
            .and_then(|decoder| read_bounded(decoder, output_bytes_max)),
    };
    match output {
        Ok(output) if output.len() > output_bytes_max => Err(too_large),
        Ok(output) => Ok(output),
        Err(source) => Err(CompressionError::Damaged { compression, source }),
    }
}

/// True when `input` begins as this codec's output does: a look at its first bytes, no more.
pub fn begins_as(compression: Compression, input: &[u8]) -> bool {
    match compression {
        Compression::None => true,
        Compression::Gzip => input.starts_with(&GZIP_MAGIC),
        Compression::Snappy => {
            input.starts_with(&XERIAL_HEADER[..XERIAL_MAGIC_SIZE])
                || snap::raw::decompress_len(input)
                    .is_ok_and(|size| size > 0 && size / SNAPPY_RATIO_MAX <= input.len())
        }
        Compression::Lz4 => input.starts_with(&lz4_frame::MAGIC),
        Compression::Zstd => input.starts_with(&ZSTD_MAGIC),
    }
}

/// First bytes of a gzip member and of a zstd frame.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How many times its size lz4's output usually is at most.
const LZ4_RATIO_USUAL: usize = 4;

/// Reads one byte more than allowed at most, so that the caller sees the excess.
fn read_bounded(reader: impl Read, output_bytes_max: usize) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(output_bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut output = Vec::new();
    reader.take(limit).read_to_end(&mut output)?;
    Ok(output)
}

/// Of other than plain frames whole blocks are taken out of the decoder, with room made ahead: a
/// reader that asks for small pieces into a vector that grows copies each byte once more.
fn decompress_lz4(input: &[u8], output_bytes_max: usize) -> io::Result<Vec<u8>> {
    let guess = input.len().saturating_mul(LZ4_RATIO_USUAL).min(output_bytes_max);
    let mut output = Vec::with_capacity(guess);
    if let Some(done) = lz4_frame::decompress_plain(input, output_bytes_max, &mut output) {
        return done.map(|()| output);
    }
    let mut decoder = lz4_flex::frame::FrameDecoder::new(input);
    loop {
        let block = decoder.fill_buf()?;
        let len = block.len();
        output.extend_from_slice(block);
        if len == 0 || output.len() > output_bytes_max {
            return Ok(output);
        }
        decoder.consume(len);
    }
}

fn compress_gzip(level: Option<i32>, input: &[u8]) -> io::Result<Vec<u8>> {
    let level = match level.and_then(|level| u32::try_from(level).ok()) {
        Some(level) => flate2::Compression::new(level.clamp(1, 9)),
        None => flate2::Compression::default(),
    };
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(input)?;
    encoder.finish()
}

fn compress_zstd(level: Option<i32>, input: &[u8]) -> io::Result<Vec<u8>> {
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL).clamp(-131_072, 22);
    zstd::bulk::compress(input, level)
}

fn compress_lz4(input: &[u8]) -> io::Result<Vec<u8>> {
    // The Java client refuses blocks that depend on each other.
    let info = lz4_flex::frame::FrameInfo::new()
        .block_mode(lz4_flex::frame::BlockMode::Independent)
        .block_size(lz4_flex::frame::BlockSize::Max64KB);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(input)?;
    encoder.finish().map_err(io::Error::other)
}

/// What the Java client's snappy stream begins with: magic, version 1, compatible version 1.
const XERIAL_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Magic alone: readers do not look at the versions.
const XERIAL_MAGIC_SIZE: usize = 8;
/// Uncompressed bytes of one block, as the Java client writes them.
const XERIAL_BLOCK_SIZE: usize = 32 * 1024;
/// No snappy element makes more output than this from one byte (64 bytes from 3).
const SNAPPY_RATIO_MAX: usize = 22;

fn compress_snappy(input: &[u8]) -> io::Result<Vec<u8>> {
    let mut output = XERIAL_HEADER.to_vec();
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(XERIAL_BLOCK_SIZE) {
        let compressed = encoder.compress_vec(block)?;
        let size = u32::try_from(compressed.len()).map_err(io::Error::other)?;
        output.extend_from_slice(&size.to_be_bytes());
        output.extend_from_slice(&compressed);
    }
    Ok(output)
}

/// Xerial frames as the Java client writes them, or one bare block as librdkafka does.
fn decompress_snappy(input: &[u8], output_bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    if !input.starts_with(&XERIAL_HEADER[..XERIAL_MAGIC_SIZE]) {
        append_snappy_block(input, output_bytes_max, &mut output)?;
        return Ok(output);
    }
    let mut rest = input.get(XERIAL_HEADER.len()..).ok_or(io::ErrorKind::UnexpectedEof)?;
    while !rest.is_empty() && output.len() <= output_bytes_max {
        let (size, after) = rest.split_first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = usize::try_from(u32::from_be_bytes(*size)).map_err(io::Error::other)?;
        let (block, after) = after.split_at_checked(size).ok_or(io::ErrorKind::UnexpectedEof)?;
        append_snappy_block(block, output_bytes_max, &mut output)?;
        rest = after;
    }
    Ok(output)
}

/// Grows `output` beyond `output_bytes_max` by one byte when the block would: the caller sees it.
fn append_snappy_block(
    block: &[u8],
    output_bytes_max: usize,
    output: &mut Vec<u8>,
) -> io::Result<()> {
    let size = snap::raw::decompress_len(block)?;
    if size / SNAPPY_RATIO_MAX > block.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let start = output.len();
    if size > output_bytes_max.saturating_sub(start) {
        output.resize(output_bytes_max + 1, 0);
        return Ok(());
    }
    output.resize(start + size, 0);
    snap::raw::Decoder::new().decompress(block, &mut output[start..])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_compressed_decompresses_to_the_same(
            input in proptest::collection::vec(0u8..4, 0..100_000),
            level in proptest::option::of(-10i32..25),
        ) {
            for compression in Compression::ALL {
                let compressed = compress(compression, level, &input).unwrap();
                prop_assert!(input.is_empty() || begins_as(compression, &compressed));
                let output = decompress(compression, &compressed, input.len()).unwrap();
                prop_assert_eq!(&output, &input);
            }
        }

        #[test]
        fn damaged_input_is_an_error_or_bounded_output(
            input in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            for compression in Compression::ALL {
                if let Ok(output) = decompress(compression, &input, 4096) {
                    prop_assert!(output.len() <= 4096);
                }
            }
        }
    }

    #[test]
    fn a_decompression_bomb_is_refused_at_the_bound() {
        let zeros = vec![0u8; 16 << 20];
        for compression in Compression::ALL {
            let compressed = compress(compression, None, &zeros).unwrap();
            let refusal = decompress(compression, &compressed, 1 << 20).unwrap_err();
            assert!(matches!(refusal, CompressionError::TooLarge { size_max: 1_048_576, .. }));
        }
    }

    #[test]
    fn a_snappy_block_that_claims_4_gib_is_refused() {
        let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
        let refusal = decompress(Compression::Snappy, &claim, usize::MAX >> 1).unwrap_err();
        assert!(matches!(refusal, CompressionError::Damaged { .. }));
    }

    #[test]
    fn a_bare_snappy_block_as_librdkafka_writes_it_is_read() {
        let block = snap::raw::Encoder::new().compress_vec(b"trades").unwrap();
        assert_eq!(decompress(Compression::Snappy, &block, 100).unwrap(), b"trades");
    }

    #[test]
    fn plain_bytes_do_not_begin_as_a_codecs_output() {
        for compression in &Compression::ALL[1..] {
            // A bare snappy block begins with its length, which any byte may be.
            let is_known = *compression != Compression::Snappy;
            assert!(!begins_as(*compression, b""));
            let record = [0x16, 0, 0, 0, 1, 10, 7];
            assert_eq!(begins_as(*compression, &record), !is_known, "{compression:?}");
        }
    }

    #[test]
    fn a_cut_stream_is_damaged() {
        let input: Vec<u8> = (0..50_000u32).flat_map(u32::to_be_bytes).collect();
        for compression in &Compression::ALL[1..] {
            let compressed = compress(*compression, None, &input).unwrap();
            let cut = &compressed[..compressed.len() - 5];
            assert!(
                matches!(
                    decompress(*compression, cut, 1 << 20),
                    Err(CompressionError::Damaged { .. })
                ),
                "{compression:?}"
            );
        }
    }

    #[test]
    fn names_and_numbers_are_those_of_kafka() {
        for compression in Compression::ALL {
            assert_eq!(Compression::from_number(compression.number()), Some(compression));
            assert_eq!(Compression::from_name(compression.name()), Some(compression));
        }
        assert_eq!(Compression::from_number(5), None);
    }
}
