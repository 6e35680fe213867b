//! The machine that the numbers belong to, as far as the kernel tells; no host name.

use std::path::Path;

/// Processor, cores, memory and kernel on one line.
pub fn describe() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = field(&cpuinfo, "model name").unwrap_or(std::env::consts::ARCH);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let meminfo = read("/proc/meminfo");
    let memory_kib = field(&meminfo, "MemTotal").and_then(|text| text.split(' ').next());
    let memory_kib: u64 = memory_kib.and_then(|text| text.parse().ok()).unwrap_or(0);
    let release = read("/proc/sys/kernel/osrelease");
    let kernel = release.trim().split('-').next().unwrap_or_default();
    format!("{model}, {cores} cores, {} GiB, Linux {kernel}", memory_kib.div_ceil(1 << 20))
}

/// Type of the file system that `dir` is on: that of the longest mount point above it.
pub fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let found = mounts.lines().filter_map(|line| {
        // The fifth field, and the first one behind the dash; proc_pid_mountinfo(5).
        let mount_point = line.split(' ').nth(4)?;
        let kind = line.split_once(" - ")?.1.split(' ').next()?;
        dir.starts_with(mount_point).then_some((mount_point.len(), kind))
    });
    found.max_by_key(|(length, _)| *length).map_or("an unknown file system", |f| f.1).to_string()
}

/// The first value of a "name : value" file.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}
