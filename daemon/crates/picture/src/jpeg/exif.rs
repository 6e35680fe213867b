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
    let (count, entries) = tiff.get(start..)?.split_first_chunk::<2>()?;
    let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
    let mut entries = entries.iter().take(usize::from(u16_at(*count)));
    // Tag, type, count of four bytes, and the value in the first two of four.
    let field = |entry: &[u8; ENTRY_BYTES], at: usize| u16_at([entry[at], entry[at + 1]]);
    let found = entries.find(|entry| field(entry, 0) == ORIENTATION)?;
    (field(found, 2) == SHORT).then(|| field(found, 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of two entries, the second one of which has this tag, type and value.
    fn tiff(little: bool, [tag, kind, value]: [u16; 3]) -> Vec<u8> {
        let number = |n: u16| if little { n.to_le_bytes() } else { n.to_be_bytes() };
        let long = |n: u16| if little { [number(n), [0; 2]] } else { [[0; 2], number(n)] };
        let mut data = if little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
        data.extend(long(8).concat());
        data.extend(number(2));
        for [tag, kind, value] in [[0x0100, SHORT, 640], [tag, kind, value]] {
            data.extend([number(tag), number(kind)].concat());
            data.extend([long(1), [number(value), [0; 2]]].concat().concat());
        }
        data
    }

    #[test]
    fn orientation_is_read_in_both_byte_orders() {
        for little in [true, false] {
            for value in 1..=8 {
                let data = tiff(little, [ORIENTATION, SHORT, value]);
                assert_eq!(orientation(&data), value as u8);
            }
        }
    }

    #[test]
    fn anything_else_is_upright() {
        for entry in
            [[ORIENTATION, SHORT, 0], [ORIENTATION, SHORT, 9], [ORIENTATION, 4, 6], [1, 3, 6]]
        {
            assert_eq!(orientation(&tiff(true, entry)), 1, "{entry:?}");
        }
        let data = tiff(true, [ORIENTATION, SHORT, 6]);
        for length in 0..data.len() {
            assert_eq!(orientation(&data[..length]), 1, "cut to {length}");
        }
        assert_eq!(orientation(b"II*\0\xff\xff\xff\xff"), 1);
    }
}
