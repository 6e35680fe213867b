//! The segments of sled's file, and which of them is the newest.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// sled's unit of allocation, and the header of each; the defaults of 0.34.
pub(super) const SEGMENT_BYTES: u64 = 512 << 10;
const HEADER_BYTES: usize = 20;

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
