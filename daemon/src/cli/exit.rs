//! The exit codes: those of sysexits.h.

/// What was asked for is not so, or failed.
pub const OTHER: u8 = 1;
pub const USAGE: u8 = 64;
pub const DATA: u8 = 65;
pub const IO: u8 = 74;
pub const CONFIG: u8 = 78;
