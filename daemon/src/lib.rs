//! Picket: image classification on edge boxes, with a prediction log that survives power cuts and
//! probes that tell the truth.
//!
//! The rooms, in the order in which a picture meets them:
//!
//! - [`http`] takes the request; the workers of [`inference`] walk the line from bytes to a prediction.
//! - [`recording`] numbers the record and hands it to the log; it does the same for what other devices
//!   report.
//! - [`cli`] is the command line, which starts all of it or one part; [`life`] starts the parts, reloads
//!   and drains them. Only these two name [`config`].
//! - What is too heavy for a listener's thread goes to the threads of [`offload`]; what waits for any
//!   thread waits in a [`queue`], which shares the threads between senders.
//! - [`memory`] plans what requests may take together; every room takes from that budget.
//! - [`models`] changes the model that serves: gate, swap, probation, rollback.
//! - [`health`], [`metrics`], [`os`], [`endpoint`], [`origin`] and [`peer`] are leaves that any room may
//!   use; [`registry`] watches a neighbour, [`diagnostics`] takes what the daemon has to say.

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
pub mod memory;
pub mod metrics;
pub mod models;
pub mod offload;
pub mod origin;
pub mod os;
pub mod peer;
pub mod queue;
pub mod recording;
pub mod registry;

/// Version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit that the binary was built from, "unknown" outside a checkout.
pub const COMMIT: &str = env!("PICKET_COMMIT");
/// Target triple that the binary was built for.
pub const TARGET: &str = env!("PICKET_TARGET");
