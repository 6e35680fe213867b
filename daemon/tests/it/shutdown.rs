//! Ending: on a signal, in order, within a limit.

use std::io::{Read, Write};
use std::net::TcpStream;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Launch, PATIENCE, cat_png, grey_pixels, start, start_with, verify};

#[test]
fn sigterm_and_sigint_drain_and_exit_0_with_every_record_on_disk() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // Without the drain's sync the relaxed record would wait for a minute.
        let (state, daemon) = start_with(["--log-commit-interval", "1min"]);
        assert_eq!(daemon.predict("image/png", &cat_png()).json()["id"], 1);
        daemon.signal(signal);
        assert_eq!(daemon.wait().code(), Some(0));
        let (code, report) = verify(state.path());
        assert_eq!((code, &report["last"], &report["count"]), (0, &json!(1), &json!(1)));
    }
}

/// A request whose body is half sent when the signal comes is still answered.
#[test]
fn an_open_request_is_answered_before_the_end() {
    let (_state, mut daemon) = start();
    let mut stream = half_a_request(daemon.api);
    daemon.wait_until("the request's arrival", |daemon| daemon.probe("/ready").status == 200);
    daemon.signal(Signal::SIGTERM);
    daemon.wait_for_line("stopping");
    daemon.wait_until("draining", |daemon| daemon.probe("/ready").json()["reason"] == "draining");
    assert_eq!(daemon.probe("/health").status, 200, "a drain is no fault");
    stream.write_all(&grey_pixels()[1000..]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(TcpStream::connect(daemon.api).is_err(), "nothing new is accepted");
    assert_eq!(daemon.wait().code(), Some(0));
}

fn half_a_request(api: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(api).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Expect makes the daemon say when it has begun to read the body.
    stream
        .write_all(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3072\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&grey_pixels()[..1000]).unwrap();
    stream
}

/// The kernel has taken these connections; the daemon hears of the stop before it can accept them.
#[test]
fn whoever_had_connected_before_the_stop_is_answered() {
    let (_state, daemon) = start();
    assert_eq!(daemon.predict("image/png", &cat_png()).status, 200);
    let frozen = daemon.freeze("api");
    let mut waiting: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(daemon.api).unwrap()).collect();
    for stream in &mut waiting {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    daemon.signal(Signal::SIGTERM);
    daemon.wait_until("draining", |daemon| daemon.probe("/ready").json()["reason"] == "draining");
    drop(frozen);
    for (n, mut stream) in waiting.into_iter().enumerate() {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{n}: {error}"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{n}: {answer}");
    }
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_request_that_never_ends_is_given_up_at_the_drain_limit() {
    let (state, daemon) = start_with(["--api-drain-timeout", "1s"]);
    let _stuck = half_a_request(daemon.api);
    daemon.predict("image/png", &cat_png());
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0), "its log was synced all the same");
    assert_eq!(verify(state.path()).1["count"], 1);
}

#[test]
fn a_second_signal_ends_at_once() {
    let (_state, mut daemon) = start_with(["--api-drain-timeout", "5min"]);
    let _stuck = half_a_request(daemon.api);
    daemon.signal(Signal::SIGTERM);
    daemon.wait_for_line("stopping");
    daemon.wait_until("draining", |daemon| daemon.probe("/ready").json()["reason"] == "draining");
    daemon.signal(Signal::SIGTERM);
    daemon.wait_for_line("second signal");
    assert_eq!(daemon.wait().code(), Some(1), "an end without a drain is no success");
}

#[test]
fn a_signal_while_starting_ends_the_start() {
    let state = tempfile::tempdir().unwrap();
    let pipe = state.path().join("model.onnx");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut daemon =
        Launch::on(state.path()).args(["--model-path".as_ref(), pipe.as_os_str()]).spawn();
    daemon.signal(Signal::SIGTERM);
    daemon.wait_for_line("stopped while starting");
    assert_eq!(daemon.wait().code(), Some(0));
}
