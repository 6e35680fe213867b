//! Which file computes a convolution for which kernel. The only file that knows all instruction sets.

use super::convolution::Convolution;
use super::dense::{Dense, Pass};
use super::depthwise::Depthwise;
use super::kernel::Kernel;
use super::{plain_depthwise, scalar};

/// Whether `kernel` has more than plain loops for the sums of a convolution.
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
pub fn takes_sums(convolution: &Convolution, kernel: Kernel) -> bool {
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512Vnni => super::avx512_bytes::takes(convolution),
        _ => true,
    }
}

/// Runs a convolution that is packed for `kernel`, which this CPU has.
pub fn drive(dense: &Dense, kernel: Kernel, pass: &mut Pass) {
    match kernel {
        Kernel::Scalar => dense.drive(pass, scalar::tile),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 => dense.drive(pass, super::avx2::tile),
        #[cfg(target_arch = "x86_64")]
        Kernel::AvxVnni => dense.drive(pass, super::avx_vnni::tile),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512Vnni => super::avx512_vnni::drive(dense, pass),
        #[cfg(target_arch = "aarch64")]
        Kernel::Neon => super::neon::drive(dense, pass),
        #[cfg(target_arch = "aarch64")]
        Kernel::Dotprod => super::dotprod::drive(dense, pass),
        #[cfg(target_arch = "aarch64")]
        Kernel::I8mm => super::i8mm::drive(dense, pass),
        #[allow(unreachable_patterns, reason = "the rest belongs to another architecture")]
        _ => unreachable!("a convolution is packed for a kernel that this CPU has"),
    }
}

/// Packs a depthwise convolution whose weights have no zero points.
pub fn depthwise(convolution: &Convolution, kernel: Kernel) -> Depthwise {
    let form = match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512Vnni if super::avx512_depthwise::takes(&convolution.geometry.windows) => {
            super::avx512_depthwise::FORM
        }
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 | Kernel::AvxVnni
            if super::avx2_depthwise::takes(&convolution.geometry.windows) =>
        {
            super::avx2_depthwise::FORM
        }
        #[cfg(target_arch = "aarch64")]
        Kernel::Neon | Kernel::Dotprod | Kernel::I8mm => super::neon_depthwise::FORM,
        _ => plain_depthwise::FORM,
    };
    Depthwise::pack(convolution, kernel, form)
}

/// Runs what `depthwise` packed.
pub fn drive_depthwise(depthwise: &Depthwise, kernel: Kernel, pass: &mut Pass) {
    match (kernel, depthwise.form.adjacent) {
        #[cfg(target_arch = "aarch64")]
        (Kernel::Neon | Kernel::Dotprod | Kernel::I8mm, _) => {
            super::neon_depthwise::drive(depthwise, pass);
        }
        #[cfg(target_arch = "x86_64")]
        (Kernel::Avx512Vnni, 4) => super::avx512_depthwise::drive(depthwise, pass),
        #[cfg(target_arch = "x86_64")]
        (Kernel::Avx2 | Kernel::AvxVnni, 2) => super::avx2_depthwise::drive(depthwise, pass),
        _ => plain_depthwise::drive(depthwise, kernel, pass),
    }
}
