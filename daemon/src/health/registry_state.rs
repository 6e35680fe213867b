//! The state of the model registry, as whoever watches it reports it.

/// There is one only where a registry is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryState {
    /// Whether the daemon is not ready without it.
    pub required: bool,
    pub accessible: bool,
}
