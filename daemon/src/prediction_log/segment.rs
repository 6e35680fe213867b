//! What is known of sled's file: its segments, and room for the next one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// sled's unit of allocation, and the header of each; the defaults of 0.34.
pub(super) const SEGMENT_BYTES: u64 = 512 << 10;
const HEADER_BYTES: usize = 20;

/// Zeros written at once.
const BLOCK_BYTES: usize = 64 << 10;

/// What sled orders its segments by; a damaged header is taken for the newest, an empty segment
/// has none.
pub(super) fn age(file: &File, start: u64) -> Option<i64> {
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, start).ok()?;
    if header == [0; HEADER_BYTES] {
        return None;
    }
    let (checksum, rest) = header.split_first_chunk::<4>()?;
    let intact = crc32fast::hash(rest) ^ u32::MAX == u32::from_le_bytes(*checksum);
    let (number, _) = rest.split_first_chunk::<8>()?;
    Some(if intact { i64::from_le_bytes(*number) ^ i64::MAX } else { i64::MAX })
}

/// Whether sled has begun the last segment of its file. Asked after a flush: no buffer of sled's is
/// on its way to the file then.
pub(super) fn wants_room(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    if length == 0 || !length.is_multiple_of(SEGMENT_BYTES) {
        return Ok(true);
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, length - SEGMENT_BYTES)?;
    Ok(header != [0; HEADER_BYTES])
}

/// Makes one segment of zeros behind what sled has begun. Its commits then fill blocks that are
/// there already and change no metadata: without the file system's journal, a commit of ten
/// records writes a fifth less to the device. sled takes a segment of zeros for a free one.
pub(super) fn extend(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let end = length.next_multiple_of(SEGMENT_BYTES) + SEGMENT_BYTES;
    let zeros = [0; BLOCK_BYTES];
    let mut at = length;
    while at < end {
        let block = BLOCK_BYTES.min(usize::try_from(end - at).unwrap_or(BLOCK_BYTES));
        file.write_all_at(&zeros[..block], at)?;
        at += block as u64;
    }
    file.sync_data()
}
