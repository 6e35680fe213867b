//! How much a store of models takes.

/// Refused versions that are remembered; the oldest is forgotten first.
pub const REFUSED_MAX: usize = 64;

/// Most files of one version.
pub const VERSION_FILES_MAX: usize = 128;

/// A crash is counted, and so many of them in a version's probation end it.
pub(crate) const CRASHES_MAX: u32 = 2;

/// So are starts of the machine that nobody planned: a power cut is no fault of the model, several in a
/// row may be.
pub(crate) const CUTS_MAX: u32 = 3;

/// The longest name or version that is kept, bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 200;

/// The longest reason that is kept, bytes.
pub(crate) const REASON_BYTES_MAX: usize = 600;

/// The largest state file that is read, bytes.
pub(crate) const STATE_BYTES_MAX: u64 = 1 << 20;

/// What an operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Installed versions that are kept beside the one that serves and the one before it.
    pub keep: usize,
    /// Bytes of all versions together.
    pub max_bytes: u64,
}
