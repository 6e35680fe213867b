//! What the kernel lets the daemon have: memory and processor of its control group, open files.

use std::path::Path;

use super::finding::{Finding, size};
use super::kernel::read;
use crate::config::Config;
use crate::memory::{self, Given, Needs};
use crate::os::control_groups;
use picket_base::budget::{Budget, Class};

/// What decoding the largest picture takes, bytes: 24 megapixels, progressive; docs/memory.md.
const LARGEST_PICTURE: usize = 73_000_000;

/// The values of a model's input that only its file could tell: three channels of 224×224 pixels.
const VALUES_USUAL: usize = 3 * 224 * 224;

/// The values of the embedded model's input.
const VALUES_EMBEDDED: usize = 3 * 32 * 32;

/// Below this share of one core a start takes seconds.
const CORES_MIN: f64 = 0.2;

/// The connections of all listeners, the store and the rest need so many.
const FILES_NEEDED: u64 = 960;

/// The limits of the running daemon where there is one, else those of this process, which a daemon
/// started from here would inherit.
pub fn check(root: &Path, daemon: Option<u32>, config: &Config) -> Vec<Finding> {
    let process = daemon.map_or_else(|| "self".to_string(), |pid| pid.to_string());
    let process = root.join("proc").join(process);
    let whose = if daemon.is_some() { "the daemon" } else { "this shell" };
    let cgroup = read(process.join("cgroup")).unwrap_or_default();
    vec![
        memory(root, &cgroup, whose, config),
        processor(root, &cgroup, whose),
        files(&process, whose),
    ]
}

fn memory(root: &Path, cgroup: &str, whose: &str, config: &Config) -> Finding {
    let unified = read(root.join("sys/fs/cgroup/cgroup.controllers"));
    if unified.is_some_and(|controllers| !controllers.split(' ').any(|name| name == "memory")) {
        return Finding::warn(
            "memory_limit",
            "the kernel's memory controller is off: MemoryMax= is not enforced",
            "add cgroup_enable=memory to the kernel's command line (Raspberry Pi: cmdline.txt)",
        );
    }
    if control_groups(root, cgroup, "memory").is_empty() {
        return Finding::unknown("memory_limit", "the kernel shows no control group");
    }
    let given = Given::to(root, cgroup);
    let plan = memory::plan(given, needs(config), config.memory.budget.map(|size| size.as_u64()));
    let limit = match given {
        Given::Limit(bytes) => format!("may use {}", size(bytes)),
        Given::Machine(_) | Given::Unknown => "has no limit".to_string(),
    };
    let fact = format!("{whose} {limit}: {plan} with {} workers", config.api.workers);
    let budget = Budget::new(usize::try_from(plan.budget).unwrap_or(usize::MAX));
    if plan.is_too_large() {
        let advice =
            "raise MemoryMax=, 256M are shipped, or lower [api] workers or [memory] budget";
        return Finding::fail("memory_limit", fact, advice);
    }
    let is_limited = matches!(given, Given::Limit(_));
    if is_limited && budget.largest(Class::Decode) < LARGEST_PICTURE {
        let advice = "the largest pictures get 413: raise MemoryMax=, 256M are shipped";
        return Finding::warn("memory_limit", fact, advice);
    }
    Finding::ok("memory_limit", fact)
}

/// What the daemon needs with this configuration, as far as it is known without the model.
fn needs(config: &Config) -> Needs {
    let file = config.model.path.as_deref().map(|path| {
        let file = if path.is_dir() { path.join("model.onnx") } else { path.to_path_buf() };
        std::fs::metadata(file).map_or(0, |metadata| metadata.len())
    });
    let input_values = if file.is_some() { VALUES_USUAL } else { VALUES_EMBEDDED };
    let workers = config.api.workers;
    Needs { workers, input_values, model_bytes: file.unwrap_or(0), run_bytes: 0 }
}

fn processor(root: &Path, cgroup: &str, whose: &str) -> Finding {
    let groups = control_groups(root, cgroup, "cpu");
    if groups.is_empty() {
        return Finding::unknown("cpu_limit", "the kernel shows no control group");
    }
    let Some(cores) = groups.iter().filter_map(|group| quota(group)).reduce(f64::min) else {
        return Finding::ok("cpu_limit", format!("{whose} has no limit"));
    };
    let fact = format!("{whose} may use {cores:.2} cores");
    if cores < CORES_MIN {
        return Finding::warn("cpu_limit", fact, "raise CPUQuota=: a start takes seconds");
    }
    Finding::ok("cpu_limit", fact)
}

/// Cores that one group may use; None without a limit.
fn quota(group: &Path) -> Option<f64> {
    let (quota, period) = match read(group.join("cpu.max")) {
        Some(line) => {
            let (quota, period) = line.split_once(' ')?;
            (quota.to_string(), period.to_string())
        }
        None => (read(group.join("cpu.cfs_quota_us"))?, read(group.join("cpu.cfs_period_us"))?),
    };
    // "max", or -1 in version 1.
    let quota: f64 = quota.parse().ok().filter(|quota| *quota > 0.0)?;
    Some(quota / period.parse::<f64>().ok()?)
}

