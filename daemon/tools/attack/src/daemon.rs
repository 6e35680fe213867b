//! The daemon under attack: a process of its own on a store of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Far above anything that a healthy daemon needs.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Daemon {
    pub api: SocketAddr,
    pub probe: SocketAddr,
    child: Child,
    _state: TempDir,
}

impl Daemon {
    pub fn start(picket: &Path) -> anyhow::Result<Daemon> {
        let state = tempfile::tempdir()?;
        let mut command = Command::new(picket);
        command.args(["serve", "--api-listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0"]);
        command.arg("--state-dir").arg(state.path()).args(["--message-format", "text"]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("cannot run {}", picket.display()))?;
        let mut lines = BufReader::new(child.stderr.take().context("stderr is piped")?).lines();
        let mut listening = |name: &str| -> anyhow::Result<SocketAddr> {
            let mark = format!("listener=\"{name}\" addr=");
            for line in lines.by_ref() {
                if let Some((_, addr)) = line?.split_once(&mark) {
                    return Ok(addr.trim().parse()?);
                }
            }
            bail!("the daemon ended before it listened")
        };
        let probe = listening("probe")?;
        let api = listening("api")?;
        // A full pipe would stop the daemon; its log shows up only when something is wrong.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains("ERROR") || line.contains("WARN") || line.contains("panicked") {
                    eprintln!("  daemon: {line}");
                }
            }
        });
        let daemon = Daemon { api, probe, child, _state: state };
        let deadline = Instant::now() + PATIENCE;
        while !daemon.is_ready() {
            ensure!(Instant::now() < deadline, "the daemon does not become ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(daemon)
    }

    pub fn is_ready(&self) -> bool {
        get(self.probe, "/ready").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Whether it makes a prediction.
    pub fn predicts(&self) -> bool {
        exchange(self.api, &prediction("close"))
            .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// One sample of /metrics.
    pub fn metric(&self, sample: &str) -> anyhow::Result<f64> {
        let text = get(self.probe, "/metrics")?;
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("no {sample} in /metrics"))?.parse()?)
    }

    /// Resident memory now and its peak, MiB.
    pub fn memory(&self) -> anyhow::Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = |name: &str| -> anyhow::Result<f64> {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).context("no line")?;
            Ok(line.split_whitespace().next().context("no number")?.parse()?)
        };
        Ok((kib("VmRSS:")? / 1024.0, kib("VmHWM:")? / 1024.0))
    }

    /// SIGTERM: exit code and how long the end took.
    pub fn stop(mut self) -> anyhow::Result<(Option<i32>, Duration)> {
        let started = Instant::now();
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok((status.code(), started.elapsed()));
            }
            ensure!(started.elapsed() < PATIENCE, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The smallest request that is a picture.
pub fn prediction(connection: &str) -> Vec<u8> {
    let head = format!(
        "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: 3072\r\nConnection: {connection}\r\n\r\n"
    );
    [head.as_bytes(), &[121; 3072]].concat()
}

pub fn get(addr: SocketAddr, path: &str) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    exchange(addr, request.as_bytes())
}

/// Sends a request on a connection of its own and reads until the daemon closes.
pub fn exchange(addr: SocketAddr, request: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
