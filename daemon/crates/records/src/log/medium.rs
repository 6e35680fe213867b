//! The few things that the log asks of a file system, so that its tests can put one of their own in
//! place that fails at every step. It knows nothing of what the files hold.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use picket_base::dir::Dir;

pub(crate) use picket_base::dir::Access;

/// A directory of files.
pub(crate) trait Medium: Send + Sync {
    fn names(&self) -> io::Result<Vec<String>>;
    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn Bytes>>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names durable.
    fn sync_names(&self) -> io::Result<()>;
    /// Whether the next start would find this directory.
    fn is_at_its_path(&self) -> bool;
}

/// An open file.
pub(crate) trait Bytes: Send + Sync {
    fn length(&self) -> io::Result<u64>;
    /// Fills the buffer up to the end of the file; returns how much there was.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
    /// Whether the next start would find this file.
    fn is_at_its_name(&self) -> bool;
}

/// The real one.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Dir>);

impl Disk {
    /// Opens a directory that is there.
    ///
    /// # Errors
    /// As any open.
    pub(crate) fn open(path: &Path) -> io::Result<Disk> {
        Ok(Disk(Arc::new(Dir::open(path)?)))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Locks the directory; false where another holds it.
    ///
    /// # Errors
    /// When the file system has no locks.
    pub(crate) fn lock(&self) -> io::Result<bool> {
        self.0.lock()
    }

    pub(crate) fn unlock(&self) {
        self.0.unlock();
    }
}

impl Medium for Disk {
    fn names(&self) -> io::Result<Vec<String>> {
        self.0.names()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn Bytes>> {
        let file = self.0.file(name, access)?;
        Ok(Box::new(DiskFile { dir: self.0.clone(), name: name.to_string(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn is_at_its_path(&self) -> bool {
        self.0.is_at_its_path()
    }
}

struct DiskFile {
    dir: Arc<Dir>,
    name: String,
    file: File,
}

impl Bytes for DiskFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn is_at_its_name(&self) -> bool {
        self.dir.names_file(&self.name, &self.file)
    }
}

/// Reads a file from `at` on. Blocks that the disk can't read are left as zeros, which no checksum takes for
/// anything.
///
/// # Errors
/// When the file can't be asked for its length.
pub(crate) fn read_what_can_be_read(
    file: &dyn Bytes,
    at: u64,
    length: usize,
) -> io::Result<Vec<u8>> {
    /// What a disk reads or refuses as a whole.
    const BLOCK_BYTES: usize = 4096;
    let left = file.length()?.saturating_sub(at);
    let mut bytes = vec![0; length.min(usize::try_from(left).unwrap_or(usize::MAX))];
    if file.read_at(&mut bytes, at).is_err() {
        for (block, start) in bytes.chunks_mut(BLOCK_BYTES).zip((at..).step_by(BLOCK_BYTES)) {
            if file.read_at(block, start).is_err() {
                block.fill(0);
            }
        }
    }
    Ok(bytes)
}
