//! Plain loops, compiled once for each instruction set that has wider vectors than the architecture's
//! base. It computes nothing itself.
#![allow(unsafe_code)]

use super::kernel::Kernel;

/// Runs `work` with the vectors of `kernel`, which the CPU has: whoever packed for it has asked. What
/// `work` calls must be inlined, or it stays with those of the base.
#[inline(always)]
pub fn widest<R>(kernel: Kernel, work: impl FnOnce() -> R) -> R {
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512Vnni => {
            assert!(kernel.is_available());
            // SAFETY: the CPU has the features, as just asserted.
            unsafe { avx512(work) }
        }
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 | Kernel::AvxVnni => {
            assert!(Kernel::Avx2.is_available());
            // SAFETY: the CPU has the feature, as just asserted.
            unsafe { avx2(work) }
        }
        _ => work(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")]
fn avx512<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}
