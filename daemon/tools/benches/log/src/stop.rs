//! SIGINT and SIGTERM end a run between two commits, so that mounts and devices are taken apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use nix::sys::signal::{SigSet, Signal};

/// Whether somebody asked for the end.
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Blocks both signals in this thread and in all that it starts, and waits for them in one of
    /// its own, which ends with the process.
    pub fn on_signal() -> anyhow::Result<Stop> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block()?;
        let asked = Arc::new(AtomicBool::new(false));
        let flag = asked.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            if signals.wait().is_ok() {
                flag.store(true, Ordering::Relaxed);
            }
        })?;
        Ok(Stop(asked))
    }

    /// # Errors
    /// When a signal came.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}
