//! Tables of 256 bytes, looked up by the instructions that permute bytes: 64 answers at once with
//! AVX-512 VBMI, 16 on aarch64. A loop elsewhere.
#![allow(unsafe_code)]

use super::kernel::Kernel;

/// Writes the answer to each byte.
#[inline(always)]
pub fn look_up_into(kernel: Kernel, answers: &[u8; 256], from: &[u8], to: &mut [u8]) {
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512Vnni => {
            assert!(kernel.is_available());
            // SAFETY: the CPU has the features, as just asserted.
            unsafe { super::avx512_vbmi::look_up(answers, from, to) }
        }
        _ => {
            to.copy_from_slice(from);
            look_up(kernel, answers, to);
        }
    }
}

/// Replaces each byte by its answer.
#[inline]
pub fn look_up(kernel: Kernel, answers: &[u8; 256], bytes: &mut [u8]) {
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512Vnni => {
            assert!(kernel.is_available());
            // SAFETY: the CPU has the features, as just asserted.
            unsafe { super::avx512_vbmi::change(answers, bytes) }
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
