//! The bits of a scan's entropy-coded data, without its stuffed bytes (ITU-T T.81, F.1.2.3).
//!
//! It reads zeros behind the end and counts them, so that the loops over coefficients need no check:
//! who decodes asks after each unit whether it has read further than the data goes. It must not know
//! what the bits mean.

use super::refusal::Fault;

/// The most bits in the buffer with which another byte fits.
const ROOM: u32 = 56;
/// What the longest code takes with the bits behind it: 16 and 15, and the one that tells them apart.
const SYMBOL_BITS_MAX: u32 = 32;

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// A reader of bits, the first one highest.
#[derive(Clone, Copy)]
pub struct Bits<'a> {
    data: &'a [u8],
    /// The place of the next byte that is not in the buffer.
    at: usize,
    /// The next bits, from the highest one on.
    buffer: u64,
    /// How many bits of the buffer count.
    count: u32,
    /// How many of them, the last ones, are zeros behind the end of the data.
    invented: u32,
}

impl<'a> Bits<'a> {
    /// Starts at the first bit of a scan's data, which ends before the marker that is no restart.
    pub fn new(data: &'a [u8]) -> Bits<'a> {
        Bits { data, at: 0, buffer: 0, count: 0, invented: 0 }
    }

    /// Sees to it that the longest code with the bits behind it is in the buffer.
    #[inline(always)]
    pub fn prepare(&mut self) {
        if self.count < SYMBOL_BITS_MAX {
            self.refill();
        }
    }

    /// Returns the next bits without taking them, 1 to 16 of those that were prepared.
    #[inline(always)]
    pub fn peek(&self, bits: u32) -> usize {
        (self.buffer >> (u64::BITS - bits)) as usize
    }

    /// Takes bits that were prepared.
    #[inline(always)]
    pub fn skip(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.count -= bits;
    }

    /// Takes a number of 0 to 15 bits that were prepared.
    #[inline(always)]
    pub fn take(&mut self, bits: u32) -> u32 {
        // Shifted twice: a shift by 64 has no meaning.
        let value = (self.buffer >> 1 >> (u64::BITS - 1 - bits)) as u32;
        self.skip(bits);
        value
    }

    /// Takes a coefficient of 0 to 15 bits that were prepared; T.81 F.2.2.1.
    #[inline(always)]
    pub fn take_signed(&mut self, bits: u32) -> i32 {
        let positive = (self.buffer >> (u64::BITS - 1)) as i32;
        let value = self.take(bits) as i32;
        // A first bit of 0 means a negative number: the value less 2^bits - 1.
        value - ((1 << bits) - 1) * (1 - positive)
    }

    /// Takes one bit.
    #[inline(always)]
    pub fn take_bit(&mut self) -> bool {
        if self.count == 0 {
            self.refill();
        }
        let bit = self.buffer >> (u64::BITS - 1) != 0;
        self.skip(1);
        bit
    }

    /// Whether bits were taken that the data does not have.
    #[inline(always)]
    pub fn overran(&self) -> bool {
        self.invented > self.count
    }

    #[inline(always)]
    fn refill(&mut self) {
        if let Some(word) = self.data.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_be_bytes(*word);
            // No byte is 0xff: none of the complement is 0.
            if (!word).wrapping_sub(LOW_BITS) & word & HIGH_BITS == 0 {
                // Bits behind the last whole byte come too: the next refill sets the same ones again.
                self.buffer |= word >> self.count;
                let bytes = (u64::BITS - 1 - self.count) / 8;
                self.at += bytes as usize;
                self.count += bytes * 8;
                return;
            }
        }
        *self = self.refilled_by_bytes();
    }

