//! A place from which nothing escapes: scratch space, and for root a mount and a process namespace
//! whose end takes every mount and every child along, however this program ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

use anyhow::{Context, bail};
use nix::sys::signal::{SigSet, Signal};

/// Tells the inner process where its scratch space is, and that it is the inner one.
const SCRATCH_VARIABLE: &str = "PICKET_FAULTS_SCRATCH";

/// tmpfs on any Linux: a fault rig should not wear out a disk.
const MEMORY_DIR: &str = "/dev/shm";

/// Runs `check` inside, and cleans up after it.
pub fn enter(check: impl FnOnce(PathBuf) -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    if let Some(scratch) = std::env::var_os(SCRATCH_VARIABLE) {
        return check(PathBuf::from(scratch));
    }
    let parent =
        if Path::new(MEMORY_DIR).is_dir() { MEMORY_DIR.into() } else { std::env::temp_dir() };
    let scratch = tempfile::Builder::new().prefix("picket-faults-").tempdir_in(parent)?;
    if !nix::unistd::geteuid().is_root() {
        return check(scratch.path().to_path_buf());
    }
    let result = run_inside(scratch.path());
    detach_loop_devices(scratch.path());
    result
}

/// For checks that mount: without root there is nothing that they could do.
pub fn require_root() -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("this check mounts file systems: run it as root");
    }
    Ok(())
}

fn run_inside(scratch: &Path) -> anyhow::Result<ExitCode> {
    // Before any thread starts: signals wait for `forward_signals` instead of ending this process
    // alone. Children begin with an empty mask again.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    let mut inner = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"])
        .arg("--mount-proc")
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(SCRATCH_VARIABLE, scratch)
        .spawn()
        .context("setpriv and unshare (Debian package util-linux) are needed")?;
    forward_signals(signals, &inner)?;
    let status = inner.wait()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The inner process is an init: only a kill from outside ends it, and all below it.
fn forward_signals(signals: SigSet, inner: &Child) -> anyhow::Result<()> {
    let inner = nix::unistd::Pid::from_raw(i32::try_from(inner.id())?);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.wait().is_ok() {
            // Already gone is as good.
            let _ = nix::sys::signal::kill(inner, Signal::SIGKILL);
        }
    })?;
    Ok(())
}

/// A killed check leaves devices whose files are ours; the mounts went with the namespace.
fn detach_loop_devices(scratch: &Path) {
    let listed =
        Command::new("losetup").args(["--list", "--noheadings", "-O", "NAME,BACK-FILE"]).output();
    let Ok(output) = listed else { return };
    let scratch = scratch.to_string_lossy();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((device, file)) = line.trim().split_once(char::is_whitespace)
            && file.trim().starts_with(&*scratch)
        {
            let _ = Command::new("losetup").args(["-d", device]).status();
        }
    }
}
