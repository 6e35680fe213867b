//! Products per second that one core's instructions reach with all operands in registers: what a kernel
//! could do at best. One loop for each, of more independent sums than its latency is long.
#![allow(unsafe_code)]

use std::arch::asm;
use std::time::Instant;

use picket_kernels::Kernel;

/// Passes over all sums; some milliseconds.
const PASSES: usize = 1_000_000;

/// Registers of sums, in each pass one step for each.
const SUMS: usize = 12;

/// The best of so many, for the clock to rise and others to be out of the way.
const TRIES: usize = 9;

/// One JSON object: GMAC/s by the kernel's name, and of f32 multiply-adds as `fma`.
pub fn print() {
    let rates: Vec<String> = arch::LOOPS
        .iter()
        .filter(|run| (run.is_available)())
        .map(|run| format!("\"{}\": {:.1}", run.name, best(run)))
        .collect();
    println!("{{{}}}", rates.join(", "));
}

/// GMAC/s of one kernel's instruction.
pub fn of(kernel: Kernel) -> Option<f64> {
    arch::LOOPS.iter().find(|run| run.name == kernel.name() && (run.is_available)()).map(best)
}

struct Loop {
    name: &'static str,
    is_available: fn() -> bool,
    /// Multiply-accumulates in a step.
    products: usize,
    run: fn(),
}

fn best(run: &Loop) -> f64 {
    let rate = |_| {
        let started = Instant::now();
        (run.run)();
        (run.products * SUMS * PASSES) as f64 / started.elapsed().as_secs_f64() / 1e9
    };
    (0..TRIES).map(rate).fold(0.0, f64::max)
}

/// A step has the number of its register of sums as `\n`; registers 12 to 15 are the operands'.
#[cfg(target_arch = "x86_64")]
macro_rules! run {
    ($step:literal) => {
        || {
            // SAFETY: instructions of a feature that the loop's `is_available` has found, on registers
            // that are all named.
            unsafe {
                asm!(
                    ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                    "vxorps xmm\\n, xmm\\n, xmm\\n",
                    ".endr",
                    "2:",
                    ".irp n,0,1,2,3,4,5,6,7,8,9,10,11",
                    $step,
                    ".endr",
                    "sub {passes}, 1",
                    "jnz 2b",
                    "vzeroupper",
                    passes = inout(reg) PASSES => _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                    out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                    out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                    out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                    options(nomem, nostack),
                );
            }
        }
    };
}

#[cfg(target_arch = "aarch64")]
macro_rules! run {
    ($step:literal) => {
        || {
            // SAFETY: as above.
            unsafe {
                asm!(
                    ".arch_extension dotprod",
                    ".arch_extension i8mm",
                    ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                    "movi v\\n\\().4s, #0",
                    ".endr",
                    "2:",
                    ".irp n,0,1,2,3,4,5,6,7,8,9,10,11",
                    $step,
                    ".endr",
                    "subs {passes}, {passes}, #1",
                    "b.ne 2b",
                    passes = inout(reg) PASSES => _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                    out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    out("v8") _, out("v9") _, out("v10") _, out("v11") _,
                    out("v12") _, out("v13") _, out("v14") _, out("v15") _,
                    options(nomem, nostack),
                );
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod arch {
    use super::*;

    pub const LOOPS: [Loop; 5] = [
        Loop {
            name: "avx2",
            is_available: || is_x86_feature_detected!("avx2"),
            products: 16,
            run: run!("vpmaddwd ymm12, ymm13, ymm14\nvpaddd ymm\\n, ymm\\n, ymm12"),
        },
        Loop {
            name: "avxvnni",
            is_available: || is_x86_feature_detected!("avxvnni"),
            products: 32,
            run: run!("{{vex}} vpdpbusd ymm\\n, ymm13, ymm14"),
        },
        Loop {
            name: "avx512vnni",
            is_available: || is_x86_feature_detected!("avx512vnni"),
            products: 64,
            run: run!("vpdpbusd zmm\\n, zmm13, zmm14"),
        },
        Loop {
            name: "fma",
            is_available: || {
                is_x86_feature_detected!("fma") && !is_x86_feature_detected!("avx512f")
            },
            products: 8,
            run: run!("vfmadd231ps ymm\\n, ymm13, ymm14"),
        },
        Loop {
            name: "fma",
            is_available: || is_x86_feature_detected!("avx512f"),
            products: 16,
            run: run!("vfmadd231ps zmm\\n, zmm13, zmm14"),
        },
    ];
}

#[cfg(target_arch = "aarch64")]
mod arch {
    use std::arch::is_aarch64_feature_detected;

    use super::*;

    pub const LOOPS: [Loop; 4] = [
        Loop {
            name: "neon",
            is_available: || true,
            products: 4,
            run: run!("smlal v\\n\\().4s, v13.4h, v14.h[0]"),
        },
        Loop {
            name: "dotprod",
            is_available: || is_aarch64_feature_detected!("dotprod"),
            products: 16,
            run: run!("sdot v\\n\\().4s, v13.16b, v14.4b[0]"),
        },
        Loop {
            name: "i8mm",
            is_available: || is_aarch64_feature_detected!("i8mm"),
            products: 32,
            run: run!("smmla v\\n\\().4s, v13.16b, v14.16b"),
        },
        Loop {
            name: "fma",
            is_available: || true,
            products: 4,
            run: run!("fmla v\\n\\().4s, v13.4s, v14.s[0]"),
        },
    ];
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod arch {
    use super::*;

    pub const LOOPS: [Loop; 0] = [];
}
