//! The innermost loop of `neon` in the order in which a core that runs in order never waits: eight
//! products of each kind follow each other, and what the next step reads is loaded between the last
//! additions of this one. The compiler's own order took half as long again on a Cortex-A53 (llvm-mca).
#![allow(unsafe_code)]

use std::arch::aarch64::*;
use std::arch::asm;

pub const LANES: usize = 4;
/// Sixteen registers of sums, of 32: each holds four parts of the sum of one pixel and channel.
pub const PIXELS: usize = 4;
/// Elements in a register.
pub const REGISTER: usize = 16;

/// Eight instructions, for four pixels times two channels: products of one half of their registers.
macro_rules! products {
    ($name:literal, $half:literal, $first:literal, $second:literal) => {
        concat!(
            products!(one $name, $half, "t0", "x0", $first),
            products!(one $name, $half, "t1", "x1", $first),
            products!(one $name, $half, "t2", "x2", $first),
            products!(one $name, $half, "t3", "x3", $first),
            products!(one $name, $half, "t4", "x0", $second),
            products!(one $name, $half, "t5", "x1", $second),
            products!(one $name, $half, "t6", "x2", $second),
            products!(one $name, $half, "t7", "x3", $second),
        )
    };
    (one $name:literal, $half:literal, $to:literal, $x:literal, $w:literal) => {
        concat!($name, " {", $to, ":v}.8h, {", $x, ":v}.", $half, ", {", $w, ":v}.", $half, "\n")
    };
}

/// Adds the products in a register to the sums in another.
macro_rules! sum {
    ($sum:literal, $products:literal) => {
        concat!("sadalp {", $sum, ":v}.4s, {", $products, ":v}.8h\n")
    };
}

/// Adds the products of `steps` registers of elements for each pixel, without a weight of −128.
///
/// # Safety
/// `steps` is at least 1; there are as many registers behind each of `x`, and LANES times as many
/// behind `weights`.
#[inline]
#[target_feature(enable = "neon")]
pub unsafe fn add(
    sums: &mut [[int32x4_t; LANES]; PIXELS],
    x: [*const i8; PIXELS],
    weights: *const i8,
    steps: usize,
) {
    let [[a0, a4, a8, a12], [a1, a5, a9, a13], [a2, a6, a10, a14], [a3, a7, a11, a15]] = sums;
    // SAFETY: it reads what the caller says is there, and writes registers alone.
    unsafe {
        asm!(
            "ldp {w0:q}, {w1:q}, [{weights}]",
            "ldr {x0:q}, [{p0}]",
            "ldr {x1:q}, [{p1}]",
            "ldr {x2:q}, [{p2}]",
            "ldr {x3:q}, [{p3}]",
            "2:",
            "ldp {w2:q}, {w3:q}, [{weights}, #32]",
            // The last step loads its own operands again, so that nothing behind them is read.
            "subs {steps}, {steps}, #1",
            "csel {more}, xzr, {register}, eq",
            "add {at}, {at}, {more}",
            "add {weights}, {weights}, {more}, lsl #2",
            products!("smull", "8b", "w0", "w1"),
            products!("smlal2", "16b", "w0", "w1"),
            concat!(sum!("a0", "t0"), sum!("a1", "t1"), sum!("a2", "t2"), sum!("a3", "t3")),
            concat!(sum!("a4", "t4"), sum!("a5", "t5"), sum!("a6", "t6"), sum!("a7", "t7")),
            products!("smull", "8b", "w2", "w3"),
            products!("smlal2", "16b", "w2", "w3"),
            "ldp {w0:q}, {w1:q}, [{weights}]",
            sum!("a8", "t0"),
            "ldr {x0:q}, [{p0}, {at}]",
            sum!("a9", "t1"),
            "ldr {x1:q}, [{p1}, {at}]",
            sum!("a10", "t2"),
            "ldr {x2:q}, [{p2}, {at}]",
            sum!("a11", "t3"),
            "ldr {x3:q}, [{p3}, {at}]",
            concat!(sum!("a12", "t4"), sum!("a13", "t5"), sum!("a14", "t6"), sum!("a15", "t7")),
            "b.ne 2b",
            p0 = in(reg) x[0], p1 = in(reg) x[1], p2 = in(reg) x[2], p3 = in(reg) x[3],
            weights = inout(reg) weights => _,
            steps = inout(reg) steps => _,
            at = inout(reg) 0_usize => _,
            more = out(reg) _, register = in(reg) REGISTER,
            a0 = inout(vreg) *a0, a1 = inout(vreg) *a1, a2 = inout(vreg) *a2, a3 = inout(vreg) *a3,
            a4 = inout(vreg) *a4, a5 = inout(vreg) *a5, a6 = inout(vreg) *a6, a7 = inout(vreg) *a7,
            a8 = inout(vreg) *a8, a9 = inout(vreg) *a9,
            a10 = inout(vreg) *a10, a11 = inout(vreg) *a11,
            a12 = inout(vreg) *a12, a13 = inout(vreg) *a13,
            a14 = inout(vreg) *a14, a15 = inout(vreg) *a15,
            x0 = out(vreg) _, x1 = out(vreg) _, x2 = out(vreg) _, x3 = out(vreg) _,
            w0 = out(vreg) _, w1 = out(vreg) _, w2 = out(vreg) _, w3 = out(vreg) _,
            t0 = out(vreg) _, t1 = out(vreg) _, t2 = out(vreg) _, t3 = out(vreg) _,
            t4 = out(vreg) _, t5 = out(vreg) _, t6 = out(vreg) _, t7 = out(vreg) _,
            options(readonly, nostack),
        );
    }
    const { assert!(REGISTER == 16 && LANES == 4 && PIXELS == 4) }
}
