//! Starts the production binary on free ports and a fresh state directory, and talks to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for anything that a healthy daemon does: far above the slowest machine's time, so
/// that only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `picket` with an environment of its own: no setting of the caller's shell reaches it.
pub fn picket() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picket"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Runs a command of the CLI to its end.
pub fn run<I: IntoIterator<Item: AsRef<std::ffi::OsStr>>>(args: I) -> Output {
    picket().args(args).stdin(Stdio::null()).output().unwrap()
}

pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// A file of daemon/tests/data.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

pub fn cat_png() -> Vec<u8> {
    std::fs::read(fixture("cifar10/cat.png")).unwrap()
}

pub fn embedded_model() -> Vec<u8> {
    std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/crates/classifier/embedded/cifar10-int8.onnx"
    ))
    .unwrap()
}

/// 32×32 RGB8 of one colour: the simplest body that is a picture.
pub fn grey_pixels() -> Vec<u8> {
    vec![121; 3072]
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    pub api: SocketAddr,
    pub probe: SocketAddr,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

/// How a daemon is started.
pub struct Launch {
    command: Command,
    /// Standard input and output, where they are sockets.
    streams: Option<(OwnedFd, OwnedFd)>,
}

impl Launch {
    /// On the store below `state_dir`, ports of the kernel's choice.
    pub fn on(state_dir: &Path) -> Launch {
        let ports = ["--api-listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0"];
        Launch::bare(state_dir).args(ports)
    }

    /// Listening where the arguments to come say.
    pub fn bare(state_dir: &Path) -> Launch {
        let mut command = picket();
        command.arg("serve").arg("--state-dir").arg(state_dir);
        // The lines that a person reads, whatever stderr is.
        command.args(["--message-format", "text"]);
        Launch { command, streams: None }
    }

    /// The same, with sockets named `api` and `probe` handed over as systemd does it. They reach
    /// the shell as its standard streams, and `LISTEN_PID` is known only there.
    pub fn activated(state_dir: &Path, names: &str, api: OwnedFd, probe: OwnedFd) -> Launch {
        let adopt = "exec 3<&0 4>&1 </dev/null >/dev/null; export LISTEN_PID=$$";
        let launch = Launch::on(state_dir).prepared(adopt);
        let launch = launch.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names);
        Launch { streams: Some((api, probe)), ..launch }
    }

    /// The same, in a process that a shell has prepared.
    pub fn prepared(self, preparation: &str) -> Launch {
        let Launch { command: daemon, streams } = self;
        let mut command = Command::new("sh");
        let variables = daemon.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.env_clear().envs(variables);
        let script = format!("{preparation}; exec \"$0\" \"$@\"");
        command.arg("-c").arg(script).arg(daemon.get_program()).args(daemon.get_args());
        Launch { command, streams }
    }

    pub fn args<I: IntoIterator<Item: AsRef<std::ffi::OsStr>>>(mut self, args: I) -> Launch {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Launch {
        self.command.env(name, value);
        self
    }

    /// Starts it and waits until the probe listener is up, which comes first.
    pub fn spawn(self) -> Daemon {
        let mut daemon = self.launch();
        daemon.probe = daemon.wait_for_listener("probe");
        daemon
    }

    /// Starts it and waits until it serves predictions.
    pub fn start(self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.api = daemon.wait_for_listener("api");
        daemon.wait_for_line(": ready ");
        daemon
    }

    /// Starts it, and waits for nothing.
    pub fn launch(mut self) -> Daemon {
        let (stdin, stdout) = match self.streams.take() {
            None => (Stdio::null(), Stdio::null()),
            Some((api, probe)) => (api.into(), probe.into()),
        };
        let child = self.command.stdin(stdin).stdout(stdout).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Daemon { api: nowhere(), probe: nowhere(), child, lines, seen: Vec::new() }
    }
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of the daemon's log that holds `text`, and gives it.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        self.wait_for_new_line(text)
    }

    /// The same of lines that no one has waited for yet.
    pub fn wait_for_new_line(&mut self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no {text:?} in {:#?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the daemon ended without {text:?}: {:#?}", self.seen)
                }
            }
        }
    }

    fn wait_for_listener(&mut self, name: &str) -> SocketAddr {
        let line = self.wait_for_line(&format!("listening listener=\"{name}\" addr="));
        let addr = line.rsplit_once("addr=").unwrap().1;
        // A Unix socket's path is known to the test that asked for it.
        addr.parse().unwrap_or_else(|_| nowhere())
    }

    pub fn get(&self, path: &str) -> Answer {
        request(self.api, "GET", path, None, b"")
    }

    pub fn probe(&self, path: &str) -> Answer {
        request(self.probe, "GET", path, None, b"")
    }

    pub fn post(&self, path: &str, content_type: Option<&str>, body: &[u8]) -> Answer {
        request(self.api, "POST", path, content_type, body)
    }

    pub fn predict(&self, content_type: &str, body: &[u8]) -> Answer {
        self.post("/predict", Some(content_type), body)
    }

    /// The value of one sample of `/metrics`, named with its labels.
    pub fn metric(&self, sample: &str) -> f64 {
        let text = self.probe("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {sample} in {text}")).parse().unwrap()
    }

    /// Asks until `done`, within `PATIENCE`.
    pub fn wait_until(&self, what: &str, mut done: impl FnMut(&Daemon) -> bool) {
        wait_until(what, || done(self));
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub fn stop(self) -> ExitStatus {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.wait()
    }

    pub fn kill_9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn wait(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the daemon does not end: {:#?}", self.seen);
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

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The text of an error answer.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("{}", self.body)).to_string()
    }
}

