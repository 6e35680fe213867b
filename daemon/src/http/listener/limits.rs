//! Limits of the listeners that several of their files need.

/// Headers of a request at most.
pub(super) const HEADERS_MAX: usize = 64;

/// Largest head of a request, bytes.
pub(super) const HEAD_BYTES_MAX: usize = 16 << 10;

/// What a connection may hold at most beside its request's body and a long answer, bytes: hyper's buffers
/// for what comes and goes, each as large as a head, and its state.
pub(super) const CONNECTION_BYTES: usize = 3 * HEAD_BYTES_MAX;

/// What one holds with TLS beside that, bytes: a record that comes and what waits to be sent.
pub(super) const TLS_BYTES: usize = 80 << 10;

/// Clients that are turned away at the same time. Those beyond get what fits in their socket.
pub const TURNED_AWAY_MAX: usize = 64;

/// Connections that have lost their place and are not closed yet, of one listener,
pub const LEAVING_MAX: usize = 32;

/// and of one peer among them: while it holds these, others are asked to go.
pub(super) const LEAVING_PER_PEER_MAX: usize = 16;
