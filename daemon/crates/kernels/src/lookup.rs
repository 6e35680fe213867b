//! Tables of 256 bytes, looked up by the instructions that permute bytes: 64 answers at once with
//! AVX-512 VBMI, 16 on aarch64. A loop elsewhere.
#![allow(unsafe_code)]

use super::kernel::Kernel;

/// Replaces each byte by its answer.
#[inline]
pub fn look_up(kernel: Kernel, answers: &[u8; 256], bytes: &mut [u8]) {
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512Vnni
            if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vbmi") =>
        {
            // SAFETY: the CPU has the features, as just asked.
            unsafe { vbmi(answers, bytes) }
        }
        #[cfg(target_arch = "aarch64")]
        Kernel::Neon | Kernel::Dotprod | Kernel::I8mm => {
            assert!(Kernel::Neon.is_available());
            // SAFETY: the CPU has the feature, as just asserted.
            unsafe { neon(answers, bytes) }
        }
        _ => plain(answers, bytes),
    }
}

#[inline(always)]
fn plain(answers: &[u8; 256], bytes: &mut [u8]) {
    for byte in bytes {
        *byte = answers[usize::from(*byte)];
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn vbmi(answers: &[u8; 256], bytes: &mut [u8]) {
    use std::arch::x86_64::*;

    // SAFETY: there are four registers of answers.
    let answers =
        [0, 64, 128, 192].map(|at| unsafe { _mm512_loadu_si512(answers.as_ptr().add(at).cast()) });
    for bytes in bytes.chunks_mut(64) {
        let mask = u64::MAX >> (64 - bytes.len());
        // SAFETY: it reads and writes as many bytes as the mask has, which are there.
        unsafe {
            let at = _mm512_maskz_loadu_epi8(mask, bytes.as_ptr().cast());
            let low = _mm512_permutex2var_epi8(answers[0], at, answers[1]);
            let high = _mm512_permutex2var_epi8(answers[2], at, answers[3]);
            let found = _mm512_mask_blend_epi8(_mm512_movepi8_mask(at), low, high);
            _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), mask, found);
        }
    }
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn neon(table: &[u8; 256], bytes: &mut [u8]) {
    use std::arch::aarch64::*;

    // SAFETY: there are four times 64 answers.
    let answers = [0, 64, 128, 192].map(|at| unsafe { vld1q_u8_x4(table.as_ptr().add(at)) });
    let (whole, rest) = bytes.as_chunks_mut::<16>();
    for bytes in whole {
        // SAFETY: there are 16 bytes, here and below.
        let mut at = unsafe { vld1q_u8(bytes.as_ptr()) };
        let mut found = vqtbl4q_u8(answers[0], at);
        for answers in &answers[1..] {
            at = vsubq_u8(at, vdupq_n_u8(64));
            found = vqtbx4q_u8(found, *answers, at);
        }
        // SAFETY: as above.
        unsafe { vst1q_u8(bytes.as_mut_ptr(), found) };
    }
    plain(table, rest);
}
