//! HTTP: `listener` turns sockets into requests and knows no route, `api` answers them.

pub mod api;
pub mod listener;
mod metrics;
mod reply;

pub use metrics::HttpMetrics;
