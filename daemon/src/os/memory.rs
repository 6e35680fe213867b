//! The memory of this process: how much there is, and how the heap is kept small.

/// Has glibc keep little of what is freed. By itself it takes each freed block as a hint that as much
/// will be needed again, and keeps up to 32 MiB at a time: with 300,000 records logged in a burst that
/// was 27 MB more. And it gives threads heaps of their own, eight for each core, with holes that no
/// other can use: 7 MB after 100,000 predictions. It must be called before other threads allocate; other
/// C libraries have no such habits.
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

/// So much in small pieces is worth looking for when it was freed, bytes.
const SMALL_PIECES_MIN: usize = 8 << 20;

/// Counts what is freed in small pieces, and gives their pages back once they are many: a heap keeps
/// what lies below its last piece, and the kernel counts it as taken. 147 MiB were left of four batches
/// of large records.
#[derive(Debug, Default)]
pub struct SmallPieces {
    freed: usize,
}

impl SmallPieces {
    /// Takes note that so many bytes were freed. Where they are many since the last time, their pages are
    /// given back before it returns.
    pub fn freed(&mut self, bytes: usize) {
        self.freed += bytes;
        if self.freed >= SMALL_PIECES_MIN {
            trim_heap();
            self.freed = 0;
        }
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

/// The part of this process's memory that is in RAM; none where the kernel doesn't say.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok()
    })?;
    Some(kib << 10)
}
