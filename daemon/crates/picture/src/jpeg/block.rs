//! One block of a sequential scan (ITU-T T.81, F.2.2).

use super::bits::Bits;
use super::huffman::{Runs, Symbols};
use super::refusal::{Fault, damaged};
use super::scan::Part;
use super::tables::{BLOCK, ZIGZAG};
use crate::error::DecodeError;

/// The largest dequantised DC coefficient accepted, either sign: twice what 8 bits give, so that no
/// encoder's rounding reaches it. A reader that lost its place soon drifts beyond.
const LEVEL_MAX: i32 = 2048;

/// The coefficients of a block, row by row.
pub type Block = [i16; BLOCK];

/// The mean brightness of a component's last block, from which the next one's is told.
pub struct Level {
    last: i32,
    /// The largest value that can be, in quantisation steps.
    most: i32,
}

impl Level {
    /// Starts a component whose DC coefficients have this step.
    pub fn new(step: u16) -> Level {
        Level { last: 0, most: LEVEL_MAX / i32::from(step) + 1 }
    }

    /// Forgets the last block, as at a restart.
    pub fn reset(&mut self) {
        self.last = 0;
    }

    /// Adds a difference, and returns the new block's value: in steps of 2^low.
    #[inline(always)]
    pub fn advance(&mut self, difference: i32, low: u8) -> Result<i16, Fault> {
        self.last += difference;
        if self.last.abs() > (self.most >> low) + 1 {
            return Err(Fault::Level);
        }
        Ok((self.last << low) as i16)
    }
}

/// The codes of a component in a sequential scan.
pub struct Coder {
    dc: Symbols,
    ac: Runs,
}

impl Coder {
    pub fn new(part: &Part<'_>) -> Result<Coder, DecodeError> {
        let missing = || damaged("a Huffman table is missing");
        let dc = Symbols::of_levels(&part.dc.ok_or_else(missing)?)?;
        Ok(Coder { dc, ac: Runs::new(&part.ac.ok_or_else(missing)?) })
    }

    /// Decodes the next block into one of zeros, and returns the place of its last coefficient in the
    /// order of the scan.
    #[inline]
    pub fn block(
        &self,
        bits: &mut Bits<'_>,
        level: &mut Level,
        block: &mut Block,
    ) -> Result<usize, Fault> {
        // A copy stays in registers.
        let mut reader = *bits;
        let last = self.read(&mut reader, level, |place, value| {
            block[usize::from(ZIGZAG[place & (BLOCK - 1)])] = value;
        });
        *bits = reader;
        last
    }

    /// Decodes the next block, of which only the DC coefficient is needed.
    #[inline]
    pub fn level(&self, bits: &mut Bits<'_>, level: &mut Level) -> Result<i16, Fault> {
        let mut reader = *bits;
        let mut dc = 0;
        let last = self.read(&mut reader, level, |place, value| {
            if place == 0 {
                dc = value;
            }
        });
        *bits = reader;
        last.map(|_| dc)
    }

    #[inline(always)]
    fn read(
        &self,
        bits: &mut Bits<'_>,
        level: &mut Level,
        mut set: impl FnMut(usize, i16),
    ) -> Result<usize, Fault> {
        let size = self.dc.take(bits)?;
        let difference = bits.take_signed(u32::from(size));
        set(0, level.advance(difference, 0)?);
        let mut place = 0;
        while place < BLOCK - 1 {
            let run = self.ac.take(bits)?;
            let next = place + 1 + run.zeros as usize;
            if next >= BLOCK {
                if run.is_end() {
                    break;
                }
                return Err(Fault::Run);
            }
            place = next;
            set(place, run.value);
        }
        Ok(place)
    }
}
