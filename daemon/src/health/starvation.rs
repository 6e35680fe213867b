//! Whether the machine is short of CPU, memory or I/O: the kernel's pressure stall information
//! (PSI), where there is any, and how late a thread wakes that sleeps a fixed time. Tells a
//! machine that starves us from a subsystem that is stuck.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The machine counts as short of a resource when some task waited for it in this share of the last
/// 10 s, percent. A box with more busy threads than cores gets there too: a
/// shortage makes us patient for a limited time, it never makes us blind.
const CPU_SHORT: f32 = 90.0;
const IO_SHORT: f32 = 90.0;
/// The share for memory is lower: while a box thrashes, its tasks wait for pages and for I/O in turn.
const MEMORY_SHORT: f32 = 40.0;

/// A thread that wakes this much later than it asked for did not get a CPU.
const LATE_MIN: Duration = Duration::from_secs(1);

/// A late wake-up, or a thread that a device held, says something about the machine for this long, as
/// PSI's average does.
const REMEMBERED: Duration = Duration::from_secs(10);

/// The places where the unified hierarchy is mounted; the second beside one of version 1.
const CGROUP_MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Cpu,
    Memory,
    Io,
}

impl Resource {
    pub const ALL: [Resource; 3] = [Resource::Cpu, Resource::Memory, Resource::Io];

    fn name(self) -> &'static str {
        match self {
            Resource::Cpu => "cpu",
            Resource::Memory => "memory",
            Resource::Io => "io",
        }
    }

    fn short_from(self) -> f32 {
        match self {
            Resource::Cpu => CPU_SHORT,
            Resource::Memory => MEMORY_SHORT,
            Resource::Io => IO_SHORT,
        }
    }
}

/// What the machine is short of, and how that is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Shortage {
    /// PSI says so; `of` is `machine` or `cgroup`.
    Stalled { of: &'static str, resource: Resource, avg10: f32 },
    /// A sleeping thread woke, or has yet to wake, this late.
    Late(Duration),
    /// A thread of this name is in the kernel, in an uninterruptible wait for a device.
    Device(String),
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shortage::Stalled { of, resource, avg10 } => {
                write!(f, "{of} short of {} (some avg10={avg10:.0} %)", resource.name())
            }
            Shortage::Late(by) => {
                write!(f, "machine short of cpu (a timer is {:.1} s late)", by.as_secs_f64())
            }
            Shortage::Device(thread) => {
                write!(f, "the kernel holds thread {thread} until a device answers")
            }
        }
    }
}

/// The machine under the daemon: where its PSI is read, and how late the watchdog's thread woke.
#[derive(Debug)]
pub struct Machine {
    /// One file for each resource and place; absent ones say nothing.
    files: Vec<(&'static str, Resource, PathBuf)>,
    origin: Instant,
    /// When the watchdog's thread should be awake again, ms since `origin`; `NEVER` when it does not
    /// sleep.
    due_ms: AtomicU64,
    /// When the last late wake-up was, and how late, ms.
    late_at_ms: AtomicU64,
    late_by_ms: AtomicU64,
    /// The thread last seen held by a device, and when.
    held: Mutex<Option<(String, Instant)>>,
}

const NEVER: u64 = u64::MAX;

impl Machine {
    /// This machine's files, and those of the cgroup that the process is in.
    pub fn here() -> Machine {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let cgroup = cgroup_dir(&own, CGROUP_MOUNTS.map(Path::new));
        Machine::of(Path::new("/proc/pressure"), cgroup.as_deref())
    }

    pub(super) fn of(machine: &Path, cgroup: Option<&Path>) -> Machine {
        let machine = Resource::ALL.map(|of| ("machine", of, machine.join(of.name())));
        let own = |dir: &Path| {
            Resource::ALL.map(|of| ("cgroup", of, dir.join(format!("{}.pressure", of.name()))))
        };
        let files = machine.into_iter().chain(cgroup.map(own).into_iter().flatten()).collect();
        Machine {
            files,
            origin: Instant::now(),
            due_ms: AtomicU64::new(NEVER),
            late_at_ms: AtomicU64::new(0),
            late_by_ms: AtomicU64::new(0),
            held: Mutex::new(None),
        }
    }

    /// Whether the kernel tells of any pressure; without it only late wake-ups show a shortage.
    pub fn has_pressure(&self) -> bool {
        self.files.iter().any(|(_, _, path)| pressure(path).is_some())
    }

