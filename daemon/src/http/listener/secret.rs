//! What token and key have in common: they should be nobody else's to read.

use std::path::Path;

/// Permission bits of everyone who is neither owner nor group.
const OTHERS: u32 = 0o007;

/// Warns of a secret that everybody on the box may read. It is not refused: it may be meant.
pub(in crate::http) fn warn_if_exposed(path: &Path, mode: u32, what: &str) {
    if mode & OTHERS != 0 {
        let mode = format!("{:o}", mode & 0o777);
        tracing::warn!(path = %path.display(), mode, "every user of this machine may read the {what}");
    }
}
