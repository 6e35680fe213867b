//! The daemon under attack: on a store of its own, ready, and heard when something is wrong.

use std::path::Path;
use std::time::{Duration, Instant};

use picket_testkit::{Daemon, Launch, Signal};
use tempfile::TempDir;

use crate::verdict::Verdict;

/// The state directory goes when it is dropped.
pub fn start(picket: &Path) -> anyhow::Result<(TempDir, Daemon)> {
    let state = tempfile::tempdir()?;
    let launch = Launch::on(picket, state.path()).on_line(|line| {
        if line.contains("ERROR") || line.contains("WARN") || line.contains("panicked") {
            eprintln!("  daemon: {line}");
        }
    });
    Ok((state, launch.ready()?.0))
}

/// Ends it by SIGTERM.
pub fn stop(mut daemon: Daemon) -> anyhow::Result<End> {
    let started = Instant::now();
    daemon.signal(Signal::SIGTERM)?;
    let code = daemon.wait()?.code();
    Ok(End { code, took: started.elapsed() })
}

/// How it ended, and how long that took.
pub struct End {
    code: Option<i32>,
    pub took: Duration,
}

impl End {
    pub fn judge(&self, verdict: &mut Verdict) {
        verdict.goal("exit code", format!("{:?}", self.code), "0", self.code == Some(0));
    }
}
