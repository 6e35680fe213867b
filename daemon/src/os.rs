//! What the kernel knows about this machine and this process: clocks, boot id, host name, signals,
//! disks, sockets, memory. The only file that names nix and rustix, and outside the kernels the only
//! one with unsafe code: calls that neither wraps, and what it takes to adopt a service manager's
//! sockets.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc::{off_t, rlim_t};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, setsockopt,
    sockopt,
};
use nix::time::{ClockId, clock_gettime};
use rustix::fs::{AtFlags, StatxFlags};

/// Identifies one boot of the machine, so that monotonic times of different boots are never
/// compared. Random UUID from the kernel; "unknown" where /proc is not mounted.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".to_string(), |text| text.trim().to_string())
}

/// The machine's name, "unknown" where the kernel gives none.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|text| text.trim().to_string())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_string())
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Since boot, suspend included, µs.
    pub monotonic_us: u64,
    /// Since 1970-01-01 UTC, µs; may be years wrong on a box without a clock battery.
    pub wall_us: i64,
    /// Whether the kernel held the wall clock for synchronised with a time source.
    pub synchronised: bool,
}

impl Stamp {
    pub fn now() -> Stamp {
        let since_boot =
            clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
        Stamp {
            monotonic_us: micros(since_boot),
            wall_us: wall_us(SystemTime::now()),
            synchronised: wall_clock_is_synchronised(),
        }
    }
}

/// There since systemd-timesyncd set the clock in this boot; systemd-timesyncd.service(8).
const TIMESYNCD_MARK: &str = "/run/systemd/timesync/synchronized";

/// Whether the wall clock follows a time source. Under the hardened unit the kernel may not be
/// asked (ProtectClock=): there timesyncd's mark is all that is known.
pub fn wall_clock_is_synchronised() -> bool {
    kernel_clock_is_synchronised().unwrap_or_else(|| Path::new(TIMESYNCD_MARK).exists())
}

/// The kernel's own word (STA_UNSYNC of adjtimex), which every time service keeps up to date; None
/// where it may not be asked.
#[allow(unsafe_code)]
fn kernel_clock_is_synchronised() -> Option<bool> {
    // SAFETY: timex is plain integers, for which zero is a value; its modes of 0 ask for nothing
    // to be changed; the pointer is to a live local.
    let (state, status) = unsafe {
        let mut timex: nix::libc::timex = std::mem::zeroed();
        (nix::libc::adjtimex(&raw mut timex), timex.status)
    };
    (state != -1).then_some(status & nix::libc::STA_UNSYNC == 0)
}

fn wall_us(time: SystemTime) -> i64 {
    let micros = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()),
        Err(before) => i64::try_from(before.duration().as_micros()).map(|micros| -micros),
    };
    micros.unwrap_or(i64::MAX)
}

/// Saturating: a duration that long is as good as for ever.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// SIGTERM, SIGINT and SIGHUP, kept from killing the process so that a thread can wait for them.
pub struct Signals(SignalFd);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To end, by the signal of this name.
    Stop(&'static str),
    /// To read the configuration again.
    Reload,
}

impl Signals {
    /// Blocks them in this thread and in every thread that it starts from now on.
    ///
    /// # Errors
    /// When the kernel refuses the mask or a file descriptor.
    pub fn block() -> std::io::Result<Signals> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Signals(SignalFd::with_flags(&signals, flags)?))
    }

    /// Waits for the next one; none when the time is over.
    pub fn wait(&self, timeout: Duration) -> Option<Request> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut wanted = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        // An error is an interruption, and the caller comes back.
        poll(&mut wanted, timeout).ok().filter(|ready| *ready > 0)?;
        let signal = self.0.read_signal().ok().flatten()?;
        match Signal::try_from(i32::try_from(signal.ssi_signo).ok()?).ok()? {
            Signal::SIGHUP => Some(Request::Reload),
            signal => Some(Request::Stop(signal.as_str())),
        }
    }
}

/// What memory, offsets and lengths are multiples of when a file opened by `open_synchronous` is
/// written to: a page, which no disk's block exceeds.
pub const DIRECT_ALIGNMENT_BYTES: usize = 4096;

