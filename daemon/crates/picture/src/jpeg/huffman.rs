//! Huffman codes as tables that the next bits look up (ITU-T T.81, annex C and F.2.2.3).

use super::bits::Bits;
use super::refusal::{Fault, damaged};
use super::tables::Code;
use crate::error::DecodeError;

/// How many bits are looked up at once: nearly all codes of a photograph are no longer.
const LOOK: u32 = 10;
/// The longest code, in bits.
const CODE_BITS_MAX: u32 = 16;
/// The most bits behind a code of a DC coefficient; libjpeg refuses tables with more.
const DC_BITS_MAX: u8 = 15;

/// A code whose symbols are found by the bits that begin with them.
pub struct Symbols {
    /// The code's length and its symbol, by the next bits; 0 where the code is longer.
    short: [u16; 1 << LOOK],
    /// For each length what 16 bits are below that begin with a code of it or a shorter one.
    below: [u32; CODE_BITS_MAX as usize + 1],
    /// For each length what to add to a code's value to get the place of its symbol.
    offset: [i32; CODE_BITS_MAX as usize + 1],
    symbols: [u8; 256],
}

impl Symbols {
    /// Lays out a code.
    pub fn new(code: &Code<'_>) -> Symbols {
        let mut table = Symbols {
            short: [0; 1 << LOOK],
            below: [0; CODE_BITS_MAX as usize + 1],
            offset: [0; CODE_BITS_MAX as usize + 1],
            symbols: [0; 256],
        };
        table.symbols[..code.symbols.len()].copy_from_slice(code.symbols);
        let (mut next, mut place) = (0_u32, 0_usize);
        for (length, &count) in (1_u32..).zip(code.counts) {
            table.offset[length as usize] = place as i32 - next as i32;
            for &symbol in &code.symbols[place..place + usize::from(count)] {
                if length <= LOOK {
                    let first = (next << (LOOK - length)) as usize;
                    let entry = (length << 8) as u16 | u16::from(symbol);
                    table.short[first..first + (1 << (LOOK - length))].fill(entry);
                }
                next += 1;
            }
            place += usize::from(count);
            table.below[length as usize] = next << (CODE_BITS_MAX - length);
            next <<= 1;
        }
        table
    }

    /// Lays out a code of DC coefficients.
    pub fn of_levels(code: &Code<'_>) -> Result<Symbols, DecodeError> {
        if code.symbols.iter().any(|&bits| bits > DC_BITS_MAX) {
            return Err(damaged("a Huffman table holds a coefficient of more than 15 bits"));
        }
        Ok(Symbols::new(code))
    }

    /// Takes a code from the bits, which it prepares with those that may follow it, and returns its symbol.
    #[inline(always)]
    pub fn take(&self, bits: &mut Bits<'_>) -> Result<u8, Fault> {
        bits.prepare();
        let entry = self.short[bits.peek(LOOK)];
        if entry != 0 {
            bits.skip(u32::from(entry >> 8));
            return Ok(entry as u8);
        }
        let (length, symbol) = self.long(bits.peek(CODE_BITS_MAX) as u32)?;
        bits.skip(length);
        Ok(symbol)
    }

    /// Returns the length and the symbol of a code of more bits than are looked up, with which these 16
    /// begin.
    #[cold]
    #[inline(never)]
    fn long(&self, next: u32) -> Result<(u32, u8), Fault> {
        let length = (LOOK + 1..=CODE_BITS_MAX).find(|&length| next < self.below[length as usize]);
        let length = length.ok_or(Fault::Code)?;
        let place = (next >> (CODE_BITS_MAX - length)) as i32 + self.offset[length as usize];
        Ok((length, self.symbols[place as usize & 255]))
    }
}

/// The next AC coefficient by the next bits, where they hold its code and all of its value.
///
/// An entry has the bits to take in its lowest byte, the zeros before the coefficient in the next, and
/// the coefficient in the upper half. Of sixteen zeros the last one counts as a coefficient; the end of a
/// block is a run that no block has.
pub struct Runs {
    short: [u32; 1 << LOOK],
    symbols: Symbols,
}

/// The zeros that stand for a block's end.
const END: u32 = 0x80;

/// An AC coefficient of a sequential scan.
pub struct Run {
    /// The zeros before it; at least a block's when it is the end.
    pub zeros: u32,
    pub value: i16,
}

impl Run {
    /// Whether it is the end of the block.
    pub fn is_end(&self) -> bool {
        self.zeros == END
    }
}

impl Runs {
    pub fn new(code: &Code<'_>) -> Runs {
        let symbols = Symbols::new(code);
        let mut short = [0; 1 << LOOK];
        for (bits, entry) in short.iter_mut().enumerate() {
            let [symbol, length] = symbols.short[bits].to_le_bytes();
            let (zeros, size, length) = (symbol >> 4, u32::from(symbol & 15), u32::from(length));
            if length == 0 || length + size > LOOK {
                continue;
            }
            // The bits behind the code, and whether the first of them says that it is negative.
            let value = (bits as u32 >> (LOOK - length - size)) & ((1 << size) - 1);
            let negative = size > 0 && value >> (size - 1) == 0;
            let value = value as i32 - if negative { (1 << size) - 1 } else { 0 };
            let zeros = if size == 0 && zeros < 15 { END } else { u32::from(zeros) };
            *entry = (length + size) | zeros << 8 | (value as u32) << 16;
        }
        Runs { short, symbols }
    }

    /// Takes the next coefficient.
    #[inline(always)]
    pub fn take(&self, bits: &mut Bits<'_>) -> Result<Run, Fault> {
        bits.prepare();
        let entry = self.short[bits.peek(LOOK)];
        if entry != 0 {
            bits.skip(entry & 0xff);
            return Ok(Run { zeros: (entry >> 8) & 0xff, value: (entry >> 16) as i16 });
        }
        self.take_long(bits)
    }

    /// Takes a coefficient whose code and value have more bits than are looked up.
    #[inline(always)]
    fn take_long(&self, bits: &mut Bits<'_>) -> Result<Run, Fault> {
        let symbol = self.symbols.take(bits)?;
        let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 && zeros < 15 {
            return Ok(Run { zeros: END, value: 0 });
        }
        Ok(Run { zeros, value: bits.take_signed(size) as i16 })
    }
}
