//! What can be wrong with a configuration. Every text names the file or the key, and the limit.

use std::path::PathBuf;

use super::setting::Former;

/// Largest configuration file that is read, bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read configuration {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("configuration {} is {bytes} bytes, at most {FILE_BYTES_MAX} are read", path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error(
        "configuration {} is empty: it was not written whole, or is the wrong file; without --config the \
         defaults hold",
        path.display()
    )]
    Empty { path: PathBuf },
    #[error("configuration {}: {detail}", path.display())]
    Syntax { path: PathBuf, detail: String },
    #[error("configuration {}: {}", path.display(), names.conflict())]
    TwoNames { path: PathBuf, names: Former },
    #[error("{key} is {value}: {limit}")]
    Value { key: String, value: String, limit: String },
}
