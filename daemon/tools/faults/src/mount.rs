//! ext4 on loop devices: images, mounts and the way to take them apart again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::mount::{MntFlags, MsFlags};

/// A busy mount or device is tried again this often: something may be closing its last file.
const BUSY_TRIES: u32 = 40;

const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// A fresh ext4, without reserved blocks, and with everything written at once, so that nothing
/// initialises itself in the background later.
pub fn make_ext4(file: &Path, mib: u64) -> anyhow::Result<()> {
    File::create(file)?.set_len(mib << 20)?;
    let extended = "lazy_itable_init=0,lazy_journal_init=0";
    tool("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", extended], file).map(drop)
}

/// What an administrator does after an I/O error: repairs without questions.
pub fn repair(device: &LoopDevice) -> anyhow::Result<()> {
    let output = Command::new("e2fsck").args(["-f", "-y"]).arg(&device.path).output()?;
    // Bits 0 and 1: errors were corrected.
    match output.status.code() {
        Some(code) if code & !0b11 == 0 => Ok(()),
        _ => bail!("e2fsck: {}: {}", output.status, String::from_utf8_lossy(&output.stdout)),
    }
}

/// A file as a block device; detached when dropped.
pub struct LoopDevice {
    pub path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Through the page cache: for image files in memory.
    Cached,
    /// Every write of the device reaches the file at once and in order.
    Direct,
}

impl LoopDevice {
    pub fn attach(file: &Path, access: Access) -> anyhow::Result<LoopDevice> {
        let direct = match access {
            Access::Cached => "--direct-io=off",
            Access::Direct => "--direct-io=on",
        };
        let output = tool("losetup", &[direct, "--find", "--show"], file)?;
        Ok(LoopDevice { path: PathBuf::from(output.trim()) })
    }

    /// Forgets what was read of the device, after its file was written to beneath it: an unmount
    /// does not, while somebody who looks for a free device holds this one open.
    pub fn forget(&self) -> anyhow::Result<()> {
        tool("blockdev", &["--flushbufs"], &self.path).map(drop)
    }

    pub fn name(&self) -> anyhow::Result<&str> {
        self.path.file_name().and_then(|name| name.to_str()).context("a device has a name")
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if let Err(error) = tool("losetup", &["--detach"], &self.path) {
            eprintln!("picket-faults: {error:#}");
        }
    }
}

/// A mounted file system; unmounted when dropped.
pub struct Mount {
    pub dir: PathBuf,
    mounted: bool,
}

impl Mount {
    /// `options` as in the -o of mount(8), for ext4 itself.
    pub fn ext4(device: &LoopDevice, dir: &Path, options: &str) -> anyhow::Result<Mount> {
        Mount::ext4_with(device, dir, options, MsFlags::empty())
    }

    pub fn ext4_with(
        device: &LoopDevice,
        dir: &Path,
        options: &str,
        flags: MsFlags,
    ) -> anyhow::Result<Mount> {
        let flags = flags | MsFlags::MS_NOATIME;
        nix::mount::mount(Some(&device.path), dir, Some("ext4"), flags, Some(options))
            .with_context(|| format!("cannot mount {}", device.path.display()))?;
        Ok(Mount { dir: dir.to_path_buf(), mounted: true })
    }

    /// An empty directory that nobody can write to: what shows while its disk is unmounted.
    pub fn nothing(dir: &Path) -> anyhow::Result<Mount> {
        let none: Option<&str> = None;
        nix::mount::mount(Some("none"), dir, Some("tmpfs"), MsFlags::MS_RDONLY, none)
            .with_context(|| format!("cannot mount tmpfs on {}", dir.display()))?;
        Ok(Mount { dir: dir.to_path_buf(), mounted: true })
    }

    pub fn remount(&self, flags: MsFlags) -> anyhow::Result<()> {
        let none: Option<&str> = None;
        let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_NOATIME;
        nix::mount::mount(none, &self.dir, none, flags, none)
            .with_context(|| format!("cannot remount {}", self.dir.display()))
    }

    /// # Errors
    /// When something keeps a file of it open for longer than closing takes.
    pub fn unmount(mut self) -> anyhow::Result<()> {
        self.try_unmount()
    }

    fn try_unmount(&mut self) -> anyhow::Result<()> {
        for _ in 0..BUSY_TRIES {
            match nix::mount::umount(&self.dir) {
                Ok(()) => {
                    self.mounted = false;
                    return Ok(());
                }
                Err(nix::errno::Errno::EBUSY) => std::thread::sleep(BUSY_PAUSE),
                Err(error) => bail!("cannot unmount {}: {error}", self.dir.display()),
            }
        }
        bail!("cannot unmount {}: something keeps it busy", self.dir.display())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = self.try_unmount()
        {
            eprintln!("picket-faults: {error:#}");
            let _ = nix::mount::umount2(&self.dir, MntFlags::MNT_DETACH);
        }
    }
}

/// Free space, bytes.
pub fn free_bytes(dir: &Path) -> anyhow::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(dir)?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

fn tool(name: &str, args: &[&str], file: &Path) -> anyhow::Result<String> {
    let output = Command::new(name).args(args).arg(file).output();
    let output = output.with_context(|| format!("{name} is needed"))?;
    if !output.status.success() {
        bail!("{name} {}: {}", file.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
