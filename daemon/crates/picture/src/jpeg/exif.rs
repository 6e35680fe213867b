//! The orientation that a picture's Exif data states (TIFF 6.0, tag 274). It knows no picture format.

/// The tag of the orientation.
const ORIENTATION: u16 = 0x0112;
/// The type of a 16-bit number.
const SHORT: u16 = 3;
/// Size of a directory's entry, in bytes: tag, type, count and value.
const ENTRY_BYTES: usize = 12;

/// Returns the orientation tag of the first directory, 1 to 8; 1 where none is stated.
pub fn orientation(tiff: &[u8]) -> u8 {
    stated(tiff).filter(|value| (1..=8).contains(value)).map_or(1, |value| value as u8)
}

fn stated(tiff: &[u8]) -> Option<u16> {
    let (order, _) = tiff.split_first_chunk::<4>()?;
    let u16_at: fn([u8; 2]) -> u16 = match order {
        b"II*\0" => u16::from_le_bytes,
        b"MM\0*" => u16::from_be_bytes,
        _ => return None,
    };
    let number = |at: usize| Some(u16_at(*tiff.get(at..)?.first_chunk::<2>()?));
    let (first, second) = (usize::from(number(4)?), usize::from(number(6)?));
    let start = if order == b"II*\0" { first | second << 16 } else { first << 16 | second };
    let count = usize::from(number(start)?);
    let entries = (0..count).map(|entry| start + 2 + entry * ENTRY_BYTES);
    let mut found = entries.filter(|&at| number(at) == Some(ORIENTATION));
    let at = found.next().filter(|&at| number(at + 2) == Some(SHORT))?;
    number(at + 8)
}
