//! Lz4 frames as the Java client and librdkafka write them, decompressed straight into their place.
//!
//! Why beside the decoder of `lz4_flex` (docs/decisions/018): a broker that looks through records
//! takes thousands of frames a second, and that one clears its own buffers for each, and copies
//! each block in and out. Frames with checksums of blocks or content, a size, a dictionary or
//! linked blocks are its own.
//!
//! Layout: `magic u32 | flags u8 | block size u8 | header checksum u8 | blocks`, and of a block
//! `size u32, the highest bit set where it is not compressed | bytes`; a size of 0 ends the frame.

use std::io;

/// First bytes of a frame.
pub(super) const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// What follows them in a plain frame: version 1, blocks that stand alone, nothing that is
/// optional; how large blocks may be; and the checksum of both. With the most bytes of a block.
const PLAIN: [([u8; 3], usize); 4] = [
    ([0x60, 0x40, 0x82], 64 * 1024),
    ([0x60, 0x50, 0xfb], 256 * 1024),
    ([0x60, 0x60, 0x51], 1024 * 1024),
    ([0x60, 0x70, 0x73], 4 * 1024 * 1024),
];

/// Marks a block whose bytes are stored as they are.
const STORED: u32 = 1 << 31;

/// No lz4 block makes more output than this from one byte: a length grows by 255 with each.
const RATIO_MAX: usize = 255;

/// Decompresses a plain frame into `output`, which is empty; where that grows above
/// `output_bytes_max` bytes, it ends soon after. `None` for any other frame: nothing was done then.
///
/// # Errors
/// The frame is cut off or damaged; `output` is of no use then.
pub(super) fn decompress_plain(
    input: &[u8],
    output_bytes_max: usize,
    output: &mut Vec<u8>,
) -> Option<io::Result<()>> {
    assert!(output.is_empty());
    let (plain, blocks) = input.strip_prefix(&MAGIC)?.split_first_chunk()?;
    let (_, block_bytes_max) = PLAIN.iter().find(|(known, _)| known == plain)?;
    let filled = decompress_blocks(blocks, *block_bytes_max, output_bytes_max, output);
    Some(filled.map(|filled| output.truncate(filled)))
}

