//! What a file system has left and lets us do: bytes, files, quotas, and whether it takes writes at all. It
//! writes nothing to find out.

use std::ffi::CString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::libc;

/// What a file system has left and lets us do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Files that this user may still make; none where the file system does not count them.
    pub free_files: Option<u64>,
    /// A quota leaves less than the disk has.
    pub by_quota: bool,
    /// Whether the file system is mounted read-only, or has made itself so after an error.
    pub read_only: bool,
}

/// Asks the file system of a directory for its room.
///
/// # Errors
/// When the directory is gone or its disk does not answer.
pub fn room(dir: &Path) -> std::io::Result<Room> {
    let stat = nix::sys::statvfs::statvfs(dir)?;
    let mut room = Room {
        free_bytes: stat.blocks_available() as u64 * stat.fragment_size() as u64,
        free_files: (stat.files() > 0).then_some(stat.files_available() as u64),
        by_quota: false,
        read_only: stat.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY),
    };
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if let Some(mount) = mount_of(&mounts, std::fs::metadata(dir)?.dev()) {
        room.read_only |= mount.stopped;
        for (kind, id) in [
            (USER, rustix::process::geteuid().as_raw()),
            (GROUP, rustix::process::getegid().as_raw()),
        ] {
            if let Some(left) = left_by_quota(kind, id, &mount.source) {
                room.limit(left);
            }
        }
    }
    Ok(room)
}

/// What a quota leaves: bytes and files, each where it has a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Left {
    bytes: Option<u64>,
    files: Option<u64>,
}

impl Room {
    fn limit(&mut self, left: Left) {
        if let Some(bytes) = left.bytes.filter(|bytes| *bytes < self.free_bytes) {
            (self.free_bytes, self.by_quota) = (bytes, true);
        }
        if let Some(files) =
            left.files.filter(|files| self.free_files.is_none_or(|free| *files < free))
        {
            (self.free_files, self.by_quota) = (Some(files), true);
        }
    }
}

/// What mountinfo says of a mount.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    source: String,
    /// The file system has stopped taking writes after an error, which the flags of the mount do not say.
    stopped: bool,
}

/// Words of a file system that has stopped (ext4 since 6.13, and before; XFS shuts down by refusing to read).
const STOPPED: [&str; 2] = ["emergency_ro", "shutdown"];

fn mount_of(mountinfo: &str, device: u64) -> Option<Mount> {
    let (major, minor) = (libc::major(device), libc::minor(device));
    let device = format!("{major}:{minor}");
    let line = mountinfo.lines().find(|line| line.split(' ').nth(2) == Some(&device))?;
    let (_, back) = line.split_once(" - ")?;
    let mut back = back.split(' ').skip(1);
    let source = back.next()?.to_string();
    let stopped = back.next()?.split(',').any(|option| STOPPED.contains(&option));
    Some(Mount { source, stopped })
}

/// The kinds of quota, quotactl(2).
const USER: i32 = 0;
const GROUP: i32 = 1;

/// Q_GETQUOTA of quotactl(2), which glibc declares with a shift for the kind.
const GET_QUOTA: i32 = 0x0080_0007;

/// The unit of a quota's limits.
const QUOTA_BLOCK_BYTES: u64 = 1024;

/// Which of its fields are valid: limits and use of bytes, limits and use of files.
const VALID: u32 = 0x1 | 0x2 | 0x4 | 0x8;

#[allow(unsafe_code, reason = "no safe crate in use asks for quotas")]
fn left_by_quota(kind: i32, id: u32, source: &str) -> Option<Left> {
    if !source.starts_with('/') {
        return None;
    }
    let source = CString::new(source).ok()?;
    let mut found = std::mem::MaybeUninit::<libc::dqblk>::zeroed();
    let command = GET_QUOTA << 8 | kind;
    // SAFETY: the kernel writes one dqblk to the address and reads the text up to its end; both live longer
    // than the call. All bytes of a dqblk may be zero.
    let found = unsafe {
        let asked =
            libc::quotactl(command, source.as_ptr(), id.cast_signed(), found.as_mut_ptr().cast());
        if asked != 0 {
            return None;
        }
        found.assume_init()
    };
    if found.dqb_valid & VALID != VALID {
        return None;
    }
    let left = |limit: u64, used: u64| (limit > 0).then(|| limit.saturating_sub(used));
    Some(Left {
        bytes: left(found.dqb_bhardlimit * QUOTA_BLOCK_BYTES, found.dqb_curspace),
        files: left(found.dqb_ihardlimit, found.dqb_curinodes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext4 /dev/root rw,errors=continue
41 35 179:2 / /var rw,relatime shared:7 - ext4 /dev/mmcblk0p2 rw,emergency_ro,errors=remount-ro
";

    #[test]
    fn a_file_system_that_has_stopped_by_itself_is_known() {
        let device = |major, minor| libc::makedev(major, minor);
        let mount = mount_of(MOUNTS, device(98, 0)).unwrap();
        assert_eq!((mount.source.as_str(), mount.stopped), ("/dev/root", false));
        assert!(mount_of(MOUNTS, device(179, 2)).unwrap().stopped);
        assert_eq!(mount_of(MOUNTS, device(8, 1)), None);
    }

    #[test]
    fn the_least_of_disk_and_quotas_counts() {
        let mut room =
            Room { free_bytes: 500, free_files: None, by_quota: false, read_only: false };
        room.limit(Left { bytes: Some(700), files: None });
        assert!(!room.by_quota);
        room.limit(Left { bytes: Some(90), files: Some(3) });
        assert_eq!((room.free_bytes, room.free_files, room.by_quota), (90, Some(3), true));
        room.limit(Left { bytes: None, files: Some(9) });
        assert_eq!(room.free_files, Some(3));
    }

    #[test]
    fn a_directory_has_room() {
        let dir = std::env::temp_dir();
        let room = room(&dir).unwrap();
        assert!(room.free_bytes > 0 && !room.read_only && room.free_files != Some(0));
    }
}
