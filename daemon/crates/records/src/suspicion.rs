//! Whether the disk may be believed. After an I/O error on a write the kernel may have dropped
//! pages that it then reports as written: until the file system is mounted again, or the machine
//! boots, nothing that is committed is certain. A file beside the store keeps that through a
//! restart of the daemon.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::paths;
use picket_base::{clock, disk};

/// The mount on which a write failed, and what failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Doubt {
    boot_id: String,
    mount_id: Option<u64>,
    why: String,
}

/// What is held against a disk.
#[derive(Debug)]
pub struct Suspicion {
    path: PathBuf,
    /// On the disk in question.
    dir: PathBuf,
    doubt: Option<Doubt>,
}

impl Suspicion {
    /// Reads what is held against the disk of the log directory `dir`.
    pub fn of(dir: &Path) -> Suspicion {
        let path = paths::beside(dir, ".suspect");
        let doubt = std::fs::read(&path).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Suspicion { path, dir: paths::parent(dir).to_path_buf(), doubt }
    }

    /// Returns why the disk is not believed; none once it was mounted again.
    pub fn standing(&mut self) -> Option<&str> {
        let doubt = self.doubt.as_ref()?;
        if doubt.boot_id != clock::boot_id() || doubt.mount_id != disk::mount_id(&self.dir) {
            self.clear();
        }
        self.doubt.as_ref().map(|doubt| doubt.why.as_str())
    }

    /// Notes that a write has failed.
    pub fn raise(&mut self, why: &str) {
        let doubt = Doubt {
            boot_id: clock::boot_id(),
            mount_id: disk::mount_id(&self.dir),
            why: why.to_string(),
        };
        let json = serde_json::to_vec(&doubt).expect("a doubt has no value that JSON lacks");
        let write = || -> io::Result<()> {
            std::fs::write(&self.path, json)?;
            disk::sync_dir(&self.dir)
        };
        if let Err(error) = write() {
            tracing::warn!(%error, "the doubt about this disk would not survive a restart");
        }
        self.doubt = Some(doubt);
    }

    /// Lifts the doubt. Somebody has looked after the disk: it was read-only and is not any more.
    pub fn clear(&mut self) {
        self.doubt = None;
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the doubt about this disk stays on record");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubt_survives_a_restart_but_neither_a_remount_nor_a_boot() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut suspicion = Suspicion::of(&log);
        assert_eq!(suspicion.standing(), None);
        suspicion.raise("input/output error");
        assert_eq!(Suspicion::of(&log).standing(), Some("input/output error"));

        for (field, value) in [("mount_id", serde_json::json!(1)), ("boot_id", "other".into())] {
            suspicion.raise("input/output error");
            let path = dir.path().join("log.suspect");
            let mut doubt: serde_json::Value =
                serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            doubt[field] = value;
            std::fs::write(&path, doubt.to_string()).unwrap();
            assert_eq!(Suspicion::of(&log).standing(), None, "{field}");
            assert!(!path.exists());
        }
    }
}