    /// Refills where a byte of ones or the end is near. It takes and returns a copy: a reader that is never
    /// referred to stays in registers.
    #[cold]
    #[inline(never)]
    fn refilled_by_bytes(mut self) -> Bits<'a> {
        while self.count <= ROOM {
            match self.next_byte() {
                Some(byte) => {
                    self.buffer |= u64::from(byte) << (ROOM - self.count);
                }
                None => self.invented += 8,
            }
            self.count += 8;
        }
        self
    }

    /// Returns the next byte of data, or none before a marker and at the end.
    fn next_byte(&mut self) -> Option<u8> {
        let byte = *self.data.get(self.at)?;
        if byte != 0xff {
            self.at += 1;
            return Some(byte);
        }
        let fills = self.data[self.at..].iter().take_while(|&&byte| byte == 0xff).count();
        if self.data.get(self.at + fills) != Some(&0) {
            return None;
        }
        self.at += fills + 1;
        Some(byte)
    }

    /// Steps over the restart marker of this number, 0 to 7, which must be next.
    pub fn restart(&mut self, number: u8) -> Result<(), Fault> {
        self.check_whole()?;
        let rest = &self.data[self.at..];
        let fills = rest.iter().take_while(|&&byte| byte == 0xff).count();
        match rest.get(fills) {
            None => Err(Fault::Ended),
            Some(_) if fills == 0 => Err(Fault::Excess),
            Some(&marker) if marker == 0xd0 + number => {
                *self = Bits { at: self.at + fills + 1, ..Bits::new(self.data) };
                Ok(())
            }
            Some(_) => Err(Fault::Restart),
        }
    }

    /// Checks that the data ends here. Some encoders close their last interval with a restart marker.
    pub fn finish(mut self, last_restart: Option<u8>) -> Result<(), Fault> {
        self.check_whole()?;
        if let Some(number) = last_restart {
            // Without one, what is left is judged below.
            let _ = self.restart(number);
        }
        let left = self.data[self.at..].iter().any(|&byte| byte != 0xff);
        if left { Err(Fault::Excess) } else { Ok(()) }
    }

    /// Checks that no whole byte is left before the next marker.
    fn check_whole(&self) -> Result<(), Fault> {
        if self.overran() {
            return Err(Fault::Ended);
        }
        if self.count - self.invented >= 8 { Err(Fault::Excess) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A byte of data with the zero behind it that one of ones must have.
    fn stuffed(data: &[u8]) -> Vec<u8> {
        let stuffed = |&byte: &u8| if byte == 0xff { vec![0xff, 0] } else { vec![byte] };
        data.iter().flat_map(stuffed).collect()
    }

    proptest! {
        /// The twin: the bits of the plain data, one by one.
        #[test]
        fn bits_are_those_of_the_data_without_its_stuffed_bytes(
            data in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff)], 0..60),
            lengths in prop::collection::vec(0_u32..16, 0..60),
        ) {
            let stuffed = stuffed(&data);
            let mut bits = Bits::new(&stuffed);
            let bit = |at: usize| u32::from(data.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1));
            let mut at = 0;
            for length in lengths {
                bits.prepare();
                let expected = (at..at + length as usize).fold(0, |value, at| value << 1 | bit(at));
                prop_assert_eq!(bits.take(length), expected);
                at += length as usize;
                prop_assert_eq!(bits.overran(), at > data.len() * 8);
            }
            let left = (data.len() * 8).checked_sub(at);
            let expected = match left {
                None => Err(Fault::Ended),
                Some(0..8) => Ok(()),
                Some(_) => Err(Fault::Excess),
            };
            prop_assert_eq!(bits.finish(None), expected);
        }
    }

    #[test]
    fn first_bit_of_a_number_says_whether_it_is_negative() {
        // T.81 table F.1: of two bits 00 is -3, 01 is -2, 10 is 2 and 11 is 3.
        let mut bits = Bits::new(&[0b0001_1011]);
        bits.prepare();
        assert_eq!([(); 4].map(|()| bits.take_signed(2)), [-3, -2, 2, 3]);
        assert_eq!(bits.take_signed(0), 0);
    }

    #[test]
    fn restart_marker_is_found_behind_the_bits_that_fill_a_byte() {
        let data = [0b1010_1111, 0xff, 0xff, 0xd3, 0b0100_0000];
        let mut bits = Bits::new(&data);
        bits.prepare();
        assert_eq!(bits.take(4), 0b1010);
        assert_eq!(bits.clone().restart(2), Err(Fault::Restart));
        bits.restart(3).unwrap();
        bits.prepare();
        assert_eq!(bits.take(2), 0b01);
        assert_eq!(bits.restart(4), Err(Fault::Ended));
    }
}
