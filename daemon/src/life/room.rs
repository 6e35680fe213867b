//! How many connections there is room for among the process' open files.

use super::control::CONTROL_CONNECTIONS_MAX;
use crate::config::ApiConfig;
use crate::http::listener::{LEAVING_MAX, TURNED_AWAY_MAX};
use crate::os;

/// Connections that the probes may open; how many the API may is a setting. Each listener has its own,
/// so that a flood on one never starves another.
pub(super) const PROBE_CONNECTIONS_MAX: usize = 64;

/// Files that are open beside connections: the log, listeners, runtimes, standard streams.
const OTHER_FILES_MAX: usize = 128;

/// How many API connections there are files for, once as many are asked of the kernel as needed.
pub(super) fn room_for_connections(api: &ApiConfig) -> usize {
    let going = 3 * (TURNED_AWAY_MAX + LEAVING_MAX);
    let others = OTHER_FILES_MAX + PROBE_CONNECTIONS_MAX + CONTROL_CONNECTIONS_MAX + going;
    let files = os::raise_open_files(others + api.max_connections).unwrap_or(usize::MAX);
    let possible = files.saturating_sub(others).max(1);
    if possible < api.max_connections {
        let asked = api.max_connections;
        tracing::warn!(files, asked, possible, "the limit of open files allows fewer connections");
    }
    possible.min(api.max_connections)
}
