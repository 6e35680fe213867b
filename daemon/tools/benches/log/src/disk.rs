//! The disk that is written to, and how many bytes reached it: a fresh ext4 on a loop device for
//! every measurement, so that the device counts for this program alone, or a plain directory.
//!
//! Everything goes with the process, however it ends: mounts are in a namespace of its own, and
//! the loop device is released by the kernel with its last user.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;

use crate::machine;

/// Room for the largest measurement several times over.
const IMAGE_BYTES: u64 = 512 << 20;

/// Of the counters in /sys/block/*/stat, whatever the device's own; the kernel's
/// Documentation/block/stat.rst.
const SECTOR_BYTES: u64 = 512;

/// A mount that is still busy is tried again this often: engines close files on threads of theirs.
const BUSY_TRIES: u32 = 100;

const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// Where measurements get their volumes from.
pub enum Disk {
    Loop { image: PathBuf, mount_dir: PathBuf, file_system: String },
    Plain { dir: PathBuf, why: String, file_system: String },
}

impl Disk {
    /// A loop device over a file in `dir` where that is possible, else `dir` itself. Must be called
    /// while the process has one thread: a namespace is a thread's.
    ///
    /// # Errors
    /// When the image can't be written.
    pub fn open(dir: &Path) -> anyhow::Result<Disk> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(Disk::plain(dir, "this is not root"));
        }
        if let Err(error) = own_mounts() {
            return Ok(Disk::plain(dir, &format!("no mounts of its own: {error}")));
        }
        let (image, mount_dir) = (dir.join("image"), dir.join("mount"));
        std::fs::create_dir(&mount_dir)?;
        write_zeros(&image).with_context(|| format!("cannot write {}", image.display()))?;
        let disk = Disk::Loop { image, mount_dir, file_system: machine::file_system(dir) };
        match disk.fresh().and_then(Volume::close) {
            Ok(()) => Ok(disk),
            Err(error) => Ok(Disk::plain(dir, &format!("no loop device: {error:#}"))),
        }
    }

    /// `dir` itself, because of `why`.
    pub fn plain(dir: &Path, why: &str) -> Disk {
        Disk::Plain {
            dir: dir.to_path_buf(),
            why: why.into(),
            file_system: machine::file_system(dir),
        }
    }

    /// What it is, for a person.
    pub fn describe(&self) -> String {
        match self {
            Disk::Loop { file_system, .. } => {
                format!(
                    "fresh ext4 on a loop device over a file on {file_system}; device bytes are the loop device's"
                )
            }
            Disk::Plain { why, file_system, .. } => format!(
                "{file_system} directory ({why}); device bytes are the process's write_bytes: \
                 without the file system's journal"
            ),
        }
    }

    /// An empty place to write to.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn fresh(&self) -> anyhow::Result<Volume> {
        match self {
            Disk::Loop { image, mount_dir, .. } => Volume::mount(image, mount_dir),
            Disk::Plain { dir, .. } => {
                let dir = tempfile::tempdir_in(dir)?;
                Ok(Volume { dir: dir.path().to_path_buf(), backing: Backing::Directory(dir) })
            }
        }
    }
}

enum Backing {
    Device(String),
    Unmounted,
    /// Removed with its content when dropped.
    Directory(#[expect(dead_code, reason = "kept for its drop")] tempfile::TempDir),
}

/// One measurement's place.
pub struct Volume {
    dir: PathBuf,
    backing: Backing,
}

impl Volume {
    fn mount(image: &Path, dir: &Path) -> anyhow::Result<Volume> {
        let device = tool("losetup", &["--find", "--show"], image)?;
        let device = Path::new(device.trim());
        let mounted = (|| {
            // Everything is initialised at once, so that nothing is in the background later; no
            // discard, so that the image keeps its blocks and never grows under a measurement.
            let extended = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
            tool("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", extended], device)?;
            let none: Option<&str> = None;
            nix::mount::mount(Some(device), dir, Some("ext4"), MsFlags::MS_NOATIME, none)
                .with_context(|| format!("cannot mount {}", device.display()))
        })();
        // While it is mounted this only says that the unmount shall release it.
        tool("losetup", &["--detach"], device)?;
        mounted?;
        let name =
            device.file_name().and_then(|name| name.to_str()).context("devices have names")?;
        Ok(Volume { dir: dir.to_path_buf(), backing: Backing::Device(name.to_string()) })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns when everything written so far is on the device, its journal included.
    pub fn sync(&self) -> anyhow::Result<()> {
        Ok(nix::unistd::syncfs(File::open(&self.dir)?)?)
    }

    /// Bytes written to the device so far.
    pub fn written_bytes(&self) -> anyhow::Result<u64> {
        match &self.backing {
            Backing::Device(name) => {
                let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat"))?;
                // The seventh number: sectors written.
                let sectors =
                    stat.split_whitespace().nth(6).context("the device has no counters")?;
                Ok(sectors.parse::<u64>()? * SECTOR_BYTES)
            }
            _ => picket_base::disk::written_bytes()
                .context("the kernel doesn't count this process's writes"),
        }
    }

    /// # Errors
    /// When something keeps it busy.
    pub fn close(mut self) -> anyhow::Result<()> {
        self.unmount()
    }

    fn unmount(&mut self) -> anyhow::Result<()> {
        if !matches!(self.backing, Backing::Device(_)) {
            return Ok(());
        }
        for _ in 0..BUSY_TRIES {
            match nix::mount::umount(&self.dir) {
                Err(Errno::EBUSY) => std::thread::sleep(BUSY_PAUSE),
                result => {
                    self.backing = Backing::Unmounted;
                    return result
                        .with_context(|| format!("cannot unmount {}", self.dir.display()));
                }
            }
        }
        bail!("cannot unmount {}: something keeps it busy", self.dir.display())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // What can't be unmounted goes with the namespace.
        let _ = self.unmount();
    }
}

/// A mount namespace of this process, from which nothing gets out.
fn own_mounts() -> nix::Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
}

/// Written, not only allocated: the first write to an allocated block changes the outer file
/// system's metadata, which would slow the commits that happen to be first.
fn write_zeros(image: &Path) -> std::io::Result<()> {
    let mut file = File::create(image)?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..IMAGE_BYTES >> 20 {
        file.write_all(&zeros)?;
    }
    file.sync_all()
}

fn tool(name: &str, args: &[&str], file: &Path) -> anyhow::Result<String> {
    let output = Command::new(name).args(args).arg(file).output();
    let output = output.with_context(|| format!("{name} is needed"))?;
    if !output.status.success() {
        bail!("{name} {}: {}", file.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
