//! The disk that the state directory is on: file system, mount options, room, wear.

use std::path::{Path, PathBuf};

use crate::config::Config;
use picket_base::{disk, room};

use super::finding::{Finding, size};
use super::kernel::read;

/// Below this the log does not open reliably: its reserve is 4 MiB, a sealed file as much.
const FREE_BYTES_MIN: u64 = 16 << 20;

/// Below this no sealed file can be made.
const FREE_FILES_MIN: u64 = 16;

/// An eMMC should be replaced once it has used so many tenths of its life (JEDEC eMMC 5.0, EXT_CSD 268
/// and 269).
const WORN_TENTHS: u32 = 9;

/// A line of /proc/self/mountinfo, proc(5).
#[derive(Clone, Debug, PartialEq)]
struct Mount {
    /// `major:minor`.
    device: String,
    point: PathBuf,
    kind: String,
    source: String,
    /// The options of the mount and of the file system.
    options: Vec<String>,
}

impl Mount {
    fn parse(line: &str) -> Option<Mount> {
        let (front, back) = line.split_once(" - ")?;
        let front: Vec<&str> = front.split(' ').collect();
        let back: Vec<&str> = back.split(' ').collect();
        let options = [*front.get(5)?, *back.get(2)?];
        Some(Mount {
            device: (*front.get(2)?).to_string(),
            point: unescape(front.get(4)?).into(),
            kind: (*back.first()?).to_string(),
            source: unescape(back.get(1)?),
            options: options.iter().flat_map(|o| o.split(',')).map(String::from).collect(),
        })
    }

    /// The mount that `path` is on; of several on one point the last hides the others.
    fn of(mountinfo: &str, path: &Path) -> Option<Mount> {
        let mounts = mountinfo.lines().filter_map(Mount::parse);
        mounts
            .filter(|mount| path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|have| have == option)
    }
}

