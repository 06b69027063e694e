//! Whether the process before this one ended in order (KIP-966).
//!
//! The last step of an orderly stop leaves a small file, `clean-stop`, with the epoch of the
//! broker's registration; the first step of a start takes it away before anything else is written.
//! So it is there only while nothing has touched the logs since they were made durable.
//! ```text
//!   0  magic "HWRSTOP1"      8  broker epoch, little-endian      16  crc32c of 0..16
//! ```

use crate::model::ids::BrokerEpoch;
use crate::protocol::crc32c;
use crate::storage::checkpoint::replace_file;
use crate::storage::disk::{Disk, DiskError, OpenMode};
use bytes::{BufMut, Bytes, BytesMut};
use std::path::Path;

const NAME: &str = "clean-stop";
const NAME_NEW: &str = "clean-stop.tmp";
const MAGIC: [u8; 8] = *b"HWRSTOP1";
const CRC_AT: usize = 16;
const SIZE: usize = 20;

/// Says in `dir` that everything is durable and nothing follows.
///
/// # Errors
/// The file cannot be written; the next start then counts as one after a crash.
pub async fn write<D: Disk>(disk: &D, dir: &Path, epoch: BrokerEpoch) -> Result<(), DiskError> {
    replace_file(disk, &dir.join(NAME_NEW), &dir.join(NAME), encode(epoch)).await
}

/// The epoch of the process before, where it ended in order; asked again, nobody did.
///
/// # Errors
/// The file is there and cannot be read or taken away.
pub async fn take<D: Disk>(disk: &D, dir: &Path) -> Result<Option<BrokerEpoch>, DiskError> {
    let path = dir.join(NAME);
    let file = match disk.open(&path, OpenMode::Read).await {
        Ok(file) => file,
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = usize::try_from(disk.size(&file).await?).unwrap_or(usize::MAX);
    let bytes = disk.read_at(&file, 0, size.min(SIZE)).await?;
    drop(file);
    disk.remove(&path).await?;
    disk.sync_dir(dir).await?;
    Ok(decode(&bytes))
}

fn encode(epoch: BrokerEpoch) -> Bytes {
    let mut out = BytesMut::with_capacity(SIZE);
    out.put_slice(&MAGIC);
    out.put_i64_le(epoch.0);
    assert!(out.len() == CRC_AT);
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    assert!(out.len() == SIZE);
    out.freeze()
}

/// `None` for what is damaged.
fn decode(bytes: &[u8]) -> Option<BrokerEpoch> {
    let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
    let (head, crc) = bytes.split_at(CRC_AT);
    let is_whole = head.starts_with(&MAGIC) && crc32c::crc32c(head).to_le_bytes() == *crc;
    let epoch = head[MAGIC.len()..].try_into().ok()?;
    is_whole.then(|| BrokerEpoch(i64::from_le_bytes(epoch)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_damaged_is_not() {
        let written = encode(BrokerEpoch(1 << 40));
        assert_eq!(decode(&written), Some(BrokerEpoch(1 << 40)));
        for at in 0..SIZE {
            let mut damaged = written.to_vec();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), None, "byte {at}");
            assert_eq!(decode(&written[..at]), None, "{at} bytes");
        }
    }
}
