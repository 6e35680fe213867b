//! Which instruction sets compute a convolution, and which of them this CPU has. It knows nothing of
//! the files that use them.

/// The instruction set that computes a convolution, chosen at start by what the CPU says it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Plain Rust, for any CPU.
    Scalar,
    /// x86-64 with AVX2: 16-bit multiplies (vpmaddwd), which are exact where vpmaddubsw saturates.
    Avx2,
    /// x86-64 with AVX-VNNI: 8-bit dot products in 256 bits (vpdpbusd).
    AvxVnni,
    /// x86-64 with AVX-512 VNNI: 8-bit dot products in 512 bits.
    Avx512Vnni,
    /// aarch64: widening 16-bit multiplies (smlal), which every such CPU has.
    Neon,
    /// aarch64 from ARMv8.2 with the dot product (sdot): Cortex-A55, A75, A76 and later.
    Dotprod,
    /// aarch64 with 8-bit matrix multiplies (smmla): Cortex-A510, A710, Neoverse V1 and later.
    I8mm,
}

impl Kernel {
    /// All kernels; where several are available, the later one is faster.
    pub const ALL: [Kernel; 7] = [
        Kernel::Scalar,
        Kernel::Avx2,
        Kernel::AvxVnni,
        Kernel::Avx512Vnni,
        Kernel::Neon,
        Kernel::Dotprod,
        Kernel::I8mm,
    ];

    /// Returns the fastest kernel that this CPU has.
    pub fn best() -> Kernel {
        let available = |kernel: &&Kernel| kernel.is_available();
        *Kernel::ALL.iter().rfind(available).unwrap_or(&Kernel::Scalar)
    }

    /// Whether this CPU has the instructions. Each tile asks, so that it costs one load of a cached
    /// answer.
    #[inline(always)]
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "aarch64")]
        use std::arch::is_aarch64_feature_detected;
        match self {
            Kernel::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Kernel::AvxVnni => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni")
            }
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => {
                is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vbmi")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Kernel::Dotprod => is_aarch64_feature_detected!("dotprod"),
            #[cfg(target_arch = "aarch64")]
            Kernel::I8mm => is_aarch64_feature_detected!("i8mm"),
            #[allow(unreachable_patterns, reason = "the rest belongs to another architecture")]
            _ => false,
        }
    }

    /// Stops a caller that packs for a kernel which this CPU lacks.
    pub(crate) fn assert_available(self) {
        assert!(self.is_available(), "this CPU has no {}", self.name());
    }

    /// Whether it keeps activations as i8, and not as u8: what its multiplies take.
    pub fn keeps_signed(self) -> bool {
        matches!(self, Kernel::Neon | Kernel::Dotprod | Kernel::I8mm)
    }

    /// The name that commands and measurements print.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Scalar => "scalar",
            Kernel::Avx2 => "avx2",
            Kernel::AvxVnni => "avxvnni",
            Kernel::Avx512Vnni => "avx512vnni",
            Kernel::Neon => "neon",
            Kernel::Dotprod => "dotprod",
            Kernel::I8mm => "i8mm",
        }
    }
}