fn files(process: &Path, whose: &str) -> Finding {
    let Some(limit) = read(process.join("limits")).and_then(|limits| open_files(&limits)) else {
        return Finding::unknown("open_files", "the kernel keeps this process's limits to itself");
    };
    let fact = format!("{whose} may open {limit}, at most {FILES_NEEDED} are needed");
    if limit < FILES_NEEDED {
        return Finding::warn("open_files", fact, "LimitNOFILE=2048 in the unit, ulimit -n here");
    }
    Finding::ok("open_files", fact)
}

/// The soft limit in /proc/PID/limits.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Status;
    use crate::cli::doctor::kernel::tree;
    use crate::config::{Settings, Surroundings};

    const V2: &str = "0::/system.slice/picket.service\n";
    const V1: &str =
        "9:memory:/edge/picket\n4:cpu,cpuacct:/edge/picket\n1:name=systemd:/x\n0::/x\n";

    fn config(workers: usize) -> Config {
        let surroundings =
            Surroundings { cores: workers, hostname: "box".into(), ..Default::default() };
        Config::load(Settings::default(), None, &surroundings).unwrap().0
    }

    #[test]
    fn the_tightest_group_above_counts() {
        let base = "sys/fs/cgroup";
        let with = |own: &str, slice: &str| {
            tree(&[
                (&format!("{base}/cgroup.controllers"), "cpuset cpu io memory pids\n"),
                (&format!("{base}/system.slice/picket.service/memory.max"), own),
                (&format!("{base}/system.slice/memory.max"), slice),
            ])
        };
        let status =
            |own, slice| memory(with(own, slice).path(), V2, "the daemon", &config(1)).status;
        assert_eq!(status("268435456\n", "max\n"), Status::Ok);
        assert_eq!(status("268435456\n", "100000000\n"), Status::Warn);
        assert_eq!(status("33554432\n", "max\n"), Status::Fail);
        assert_eq!(status("max\n", "max\n"), Status::Ok);
    }

    #[test]
    fn workers_that_the_limit_has_no_memory_for_are_told() {
        let limit = "sys/fs/cgroup/system.slice/picket.service/memory.max";
        let root = tree(&[(limit, "100000000\n")]);
        assert_eq!(memory(root.path(), V2, "it", &config(2)).status, Status::Warn);
        let finding = memory(root.path(), V2, "it", &config(64));
        assert_eq!(finding.status, Status::Fail, "{finding:?}");
        assert!(finding.fact.contains("64 workers"), "{finding:?}");
    }

    #[test]
    fn a_kernel_without_the_memory_controller_is_told() {
        let root = tree(&[("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n")]);
        let finding = memory(root.path(), V2, "the daemon", &config(1));
        assert_eq!(finding.status, Status::Warn);
        assert!(finding.fact.contains("not enforced"), "{finding:?}");
    }

    #[test]
    fn version_1_has_a_tree_for_each_controller() {
        let base = "sys/fs/cgroup";
        let root = tree(&[
            (&format!("{base}/memory/edge/picket/memory.limit_in_bytes"), "9223372036854771712\n"),
            (&format!("{base}/memory/edge/memory.limit_in_bytes"), "50331648\n"),
            (&format!("{base}/cpu/edge/picket/cpu.cfs_quota_us"), "10000\n"),
            (&format!("{base}/cpu/edge/picket/cpu.cfs_period_us"), "100000\n"),
            (&format!("{base}/cpu/edge/cpu.cfs_quota_us"), "-1\n"),
            (&format!("{base}/cpu/edge/cpu.cfs_period_us"), "100000\n"),
        ]);
        assert_eq!(memory(root.path(), V1, "it", &config(1)).status, Status::Fail);
        let finding = processor(root.path(), V1, "it");
        assert_eq!((finding.status, &*finding.fact), (Status::Warn, "it may use 0.10 cores"));
    }

    #[test]
    fn quotas_of_version_2_are_shares_of_a_core() {
        let of = |text: &str| quota(tree(&[("cpu.max", text)]).path());
        assert_eq!(of("150000 100000\n"), Some(1.5));
        assert_eq!(of("max 100000\n"), None);
    }

    #[test]
    fn the_soft_limit_of_open_files_is_the_one() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            256                  524288               files\n";
        assert_eq!(open_files(limits), Some(256));
        assert_eq!(open_files(&limits.replace("256   ", "unlimited")), Some(u64::MAX));
        let root = tree(&[("proc/1/limits", limits)]);
        assert_eq!(files(&root.path().join("proc/1"), "it").status, Status::Warn);
    }
}
