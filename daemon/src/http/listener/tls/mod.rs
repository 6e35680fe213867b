//! TLS on a listener: certificate and key from files, read again when asked to or when they
//! have changed.

#[cfg(not(feature = "tls"))]
mod absent;
mod error;
#[cfg(feature = "tls")]
mod identity;
mod look;
#[cfg(feature = "tls")]
mod present;
#[cfg(feature = "tls")]
mod validity;

#[cfg(not(feature = "tls"))]
pub use absent::Tls;
pub use error::TlsError;
pub use look::Look;
#[cfg(feature = "tls")]
pub use present::Tls;
