//! The control groups that a process is in, and what they let it have.

use std::path::{Path, PathBuf};

/// The folders of the group that a controller's settings are in, innermost first. Version 2 has one tree
/// for all, version 1 one for each controller; cgroups(7).
pub fn control_groups(root: &Path, cgroup: &str, controller: &str) -> Vec<PathBuf> {
    let lines: Vec<(&str, &str)> =
        cgroup.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).collect();
    let mounts = root.join("sys/fs/cgroup");
    let v1 = lines.iter().find(|(names, _)| names.split(',').any(|name| name == controller));
    let unified = lines.iter().find(|(names, _)| names.is_empty());
    let (base, path) = match (v1, unified) {
        (Some((_, path)), _) => (mounts.join(controller), path),
        (None, Some((_, path))) => (mounts, path),
        (None, None) => return Vec::new(),
    };
    let path = Path::new(path.trim_start_matches('/'));
    path.ancestors().map(|ancestor| base.join(ancestor)).collect()
}

/// The tightest limit of memory of these groups, bytes; none where there is no limit.
pub fn memory_limit(groups: &[PathBuf]) -> Option<u64> {
    let files = groups
        .iter()
        .flat_map(|group| ["memory.max", "memory.limit_in_bytes"].map(|file| group.join(file)));
    let limit = files.filter_map(|file| read(file)?.parse::<u64>().ok()).min();
    // Version 1 writes "no limit" as a number near 2^63.
    limit.filter(|limit| *limit < 1 << 60)
}

/// The tightest of these groups' limits above which the kernel slows their processes down, bytes; version
/// 2 only. Without a swap nothing that a heap holds can be taken from it: it would stand still there.
pub fn memory_brake(groups: &[PathBuf]) -> Option<u64> {
    groups.iter().filter_map(|group| read(group.join("memory.high"))?.parse::<u64>().ok()).min()
}

/// The limit of a process's control groups, and what the machine has, bytes; each where the kernel tells
/// it, and no limit above what the machine has. `cgroup` is the process's file of that name.
pub fn memory_bounds(root: &Path, cgroup: &str) -> (Option<u64>, Option<u64>) {
    let machine = read(root.join("proc/meminfo")).and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.to_string();
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
    });
    let groups = control_groups(root, cgroup, "memory");
    let limit = memory_limit(&groups).into_iter().chain(memory_brake(&groups)).min();
    (limit.filter(|limit| machine.is_none_or(|machine| *limit < machine)), machine)
}

/// This process's file of control groups, empty where the kernel has none.
pub fn own_groups() -> String {
    read("/proc/self/cgroup").unwrap_or_default()
}

/// The memory that this process may have, bytes: its groups' limit or what the machine has. None where
/// the kernel tells neither.
pub fn memory_given() -> Option<u64> {
    let (limit, machine) = memory_bounds(Path::new("/"), &own_groups());
    limit.or(machine)
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_string())
}