    /// Notes that the watchdog's thread goes to sleep for so long.
    pub fn sleeps(&self, time: Duration) {
        self.due_ms.store(self.now_ms() + millis(time), Ordering::Relaxed);
    }

    /// Notes that it is awake again.
    pub fn wakes(&self) {
        self.wakes_at(self.now_ms());
    }

    fn wakes_at(&self, now: u64) {
        let late = now.saturating_sub(self.due_ms.swap(NEVER, Ordering::Relaxed));
        if late >= millis(LATE_MIN) {
            self.late_by_ms.store(late, Ordering::Relaxed);
            self.late_at_ms.store(now, Ordering::Relaxed);
        }
    }

    /// What the machine is short of now; reads a few small files of the kernel's.
    pub fn shortage(&self) -> Option<Shortage> {
        let stalled = self.files.iter().find_map(|(of, resource, path)| {
            let avg10 = pressure(path)?;
            let (of, resource) = (*of, *resource);
            (avg10 >= resource.short_from()).then_some(Shortage::Stalled { of, resource, avg10 })
        });
        stalled.or_else(|| self.lateness(self.now_ms()).map(Shortage::Late))
    }

    /// Whether a device holds one of the daemon's threads, or did lately: a commit is many waits, and
    /// others than the one who asked for it may do the waiting.
    pub fn held_by_device(&self) -> Option<Shortage> {
        let mut held = self.held.lock().expect("nothing that holds this lock panics");
        if let Some(thread) = thread_in_device_wait(Path::new("/proc/self/task")) {
            *held = Some((thread, Instant::now()));
        }
        let (thread, _) = held.as_ref().filter(|(_, seen)| seen.elapsed() <= REMEMBERED)?;
        Some(Shortage::Device(thread.clone()))
    }

    /// How late the watchdog's thread is, or was lately.
    fn lateness(&self, now_ms: u64) -> Option<Duration> {
        let overdue = now_ms.saturating_sub(self.due_ms.load(Ordering::Relaxed));
        if overdue >= millis(LATE_MIN) {
            return Some(Duration::from_millis(overdue));
        }
        let ago = now_ms.saturating_sub(self.late_at_ms.load(Ordering::Relaxed));
        let late = self.late_by_ms.load(Ordering::Relaxed);
        (late > 0 && ago <= millis(REMEMBERED)).then(|| Duration::from_millis(late))
    }

    fn now_ms(&self) -> u64 {
        millis(self.origin.elapsed())
    }
}

/// The directory of the process's own cgroup in the unified hierarchy, from `/proc/self/cgroup`.
fn cgroup_dir(own: &str, mounts: [&Path; 2]) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    mounts.map(|mount| mount.join(path)).into_iter().find(|dir| dir.join("cpu.pressure").exists())
}

fn pressure(path: &Path) -> Option<f32> {
    some_avg10(&std::fs::read_to_string(path).ok()?)
}

/// `avg10` of the line `some`, percent: the share of the last 10 s in which at least one task
/// waited. None for anything but the kernel's format.
fn some_avg10(text: &str) -> Option<f32> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let avg10 = some.split(' ').find_map(|field| field.strip_prefix("avg10="))?;
    avg10.parse().ok().filter(|share| (0.0..=100.0).contains(share))
}

/// The name of the first thread in state D. A thread may end while it is looked at.
fn thread_in_device_wait(tasks: &Path) -> Option<String> {
    std::fs::read_dir(tasks).ok()?.flatten().find_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (thread, state) = name_and_state(&stat)?;
        (state == 'D').then(|| thread.to_string())
    })
}

