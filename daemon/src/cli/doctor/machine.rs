//! The machine itself: clock, heat and throttling, kernel pressure, its own watchdog.

use std::path::{Path, PathBuf};

use picket_base::clock;

use super::finding::Finding;
use super::kernel::read;

/// A Raspberry Pi slows down from 80 °C on, other boards at 85 °C and more; their manuals.
const WARM_MILLICELSIUS: i64 = 80_000;

/// The box is short of memory when every task waited for it in more than this share of the last minute,
/// percent.
const MEMORY_PRESSURE_MAX: f64 = 10.0;

/// What the Raspberry Pi's firmware reports, by bit: now, and 16 bits higher since the boot.
/// <https://www.raspberrypi.com/documentation/computers/os.html#get_throttled>
const THROTTLED: [(u32, &str); 4] = [
    (0, "under-voltage"),
    (1, "frequency capped"),
    (2, "throttled"),
    (3, "soft temperature limit"),
];

pub fn clock() -> Finding {
    if clock::wall_clock_is_synchronised() {
        return Finding::ok("clock", "the wall clock follows a time source");
    }
    Finding::warn(
        "clock",
        "the wall clock follows no time source, timestamps may be years wrong",
        "enable systemd-timesyncd or chrony; the log's order does not depend on it",
    )
}

pub fn check(root: &Path) -> Vec<Finding> {
    vec![temperature(root), frequency(root), firmware(root), pressure(root), watchdog(root)]
}

fn temperature(root: &Path) -> Finding {
    let zones = entries(&root.join("sys/class/thermal"), "thermal_zone");
    let hottest = zones
        .iter()
        .filter_map(|zone| Some((read(zone.join("temp"))?.parse::<i64>().ok()?, zone)))
        .max_by_key(|(temp, _)| *temp);
    let Some((millis, zone)) = hottest else {
        return Finding::unknown("temperature", "the kernel shows no thermal zone");
    };
    let name = read(zone.join("type")).unwrap_or_default();
    let fact = format!("{:.1} °C in {name}", millis as f64 / 1e3);
    if millis < WARM_MILLICELSIUS {
        return Finding::ok("temperature", fact);
    }
    Finding::warn("temperature", fact, "cool the board, it slows down from here on")
}

fn frequency(root: &Path) -> Finding {
    let policies = entries(&root.join("sys/devices/system/cpu/cpufreq"), "policy");
    let khz = |policy: &Path, name| read(policy.join(name))?.parse::<u64>().ok();
    let mut facts = Vec::new();
    let mut capped = false;
    for policy in &policies {
        let (Some(allowed), Some(max)) =
            (khz(policy, "scaling_max_freq"), khz(policy, "cpuinfo_max_freq"))
        else {
            continue;
        };
        capped |= allowed < max;
        let now = khz(policy, "scaling_cur_freq").unwrap_or(0);
        facts.push(format!("{} of {} MHz, {} allowed", now / 1000, max / 1000, allowed / 1000));
    }
    if facts.is_empty() {
        return Finding::unknown("frequency", "the kernel controls no frequency here");
    }
    let fact = facts.join("; ");
    if capped {
        let advice = "the governor or the heat caps it: cpupower frequency-info tells";
        return Finding::warn("frequency", fact, advice);
    }
    Finding::ok("frequency", fact)
}

fn firmware(root: &Path) -> Finding {
    let file = "sys/devices/platform/soc/soc:firmware/get_throttled";
    let Some(text) = read(root.join(file)) else {
        return Finding::unknown("firmware", "no Raspberry Pi firmware here");
    };
    match throttled(&text) {
        None => Finding::unknown("firmware", format!("get_throttled says {text:?}")),
        Some(words) if words.is_empty() => {
            Finding::ok("firmware", "never throttled since the boot")
        }
        Some(words) => Finding::warn(
            "firmware",
            words.join(", "),
            "under-voltage: a better supply and cable; the rest: cooling",
        ),
    }
}

/// The conditions that the bits name; none for what is no number.
fn throttled(text: &str) -> Option<Vec<String>> {
    let bits = u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()?;
    let told = THROTTLED.iter().filter_map(|(bit, what)| {
        match (bits >> bit & 1, bits >> (bit + 16) & 1) {
            (1, _) => Some(format!("{what} now")),
            (0, 1) => Some(format!("{what} since the boot")),
            _ => None,
        }
    });
    Some(told.collect())
}

