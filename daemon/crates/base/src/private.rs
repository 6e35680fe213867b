//! Files that are nobody else's to read: making them so, whatever was there before.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::stat::{Mode, umask};

/// What group and others may do with a file.
const OF_OTHERS: u32 = 0o077;

/// Directories inside each other that are looked into: a store has two.
const DEPTH_MAX: usize = 4;

/// From now on this process makes files of mode 0600 and directories of mode 0700, whatever mask it was
/// started with: also those that a library makes for it.
pub fn make_files_private() {
    umask(Mode::from_bits_truncate(OF_OTHERS));
}

/// Takes from group and others what they may do with a file or directory, and with all that is in it.
/// Links are left alone. Returns how many were open to them.
///
/// # Errors
/// The first mode that can't be read or changed, as that of another user's file.
pub fn tighten(path: &Path) -> io::Result<usize> {
    tighten_within(path, DEPTH_MAX)
}

fn tighten_within(path: &Path, depth: usize) -> io::Result<usize> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(0);
    }
    let mode = metadata.permissions().mode();
    let mut tightened = 0;
    if mode & OF_OTHERS != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777 & !OF_OTHERS))?;
        tightened += 1;
    }
    if metadata.is_dir() && depth > 0 {
        for entry in fs::read_dir(path)? {
            tightened += tighten_within(&entry?.path(), depth - 1)?;
        }
    }
    Ok(tightened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_directory_is_tightened_and_what_a_link_names_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (store, elsewhere) = (dir.path().join("log"), dir.path().join("elsewhere"));
        fs::create_dir_all(store.join("blobs")).unwrap();
        fs::write(store.join("db"), "").unwrap();
        fs::write(&elsewhere, "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, store.join("link")).unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        set(&store, 0o2775).unwrap();
        set(&store.join("blobs"), 0o755).unwrap();
        set(&store.join("db"), 0o640).unwrap();
        set(&elsewhere, 0o644).unwrap();
        assert_eq!(tighten(&store).unwrap(), 3);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&store), 0o2700);
        assert_eq!((mode(&store.join("blobs")), mode(&store.join("db"))), (0o700, 0o600));
        assert_eq!(mode(&elsewhere), 0o644);
        assert_eq!(tighten(&store).unwrap(), 0);
    }
}
