//! Limits of the listeners that several of their files need.

/// Headers of a request at most.
pub(super) const HEADERS_MAX: usize = 64;

/// Largest head of a request, bytes.
pub(super) const HEAD_BYTES_MAX: usize = 16 << 10;

/// Clients that are turned away at the same time. Those beyond get what fits in their socket.
pub const TURNED_AWAY_MAX: usize = 64;

/// Connections that have lost their place and are not closed yet, of one listener.
pub const LEAVING_MAX: usize = 16;
