//! CRC-32C (Castagnoli; RFC 3720, appendix B.4): the checksum of record batches, and of what the
//! journal and the checkpoints store.

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c_append(0, bytes)
}

/// The checksum of some bytes whose checksum is `crc`, with `bytes` behind them.
///
/// A call of its own wherever it is used: what it takes depends on the CPU, and whoever counts
/// instructions can leave it out (`tests/instructions.rs`).
#[inline(never)]
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!crc));
    digest.update(bytes);
    u32::try_from(digest.finalize()).expect("an algorithm of 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        assert_eq!(crc32c(b""), 0);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
    }

    #[test]
    fn pieces_add_up_wherever_they_are_cut() {
        // The bit-by-bit definition, at lengths around those where the code takes another path.
        let bytes: Vec<u8> = (0..5_000u32).map(|i| (i * i % 251) as u8).collect();
        let by_bit = |bytes: &[u8]| {
            !bytes.iter().fold(!0u32, |crc, byte| {
                (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                    crc >> 1 ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
                })
            })
        };
        for len in (0..300).chain([511, 512, 513, 1_023, 1_025, 4_095, 4_097, 5_000]) {
            let expected = by_bit(&bytes[..len]);
            assert_eq!(crc32c(&bytes[..len]), expected, "{len} bytes");
            for cut in [0, 1, len / 3, len / 2, len] {
                let (first, rest) = bytes[..len].split_at(cut.min(len));
                assert_eq!(crc32c_append(crc32c(first), rest), expected, "{len} cut at {cut}");
            }
        }
    }
}
