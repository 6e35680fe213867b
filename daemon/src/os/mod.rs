//! What only the kernel can tell or do for this process. With crates/base the only room that names
//! nix and rustix, and outside the kernels the only one with unsafe code.

mod cgroup;
mod memory;
mod process;
mod signals;
mod sockets;

pub use cgroup::{control_groups, memory_bounds, memory_given, memory_limit, own_groups};
pub use memory::{SmallPieces, keep_heap_small, resident_bytes, trim_heap, unmap_code_of_start};
pub use process::{
    bound_this_process, effective_user, forget_variable, go_first_where_memory_is_short, hostname,
    is_out_of_seconds, raise_open_files, stderr_file, step_back, thread_time,
};
pub use signals::{SignalRequest, Signals};
pub use sockets::{
    Inherited, NearPath, adopt, bounded_unsent, end_sending, has_ipv6, is_listened_to, listen,
};