/// The kernel writes blanks and backslashes as `\040` and the like.
fn unescape(text: &str) -> String {
    text.replace(r"\040", " ").replace(r"\011", "\t").replace(r"\134", r"\")
}

pub fn check(config: &Config, root: &Path) -> Vec<Finding> {
    let dir = existing(&config.state_dir);
    let mount = read(root.join("proc/self/mountinfo"))
        .and_then(|mountinfo| Mount::of(&mountinfo, &dir.canonicalize().ok()?));
    let Some(mount) = mount else {
        return vec![Finding::unknown("file_system", "the kernel does not say where the state is")];
    };
    let mount =
        Mount { options: [mount.options.clone(), in_force(root, &mount)].concat(), ..mount };
    let mut findings = vec![file_system(&mount)];
    findings.extend(options(&mount));
    findings.push(room(config, &dir));
    findings.push(wear(root, &mount));
    findings
}

/// The options of an ext4 that mountinfo leaves out because its superblock has them too.
fn in_force(root: &Path, mount: &Mount) -> Vec<String> {
    let device = root.join("sys/dev/block").join(&mount.device).canonicalize();
    let name = device.ok().and_then(|device| device.file_name().map(ToOwned::to_owned));
    let options = name.and_then(|name| read(root.join("proc/fs/ext4").join(name).join("options")));
    options.unwrap_or_default().lines().map(String::from).collect()
}

/// The directory itself, or the nearest above it that is there.
pub fn existing(dir: &Path) -> PathBuf {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    let found = absolute.ancestors().find(|path| path.is_dir());
    found.unwrap_or(Path::new("/")).to_path_buf()
}

fn file_system(mount: &Mount) -> Finding {
    let Mount { kind, source, point, .. } = mount;
    let fact = format!("{kind} of {source} on {}", point.display());
    match kind.as_str() {
        "ext4" | "ext3" | "xfs" | "btrfs" | "f2fs" | "zfs" => Finding::ok("file_system", fact),
        "tmpfs" | "ramfs" => {
            let advice = "the log is gone with the power: state_dir belongs on a disk";
            Finding::warn("file_system", fact, advice)
        }
        "overlay" => {
            let advice = "the log is gone with the container: mount a volume on state_dir";
            Finding::warn("file_system", fact, advice)
        }
        _ => Finding::warn(
            "file_system",
            fact,
            "not tried with power cuts: ext4 with data_err=abort,errors=remount-ro was",
        ),
    }
}

/// These options decide what a disk that fails a write does next; docs/prediction-log.md.
fn options(mount: &Mount) -> Option<Finding> {
    if mount.has("ro") {
        let advice = "fsck, then mount it read-write; until then nothing is logged";
        return Some(Finding::fail("mount_options", "mounted read-only", advice));
    }
    if !mount.kind.starts_with("ext") {
        return None;
    }
    let safe = mount.has("errors=remount-ro") && mount.has("data_err=abort");
    if safe {
        return Some(Finding::ok("mount_options", "errors=remount-ro,data_err=abort"));
    }
    let wanted = ["errors=remount-ro", "data_err=abort"];
    let missing: Vec<&str> = wanted.into_iter().filter(|option| !mount.has(option)).collect();
    Some(Finding::warn(
        "mount_options",
        format!("{} missing: after a failed write the disk may lose later ones", missing.join(",")),
        "add them to the line in /etc/fstab",
    ))
}

fn room(config: &Config, dir: &Path) -> Finding {
    let room = match room::room(dir) {
        Ok(room) => room,
        Err(error) => {
            let advice = "the disk does not answer: look into dmesg";
            return Finding::fail("room", format!("{}: {error}", dir.display()), advice);
        }
    };
    let used = used_bytes(&config.log_dir());
    let kept = config.retention();
    let most = kept.own.max_bytes.saturating_add(kept.reported.max_bytes);
    let growth = most.saturating_sub(used);
    let free = room.free_bytes;
    let by = if room.by_quota { " by quota" } else { "" };
    let files = room.free_files.map_or_else(String::new, |files| format!(" and {files} files"));
    let fact = format!("{}{files} free{by}, the log may grow by {}", size(free), size(growth));
    if room.read_only {
        let advice = "after an error the kernel writes no more: look into dmesg, check the disk";
        return Finding::fail("room", format!("{} is read-only", dir.display()), advice);
    }
    if room.free_files.is_some_and(|files| files < FREE_FILES_MIN) {
        return Finding::fail("room", fact, "remove files: without inodes nothing is logged");
    }
    if free < FREE_BYTES_MIN {
        return Finding::fail("room", fact, "make room: below 16 MiB nothing is logged");
    }
    if free < growth + FREE_BYTES_MIN {
        let advice = "make room, or lower max_bytes of [log] and [reported]";
        return Finding::warn("room", fact, advice);
    }
    Finding::ok("room", fact)
}

fn used_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let metadata = entries.filter_map(|entry| entry.metadata().ok());
    metadata.filter(std::fs::Metadata::is_file).map(|m| disk::allocated_bytes(&m)).sum()
}

fn wear(root: &Path, mount: &Mount) -> Finding {
    let device = root.join("sys/dev/block").join(&mount.device);
    let Ok(device) = device.canonicalize() else {
        return Finding::unknown("wear", format!("{} is no block device", mount.source));
    };
    // A partition's own folder has none, its disk's has.
    let disk = device.ancestors().take(2).map(|path| path.join("device"));
    let life = disk.into_iter().find_map(|disk| read(disk.join("life_time")));
    let Some(life) = life else {
        let why = format!("{} does not report it: eMMC does, SD cards don't", mount.source);
        return Finding::unknown("wear", why);
    };
    match used_tenths(&life) {
        None => Finding::unknown("wear", format!("life_time says {life:?}")),
        Some(tenths) if tenths < WORN_TENTHS => {
            Finding::ok("wear", format!("at most {} % of its life used", tenths * 10))
        }
        Some(tenths) => {
            let fact = format!("up to {} % of its life used", tenths * 10);
            Finding::warn("wear", fact, "replace the eMMC or the board soon")
        }
    }
}

