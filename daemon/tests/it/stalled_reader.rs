//! Whoever reads what the daemon says stalls or goes away: lines are lost, and nothing else.

use std::io::{BufRead, BufReader, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Launch, PATIENCE, cat_png, grey_pixels, picket, request, wait_until};

/// The kernel gives a pipe at least a page.
const PIPE_BYTES: i32 = 4096;

/// A daemon that says everything on a small pipe; killed when dropped.
struct Mute {
    child: Child,
    stderr: BufReader<PipeReader>,
    /// The daemon's own end, to fill the pipe with.
    writer: PipeWriter,
    state: tempfile::TempDir,
    api: SocketAddr,
    probe: SocketAddr,
}

impl Mute {
    /// Started, and heard until it is ready; from then on nobody reads.
    fn start(level: &str, format: &str) -> Mute {
        let (reader, writer) = std::io::pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES)).unwrap();
        let state = tempfile::tempdir().unwrap();
        let config = state.path().join("picket.toml");
        std::fs::write(&config, "[api]\ndrain_timeout = \"20s\"\n").unwrap();
        let mut command = picket();
        command.args(["serve", "--api-listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0"]);
        command.args(["--message-level", level, "--message-format", format]);
        command.arg("--state-dir").arg(state.path()).arg("--config").arg(&config);
        command.stdin(Stdio::null()).stderr(writer.try_clone().unwrap());
        let child = command.spawn().unwrap();
        drop(command);
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let stderr = BufReader::new(reader);
        let mut mute = Mute { child, stderr, writer, state, api: nowhere, probe: nowhere };
        loop {
            let mut line = String::new();
            mute.stderr.read_line(&mut line).unwrap();
            let address = line.split("127.0.0.1:").nth(1).filter(|_| line.contains("listening"));
            if let Some(port) = address {
                let digits = port.chars().take_while(char::is_ascii_digit).collect::<String>();
                let address = SocketAddr::from(([127, 0, 0, 1], digits.parse().unwrap()));
                let probe = line.contains("probe");
                *(if probe { &mut mute.probe } else { &mut mute.api }) = address;
            }
            if line.contains("start_ms") {
                return mute;
            }
        }
    }

    fn fill_the_pipe(&mut self) {
        let flags = OFlag::from_bits_retain(fcntl(&self.writer, FcntlArg::F_GETFL).unwrap());
        // It is the daemon's end too: only while it is filled.
        fcntl(&self.writer, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
        while self.writer.write(b"x").map_err(|error| error.kind()) != Err(ErrorKind::WouldBlock) {}
        fcntl(&self.writer, FcntlArg::F_SETFL(flags)).unwrap();
    }

    fn goes_on(&self) {
        for _ in 0..60 {
            let answer = request(self.api, "POST", "/predict", Some("image/png"), &cat_png());
            assert_eq!(answer.status, 200);
        }
        assert_eq!(request(self.probe, "GET", "/health", None, b"").status, 200);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the end of the daemon", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    fn lost_lines(&self) -> f64 {
        let metrics = request(self.probe, "GET", "/metrics", None, b"").body;
        let line = metrics.lines().find_map(|line| line.strip_prefix("picket_lost_lines_total "));
        line.unwrap().parse().unwrap()
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_full_pipe_holds_up_no_request_no_probe_no_reload_and_no_stop() {
    for (level, format) in [("debug", "text"), ("debug", "json"), ("info", "journal")] {
        let mut mute = Mute::start(level, format);
        mute.fill_the_pipe();
        mute.goes_on();
        mute.signal(Signal::SIGHUP);
        mute.goes_on();
        mute.signal(Signal::SIGTERM);
        assert_eq!(mute.exit_code(), Some(0), "{level}, {format}");
    }
}

#[test]
fn lines_that_were_lost_are_counted_and_said_once_somebody_reads_again() {
    let mut mute = Mute::start("info", "text");
    mute.fill_the_pipe();
    assert_eq!(mute.lost_lines(), 0.0);
    // What a reload refuses is said with its name.
    let wrong = format!("{} = 1\n", "k".repeat(100_000));
    std::fs::write(mute.state.path().join("picket.toml"), wrong).unwrap();
    wait_until("lost lines", || {
        mute.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(50));
        mute.lost_lines() > 2.0
    });
    // A line on its own after those that were lost.
    std::fs::write(mute.state.path().join("picket.toml"), "").unwrap();
    let mut heard = String::new();
    while !heard.contains(" lines were lost: ") {
        heard.clear();
        assert_ne!(mute.stderr.read_line(&mut heard).unwrap(), 0);
    }
    assert!(heard.contains(" WARN picket::diagnostics"), "{heard}");
    mute.signal(Signal::SIGTERM);
    let mut rest = String::new();
    while !rest.contains("stopped") {
        assert_ne!(mute.stderr.read_line(&mut rest).unwrap(), 0, "{rest}");
    }
    assert_eq!(mute.exit_code(), Some(0));
}

#[test]
fn with_a_full_pipe_the_second_signal_ends_it_at_once_and_the_drain_has_its_limit() {
    for second in [true, false] {
        let mut mute = Mute::start("info", "text");
        mute.fill_the_pipe();
        let mut half = std::net::TcpStream::connect(mute.api).unwrap();
        half.write_all(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3072\r\n").unwrap();
        half.write_all(b"Expect: 100-continue\r\n\r\n").unwrap();
        half.read_exact(&mut [0; 25]).unwrap();
        half.write_all(&grey_pixels()[..100]).unwrap();
        let started = Instant::now();
        mute.signal(Signal::SIGTERM);
        if second {
            let draining = || request(mute.probe, "GET", "/ready", None, b"").status == 503;
            wait_until("the drain", draining);
            mute.signal(Signal::SIGTERM);
            assert_eq!(mute.exit_code(), Some(1));
        } else {
            // The body is given up long before the drain.
            assert_eq!(mute.exit_code(), Some(0));
        }
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    }
}

#[test]
fn a_reader_that_has_gone_is_no_reason_to_end() {
    let mut mute = Mute::start("debug", "json");
    let (unused, writer) = std::io::pipe().unwrap();
    mute.stderr = BufReader::new(unused);
    mute.writer = writer;
    mute.goes_on();
    assert!(mute.lost_lines() > 0.0, "nobody is there to be told");
    mute.signal(Signal::SIGTERM);
    assert_eq!(mute.exit_code(), Some(0));
}

/// The start that fails says so for as long as is good for it, and ends.
#[test]
fn a_start_that_fails_ends_with_its_code_though_nobody_reads_why() {
    let state = tempfile::tempdir().unwrap();
    let (_reader, mut writer) = std::io::pipe().unwrap();
    let flags = OFlag::from_bits_retain(fcntl(&writer, FcntlArg::F_GETFL).unwrap());
    fcntl(&writer, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
    while writer.write(&[b'x'; 512]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(flags)).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = picket()
        .args(["serve", "--api-listen", "127.0.0.1:0", "--probe-listen"])
        .arg(taken.local_addr().unwrap().to_string())
        .arg("--state-dir")
        .arg(state.path())
        .stdin(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    let mut status = None;
    wait_until("its end", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(74));
}

#[test]
fn a_service_manager_that_does_not_read_is_not_waited_for_and_told_later() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"STATUS=x", &path).is_ok() {}
    let daemon = Launch::on(&state.path().join("state"))
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "300000")
        .start();
    assert_eq!(daemon.predict("image/png", &cat_png()).status, 200);
    daemon.signal(Signal::SIGHUP);
    assert_eq!(daemon.predict("image/png", &cat_png()).status, 200);
    assert_eq!(daemon.probe("/health").status, 200);
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut message = [0; 4096];
    let mut ready = || {
        let length = manager.recv(&mut message).unwrap();
        message[..length].starts_with(b"READY=1")
    };
    while !ready() {}
    drop(filler);
    assert_eq!(daemon.stop().code(), Some(0));
}
