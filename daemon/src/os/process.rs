//! What the kernel knows of this process and its machine: name, user, variables, open files.

use std::time::Duration;

use nix::libc::rlim_t;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_gettime};

/// The machine's name, "unknown" where the kernel gives none.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|text| text.trim().to_string())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_string())
}

/// Device and inode of the file that stderr is connected to; none when it is closed.
pub fn stderr_file() -> Option<(u64, u64)> {
    let stat = rustix::fs::fstat(std::io::stderr()).ok()?;
    // Narrower on some 32-bit targets.
    #[allow(clippy::useless_conversion)]
    Some((u64::from(stat.st_dev), u64::from(stat.st_ino)))
}

/// The processor's time that the calling thread has had.
pub fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The user that this process acts as.
pub fn effective_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Makes room for so many open files, sockets included, as far as the hard limit allows; returns how
/// many are possible now.
///
/// # Errors
/// When the kernel refuses.
pub fn raise_open_files(wanted: usize) -> std::io::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let raised = rlim_t::try_from(wanted).unwrap_or(hard).min(hard);
    if raised > soft {
        setrlimit(Resource::RLIMIT_NOFILE, raised, hard)?;
    }
    Ok(usize::try_from(raised.max(soft)).unwrap_or(usize::MAX))
}

/// Lets this process have at most so many bytes of address space, and seconds of processor and of time;
/// beyond the first, allocations fail, at the others the kernel ends it.
///
/// # Errors
/// When the kernel refuses.
pub fn bound_this_process(bytes: u64, seconds: u64, time: u32) -> std::io::Result<()> {
    let set = |resource, limit: u64| {
        let (_, hard) = getrlimit(resource)?;
        setrlimit(resource, rlim_t::try_from(limit).unwrap_or(hard).min(hard), hard)
    };
    nix::unistd::alarm::set(time);
    set(Resource::RLIMIT_AS, bytes)?;
    Ok(set(Resource::RLIMIT_CPU, seconds)?)
}

/// Has the kernel end this process before others where there is no memory left.
pub fn go_first_where_memory_is_short() {
    // Without it the largest goes.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// Has every other thread go before this one where there is not enough of the processor.
#[allow(unsafe_code)]
pub fn step_back() {
    // SAFETY: it has no memory to do with. Without it the thread is as good as the others.
    unsafe { nix::libc::setpriority(nix::libc::PRIO_PROCESS, 0, NICE_MAX) };
}

/// The least favoured of all priorities.
const NICE_MAX: i32 = 19;

/// Whether this signal ends a process whose seconds are over.
pub fn is_out_of_seconds(signal: i32) -> bool {
    [nix::libc::SIGXCPU, nix::libc::SIGALRM].contains(&signal)
}

/// Removes a variable from the environment, so that no child sees it and nobody reads it twice.
#[allow(unsafe_code)]
pub fn forget_variable(name: &str) {
    // SAFETY: called from `main` before any other thread is started.
    unsafe { std::env::remove_var(name) };
}
