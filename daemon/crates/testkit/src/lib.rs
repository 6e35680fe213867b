//! Starts, asks, freezes and scrapes a real daemon whose path the caller gives. It knows the daemon as
//! its users do, by command line, HTTP, signals and files, and depends on no part of its code.

mod client;
mod daemon;
mod durations;
mod freeze;
mod launch;
mod lines;
mod memory;
mod metrics;
mod probes;
mod raw;
mod store;
mod wait;

pub use client::{Answer, Client, GREY_PIXELS};
pub use daemon::Daemon;
pub use durations::Durations;
pub use freeze::Frozen;
pub use launch::{Launch, picket};
pub use memory::Memory;
pub use nix::sys::signal::Signal;
pub use probes::{PROBE_PATHS, Probes, Seen};
pub use raw::{exchange, exchange_and_hang_up};
pub use store::{StorePart, store_exists};
pub use wait::{PATIENCE, wait_for};
