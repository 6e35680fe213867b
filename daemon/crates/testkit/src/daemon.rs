//! One run of the daemon: heard, asked, signalled and ended.

use std::net::SocketAddr;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::{Answer, Client};
use crate::freeze::Frozen;
use crate::lines::{Lines, Missing};
use crate::memory::Memory;
use crate::metrics;
use crate::wait::{PATIENCE, wait_for};

/// A running daemon; killed when dropped.
pub struct Daemon {
    /// Port 0 until the listener was waited for, and if it is no TCP socket.
    pub api: SocketAddr,
    /// As `api`.
    pub probe: SocketAddr,
    child: Child,
    lines: Lines,
    /// The number of the first line that nobody has waited for.
    unheard: usize,
}

impl Daemon {
    pub(crate) fn new(child: Child, lines: Lines) -> Daemon {
        Daemon { api: nowhere(), probe: nowhere(), child, lines, unheard: 0 }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for a line of the daemon's log that holds `text`, and returns it.
    pub fn wait_for_line(&mut self, text: &str) -> anyhow::Result<String> {
        self.wait_for_line_from(0, text)
    }

    /// The same among the lines behind the last one that was waited for.
    pub fn wait_for_new_line(&mut self, text: &str) -> anyhow::Result<String> {
        self.wait_for_line_from(self.unheard, text)
    }

    fn wait_for_line_from(&mut self, first: usize, text: &str) -> anyhow::Result<String> {
        match self.lines.wait_for(text, first, PATIENCE) {
            Ok((line, number)) => {
                self.unheard = self.unheard.max(number + 1);
                Ok(line)
            }
            Err(Missing::Late) => bail!("no {text:?} after {PATIENCE:?}: {}", self.last_lines()),
            Err(Missing::Ended) => {
                let status = self.wait()?;
                bail!("the daemon ended without {text:?}, {status}: {}", self.last_lines())
            }
        }
    }

    pub(crate) fn wait_for_listener(&mut self, name: &str) -> anyhow::Result<SocketAddr> {
        let line = self.wait_for_line(&format!("listening listener=\"{name}\" addr="))?;
        let (_, addr) = line.rsplit_once("addr=").context("the line was found by its addr=")?;
        // A Unix socket's path is known to whoever asked for it.
        Ok(addr.trim().parse().unwrap_or_else(|_| nowhere()))
    }

    /// # Errors
    /// With `/ready`'s last answer and the daemon's last lines.
    pub fn wait_until_ready(&self, limit: Duration) -> anyhow::Result<()> {
        let client = Client::new(PATIENCE);
        let mut last = String::new();
        let ready = wait_for(limit, || match client.get(self.probe, "/ready") {
            Ok(answer) if answer.status == 200 => true,
            Ok(answer) => {
                last = answer.body;
                false
            }
            Err(error) => {
                last = error.to_string();
                false
            }
        });
        ensure!(ready, "not ready after {limit:?}: {last} {}", self.last_lines());
        Ok(())
    }

    /// Asks the API, on a connection of its own.
    pub fn get(&self, path: &str) -> anyhow::Result<Answer> {
        Client::new(PATIENCE).get(self.api, path)
    }

    /// Asks the probe listener, on a connection of its own.
    pub fn probe(&self, path: &str) -> anyhow::Result<Answer> {
        Client::new(PATIENCE).get(self.probe, path)
    }

    /// Posts to the API, on a connection of its own.
    pub fn post(
        &self,
        path: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        Client::new(PATIENCE).post(self.api, path, content_type, body)
    }

    pub fn is_ready(&self) -> bool {
        self.probe("/ready").is_ok_and(|answer| answer.status == 200)
    }

    /// Whether it makes a prediction.
    pub fn predicts(&self) -> bool {
        Client::new(PATIENCE).predict(self.api, "").is_ok_and(|answer| answer.status == 200)
    }

    /// The value of one sample of `/metrics`, named with its labels.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = self.probe("/metrics")?.body;
        metrics::sample(&text, name).with_context(|| format!("no {name} in {text}"))
    }

    pub fn memory(&self) -> anyhow::Result<Memory> {
        Memory::of(self.pid())
    }

    /// Stops the thread of this name, until what is returned is dropped.
    pub fn freeze(&self, thread: &str) -> anyhow::Result<Frozen> {
        Frozen::thread(self.pid(), thread)
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.pid())?), signal)?)
    }

    /// Waits for the end, whatever brings it about.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let mut ended = Ok(None);
        let child = &mut self.child;
        wait_for(PATIENCE, || {
            ended = child.try_wait();
            !matches!(ended, Ok(None))
        });
        ended?.with_context(|| format!("no end after {PATIENCE:?}: {}", self.last_lines()))
    }

    /// SIGTERM, and the good end that must follow.
    pub fn stop(mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let status = self.wait()?;
        ensure!(status.success(), "the daemon stopped with {status}: {}", self.last_lines());
        Ok(status)
    }

    /// SIGKILL, and the end that it brings.
    pub fn kill_9(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub fn last_lines(&self) -> String {
        self.lines.last()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.lines.join();
    }
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
