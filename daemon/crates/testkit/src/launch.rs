//! How a daemon is started, and until when a start is waited for.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::daemon::Daemon;
use crate::lines::{Lines, OnLine};
use crate::wait::PATIENCE;

/// The command `picket` with an environment of its own: no setting of the caller's shell reaches it.
pub fn picket(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

pub struct Launch {
    command: Command,
    /// Standard input and output, if they are sockets.
    streams: Option<(OwnedFd, OwnedFd)>,
    on_line: Option<OnLine>,
}

impl Launch {
    /// `picket serve` with its store below `state_dir`, on ports of the kernel's choice.
    pub fn on(picket: &Path, state_dir: &Path) -> Launch {
        let ports = ["--api-listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0"];
        Launch::bare(picket, state_dir).args(ports)
    }

    /// The same, listening where the arguments to come say.
    pub fn bare(picket: &Path, state_dir: &Path) -> Launch {
        let mut command = self::picket(picket);
        command.arg("serve").arg("--state-dir").arg(state_dir);
        // The lines that a person reads, whatever stderr is.
        command.args(["--message-format", "text"]);
        Launch { command, streams: None, on_line: None }
    }

    /// With sockets named `api` and `probe` handed over as systemd does it. They reach the shell as
    /// its standard streams, and `LISTEN_PID` is known only there.
    pub fn activated(self, names: &str, api: OwnedFd, probe: OwnedFd) -> Launch {
        let adopt = "exec 3<&0 4>&1 </dev/null >/dev/null; export LISTEN_PID=$$";
        let launch = self.prepared(adopt).env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names);
        Launch { streams: Some((api, probe)), ..launch }
    }

    /// In a process that a shell has prepared.
    pub fn prepared(self, preparation: &str) -> Launch {
        let mut command = Command::new("sh");
        let variables = self.command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.env_clear().envs(variables);
        let script = format!("{preparation}; exec \"$0\" \"$@\"");
        command.arg("-c").arg(script);
        command.arg(self.command.get_program()).args(self.command.get_args());
        Launch { command, ..self }
    }

    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Launch {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Launch {
        self.command.env(name, value);
        self
    }

    /// Calls `on_line` with each line of the daemon's log, on a thread of its own.
    pub fn on_line(self, on_line: impl Fn(&str) + Send + 'static) -> Launch {
        Launch { on_line: Some(Box::new(on_line)), ..self }
    }

    /// Starts it and waits for nothing.
    pub fn launch(mut self) -> anyhow::Result<Daemon> {
        let (stdin, stdout) = match self.streams.take() {
            None => (Stdio::null(), Stdio::null()),
            Some((api, probe)) => (api.into(), probe.into()),
        };
        let child = self.command.stdin(stdin).stdout(stdout).stderr(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("cannot run {:?}", self.command))?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        Ok(Daemon::new(child, Lines::read(stderr, self.on_line)?))
    }

    /// Starts it and waits until the probe listener is up, which comes first.
    pub fn spawn(self) -> anyhow::Result<Daemon> {
        let mut daemon = self.launch()?;
        daemon.probe = daemon.wait_for_listener("probe")?;
        Ok(daemon)
    }

    /// Starts it and waits until both listeners are up.
    pub fn serving(self) -> anyhow::Result<Daemon> {
        let mut daemon = self.spawn()?;
        daemon.api = daemon.wait_for_listener("api")?;
        Ok(daemon)
    }

    /// Starts it and waits until it says that it serves predictions.
    pub fn start(self) -> anyhow::Result<Daemon> {
        let mut daemon = self.serving()?;
        daemon.wait_for_line(": ready ")?;
        Ok(daemon)
    }

    /// Starts it and waits until `/ready` says so; returns how long that took, too.
    pub fn ready(self) -> anyhow::Result<(Daemon, Duration)> {
        let started = Instant::now();
        let daemon = self.serving()?;
        daemon.wait_until_ready(PATIENCE)?;
        Ok((daemon, started.elapsed()))
    }
}
