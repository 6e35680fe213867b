//! The first directory of a TIFF file, which Exif data is too (TIFF 6.0, section 2).
//!
//! It reads numbers where the file says that they are, and allocates nothing. It must not know what
//! they mean, orientation excepted.

/// The tag of the orientation, 1 to 8.
const ORIENTATION: u16 = 274;
/// Size of an entry, in bytes: tag, type, count and value.
const ENTRY_BYTES: usize = 12;
/// The types of whole numbers: 8, 16 and 32 bits.
const BYTE: u16 = 1;
const SHORT: u16 = 3;
const LONG: u16 = 4;

/// The entries of a file's first directory.
#[derive(Clone, Copy)]
pub struct Directory<'a> {
    file: &'a [u8],
    big_endian: bool,
    /// All entries that the directory states, each of them whole.
    entries: &'a [u8],
}

/// One entry: what it says and where.
#[derive(Clone, Copy)]
pub struct Entry {
    pub tag: u16,
    kind: u16,
    /// How many values it has.
    pub count: u32,
    /// Where its values are, or these themselves.
    value: [u8; 4],
}

impl<'a> Directory<'a> {
    /// Finds the first directory; none where the file isn't a TIFF, or ends before the directory does.
    pub fn first(file: &'a [u8]) -> Option<Directory<'a>> {
        let (order, rest) = file.split_first_chunk::<4>()?;
        let big_endian = match order {
            b"II*\0" => false,
            b"MM\0*" => true,
            _ => return None,
        };
        let directory = Directory { file, big_endian, entries: &[] };
        let start = directory.u32(*rest.first_chunk()?) as usize;
        let (count, rest) = file.get(start..)?.split_first_chunk::<2>()?;
        let bytes = usize::from(directory.u16(*count)) * ENTRY_BYTES;
        Some(Directory { entries: rest.get(..bytes)?, ..directory })
    }

    pub fn big_endian(&self) -> bool {
        self.big_endian
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry> + use<'a> {
        let directory = *self;
        self.entries.as_chunks::<ENTRY_BYTES>().0.iter().map(move |entry| {
            let &[t0, t1, k0, k1, c0, c1, c2, c3, v0, v1, v2, v3] = entry;
            Entry {
                tag: directory.u16([t0, t1]),
                kind: directory.u16([k0, k1]),
                count: directory.u32([c0, c1, c2, c3]),
                value: [v0, v1, v2, v3],
            }
        })
    }

    /// Returns the whole numbers of a tag; none where it is missing, of another type or not in the file.
    pub fn numbers(&self, tag: u16) -> Option<impl Iterator<Item = u32> + use<'a>> {
        let directory = *self;
        let entry = self.entries().find(|entry| entry.tag == tag)?;
        let size = match entry.kind {
            BYTE => 1,
            SHORT => 2,
            LONG => 4,
            _ => return None,
        };
        let bytes = (entry.count as usize).checked_mul(size)?;
        let inline = entry.value;
        let at = if bytes <= inline.len() { None } else { Some(directory.u32(inline) as usize) };
        if let Some(at) = at {
            self.file.get(at..at.checked_add(bytes)?)?;
        }
        Some((0..entry.count as usize).map(move |index| {
            let from = match at {
                Some(at) => &directory.file[at + index * size..],
                None => &inline[index * size..],
            };
            match *from {
                [a, b, c, d, ..] if size == 4 => directory.u32([a, b, c, d]),
                [a, b, ..] if size == 2 => directory.u16([a, b]).into(),
                [a, ..] => a.into(),
                [] => 0,
            }
        }))
    }

    /// Returns a tag that has one whole number.
    pub fn number(&self, tag: u16) -> Option<u32> {
        self.numbers(tag)?.next()
    }

    /// Returns the orientation, 1 where none of 1 to 8 is stated.
    pub fn orientation(&self) -> u8 {
        let entry = self.entries().find(|entry| entry.tag == ORIENTATION && entry.kind == SHORT);
        let stated = entry.and_then(|_| self.number(ORIENTATION));
        stated.filter(|value| (1..=8).contains(value)).map_or(1, |value| value as u8)
    }

    fn u16(&self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(&self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orientation(file: &[u8]) -> u8 {
        Directory::first(file).map_or(1, |directory| directory.orientation())
    }

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
