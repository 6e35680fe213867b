//! How much memory requests may take: derived from what the kernel lets the daemon have, counted by a
//! `Budget` that every room takes from, shown as metrics.

mod derive;
mod metrics;
mod shares;

pub use derive::{Given, Needs, Plan, plan};
pub use metrics::register_budget;
pub use shares::{NoShare, Share, Shares};
