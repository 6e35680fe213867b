//! The checks, one file each. None depends on another; `all` runs them in sequence.

pub mod all;
pub mod clock;
pub mod corrupt;
pub mod eio;
pub mod enospc;
pub mod kill9;
pub mod readonly;
pub mod retention;
pub mod stall;
