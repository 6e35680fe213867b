//! What a start says to whoever reads the daemon's messages: what it starts with, and what may not be meant.

use super::reload::LiveSettings;
use super::secrets::Secrets;
use crate::config::{ApiConfig, Config};
use crate::http::listener::Listener;

/// Says what starts.
pub fn what_starts(config: &Config) {
    tracing::info!(
        version = crate::VERSION,
        state_dir = %config.state_dir.display(),
        workers = config.api.workers,
        "starting"
    );
}

/// Says that the limits are about to take much of the log: it may not be meant.
pub fn removal(config: &Config, live: &LiveSettings) {
    let limits = config.log.retention();
    let removal = live.reader.removal(limits, live.metrics.budgeted_bytes());
    if let Some(removal) = removal.ok().filter(|removal| removal.is_large()) {
        tracing::warn!("the limits of [log] {removal}, as new ones come");
    }
}

/// Says who may write to the log where a token does not: nobody should learn it from a stranger's records.
pub fn openness(api: &ApiConfig, listener: &Listener, secrets: &Secrets) {
    let addr = listener.address();
    match (&secrets.token, api.open) {
        (Some(_), true) => tracing::warn!(
            "api.open is true, but a token is configured: it is asked for, as if api.open were false"
        ),
        (None, false) if !listener.is_local() => tracing::warn!(
            addr,
            "without a token everybody who reaches the API may write to the log: set api.token_file, \
             or api.open = true if that is meant"
        ),
        _ => {}
    }
}