pub fn request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> Answer {
    let header = content_type.map(|content_type| ("content-type", content_type));
    request_with(addr, method, path, header.as_slice(), body)
}

pub fn request_with(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let mut request =
        ureq::http::Request::builder().method(method).uri(format!("http://{addr}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = if body.is_empty() && method != "POST" {
        agent.run(request.body(()).unwrap()).unwrap()
    } else {
        agent.run(request.body(body).unwrap()).unwrap()
    };
    let body = response.body_mut().with_config().limit(256 << 20).read_to_string().unwrap();
    Answer { status: response.status().as_u16(), headers: response.headers().clone(), body }
}

/// Sends bytes as they are and gives what comes back until the daemon closes.
pub fn raw(addr: SocketAddr, bytes: &[u8]) -> String {
    answer_to(&send(addr, bytes))
}

/// The same of a client that says at once that it will send no more.
pub fn raw_and_hang_up(addr: SocketAddr, bytes: &[u8]) -> String {
    let stream = send(addr, bytes);
    // A daemon that has seen enough hangs up first.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    answer_to(&stream)
}

fn send(addr: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

fn answer_to(mut stream: &TcpStream) -> String {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8_lossy(&answer).into_owned(),
    }
}

/// A state directory and a daemon on it, for tests that need nothing special.
pub fn start() -> (TempDir, Daemon) {
    start_with([] as [&str; 0])
}

pub fn start_with<I: IntoIterator<Item: AsRef<std::ffi::OsStr>>>(args: I) -> (TempDir, Daemon) {
    let state_dir = tempfile::tempdir().unwrap();
    let daemon = Launch::on(state_dir.path()).args(args).start();
    (state_dir, daemon)
}

/// `picket log verify --json` on a stopped daemon's store: exit code and report.
pub fn verify(state_dir: &Path) -> (i32, Value) {
    let store = state_dir.join("log");
    let output = run([
        "log".as_ref(),
        "verify".as_ref(),
        "--json".as_ref(),
        "--store".as_ref(),
        store.as_os_str(),
    ]);
    let report = serde_json::from_slice(&output.stdout);
    (output.status.code().unwrap(), report.unwrap_or_else(|_| panic!("{}", stderr(&output))))
}
