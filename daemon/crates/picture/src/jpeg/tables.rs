//! The tables that a JPEG's scans are coded with: quantisation steps and Huffman codes as the file
//! states them (ITU-T T.81, B.2.4), and the codes of a film's frames, which state none (K.3.3).

use super::refusal::damaged;
use crate::error::DecodeError;

/// Coefficients of a block.
pub const BLOCK: usize = 64;
/// How many tables of a kind a file may have at a time; T.81 table B.4 and B.5.
pub const TABLES: usize = 4;
/// The most codes of a table: one for each byte.
const CODES_MAX: usize = 256;

/// Where the coefficient of each place in a scan stands in its block, row by row; T.81 figure 5.
pub const ZIGZAG: [u8; BLOCK] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// A Huffman table as a file states it: how many codes of each length, 1 to 16, and what they mean.
#[derive(Clone, Copy)]
pub struct Code<'a> {
    pub counts: &'a [u8; 16],
    pub symbols: &'a [u8],
}

/// Quantisation steps of a block's coefficients, row by row.
pub type Steps = [u16; BLOCK];

/// The tables that are in force at a place in the file.
#[derive(Clone, Copy, Default)]
pub struct Tables<'a> {
    pub dc: [Option<Code<'a>>; TABLES],
    pub ac: [Option<Code<'a>>; TABLES],
    pub steps: [Option<Steps>; TABLES],
}

impl<'a> Tables<'a> {
    /// Reads a segment that defines Huffman tables; T.81 B.2.4.2.
    pub fn define_codes(&mut self, mut segment: &'a [u8]) -> Result<(), DecodeError> {
        let cut = || damaged("a Huffman table is cut");
        while let Some((&kind, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(cut)?;
            let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
            if total > CODES_MAX || !is_prefix_code(counts) {
                return Err(damaged("a Huffman table holds more codes than fit"));
            }
            let (symbols, rest) = rest.split_at_checked(total).ok_or_else(cut)?;
            segment = rest;
            let tables = if kind >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            let slot = tables.get_mut(usize::from(kind & 15)).filter(|_| kind >> 4 < 2);
            let slot = slot.ok_or_else(|| damaged("a Huffman table has an unknown number"))?;
            *slot = Some(Code { counts, symbols });
        }
        Ok(())
    }

    /// Reads a segment that defines quantisation tables; T.81 B.2.4.1.
    pub fn define_steps(&mut self, mut segment: &[u8]) -> Result<(), DecodeError> {
        let cut = || damaged("a quantisation table is cut");
        while let Some((&kind, rest)) = segment.split_first() {
            let wide = kind >> 4 != 0;
            let length = if wide { 2 * BLOCK } else { BLOCK };
            let (values, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
            segment = rest;
            let slot = self.steps.get_mut(usize::from(kind & 15)).filter(|_| kind >> 4 < 2);
            let slot = slot.ok_or_else(|| damaged("a quantisation table has an unknown number"))?;
            let mut steps = [0; BLOCK];
            for (place, &to) in ZIGZAG.iter().enumerate() {
                steps[usize::from(to)] = if wide {
                    u16::from_be_bytes([values[2 * place], values[2 * place + 1]])
                } else {
                    u16::from(values[place])
                };
            }
            if steps.contains(&0) {
                return Err(damaged("a quantisation step is 0"));
            }
            *slot = Some(steps);
        }
        Ok(())
    }

    /// Sets what a frame of a film leaves out: the tables 0 and 1 of either kind, where none is stated.
    pub fn with_standard_codes(mut self) -> Tables<'a> {
        for (place, (dc, ac)) in [STANDARD_LUMA, STANDARD_CHROMA].into_iter().enumerate() {
            self.dc[place].get_or_insert(dc);
            self.ac[place].get_or_insert(ac);
        }
        self
    }
}

/// Whether the codes of these lengths fit side by side, the code of all ones left free; T.81 annex C.
fn is_prefix_code(counts: &[u8; 16]) -> bool {
    let mut next = 0_u32;
    counts.iter().enumerate().all(|(shorter, &count)| {
        next = 2 * next + u32::from(count);
        count == 0 || next < 1 << (shorter + 1)
    })
}

/// The tables of brightness that T.81 K.3.3 gives as typical, for DC and AC coefficients.
const STANDARD_LUMA: (Code<'static>, Code<'static>) = (
    Code {
        counts: &[0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        symbols: b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b",
    },
    Code {
        counts: &[0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d],
        symbols: b"\x01\x02\x03\x00\x04\x11\x05\x12\x21\x31\x41\x06\x13\x51\x61\x07\
            \x22\x71\x14\x32\x81\x91\xa1\x08\x23\x42\xb1\xc1\x15\x52\xd1\xf0\
            \x24\x33\x62\x72\x82\x09\x0a\x16\x17\x18\x19\x1a\x25\x26\x27\x28\
            \x29\x2a\x34\x35\x36\x37\x38\x39\x3a\x43\x44\x45\x46\x47\x48\x49\
            \x4a\x53\x54\x55\x56\x57\x58\x59\x5a\x63\x64\x65\x66\x67\x68\x69\
            \x6a\x73\x74\x75\x76\x77\x78\x79\x7a\x83\x84\x85\x86\x87\x88\x89\
            \x8a\x92\x93\x94\x95\x96\x97\x98\x99\x9a\xa2\xa3\xa4\xa5\xa6\xa7\
            \xa8\xa9\xaa\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xc2\xc3\xc4\xc5\
            \xc6\xc7\xc8\xc9\xca\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda\xe1\xe2\
            \xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\
            \xf9\xfa",
    },
);

/// The same for colour.
const STANDARD_CHROMA: (Code<'static>, Code<'static>) = (
    Code {
        counts: &[0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
        symbols: b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b",
    },
    Code {
        counts: &[0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77],
        symbols: b"\x00\x01\x02\x03\x11\x04\x05\x21\x31\x06\x12\x41\x51\x07\x61\x71\
            \x13\x22\x32\x81\x08\x14\x42\x91\xa1\xb1\xc1\x09\x23\x33\x52\xf0\
            \x15\x62\x72\xd1\x0a\x16\x24\x34\xe1\x25\xf1\x17\x18\x19\x1a\x26\
            \x27\x28\x29\x2a\x35\x36\x37\x38\x39\x3a\x43\x44\x45\x46\x47\x48\
            \x49\x4a\x53\x54\x55\x56\x57\x58\x59\x5a\x63\x64\x65\x66\x67\x68\
            \x69\x6a\x73\x74\x75\x76\x77\x78\x79\x7a\x82\x83\x84\x85\x86\x87\
            \x88\x89\x8a\x92\x93\x94\x95\x96\x97\x98\x99\x9a\xa2\xa3\xa4\xa5\
            \xa6\xa7\xa8\xa9\xaa\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xc2\xc3\
            \xc4\xc5\xc6\xc7\xc8\xc9\xca\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda\
            \xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xf2\xf3\xf4\xf5\xf6\xf7\xf8\
            \xf9\xfa",
    },
);