/// Opens a file whose writes return when they are on the medium. They go past the page cache
/// where the file system can do that: a quarter faster, and an error is the write's own, where
/// the cache may drop a page and report it as written.
///
/// # Errors
/// As any open.
pub fn open_synchronous(path: &Path) -> std::io::Result<File> {
    let open =
        |flags: OFlag| File::options().read(true).write(true).custom_flags(flags.bits()).open(path);
    // Some file systems take the flag and refuse the first access.
    let direct = open(OFlag::O_DIRECT | OFlag::O_DSYNC).and_then(|file| {
        let mut block = AlignedBytes::zeroed(DIRECT_ALIGNMENT_BYTES);
        file.read_at(block.as_mut(), 0)?;
        Ok(file)
    });
    match direct {
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => open(OFlag::O_DSYNC),
        other => other,
    }
}

/// Bytes whose memory begins at a multiple of `DIRECT_ALIGNMENT_BYTES`.
pub struct AlignedBytes {
    bytes: Vec<u8>,
    start: usize,
}

impl AlignedBytes {
    pub fn zeroed(length: usize) -> AlignedBytes {
        let bytes = vec![0; length + DIRECT_ALIGNMENT_BYTES];
        let start = bytes.as_ptr().align_offset(DIRECT_ALIGNMENT_BYTES);
        AlignedBytes { start, bytes }
    }
}

impl AsMut<[u8]> for AlignedBytes {
    fn as_mut(&mut self) -> &mut [u8] {
        let length = self.bytes.len() - DIRECT_ALIGNMENT_BYTES;
        &mut self.bytes[self.start..self.start + length]
    }
}

/// Fsyncs a directory, so that the names made in it survive a power cut.
///
/// # Errors
/// When it can't be opened or the disk refuses.
pub fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What a file system has left and lets us do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that an ordinary user may still write.
    pub free_bytes: u64,
    pub read_only: bool,
}

/// # Errors
/// When the directory is gone or its disk does not answer.
pub fn disk_space(dir: &Path) -> std::io::Result<DiskSpace> {
    let stat = nix::sys::statvfs::statvfs(dir)?;
    Ok(DiskSpace {
        free_bytes: stat.blocks_available() as u64 * stat.fragment_size() as u64,
        read_only: stat.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY),
    })
}

/// Allocates the blocks of a file, so that they are there whatever fills the disk later.
///
/// # Errors
/// When there are not as many, or the file system can't promise them.
pub fn preallocate(file: &File, bytes: u64) -> std::io::Result<()> {
    let bytes = off_t::try_from(bytes).map_err(std::io::Error::other)?;
    Ok(nix::fcntl::posix_fallocate(file, 0, bytes)?)
}

/// Bytes that a file takes on disk, holes left out.
pub fn allocated_bytes(metadata: &std::fs::Metadata) -> u64 {
    /// Of `st_blocks`, whatever the file system's own size; stat(2).
    const BLOCK_BYTES: u64 = 512;
    metadata.blocks() * BLOCK_BYTES
}

/// Which mount a directory is on, by a number that the kernel never uses again (since 6.8). Older
/// kernels give the number of an unmounted file system to the next one: there two mounts may look
/// like one. None where the kernel says neither.
pub fn mount_id(dir: &Path) -> Option<u64> {
    /// STATX_MNT_ID_UNIQUE of statx(2).
    const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let wanted = StatxFlags::MNT_ID | UNIQUE;
    let found = rustix::fs::statx(rustix::fs::CWD, dir, AtFlags::empty(), wanted).ok()?;
    let known = StatxFlags::from_bits_retain(found.stx_mask);
    known.intersects(wanted).then_some(found.stx_mnt_id)
}

/// Has glibc keep little of what is freed. By itself it takes each freed block as a hint that as much
/// will be needed again, and keeps up to 32 MiB at a time: with 300,000 records logged in a burst that
/// was 27 MB more. And it gives threads heaps of their own, eight for each core, with holes that no
/// other can use: 7 MB after 100,000 predictions. To be called before other threads allocate; other C
/// libraries have no such habits.
///
/// And has the kernel keep to small pages. Where it gives huge ones to all who do not decline, as Debian's
/// does, it fills the heap's holes in: 48 MB instead of 27 a minute after 100,000 records in a burst.
#[allow(unsafe_code)]
pub fn keep_heap_small() {
    /// glibc's own value before it begins to adapt, bytes.
    #[cfg(target_env = "gnu")]
    const MMAP_THRESHOLD: i32 = 128 << 10;
    /// With one, threads wait for each other: a tenth fewer predictions a second on two cores, and
    /// /metrics takes twice as long; with two, a fiftieth and a
    /// third at most.
    #[cfg(target_env = "gnu")]
    const HEAPS_MAX: i32 = 2;
    // A kernel that has none refuses.
    let _ = nix::sys::prctl::set_thp_disable(true);
    // SAFETY: mallopt takes two integers and no pointer; an unknown value changes nothing.
    #[cfg(target_env = "gnu")]
    unsafe {
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, HEAPS_MAX);
    }
}

