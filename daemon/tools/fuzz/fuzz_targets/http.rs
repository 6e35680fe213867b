//! A whole daemon in this process, and connections that send arbitrary bytes, head and body: it answers with
//! HTTP or closes, never panics, and is still ready after each.

#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use picket::config::{Settings, Sources, Surroundings};
use picket::diagnostics::Lines;
use picket::life::{self, Sockets};
use picket::os::Signals;

/// An answer that takes longer is a hang; sanitizers make everything ten times slower.
const ANSWER_MAX: Duration = Duration::from_secs(30);

static DAEMON: OnceLock<SocketAddr> = OnceLock::new();

fuzz_target!(
    init: { DAEMON.set(start()).expect("the fuzzer initialises once") },
    |input: &[u8]| {
        let api = *DAEMON.get().expect("it has been started");
        let answer = exchange(api, input);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "no HTTP: {answer:?}");
        // As Rust's own text of a panic in a handler would come out.
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.starts_with("HTTP/1.1 500"), "our own bug: {text}");
    }
);

/// Starts the daemon as `picket serve` does and waits until it is ready.
fn start() -> SocketAddr {
    let state = tempfile::tempdir().expect("there is room for a directory").keep();
    let [api, probe] = [0, 1].map(|_| free_port());
    let text = format!(
        "state_dir = {state:?}\n[api]\nlisten = \"{api}\"\nworkers = 1\n[probe]\nlisten = \"{probe}\"\n"
    );
    let file = state.join("picket.toml");
    std::fs::write(&file, text).expect("there is room for a file");
    let sources = Sources {
        flags: Settings::default(),
        file: Some(file),
        surroundings: Surroundings::from_environment(),
    };
    let signals = Signals::block().expect("signals can be blocked");
    let sockets = Sockets::take().expect("no service manager gives sockets");
    std::thread::spawn(move || {
        let config = sources.load().expect("the configuration is sound");
        let run = life::run(config, &sources, signals, sockets, Lines::default());
        run.expect("the daemon starts");
    });
    let began = Instant::now();
    while !exchange(api, b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n").starts_with(b"HTTP/1.1 200") {
        assert!(began.elapsed() < ANSWER_MAX, "it is not ready");
        std::thread::sleep(Duration::from_millis(50));
    }
    api
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    listener.local_addr().expect("it is bound")
}

/// Sends all bytes and no more, and takes what comes back. Nothing comes where nobody listens yet.
fn exchange(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let Ok(mut stream) = TcpStream::connect(to) else { return answer };
    stream.set_read_timeout(Some(ANSWER_MAX)).expect("the timeout is not zero");
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    if let Err(error) = stream.read_to_end(&mut answer) {
        let hung =
            matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
        assert!(!hung, "no end after {} s", ANSWER_MAX.as_secs());
    }
    answer
}