/// Returns how many bytes came out. `output` may have more: room is cleared once, and what a block
/// leaves of it is the next one's, or many small blocks would cost more than what they hold.
fn decompress_blocks(
    mut rest: &[u8],
    block_bytes_max: usize,
    output_bytes_max: usize,
    output: &mut Vec<u8>,
) -> io::Result<usize> {
    let mut filled = 0;
    while filled <= output_bytes_max {
        // As `lz4_flex` has it, a frame may lack its end, but not in the middle of a block.
        let Some((word, after)) = rest.split_first_chunk::<4>() else { break };
        let word = u32::from_le_bytes(*word);
        let size = (word & !STORED) as usize;
        if size > block_bytes_max {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a block above its bound"));
        }
        let (block, after) = after.split_at_checked(size).ok_or(io::ErrorKind::UnexpectedEof)?;
        rest = after;
        let is_stored = word & STORED != 0;
        let room = if is_stored { size } else { block_bytes_max.min(size * RATIO_MAX) };
        if output.len() < filled + room {
            output.resize(filled + room, 0);
        }
        let target = &mut output[filled..filled + room];
        let made = if is_stored {
            target.copy_from_slice(block);
            size
        } else if size > 0 {
            lz4_flex::block::decompress_into(block, target).map_err(io::Error::other)?
        } else {
            0
        };
        if made == 0 {
            // The end, and to `lz4_flex` a block of nothing is one too.
            break;
        }
        filled += made;
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
    use proptest::prelude::*;
    use std::io::{Read, Write};

    fn encode(info: FrameInfo, input: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(input).unwrap();
        encoder.finish().unwrap()
    }

    fn plain(size: BlockSize) -> FrameInfo {
        FrameInfo::new().block_mode(BlockMode::Independent).block_size(size)
    }

    const SIZES: [BlockSize; 4] =
        [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB];

    /// Compresses in part.
    fn input(len: usize) -> Vec<u8> {
        let byte = |index: usize| (index * index % 256).try_into().unwrap();
        (0..len).map(|index| if index % 100 < 50 { byte(index) } else { 7 }).collect()
    }

    fn plainly(frame: &[u8], output_bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut output = Vec::new();
        let done = decompress_plain(frame, output_bytes_max, &mut output);
        done.expect("a plain frame").map(|()| output)
    }

    #[test]
    fn plain_frames_of_every_block_size_come_out_as_they_went_in() {
        for size in SIZES {
            for len in [0, 1, 1000, 65_536, 65_537, 1 << 20, 5 << 20] {
                let input = input(len);
                let frame = encode(plain(size), &input);
                assert!(plainly(&frame, len).unwrap() == input, "{size:?}, {len}");
                // What does not compress is stored.
                let noise: Vec<u8> = frame.iter().flat_map(|byte| [*byte, byte ^ 0x5a]).collect();
                let frame = encode(plain(size), &noise);
                assert!(plainly(&frame, noise.len()).unwrap() == noise, "{size:?}, {len}");
            }
        }
    }

    #[test]
    fn every_other_frame_is_left_alone() {
        let with = |change: fn(FrameInfo) -> FrameInfo| change(plain(BlockSize::Max64KB));
        for info in [
            with(|info| info.block_mode(BlockMode::Linked)),
            with(|info| info.block_checksums(true)),
            with(|info| info.content_checksum(true)),
            with(|info| info.content_size(Some(1000))),
        ] {
            let frame = encode(info, &input(1000));
            assert!(decompress_plain(&frame, 1000, &mut Vec::new()).is_none());
        }
        let mut wrong = encode(plain(BlockSize::Max64KB), &input(1000));
        wrong[6] ^= 1;
        assert!(decompress_plain(&wrong, 1000, &mut Vec::new()).is_none(), "the header's checksum");
        assert!(decompress_plain(&wrong[..6], 1000, &mut Vec::new()).is_none());
    }

    #[test]
    fn output_ends_soon_after_its_bound() {
        let frame = encode(plain(BlockSize::Max64KB), &vec![0; 64 << 20]);
        let output = plainly(&frame, 100_000).unwrap();
        assert!((100_001..=100_000 + 65_536).contains(&output.len()));
    }

    #[test]
    fn a_block_of_nothing_ends_a_frame_wherever_it_stands() {
        let (first, second) = (input(1000), input(500));
        let frame_of = |input: &[u8]| encode(plain(BlockSize::Max64KB), input);
        let end = 4;
        for nothing in [&[0u8, 0, 0, 0x80][..], &[1, 0, 0, 0, 0], &[0, 0, 0, 0]] {
            let mut frame = frame_of(&first);
            frame.truncate(frame.len() - end);
            frame.extend_from_slice(nothing);
            frame.extend_from_slice(&frame_of(&second)[7..]);
            let mut theirs = Vec::new();
            FrameDecoder::new(&frame[..]).read_to_end(&mut theirs).unwrap();
            assert_eq!(theirs, first, "{nothing:?}");
            assert_eq!(plainly(&frame, 10_000).unwrap(), first, "{nothing:?}");
        }
    }

    #[test]
    fn many_small_blocks_take_no_room_that_they_do_not_fill() {
        const BLOCKS: usize = 20_000;
        let mut frame = encode(plain(BlockSize::Max4MB), b"");
        frame.truncate(7);
        // One literal each.
        (0..BLOCKS).for_each(|_| frame.extend_from_slice(&[2, 0, 0, 0, 0x10, b'a']));
        let output = plainly(&frame, 1 << 20).unwrap();
        assert_eq!(output, [b'a'; BLOCKS]);
        assert!(output.capacity() < 4 * BLOCKS, "{}", output.capacity());
    }

    #[test]
    fn a_stored_block_fills_its_bound_and_no_more() {
        for (size, is_read) in [(65_536u32, true), (65_537, false)] {
            let mut frame = encode(plain(BlockSize::Max64KB), b"");
            frame.truncate(7);
            frame.extend_from_slice(&(size | STORED).to_le_bytes());
            frame.resize(frame.len() + 65_537, 3);
            frame.truncate(7 + 4 + size as usize);
            let mut theirs = Vec::new();
            let expected = FrameDecoder::new(&frame[..]).read_to_end(&mut theirs);
            assert_eq!(expected.is_ok(), is_read);
            assert_eq!(plainly(&frame, 1 << 20).ok(), is_read.then_some(theirs));
        }
    }

    proptest! {
        #[test]
        fn damage_is_seen_as_lz4_flex_sees_it(
            at in 7usize..2000,
            with in any::<u8>(),
            cut in prop_oneof![Just(0), 0usize..3000],
        ) {
            let mut frame = encode(plain(BlockSize::Max64KB), &input(100_000));
            let at = at % frame.len().max(8);
            frame[at.max(7)] = with;
            frame.truncate(frame.len() - cut.min(frame.len() - 7));
            let mut theirs = Vec::new();
            let expected = FrameDecoder::new(&frame[..]).read_to_end(&mut theirs);
            let got = plainly(&frame, 1 << 20);
            prop_assert_eq!(got.is_ok(), expected.is_ok());
            if let Ok(output) = got {
                prop_assert_eq!(output, theirs);
            }
        }
    }
}
