//! Writing parts of AVX-512's registers of bytes. It knows nothing of what they are.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

/// Sums in a register: of so many one register of bytes has four times.
pub const SUMS: usize = 16;

/// Writes the first `lanes` bytes of a register of `VECTORS · SUMS`.
///
/// # Safety
/// There are so many bytes at `to`, and not more lanes than the register has.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn put<const VECTORS: usize>(to: *mut u8, bytes: __m512i, lanes: usize) {
    // SAFETY: as the caller says.
    unsafe {
        if lanes != VECTORS * SUMS {
            return put_some(to, bytes, lanes);
        }
        match VECTORS {
            1 => _mm_storeu_si128(to.cast(), _mm512_castsi512_si128(bytes)),
            2 => _mm256_storeu_si256(to.cast(), _mm512_castsi512_si256(bytes)),
            3 => {
                _mm256_storeu_si256(to.cast(), _mm512_castsi512_si256(bytes));
                _mm_storeu_si128(to.add(32).cast(), _mm512_extracti32x4_epi32::<2>(bytes));
            }
            _ => _mm512_storeu_si512(to.cast(), bytes),
        }
    }
}

/// Writes fewer bytes than a register has, in the fewest moves: a masked store takes ten times as long on
/// Zen 4.
///
/// # Safety
/// There are `lanes` bytes at `to`, and less than 64.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn put_some(mut to: *mut u8, bytes: __m512i, lanes: usize) {
    // SAFETY: the parts that are written are `lanes` bytes together.
    unsafe {
        let mut half = _mm512_castsi512_si256(bytes);
        if lanes & 32 != 0 {
            _mm256_storeu_si256(to.cast(), half);
            half = _mm512_extracti64x4_epi64::<1>(bytes);
            to = to.add(32);
        }
        let mut rest = _mm256_castsi256_si128(half);
        if lanes & 16 != 0 {
            _mm_storeu_si128(to.cast(), rest);
            rest = _mm256_extracti128_si256::<1>(half);
            to = to.add(16);
        }
        if lanes & 8 != 0 {
            _mm_storeu_si64(to, rest);
            rest = _mm_srli_si128::<8>(rest);
            to = to.add(8);
        }
        if lanes & 4 != 0 {
            _mm_storeu_si32(to, rest);
            rest = _mm_srli_si128::<4>(rest);
            to = to.add(4);
        }
        if lanes & 2 != 0 {
            _mm_storeu_si16(to, rest);
            rest = _mm_srli_si128::<2>(rest);
            to = to.add(2);
        }
        if lanes & 1 != 0 {
            to.write(_mm_cvtsi128_si32(rest) as u8);
        }
    }
}
