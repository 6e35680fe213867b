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
pub mod config;
pub mod endpoint;
pub mod health;
pub mod http;
pub mod image;
pub mod live;
pub mod log_batch;
pub mod log_output;
pub mod metrics;
pub mod model;
pub mod os;
pub mod pipeline;
pub mod prediction;
pub mod prediction_log;
pub mod qconv;
mod queue;
pub mod registry;
mod reload;
pub mod supervisor;
pub mod systemd;
pub mod tensor;
mod watchdog;
pub mod wear;
pub mod worker;
pub mod writer;

/// Version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit that the binary was built from, "unknown" outside a checkout.
pub const COMMIT: &str = env!("PICKET_COMMIT");
/// Target triple that the binary was built for.
pub const TARGET: &str = env!("PICKET_TARGET");

/// An error and its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
