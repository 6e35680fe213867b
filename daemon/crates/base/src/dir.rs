//! A directory held by its descriptor: whatever happens to its path, every file opened here is one of this
//! directory. It knows nothing of what the files hold.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::disk::{AlignedBytes, DIRECT_ALIGNMENT_BYTES};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To be read; it is there.
    Read,
    /// To be read and written; it is there.
    Write,
    /// To be read and written; it must not be there yet.
    Create,
    /// As `Write`, and a write returns when it is on the medium. It goes past the page cache where the file
    /// system can do that: memory, offset and length are multiples of `DIRECT_ALIGNMENT_BYTES`.
    Synchronous,
}

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    file: File,
    path: PathBuf,
}

impl Dir {
    /// Opens a directory that is there.
    ///
    /// # Errors
    /// As any open.
    pub fn open(path: &Path) -> io::Result<Dir> {
        let path = std::path::absolute(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&path, flags, Mode::empty())?);
        Ok(Dir { file, path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the directory itself, so that no second path to it, and no file that somebody removes, leads
    /// around the lock. The kernel releases it with the last descriptor. Returns false where another holds it.
    ///
    /// # Errors
    /// When the file system has no locks.
    pub fn lock(&self) -> io::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Gives the lock back, also where somebody still has the directory open.
    pub fn unlock(&self) {
        // The kernel does it with the last descriptor at the latest.
        let _ = self.file.unlock();
    }

    /// Whether its path still leads to this directory: it may have been removed, renamed, replaced or mounted
    /// over.
    pub fn is_at_its_path(&self) -> bool {
        let (Ok(here), Ok(there)) = (self.file.metadata(), std::fs::metadata(&self.path)) else {
            return false;
        };
        (here.dev(), here.ino()) == (there.dev(), there.ino()) && here.nlink() > 0
    }

    /// Whether a name in it still leads to this open file.
    pub fn names_file(&self, name: &str, file: &File) -> bool {
        let there = rustix::fs::statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW);
        let (Ok(here), Ok(there)) = (file.metadata(), there) else { return false };
        here.dev() == there.st_dev && here.ino() == there.st_ino
    }

    /// Returns the names of all that is in it, in no order.
    ///
    /// # Errors
    /// When the disk can't read it.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.file)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Opens a file in it; one that is created is its owner's alone.
    ///
    /// # Errors
    /// As any open.
    pub fn file(&self, name: &str, access: Access) -> io::Result<File> {
        let open = |flags: OFlags| -> io::Result<File> {
            let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            Ok(rustix::fs::openat(&self.file, name, flags, Mode::RUSR | Mode::WUSR)?.into())
        };
        match access {
            Access::Read => open(OFlags::RDONLY),
            Access::Write => open(OFlags::RDWR),
            Access::Create => open(OFlags::RDWR | OFlags::CREATE | OFlags::EXCL),
            Access::Synchronous => synchronous(open),
        }
    }

    /// Renames a file in it; one of the new name is replaced.
    ///
    /// # Errors
    /// As any rename.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.file, from, &self.file, to)?)
    }

    /// Removes a file in it.
    ///
    /// # Errors
    /// As any unlink.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.file, name, AtFlags::empty())?)
    }

    /// Fsyncs it, so that the names made in it survive a power cut.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// rustix means O_SYNC by its name for it, which writes a file's times with every write.
const DSYNC: OFlags = OFlags::from_bits_retain(nix::libc::O_DSYNC.cast_unsigned());

fn synchronous(open: impl Fn(OFlags) -> io::Result<File>) -> io::Result<File> {
    // Some file systems take the flag and refuse the first access.
    let direct = open(OFlags::RDWR | OFlags::DIRECT | DSYNC).and_then(|file| {
        let mut block = AlignedBytes::zeroed(DIRECT_ALIGNMENT_BYTES);
        file.read_at(block.as_mut(), 0)?;
        Ok(file)
    });
    match direct {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            open(OFlags::RDWR | DSYNC)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("picket-dir-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("log")).unwrap();
        path
    }

    #[test]
    fn a_locked_directory_is_locked_by_whatever_path() {
        let at = scratch("lock");
        let held = Dir::open(&at.join("log")).unwrap();
        assert!(held.lock().unwrap());
        std::os::unix::fs::symlink(at.join("log"), at.join("link")).unwrap();
        for path in ["log", "link", "log/../log"] {
            assert!(!Dir::open(&at.join(path)).unwrap().lock().unwrap(), "{path}");
        }
        // The lock goes where the directory goes.
        std::fs::rename(at.join("log"), at.join("moved")).unwrap();
        assert!(!Dir::open(&at.join("moved")).unwrap().lock().unwrap());
        drop(held);
        assert!(Dir::open(&at.join("moved")).unwrap().lock().unwrap());
        std::fs::remove_dir_all(at).unwrap();
    }

    #[test]
    fn a_synchronous_file_syncs_what_is_written_and_not_its_times() {
        let at = scratch("synchronous");
        let dir = Dir::open(&at.join("log")).unwrap();
        dir.file("a", Access::Create).unwrap().write_all_at(&[0; 4096], 0).unwrap();
        let file = dir.file("a", Access::Synchronous).unwrap();
        let flags = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_GETFL).unwrap();
        assert_eq!(flags & nix::libc::O_SYNC, nix::libc::O_DSYNC);
        std::fs::remove_dir_all(at).unwrap();
    }

    #[test]
    fn a_directory_or_a_file_that_was_replaced_is_no_longer_there() {
        let at = scratch("replaced");
        let dir = Dir::open(&at.join("log")).unwrap();
        let file = dir.file("a", Access::Create).unwrap();
        assert!(dir.is_at_its_path() && dir.names_file("a", &file));
        assert!(dir.file("a", Access::Create).is_err(), "it is there");
        std::fs::copy(at.join("log/a"), at.join("copy")).unwrap();
        std::fs::rename(at.join("copy"), at.join("log/a")).unwrap();
        assert!(dir.is_at_its_path() && !dir.names_file("a", &file));
        dir.rename("a", "b").unwrap();
        assert_eq!(dir.names().unwrap(), ["b"]);
        std::fs::rename(at.join("log"), at.join("was")).unwrap();
        assert!(!dir.is_at_its_path());
        std::fs::create_dir(at.join("log")).unwrap();
        assert!(!dir.is_at_its_path());
        dir.remove("b").unwrap();
        std::fs::remove_dir_all(at.join("was")).unwrap();
        std::fs::remove_dir_all(at).unwrap();
    }
}
