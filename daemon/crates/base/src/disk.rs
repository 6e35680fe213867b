//! Files and disks as the log needs them: synchronous writes, room, mounts, and what an error means.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc::off_t;
use rustix::fs::{AtFlags, StatxFlags};

/// What memory, offsets and lengths are multiples of when a file opened by `open_synchronous` is
/// written to: a page, which no disk's block exceeds.
pub const DIRECT_ALIGNMENT_BYTES: usize = 4096;

/// Opens a file whose writes return when they are on the medium. They go past the page cache
/// where the file system can do that: a quarter faster, and an error is the write's own, where
/// the cache may drop a page and report it as written.
///
/// # Errors
/// As any open.
pub fn open_synchronous(path: &Path) -> std::io::Result<File> {
    let open =
        |flags: OFlag| File::options().read(true).write(true).custom_flags(flags.bits()).open(path);
    // Some file systems take the flag and refuse the first access.
    let direct = open(OFlag::O_DIRECT | OFlag::O_DSYNC).and_then(|file| {
        let mut block = AlignedBytes::zeroed(DIRECT_ALIGNMENT_BYTES);
        file.read_at(block.as_mut(), 0)?;
        Ok(file)
    });
    match direct {
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => open(OFlag::O_DSYNC),
        other => other,
    }
}

/// Bytes whose memory begins at a multiple of `DIRECT_ALIGNMENT_BYTES`.
pub struct AlignedBytes {
    bytes: Vec<u8>,
    start: usize,
}

impl AlignedBytes {
    /// Returns `length` bytes of 0.
    pub fn zeroed(length: usize) -> AlignedBytes {
        let bytes = vec![0; length + DIRECT_ALIGNMENT_BYTES];
        let start = bytes.as_ptr().align_offset(DIRECT_ALIGNMENT_BYTES);
        AlignedBytes { start, bytes }
    }
}

impl AsMut<[u8]> for AlignedBytes {
    fn as_mut(&mut self) -> &mut [u8] {
        let length = self.bytes.len() - DIRECT_ALIGNMENT_BYTES;
        &mut self.bytes[self.start..self.start + length]
    }
}

/// Fsyncs a directory, so that the names made in it survive a power cut.
///
/// # Errors
/// When it can't be opened or the disk refuses.
pub fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Allocates the blocks of a file, so that they are there whatever fills the disk later.
///
/// # Errors
/// When there are not as many, or the file system can't promise them.
pub fn preallocate(file: &File, bytes: u64) -> std::io::Result<()> {
    let bytes = off_t::try_from(bytes).map_err(std::io::Error::other)?;
    Ok(nix::fcntl::posix_fallocate(file, 0, bytes)?)
}

/// Returns the bytes that a file takes on disk, holes left out.
pub fn allocated_bytes(metadata: &std::fs::Metadata) -> u64 {
    /// The unit of `st_blocks`, whatever the file system's own block size; stat(2).
    const BLOCK_BYTES: u64 = 512;
    metadata.blocks() * BLOCK_BYTES
}

/// Returns which mount a directory is on, by a number that the kernel never uses again (since 6.8). Older
/// kernels give the number of an unmounted file system to the next one: there two mounts may look
/// like one. Returns none where the kernel says neither.
pub fn mount_id(dir: &Path) -> Option<u64> {
    /// STATX_MNT_ID_UNIQUE of statx(2).
    const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let wanted = StatxFlags::MNT_ID | UNIQUE;
    let found = rustix::fs::statx(rustix::fs::CWD, dir, AtFlags::empty(), wanted).ok()?;
    let known = StatxFlags::from_bits_retain(found.stx_mask);
    known.intersects(wanted).then_some(found.stx_mnt_id)
}

/// Whether a disk has failed to read or write.
pub fn is_io_error(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EIO as i32)
}

/// Whether an I/O error means that this user may not write here at all, so that waiting for the
/// disk to recover can't help.
pub fn is_refusal(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EACCES | Errno::EPERM | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::ELOOP)
    )
}

/// Returns the bytes that this process made the kernel write to block devices since it started; none
/// where the kernel does not count them.
pub fn written_bytes() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes:")?.trim().parse().ok())
}
