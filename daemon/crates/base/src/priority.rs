//! The priority of a thread. It knows nothing of what the thread does.

/// What nice(1) calls the lowest.
const LOWEST: i32 = 19;

/// Lets the calling thread run, and reach the disk, only when nobody else wants to.
pub fn lower() {
    // Linux keeps it for each thread, and derives from it who comes first at the disk.
    let _ = rustix::process::nice(LOWEST);
}