/// Gives pages of the heap that hold nothing back to the system. Other threads that want to allocate
/// wait meanwhile. By itself glibc does so at the end of a heap only.
#[allow(unsafe_code)]
pub fn trim_heap() {
    // SAFETY: malloc_trim takes an integer, and what is allocated stays where it is.
    #[cfg(target_env = "gnu")]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Takes the program's own code out of this process's memory; what is used again comes back from the
/// page cache, 64 KiB at a time. After a start that is half of it: the rest has parsed the command line
/// and the model. Nothing happens where /proc is not mounted.
#[allow(unsafe_code)]
pub fn unmap_code_of_start() {
    let here = unmap_code_of_start as *const () as usize;
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    let code = maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        (range.contains(&here) && rest.starts_with("r-xp")).then_some(range)
    });
    if let Some(code) = code {
        let start = std::ptr::without_provenance_mut(code.start);
        // SAFETY: the kernel's own bounds of a private mapping of the executable, which this process
        // can't write: each page reads as before.
        unsafe { nix::libc::madvise(start, code.len(), nix::libc::MADV_DONTNEED) };
    }
}

/// Bytes that this process made the kernel write to block devices since it started; None where
/// the kernel does not count them.
pub fn written_bytes() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix("write_bytes:")?.trim().parse().ok())
}

/// Memory of this process that is in RAM; None where the kernel doesn't say.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok()
    })?;
    Some(kib << 10)
}

/// Device and inode of what stderr is connected to; None when it is closed.
pub fn stderr_file() -> Option<(u64, u64)> {
    let stat = rustix::fs::fstat(std::io::stderr()).ok()?;
    // Narrower on some 32-bit targets.
    #[allow(clippy::useless_conversion)]
    Some((u64::from(stat.st_dev), u64::from(stat.st_ino)))
}

/// The user that this process acts as.
pub fn effective_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Whether a disk has failed to read or write.
pub fn is_io_error(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EIO as i32)
}

/// Whether an I/O error means that this user may not write here at all, so that waiting for the
/// disk to recover can't help.
pub fn is_refusal(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EACCES | Errno::EPERM | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::ELOOP)
    )
}

/// Makes room for so many open files, sockets included, as far as the hard limit allows; gives
/// how many are possible now.
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

/// Bounds what the kernel keeps for each of a listener's connections of bytes that the client does
/// not take, and for how long. Accepted sockets inherit both.
///
/// # Errors
/// When the kernel refuses.
pub fn bounded_unsent(
    listener: &TcpListener,
    bytes: usize,
    timeout: Duration,
) -> std::io::Result<()> {
    let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    setsockopt(listener, sockopt::SndBuf, &bytes)?;
    Ok(setsockopt(listener, sockopt::TcpUserTimeout, &timeout_ms)?)
}

/// A listening socket that this process was started with.
#[derive(Debug)]
pub enum Inherited {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Takes over sockets that the service manager has opened for this process.
///
/// # Errors
/// A descriptor that is no listening stream socket; the reason.
#[allow(unsafe_code)]
pub fn adopt(fd: RawFd) -> Result<Inherited, String> {
    // SAFETY: the service manager's protocol gives these descriptors to this process alone, and
    // each is adopted once, at start.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let fault = |error: Errno| error.desc().to_string();
    if getsockopt(&fd, sockopt::SockType).map_err(fault)? != SockType::Stream
        || !getsockopt(&fd, sockopt::AcceptConn).map_err(fault)?
    {
        return Err("it is no stream socket that listens".to_string());
    }
    let raw = std::os::fd::AsRawFd::as_raw_fd(&fd.as_fd());
    let address: SockaddrStorage = getsockname(raw).map_err(fault)?;
    match address.family() {
        Some(AddressFamily::Inet | AddressFamily::Inet6) => Ok(Inherited::Tcp(fd.into())),
        Some(AddressFamily::Unix) => Ok(Inherited::Unix(fd.into())),
        other => Err(format!("its address family is {other:?}")),
    }
}

/// Keeps a variable of our environment from children, and from being read twice.
#[allow(unsafe_code)]
pub fn forget_variable(name: &str) {
    // SAFETY: called from `main` before any other thread is started.
    unsafe { std::env::remove_var(name) };
}
