//! What the main thread is asked for while the daemon serves: by signals, and on the control socket.

use std::sync::mpsc::SyncSender;

use crate::http::api::ReloadWish;

/// So many requests may wait for the main thread.
pub const REQUESTS_MAX: usize = 4;

pub enum Request {
    /// It asks to end; this is the signal's name.
    Stop(&'static str),
    /// It asks to read the configuration again; none by a signal, which nobody waits to hear about.
    Reload(Option<ReloadWish>),
}

/// Where requests go.
pub type Requests = SyncSender<Request>;
