//! Why a certificate and its key can't be used.

use std::path::PathBuf;

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
