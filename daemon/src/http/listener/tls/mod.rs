//! TLS on a listener: certificate and key from files, read again when asked to. The only room that
//! names rustls.

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod present;
#[cfg(feature = "tls")]
mod validity;

use std::path::PathBuf;

#[cfg(not(feature = "tls"))]
pub use absent::Tls;
#[cfg(feature = "tls")]
pub use present::Tls;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {what} {}", path.display())]
    Unreadable { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} holds no {what} in PEM form: {detail}", path.display())]
    Pem { what: &'static str, path: PathBuf, detail: String },
    #[error("certificate {} and key {} can't be used together: {detail}", cert.display(), key.display())]
    Pair { cert: PathBuf, key: PathBuf, detail: String },
    #[error("this build of picket has no TLS")]
    Absent,
}
