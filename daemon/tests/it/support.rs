//! The harness of these tests: picket_testkit with the binary under test and the fixtures filled in,
//! and with every failure of the harness a panic. It must not start or ask anything by itself.

use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

pub use picket_testkit::{Answer, PATIENCE};
use picket_testkit::{Client, Frozen, GREY_PIXELS, Signal};
use serde_json::Value;
use tempfile::TempDir;

const PICKET: &str = env!("CARGO_BIN_EXE_picket");

/// `picket` with an environment of its own.
pub fn picket() -> Command {
    picket_testkit::picket(Path::new(PICKET))
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

pub fn grey_pixels() -> Vec<u8> {
    GREY_PIXELS.to_vec()
}

pub struct Launch(picket_testkit::Launch);

impl Launch {
    pub fn on(state_dir: &Path) -> Launch {
        Launch(picket_testkit::Launch::on(Path::new(PICKET), state_dir))
    }

    pub fn bare(state_dir: &Path) -> Launch {
        Launch(picket_testkit::Launch::bare(Path::new(PICKET), state_dir))
    }

    pub fn activated(state_dir: &Path, names: &str, api: OwnedFd, probe: OwnedFd) -> Launch {
        Launch(Launch::on(state_dir).0.activated(names, api, probe))
    }

    pub fn prepared(self, preparation: &str) -> Launch {
        Launch(self.0.prepared(preparation))
    }

    pub fn args<I: IntoIterator<Item: AsRef<std::ffi::OsStr>>>(self, args: I) -> Launch {
        Launch(self.0.args(args))
    }

    pub fn env(self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Launch {
        Launch(self.0.env(name, value))
    }

    pub fn launch(self) -> Daemon {
        Daemon(self.0.launch().unwrap())
    }

    pub fn spawn(self) -> Daemon {
        Daemon(self.0.spawn().unwrap())
    }

    pub fn start(self) -> Daemon {
        Daemon(self.0.start().unwrap())
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon(picket_testkit::Daemon);

impl Deref for Daemon {
    type Target = picket_testkit::Daemon;

    fn deref(&self) -> &picket_testkit::Daemon {
        &self.0
    }
}

impl Daemon {
    pub fn wait_for_line(&mut self, text: &str) -> String {
        self.0.wait_for_line(text).unwrap()
    }

    pub fn wait_for_new_line(&mut self, text: &str) -> String {
        self.0.wait_for_new_line(text).unwrap()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.0.get(path).unwrap()
    }

    pub fn probe(&self, path: &str) -> Answer {
        self.0.probe(path).unwrap()
    }

    pub fn post(&self, path: &str, content_type: Option<&str>, body: &[u8]) -> Answer {
        self.0.post(path, content_type, body).unwrap()
    }

    pub fn predict(&self, content_type: &str, body: &[u8]) -> Answer {
        self.post("/predict", Some(content_type), body)
    }

    pub fn metric(&self, sample: &str) -> f64 {
        self.0.metric(sample).unwrap()
    }

    /// Asks until `done`, within `PATIENCE`.
    pub fn wait_until(&self, what: &str, mut done: impl FnMut(&Daemon) -> bool) {
        wait_until(what, || done(self));
    }

    pub fn freeze(&self, thread: &str) -> Frozen {
        self.0.freeze(thread).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        self.0.signal(signal).unwrap();
    }

    pub fn stop(self) -> ExitStatus {
        self.0.stop().unwrap()
    }

    pub fn kill_9(self) {
        self.0.kill_9().unwrap();
    }

    pub fn wait(mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }
}

pub fn wait_until(what: &str, done: impl FnMut() -> bool) {
    assert!(picket_testkit::wait_for(PATIENCE, done), "never came: {what}");
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
    Client::new(PATIENCE).request(addr, method, path, headers, body).unwrap()
}

/// Sends bytes as they are and returns what comes back until the daemon closes.
pub fn raw(addr: SocketAddr, bytes: &[u8]) -> String {
    picket_testkit::exchange(addr, bytes).unwrap()
}

/// The same for a client that says at once that it will send no more.
pub fn raw_and_hang_up(addr: SocketAddr, bytes: &[u8]) -> String {
    picket_testkit::exchange_and_hang_up(addr, bytes).unwrap()
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
    let output = picket()
        .args(["log", "verify", "--json", "--store"])
        .arg(state_dir.join("log"))
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout);
    (output.status.code().unwrap(), report.unwrap_or_else(|_| panic!("{}", stderr(&output))))
}

/// The answer is an error of this status whose text says all of that.
pub fn assert_refused(answer: &Answer, status: u16, texts: &[&str]) {
    assert_eq!(answer.status, status, "{}", answer.body);
    let error = answer.error();
    for text in texts {
        assert!(error.contains(text), "{error:?} lacks {text:?}");
    }
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

/// A client's mistakes leave no trace in what health is judged by.
pub fn assert_goes_on(daemon: &Daemon) {
    assert_eq!(daemon.predict("application/octet-stream", &grey_pixels()).status, 200);
    assert_eq!(daemon.probe("/ready").status, 200);
    assert_eq!(daemon.metric("inference_errors_total{model=\"cifar10-model\"}"), 0.0);
}
