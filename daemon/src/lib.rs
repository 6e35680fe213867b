//! Picket: image classification on edge boxes, with a prediction log that survives power cuts and
//! probes that tell the truth.
//!
//! The rooms, in the order in which an image meets them:
//!
//! - [`http`] takes the request; [`worker`] threads walk [`pipeline`]: [`image`] → [`tensor`] →
//!   [`model`] → [`prediction`].
//! - [`writer`] numbers the record and hands it to the [`prediction_log`]; [`log_batch`] does the
//!   same for what other devices report.
//! - [`cli`] is the command line, which starts all of it or one part.
//! - [`health`], [`metrics`], [`os`], [`endpoint`], [`live`] and [`config`] are leaves that anyone
//!   may use; [`systemd`] and [`registry`] speak to the neighbours, [`log_output`] to whoever reads
//!   what the daemon says; [`supervisor`] builds and drains it all.

#![deny(unsafe_code)]

pub mod cli;
pub mod client;
pub mod config;
pub mod diagnostics;
pub mod endpoint;
pub mod health;
pub mod http;
pub mod inference;
pub mod life;
pub mod metrics;
pub mod os;
pub mod recording;
pub mod registry;

/// Version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit that the binary was built from, "unknown" outside a checkout.
pub const COMMIT: &str = env!("PICKET_COMMIT");
/// Target triple that the binary was built for.
pub const TARGET: &str = env!("PICKET_TARGET");