fn pressure(root: &Path) -> Finding {
    let Some(text) = read(root.join("proc/pressure/memory")) else {
        return Finding::warn(
            "pressure",
            "the kernel tells nothing of pressure",
            "add psi=1 to the kernel's command line: starvation is then told from a hang",
        );
    };
    let Some(full) = avg60(&text, "full") else {
        return Finding::unknown("pressure", format!("/proc/pressure/memory says {text:?}"));
    };
    let fact = format!("all tasks waited for memory in {full:.1} % of the last minute");
    if full <= MEMORY_PRESSURE_MAX {
        return Finding::ok("pressure", fact);
    }
    Finding::warn("pressure", fact, "the box is short of memory: stop what else runs on it")
}

/// `full avg10=0.00 avg60=0.12 avg300=…`, percent.
fn avg60(text: &str, kind: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.split(' ').next() == Some(kind))?;
    line.split(' ').find_map(|word| word.strip_prefix("avg60="))?.parse().ok()
}

fn watchdog(root: &Path) -> Finding {
    let device = root.join("sys/class/watchdog/watchdog0");
    if !device.exists() {
        let advice = "a kernel that hangs stays so: load the board's driver, or softdog";
        return Finding::warn("machine_watchdog", "this machine has no watchdog", advice);
    }
    let name = read(device.join("identity")).unwrap_or_else(|| "unnamed".into());
    let secs = read(device.join("timeout")).unwrap_or_else(|| "?".into());
    match read(device.join("state")).as_deref() {
        Some("active") => Finding::ok("machine_watchdog", format!("{name} runs, {secs} s")),
        Some(state) => Finding::warn(
            "machine_watchdog",
            format!("{name} is {state}"),
            "RuntimeWatchdogSec=15 in /etc/systemd/system.conf lets systemd feed it",
        ),
        None => Finding::unknown("machine_watchdog", format!("{name} does not show its state")),
    }
}

/// Paths in `dir` whose name begins so, in order.
fn entries(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let found = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = found
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix)))
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Status;
    use crate::cli::doctor::kernel::tree;

    #[test]
    fn the_hottest_zone_counts() {
        let zone = "sys/class/thermal/thermal_zone";
        let root = tree(&[
            (&format!("{zone}0/type"), "cpu-thermal\n"),
            (&format!("{zone}0/temp"), "82730\n"),
            (&format!("{zone}1/type"), "gpu\n"),
            (&format!("{zone}1/temp"), "41000\n"),
        ]);
        let finding = temperature(root.path());
        assert_eq!((finding.status, &*finding.fact), (Status::Warn, "82.7 °C in cpu-thermal"));
        assert_eq!(temperature(tree(&[]).path()).status, Status::Unknown);
    }

    #[test]
    fn a_capped_core_is_told() {
        let policy = "sys/devices/system/cpu/cpufreq/policy0";
        let with = |allowed: &str| {
            tree(&[
                (&format!("{policy}/scaling_cur_freq"), "600000\n"),
                (&format!("{policy}/cpuinfo_max_freq"), "1500000\n"),
                (&format!("{policy}/scaling_max_freq"), allowed),
            ])
        };
        assert_eq!(frequency(with("1500000\n").path()).status, Status::Ok);
        let capped = frequency(with("1000000\n").path());
        assert_eq!(capped.status, Status::Warn);
        assert_eq!(capped.fact, "600 of 1500 MHz, 1000 allowed");
    }

    #[test]
    fn the_firmwares_bits_are_told_in_words() {
        assert_eq!(throttled("0"), Some(vec![]));
        assert_eq!(
            throttled("50005"),
            Some(vec!["under-voltage now".into(), "throttled now".into()])
        );
        assert_eq!(throttled("0x20000"), Some(vec!["frequency capped since the boot".into()]));
        assert_eq!(throttled("quiet"), None);
    }

    #[test]
    fn pressure_is_read_from_the_kernels_lines() {
        let text = "some avg10=1.00 avg60=2.50 avg300=0.12 total=8\nfull avg10=0.00 avg60=11.04 \
                    avg300=0.00 total=4";
        assert_eq!((avg60(text, "some"), avg60(text, "full")), (Some(2.5), Some(11.04)));
        assert_eq!(avg60("", "full"), None);
        assert_eq!(pressure(tree(&[("proc/pressure/memory", text)]).path()).status, Status::Warn);
    }

    #[test]
    fn an_idle_watchdog_is_told() {
        let device = "sys/class/watchdog/watchdog0";
        let with = |state: &str| {
            tree(&[
                (&format!("{device}/identity"), "Broadcom BCM2835 Watchdog timer\n"),
                (&format!("{device}/timeout"), "15\n"),
                (&format!("{device}/state"), state),
            ])
        };
        assert_eq!(watchdog(with("active\n").path()).status, Status::Ok);
        assert_eq!(watchdog(with("inactive\n").path()).status, Status::Warn);
        assert_eq!(watchdog(tree(&[]).path()).status, Status::Warn);
    }
}