/// `0x02 0x01`: the worse of both kinds of cells, in tenths; 0x0b is beyond its life.
fn used_tenths(life: &str) -> Option<u32> {
    let values = life.split_whitespace();
    let tenths = values.map(|v| u32::from_str_radix(v.trim_start_matches("0x"), 16).ok());
    tenths.collect::<Option<Vec<_>>>()?.into_iter().max().filter(|tenths| *tenths > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Status;

    const MOUNTINFO: &str = r"24 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw
25 24 0:22 / /proc rw,nosuid shared:5 - proc proc rw
31 24 179:3 / /var/lib rw,relatime shared:9 - ext4 /dev/mmcblk0p3 rw,errors=remount-ro,data_err=abort
32 31 0:40 / /var/lib/with\040blank rw - tmpfs tmpfs rw,size=10k
33 24 179:4 / /ro ro - ext4 /dev/mmcblk0p4 ro";

    fn on(path: &str) -> Mount {
        Mount::of(MOUNTINFO, Path::new(path)).unwrap()
    }

    #[test]
    fn the_mount_with_the_longest_point_is_the_one() {
        assert_eq!(on("/var/lib/picket").source, "/dev/mmcblk0p3");
        assert_eq!(on("/var/library").source, "/dev/root");
        assert_eq!(on("/var/lib/with blank/x").kind, "tmpfs");
    }

    #[test]
    fn options_that_lose_data_are_told() {
        assert_eq!(options(&on("/var/lib/picket")).unwrap().status, Status::Ok);
        let root = options(&on("/srv")).unwrap();
        assert_eq!(root.status, Status::Warn);
        assert!(root.fact.starts_with("errors=remount-ro,data_err=abort missing"), "{root:?}");
        assert_eq!(options(&on("/ro/x")).unwrap().status, Status::Fail);
        assert_eq!(options(&on("/var/lib/with blank")), None);
        assert_eq!(file_system(&on("/var/lib/with blank")).status, Status::Warn);
    }

    #[test]
    fn options_of_the_superblock_count_too() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["sys/dev/block", "sys/devices/mmcblk0p2", "proc/fs/ext4/mmcblk0p2"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let link = root.path().join("sys/dev/block/179:2");
        std::os::unix::fs::symlink(root.path().join("sys/devices/mmcblk0p2"), link).unwrap();
        let options = root.path().join("proc/fs/ext4/mmcblk0p2/options");
        std::fs::write(options, "rw\nerrors=remount-ro\ndata_err=abort\n").unwrap();
        assert!(in_force(root.path(), &on("/srv")).contains(&"data_err=abort".to_string()));
        assert!(in_force(root.path(), &on("/var/lib/picket")).is_empty());
    }

    #[test]
    fn wear_is_the_worse_of_both_kinds_of_cells() {
        assert_eq!(used_tenths("0x02 0x01"), Some(2));
        assert_eq!(used_tenths("0x01 0x0b"), Some(11));
        assert_eq!(used_tenths("0x00 0x00"), None, "not defined");
        assert_eq!(used_tenths("n/a"), None);

        let root = tempfile::tempdir().unwrap();
        let disk = root.path().join("sys/devices/mmcblk0");
        std::fs::create_dir_all(disk.join("mmcblk0p3")).unwrap();
        std::fs::create_dir_all(disk.join("device")).unwrap();
        std::fs::write(disk.join("device/life_time"), "0x0a 0x03\n").unwrap();
        std::fs::create_dir_all(root.path().join("sys/dev/block")).unwrap();
        let link = root.path().join("sys/dev/block/179:3");
        std::os::unix::fs::symlink(disk.join("mmcblk0p3"), link).unwrap();
        assert_eq!(wear(root.path(), &on("/var/lib/picket")).status, Status::Warn);
        assert_eq!(wear(root.path(), &on("/")).status, Status::Unknown);
    }
}
