//! What lies in the state directory is nobody else's to read: what earlier versions, a copy or a restore
//! have left open is closed before the log is opened.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use picket_base::private;

/// What group and others may do with a directory.
const OF_OTHERS: u32 = 0o077;
const WRITABLE: u32 = 0o022;

/// Tightens the log and what lies beside it, and says so. The state directory itself may be shared with
/// others, by a group or a volume: of that it is only told.
pub fn keep_private(state_dir: &Path) {
    let Ok(entries) = std::fs::read_dir(state_dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(is_ours);
        if !is_ours {
            continue;
        }
        let path = entry.path();
        match private::tighten(&path) {
            Ok(0) => {}
            Ok(files) => {
                tracing::warn!(path = %path.display(), files, "others could read it, not any more");
            }
            // Gone since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "others may be able to read it");
            }
        }
    }
    let path = state_dir.display();
    match open_mode(state_dir) {
        // Who may rename what lies in it may put another log there.
        Some(mode) if mode & WRITABLE != 0 => {
            tracing::warn!(%path, mode = %format!("{mode:o}"), "others may change the state directory");
        }
        Some(mode) => {
            tracing::info!(%path, mode = %format!("{mode:o}"), "others may enter the state directory");
        }
        None => {}
    }
}

/// The mode of a directory that others may enter or read.
pub fn open_mode(dir: &Path) -> Option<u32> {
    let mode = std::fs::metadata(dir).ok()?.mode() & 0o7777;
    (mode & OF_OTHERS != 0).then_some(mode)
}

fn is_ours(name: &str) -> bool {
    name == "log"
        || name.starts_with("log.")
        || name.starts_with("quarantine-")
        || name == super::token_memory::FILE_NAME
}
