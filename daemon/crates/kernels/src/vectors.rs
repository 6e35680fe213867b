//! The upper halves of x86's vector registers, which another engine of the same thread may leave in
//! use. It computes nothing.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_mm256_zeroupper, _xgetbv};

/// Clears the upper halves of x86's vector registers. Call it after an engine that may have left them
/// in use, as tract's AVX kernels do: until they are clear, each SSE instruction of the same thread
/// waits for the previous content of its register. The `scalar` kernel took 4 times as long.
pub fn leave_vectors() {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx")]
        fn clear() {
            _mm256_zeroupper();
        }
        if is_x86_feature_detected!("avx") {
            // SAFETY: the CPU has the feature.
            unsafe { clear() }
        }
    }
}

/// Whether the CPU holds anything in the upper halves of the vector registers; None where the CPU
/// does not tell. Tests of callers of `leave_vectors` ask this.
#[cfg(target_arch = "x86_64")]
pub fn upper_halves_in_use() -> Option<bool> {
    /// The bit of XINUSE that stands for the registers' upper halves (Intel SDM 1, 13.6).
    const AVX_STATE: u64 = 1 << 2;

    #[target_feature(enable = "xsave")]
    fn in_use() -> u64 {
        // SAFETY: whatever has xsavec has its register 1 as well.
        unsafe { _xgetbv(1) }
    }
    let told = is_x86_feature_detected!("avx") && is_x86_feature_detected!("xsavec");
    // SAFETY: the CPU has the feature.
    told.then(|| unsafe { in_use() } & AVX_STATE != 0)
}
