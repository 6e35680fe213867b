//! One block of a progressive scan: a band of its coefficients, or bits of them (ITU-T T.81, G.1.2).

use super::bits::Bits;
use super::block::{Block, Level};
use super::huffman::Symbols;
use super::refusal::{Fault, damaged};
use super::scan::{Band, Part};
use super::tables::ZIGZAG;
use crate::error::DecodeError;

/// What a run of sixteen zeros is written as; a shorter one without a coefficient ends the band.
const ZEROS: u8 = 15;

/// A component in a progressive scan.
pub struct BandCoder {
    band: Band,
    /// The code of levels or of runs; none where the scan only adds bits to levels.
    code: Option<Symbols>,
    /// The blocks still to come whose band has no new coefficient.
    ended: u32,
}

impl BandCoder {
    pub fn new(part: &Part<'_>, band: Band) -> Result<BandCoder, DecodeError> {
        let missing = || damaged("a Huffman table is missing");
        let code = match (band.first, band.high) {
            (0, 0) => Some(Symbols::of_levels(&part.dc.ok_or_else(missing)?)?),
            (0, _) => None,
            _ => Some(Symbols::new(&part.ac.ok_or_else(missing)?)),
        };
        Ok(BandCoder { band, code, ended: 0 })
    }

    /// Checks that no run of ended bands leads further than the blocks do, and forgets nothing else.
    pub fn restart(&self) -> Result<(), Fault> {
        if self.ended > 0 { Err(Fault::Run) } else { Ok(()) }
    }

    /// Decodes what this scan holds of the next block.
    pub fn block(
        &mut self,
        bits: &mut Bits<'_>,
        level: &mut Level,
        block: &mut Block,
    ) -> Result<(), Fault> {
        let Band { first, high, low, .. } = self.band;
        match (&self.code, first, high) {
            (None, ..) => {
                if bits.take_bit() {
                    block[0] |= 1 << low;
                }
                Ok(())
            }
            (Some(code), 0, _) => {
                let size = code.take(bits)?;
                block[0] = level.advance(bits.take_signed(u32::from(size)), low)?;
                Ok(())
            }
            (Some(_), _, 0) => self.first(bits, block),
            _ => self.refine(bits, block),
        }
    }

    /// Takes a run of zeros, and the size of the coefficient behind it; none when the band has ended.
    fn run(&mut self, bits: &mut Bits<'_>) -> Result<Option<(u8, u8)>, Fault> {
        let Some(code) = &self.code else { return Err(Fault::Code) };
        let symbol = code.take(bits)?;
        let (zeros, size) = (symbol >> 4, symbol & 15);
        if size == 0 && zeros < ZEROS {
            self.ended = (1 << zeros) + bits.take(u32::from(zeros));
            return Ok(None);
        }
        Ok(Some((zeros, size)))
    }

    /// Decodes new coefficients; T.81 G.1.2.2.
    fn first(&mut self, bits: &mut Bits<'_>, block: &mut Block) -> Result<(), Fault> {
        let Band { first, last, low, .. } = self.band;
        let mut place = first;
        while self.ended == 0 && place <= last {
            let Some((zeros, size)) = self.run(bits)? else { break };
            place += zeros;
            if place > last {
                return Err(Fault::Run);
            }
            let value = bits.take_signed(u32::from(size));
            block[usize::from(ZIGZAG[usize::from(place)])] = (value << low) as i16;
            place += 1;
        }
        self.ended = self.ended.saturating_sub(1);
        Ok(())
    }

    /// Decodes the next bit of old coefficients, and new ones that begin with it; T.81 G.1.2.3.
    fn refine(&mut self, bits: &mut Bits<'_>, block: &mut Block) -> Result<(), Fault> {
        let Band { first, last, low, .. } = self.band;
        let mut place = first;
        while self.ended == 0 && place <= last {
            let Some((zeros, size)) = self.run(bits)? else { break };
            let value = match size {
                0 => 0,
                1 if bits.take_bit() => 1 << low,
                1 => -1 << low,
                _ => return Err(Fault::Code),
            };
            let Some(at) = refine_old(bits, block, place..=last, (u32::from(zeros), low)) else {
                return Err(Fault::Run);
            };
            block[usize::from(ZIGZAG[usize::from(at)])] = value;
            place = at + 1;
        }
        if self.ended > 0 {
            refine_old(bits, block, place..=last, (u32::MAX, low));
            self.ended -= 1;
        }
        Ok(())
    }
}

/// Adds the bit `low` to every coefficient that is not zero, up to the zero behind so many others. Returns
/// that one's place, or none if the band has no such.
fn refine_old(
    bits: &mut Bits<'_>,
    block: &mut Block,
    band: std::ops::RangeInclusive<u8>,
    (mut zeros, low): (u32, u8),
) -> Option<u8> {
    for place in band {
        let coefficient = &mut block[usize::from(ZIGZAG[usize::from(place)])];
        if *coefficient != 0 {
            let bit = 1 << low;
            if bits.take_bit() && *coefficient & bit == 0 {
                *coefficient += if *coefficient > 0 { bit } else { -bit };
            }
        } else if zeros == 0 {
            return Some(place);
        } else {
            zeros -= 1;
        }
    }
    None
}
