//! The daemon's int8 kernels with nothing around them, so that their tests build for another CPU in
//! seconds and run there, or under qemu (`./dev kernels`). The sources are the daemon's own.

#![deny(unsafe_code)]

#[path = "../../../src/qconv/kernel/mod.rs"]
pub mod kernel;
