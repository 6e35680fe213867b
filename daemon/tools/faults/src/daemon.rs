//! One run of the daemon: started on ports of the kernel's choice, watched, stopped or killed.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Rig;
use crate::client::Client;

/// Longest wait for a start or an end: far above the slowest machine's time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Deadline of one request that asks how the daemon is.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);

/// Between two looks at something that is about to happen.
const POLL_INTERVAL: Duration = Duration::from_millis(3);

/// Lines of the daemon's log kept for a failure's report.
const LINES_MAX: usize = 200;

/// Lines shown with a failure.
const LINES_SHOWN: usize = 12;

pub struct Launch {
    command: Command,
}

pub struct Daemon {
    child: Child,
    seen: Arc<Mutex<Seen>>,
    lines: Option<JoinHandle<()>>,
    pub api: SocketAddr,
    pub probe: SocketAddr,
}

#[derive(Default)]
struct Seen {
    lines: VecDeque<String>,
    api: Option<SocketAddr>,
    probe: Option<SocketAddr>,
}

impl Launch {
    pub fn on(rig: &Rig, state_dir: &Path) -> Launch {
        let mut command = Command::new(&rig.picket);
        // No setting of the caller's shell reaches the daemon.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["serve", "--api-listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0"]);
        command.arg("--state-dir").arg(state_dir);
        Launch { command }
    }

    pub fn arg(mut self, flag: &str, value: impl ToString) -> Launch {
        self.command.arg(flag).arg(value.to_string());
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Launch {
        self.command.env(name, value);
        self
    }

    /// Starts it and waits for nothing.
    pub fn spawn(mut self) -> anyhow::Result<Daemon> {
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = self.command.spawn().context("the daemon can't be started")?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let reader = seen.clone();
        let lines = std::thread::Builder::new()
            .name("daemon-stderr".into())
            .spawn(move || read_lines(stderr, &reader))?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Daemon { child, seen, lines: Some(lines), api: nowhere, probe: nowhere })
    }

    /// Starts it and waits until both listeners are up.
    pub fn serving(self) -> anyhow::Result<Daemon> {
        let mut daemon = self.spawn()?;
        daemon.wait_until_serving()?;
        Ok(daemon)
    }

    /// Starts it and waits until `/ready` says so; with the time it took.
    pub fn ready(self) -> anyhow::Result<(Daemon, Duration)> {
        let started = Instant::now();
        let daemon = self.serving()?;
        daemon.wait_until_ready(PATIENCE)?;
        Ok((daemon, started.elapsed()))
    }
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn wait_until_serving(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (api, probe) = {
                let seen = self.lock();
                (seen.api, seen.probe)
            };
            if let (Some(api), Some(probe)) = (api, probe) {
                (self.api, self.probe) = (api, probe);
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the daemon ended while starting, {status}: {}", self.last_lines());
            }
            if Instant::now() > deadline {
                bail!("no listeners after {PATIENCE:?}: {}", self.last_lines());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// # Errors
    /// With `/ready`'s last answer and the daemon's last words.
    pub fn wait_until_ready(&self, patience: Duration) -> anyhow::Result<()> {
        let client = Client::new(PROBE_DEADLINE);
        let deadline = Instant::now() + patience;
        loop {
            let answer = client.get(self.probe, "/ready");
            if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let answer = answer.map_or_else(|error| error.to_string(), |answer| answer.text);
                bail!("not ready after {patience:?}: {answer} {}", self.last_lines());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// The value of one sample of `/metrics`, named with its labels.
    pub fn metric(&self, sample: &str) -> anyhow::Result<f64> {
        let text = Client::new(PROBE_DEADLINE).get(self.probe, "/metrics")?.text;
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no metric {sample}"))?.trim().parse()?)
    }

    /// Resident memory, bytes.
    pub fn rss_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
        Ok(kib.parse::<u64>()? << 10)
    }

    /// SIGTERM, and the end that must follow.
    pub fn stop(mut self) -> anyhow::Result<ExitStatus> {
        kill(Pid::from_raw(i32::try_from(self.pid())?), Signal::SIGTERM)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("the daemon stopped with {status}: {}", self.last_lines());
                }
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the daemon does not end after {PATIENCE:?}: {}", self.last_lines());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// SIGKILL; what it had said by then is returned.
    pub fn kill_9(mut self) -> anyhow::Result<String> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.last_lines())
    }

    pub fn last_lines(&self) -> String {
        let seen = self.lock();
        let skip = seen.lines.len().saturating_sub(LINES_SHOWN);
        let lines: Vec<&str> = seen.lines.iter().skip(skip).map(String::as_str).collect();
        lines.join("\n    ")
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("the reader of stderr does not panic")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(lines) = self.lines.take() {
            let _ = lines.join();
        }
    }
}

fn read_lines(stderr: ChildStderr, seen: &Mutex<Seen>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let mut seen = seen.lock().expect("no holder of the lines panics");
        if line.contains("listener") {
            seen.api = seen.api.or_else(|| listener(&line, "api"));
            seen.probe = seen.probe.or_else(|| listener(&line, "probe"));
        }
        if seen.lines.len() == LINES_MAX {
            seen.lines.pop_front();
        }
        seen.lines.push_back(line);
    }
}

/// The address in a line about the listener `name`, whatever the line's format.
fn listener(line: &str, name: &str) -> Option<SocketAddr> {
    let after = &line[line.find("listener\"").or_else(|| line.find("listener="))?..];
    let mut words = after.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    words.find(|word| *word != "listener").filter(|word| *word == name)?;
    line.split(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c)))
        .find_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listeners_address_is_found_in_text_and_in_json() {
        let at = Some(SocketAddr::from(([127, 0, 0, 1], 37945)));
        let text = "2026-11-24T20:58:09.0990Z  INFO picket::http::server: listening \
                    listener=\"api\" addr=127.0.0.1:37945";
        let json = r#"{"timestamp":"2026-11-24T20:58:09.09Z","level":"INFO","fields":{"message":
                       "listening","listener":"api","addr":"127.0.0.1:37945"}}"#;
        assert_eq!(listener(text, "api"), at);
        assert_eq!(listener(json, "api"), at);
        assert_eq!(listener(text, "probe"), None);
        assert_eq!(listener(json, "probe"), None);
    }
}