/// Name and state in a line of `/proc/PID/stat`. The name is in parentheses, and may hold some itself.
fn name_and_state(stat: &str) -> Option<(&str, char)> {
    let (before, after) = stat.rsplit_once(") ")?;
    let (_, name) = before.split_once('(')?;
    Some((name, after.chars().next()?))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 printed them.
    const CPU: &str = "some avg10=3.62 avg60=1.18 avg300=2.12 total=4197890391\n\
                       full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
    const IO: &str = "some avg10=26.56 avg60=6.76 avg300=2.07 total=415872041\n\
                      full avg10=25.23 avg60=6.47 avg300=1.91 total=86915486\n";
    /// In the form of kernels before 5.13, which have no line `full` for the CPU.
    const OLD_CPU: &str = "some avg10=98.20 avg60=1.18 avg300=2.12 total=4197890391\n";

    #[test]
    fn pressure_is_the_share_of_some_over_ten_seconds() {
        assert_eq!(some_avg10(CPU), Some(3.62));
        assert_eq!(some_avg10(IO), Some(26.56));
        assert_eq!(some_avg10(OLD_CPU), Some(98.2));
        for foreign in
            ["", "some", "full avg10=1.00", "some avg60=1.00", "some avg10=x", "some avg10=NaN"]
        {
            assert_eq!(some_avg10(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn this_kernels_own_files_are_understood() {
        for resource in Resource::ALL {
            let path = Path::new("/proc/pressure").join(resource.name());
            // Absent, or refused with EOPNOTSUPP, where PSI is not built in or turned off.
            if std::fs::read_to_string(&path).is_ok() {
                assert!(pressure(&path).is_some(), "{}", path.display());
            }
        }
    }

    #[test]
    fn a_shortage_is_found_on_the_machine_and_in_the_cgroup_and_absent_files_say_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let machine = || Machine::of(&dir.path().join("proc"), Some(dir.path()));
        assert_eq!((machine().shortage(), machine().has_pressure()), (None, false));
        std::fs::create_dir(dir.path().join("proc")).unwrap();
        std::fs::write(dir.path().join("proc/cpu"), CPU).unwrap();
        std::fs::write(dir.path().join("proc/io"), IO).unwrap();
        assert_eq!((machine().shortage(), machine().has_pressure()), (None, true));
        std::fs::write(dir.path().join("cpu.pressure"), OLD_CPU).unwrap();
        let shortage = machine().shortage().unwrap();
        assert_eq!(shortage.to_string(), "cgroup short of cpu (some avg10=98 %)");
    }

    #[test]
    fn a_sleeper_that_wakes_late_shows_a_shortage_for_a_while() {
        let machine = Machine::of(Path::new("/nonexistent"), None);
        assert_eq!(machine.lateness(machine.now_ms()), None);
        machine.due_ms.store(5_000, Ordering::Relaxed);
        assert_eq!(machine.lateness(5_900), None, "less than a second late");
        assert_eq!(machine.lateness(8_000), Some(Duration::from_secs(3)), "and not awake yet");
        machine.wakes_at(8_000);
        assert_eq!(machine.lateness(18_000), Some(Duration::from_secs(3)));
        assert_eq!(machine.lateness(18_001), None);
        machine.due_ms.store(20_000, Ordering::Relaxed);
        machine.wakes_at(20_900);
        assert_eq!(machine.lateness(21_000), None, "in time, or nearly");
    }

    #[test]
    fn a_thread_in_state_d_is_found_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let task = |id: &str, stat: &str| {
            std::fs::create_dir(dir.path().join(id)).unwrap();
            std::fs::write(dir.path().join(id).join("stat"), stat).unwrap();
        };
        task("10", "10 (picket) S 1 10 10 0 -1 4194560 4098 0");
        task("11", "11 (worker-0) t 1 10 10 0 -1 4194560 4098 0");
        assert_eq!(thread_in_device_wait(dir.path()), None, "stopped is not waiting");
        task("12", "12 (a) D (b) D 1 10 10 0 -1 4194560 4098 0");
        assert_eq!(thread_in_device_wait(dir.path()).as_deref(), Some("a) D (b"));
        assert_eq!(name_and_state("12 (picket"), None);
    }

    #[test]
    fn this_kernels_own_threads_are_understood() {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        assert_eq!(name_and_state(&stat).unwrap().1, 'R');
    }

    #[test]
    fn the_own_cgroup_is_found_wherever_the_unified_hierarchy_is_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let (pure, hybrid) = (dir.path().join("pure"), dir.path().join("hybrid"));
        let group = hybrid.join("system.slice/picket.service");
        std::fs::create_dir_all(&group).unwrap();
        let own = "4:memory:/a\n0::/system.slice/picket.service\n";
        let found = |own| cgroup_dir(own, [&pure, &hybrid]);
        assert_eq!(found(own), None, "no pressure there");
        std::fs::write(group.join("cpu.pressure"), CPU).unwrap();
        assert_eq!(found(own), Some(group));
        assert_eq!(found("4:memory:/a\n"), None, "version 1 alone");
    }
}
