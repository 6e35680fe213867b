//! Stops one thread of a running process where it is, as a bug or a lost wake-up would, while all
//! others go on: ptrace on that thread alone. Needs the right to trace the process: for a child every
//! user has it unless Yama's ptrace_scope is above 1, else root.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::wait::{PATIENCE, wait_for};

/// A thread that stands still until this is dropped. It stays on the thread that made it: only that
/// one may let go.
pub struct Frozen {
    thread: Pid,
    of_this_thread: PhantomData<*const ()>,
}

impl Frozen {
    /// Stops the process's thread of this name, and returns when it has stopped.
    pub fn thread(pid: u32, name: &str) -> anyhow::Result<Frozen> {
        let mut found = None;
        // A thread has its name only once it runs.
        wait_for(PATIENCE, || {
            found = find(pid, name);
            found.is_some()
        });
        let thread = found.with_context(|| format!("process {pid} has no thread {name}"))?;
        ptrace::seize(thread, ptrace::Options::empty()).context("cannot trace")?;
        ptrace::interrupt(thread)?;
        let stopped = waitpid(thread, Some(WaitPidFlag::__WALL))?;
        ensure!(matches!(stopped, WaitStatus::PtraceEvent(..)), "no stop but {stopped:?}");
        Ok(Frozen { thread, of_this_thread: PhantomData })
    }

    /// Holds it for so long, or until it is gone. A killed process stays a zombie until whoever
    /// traces it has looked.
    pub fn hold(self, time: Duration) {
        let look = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
        wait_for(time, || match waitpid(self.thread, Some(look)) {
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_) => true,
            Ok(_) => false,
        });
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It may have ended with its process.
        let _ = ptrace::detach(self.thread, None);
    }
}

fn find(pid: u32, name: &str) -> Option<Pid> {
    let tasks = std::fs::read_dir(PathBuf::from(format!("/proc/{pid}/task"))).ok()?;
    tasks.flatten().find_map(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm")).ok()?;
        (comm.trim_end() == name).then_some(())?;
        Some(Pid::from_raw(task.file_name().to_str()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The state of a process's only thread, as the third field of its stat says it.
    fn state(pid: u32) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1[..1].to_string()
    }

    #[test]
    fn a_frozen_thread_stands_still_until_it_is_dropped() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let frozen = Frozen::thread(child.id(), "sleep").unwrap();
        assert_eq!(state(child.id()), "t");
        drop(frozen);
        assert!(wait_for(PATIENCE, || state(child.id()) == "S"));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_is_killed_meanwhile_is_let_go() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let frozen = Frozen::thread(child.id(), "sleep").unwrap();
        child.kill().unwrap();
        frozen.hold(PATIENCE);
        // Being its parent too, whoever held it has already seen its end.
        assert!(child.wait().is_err());
    }
}
