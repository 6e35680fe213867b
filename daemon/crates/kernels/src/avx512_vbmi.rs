//! Tables of 256 bytes and orders of channels in registers, with AVX-512 VBMI. It knows nothing of what is
//! looked up.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx512_put::{put, put_some};
use super::kernel::Kernel;
use super::view::View;

/// The answers for all bytes, in four registers.
#[derive(Clone, Copy)]
pub struct Answers([__m512i; 4]);

impl Answers {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn new(answers: &[u8; 256]) -> Answers {
        // SAFETY: there are four registers of answers.
        let part = |at: usize| unsafe { _mm512_loadu_si512(answers.as_ptr().add(at * 64).cast()) };
        Answers([part(0), part(1), part(2), part(3)])
    }

    /// Looks up 64 bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub fn of(&self, bytes: __m512i) -> __m512i {
        let low = _mm512_permutex2var_epi8(self.0[0], bytes, self.0[1]);
        let high = _mm512_permutex2var_epi8(self.0[2], bytes, self.0[3]);
        _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), low, high)
    }
}

/// Looks up as many bytes as both have.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub fn look_up(answers: &[u8; 256], from: &[u8], to: &mut [u8]) {
    let len = from.len().min(to.len());
    // SAFETY: so many bytes are in both.
    unsafe { look_up_at(answers, from.as_ptr(), to.as_mut_ptr(), len) }
}

/// Looks up each byte in place.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub fn change(answers: &[u8; 256], bytes: &mut [u8]) {
    let at = bytes.as_mut_ptr();
    // SAFETY: all are there.
    unsafe { look_up_at(answers, at, at, bytes.len()) }
}

/// # Safety
/// There are `len` bytes to read and to write, the same or others.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn look_up_at(answers: &[u8; 256], from: *const u8, to: *mut u8, len: usize) {
    let answers = Answers::new(answers);
    let whole = len / REGISTER * REGISTER;
    for at in (0..whole).step_by(REGISTER) {
        // SAFETY: as the caller says.
        unsafe {
            let found = answers.of(_mm512_loadu_si512(from.add(at).cast()));
            _mm512_storeu_si512(to.add(at).cast(), found);
        }
    }
    if whole < len {
        let mask = u64::MAX >> (REGISTER - (len - whole));
        // SAFETY: the mask has the bytes that are left.
        unsafe {
            let bytes = _mm512_maskz_loadu_epi8(mask, from.add(whole).cast());
            put_some(to.add(whole), answers.of(bytes), len - whole);
        }
    }
}

/// Bytes in a register.
const REGISTER: usize = 64;
/// Bytes from which one instruction chooses.
const PAIR: usize = 2 * REGISTER;

/// Which channels come where, in registers of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How many channels the output has, and the input.
    channels: [usize; 2],
    /// For each register of the output what it takes from each pair of the input's.
    registers: Vec<Vec<Part>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// The pair's first channel.
    first: usize,
    order: [u8; REGISTER],
    mask: u64,
}

impl Choice {
    /// The output's channel `i` is the input's `channels[i]`, of `input`.
    pub fn pack(channels: &[usize], input: usize) -> Choice {
        assert!(channels.iter().all(|channel| *channel < input), "the input has the channels");
        let register = |channels: &[usize]| {
            let mut parts: Vec<Part> = Vec::new();
            for (at, channel) in channels.iter().enumerate() {
                let first = channel / PAIR * PAIR;
                let place = match parts.iter().position(|part| part.first == first) {
                    Some(place) => place,
                    None => {
                        parts.push(Part { first, order: [0; REGISTER], mask: 0 });
                        parts.len() - 1
                    }
                };
                parts[place].order[at] = (channel - first) as u8;
                parts[place].mask |= 1 << at;
            }
            parts
        };
        let registers = channels.chunks(REGISTER).map(register).collect();
        Choice { channels: [channels.len(), input], registers }
    }

    /// Chooses for each pixel.
    ///
    /// # Panics
    /// When the shapes don't fit or a view does not lie in its buffer.
    pub fn run(&self, input: &[u8], from: View, output: &mut [u8], to: View) {
        from.assert_read(input.len(), [0; 4]);
        assert!(Kernel::Avx512Vnni.is_available() && to.offset + to.extent() <= output.len());
        assert!(to.has_shape([from.rows, from.columns], self.channels[0]), "{from:?} and {to:?}");
        assert_eq!(from.channels, self.channels[1], "it is packed for so many");
        // SAFETY: the CPU has the features, and both views lie in their buffers, with SLACK behind the input's.
        unsafe { self.choose(input.as_ptr(), from, output.as_mut_ptr(), to) }
    }

    /// # Safety
    /// The views have the shapes that it is packed for and lie in their buffers; behind the input's are SLACK
    /// bytes.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    unsafe fn choose(&self, input: *const u8, from: View, output: *mut u8, to: View) {
        for (row, column) in (0..to.rows).flat_map(|row| (0..to.columns).map(move |x| (row, x))) {
            for (register, parts) in self.registers.iter().enumerate() {
                let mut chosen = _mm512_setzero_si512();
                // SAFETY: a register that starts at a channel of a view ends within its SLACK.
                unsafe {
                    let pixel = input.add(from.at(row, column));
                    for Part { first, order, mask } in parts {
                        let low = pixel.add(*first);
                        // Where the view ends before the second register, nothing is chosen from it.
                        let behind = *first + REGISTER < self.channels[1];
                        let high = if behind { low.add(REGISTER) } else { low };
                        let found = _mm512_maskz_permutex2var_epi8(
                            *mask,
                            _mm512_loadu_si512(low.cast()),
                            _mm512_loadu_si512(order.as_ptr().cast()),
                            _mm512_loadu_si512(high.cast()),
                        );
                        chosen = _mm512_or_si512(chosen, found);
                    }
                    let channel = register * REGISTER;
                    let lanes = REGISTER.min(self.channels[0] - channel);
                    put::<4>(output.add(to.at(row, column) + channel), chosen, lanes);
                }
            }
        }
    }
}
