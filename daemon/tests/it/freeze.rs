//! Stops one thread of a running daemon where it is, as a bug or a lost wake-up would, while all
//! others go on: ptrace on that thread alone. Needs the right to trace a child, as every user has
//! unless Yama's ptrace_scope is above 1.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Instant;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::support::{Daemon, PATIENCE};

/// A thread that stands still until this is dropped. Stays on the thread that made it: only that
/// one may let go.
pub struct Frozen {
    thread: Pid,
    of_this_thread: PhantomData<*const ()>,
}

impl Frozen {
    /// Stops the daemon's thread of this name, and returns when it has stopped.
    pub fn thread(daemon: &Daemon, name: &str) -> Frozen {
        let thread = find(daemon.pid(), name);
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        let stopped = waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        assert!(matches!(stopped, WaitStatus::PtraceEvent(..)), "{stopped:?}");
        Frozen { thread, of_this_thread: PhantomData }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It may have ended with its process.
        let _ = ptrace::detach(self.thread, None);
    }
}

fn find(pid: u32, name: &str) -> Pid {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let deadline = Instant::now() + PATIENCE;
    // A thread has its name only once it runs.
    while Instant::now() < deadline {
        for task in std::fs::read_dir(&tasks).unwrap().map(Result::unwrap) {
            let found = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if found.trim_end() == name {
                return Pid::from_raw(task.file_name().to_str().unwrap().parse().unwrap());
            }
        }
        std::thread::yield_now();
    }
    panic!("process {pid} has no thread {name}");
}
