//! Who gets a connection: however many one address opens and whatever it does with them, others get
//! theirs, and probes get theirs from any address.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::sockets::{
    GET_HEALTH, connect_from, connect_to, dropped, error_in, one_answer, open_connections, post_of,
    rest, try_answer,
};
use crate::support::{Daemon, Launch, grey_pixels, start, start_with, wait_until};

/// What a client sends that then does nothing more.
const STARTS: [&[u8]; 6] = [
    b"",
    b"G",
    b"GET /health HTTP/1.1\r\nHost: x\r\nX-",
    b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
];

fn connect_and_send(source: [u8; 4], addr: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = connect_from(source, addr);
    // Whoever has been displaced already can't send.
    let _ = stream.write_all(bytes);
    stream
}

fn asked_from(source: [u8; 4], addr: SocketAddr) -> String {
    try_answer(&connect_and_send(source, addr, GET_HEALTH))
        .unwrap_or_else(|error| error.to_string())
}

fn predict_from(source: [u8; 4], daemon: &Daemon) -> TcpStream {
    connect_and_send(source, daemon.api, &[&post_of(3072)[..], &grey_pixels()].concat())
}

#[test]
fn at_the_limit_of_requests_the_next_connection_is_answered_503_at_once() {
    let limits = ["--api-max-connections", "3", "--api-max-connections-per-address", "2"];
    let (_state, daemon) = start_with(limits.into_iter().chain(["--api-workers", "1"]));
    let frozen = daemon.freeze("worker-0");
    let queued = |count| {
        daemon.wait_until("the requests", |daemon| daemon.metric("picket_queue_depth") == count);
    };
    let mut busy: Vec<_> = (0..2).map(|_| predict_from([127, 0, 0, 1], &daemon)).collect();
    queued(2.0);
    let mut third = connect_to(daemon.api);
    let (answer, _) = rest(&third);
    assert_eq!(error_in(&answer, "503"), "2 connections are open from this address already");
    // What is still on its way takes no answer back: a closed socket would refuse the second.
    third.write_all(&post_of(3072)).unwrap();
    third.write_all(&grey_pixels()).unwrap();
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");

    busy.push(predict_from([127, 0, 0, 2], &daemon));
    queued(3.0);
    let (answer, _) = rest(&connect_from([127, 0, 0, 3], daemon.api));
    assert_eq!(error_in(&answer, "503"), "3 connections are open already");
    assert_eq!(daemon.probe("/health").status, 200, "probes have connections of their own");
    assert_eq!((dropped(&daemon, "address_limit"), dropped(&daemon, "limit")), (1.0, 1.0));
    drop(frozen);
    for stream in &busy {
        assert!(
            one_answer(stream).starts_with("HTTP/1.1 200"),
            "nobody with a request is displaced"
        );
    }
    assert_eq!(dropped(&daemon, "displaced"), 0.0);
}

#[test]
fn a_flood_of_connections_that_take_no_answer_stops_nobody() {
    let (_state, daemon) = start_with(["--api-max-connections", "1", "--api-workers", "1"]);
    let frozen = daemon.freeze("worker-0");
    let only = predict_from([127, 0, 0, 1], &daemon);
    daemon.wait_until("the request", |daemon| daemon.metric("picket_queue_depth") == 1.0);
    // More than are turned away at leisure.
    let flood: Vec<TcpStream> = (0..300).map(|_| connect_to(daemon.api)).collect();
    for stream in &flood {
        assert!(error_in(&rest(stream).0, "503").contains("1 connections are open"));
    }
    drop(frozen);
    assert!(one_answer(&only).starts_with("HTTP/1.1 200"));
}

#[test]
fn no_number_of_idle_connections_fails_a_probe_from_any_address() {
    let (_state, daemon) = start();
    for bytes in STARTS {
        for sources in [1, 250] {
            let flood: Vec<_> = (0..300_u32)
                .map(|at| {
                    let source = u8::try_from(1 + at % sources).unwrap();
                    connect_and_send([127, 0, 0, source], daemon.probe, bytes)
                })
                .collect();
            for _ in 0..5 {
                for source in [[127, 0, 1, 1], [127, 0, 0, 1]] {
                    let answer = asked_from(source, daemon.probe);
                    let start = String::from_utf8_lossy(bytes);
                    assert!(answer.starts_with("HTTP/1.1 200"), "{start:?}, {sources}: {answer}");
                }
            }
            drop(flood);
        }
    }
    assert_eq!(
        daemon.metric("picket_http_dropped_connections_total{listener=\"probe\",why=\"limit\"}"),
        0.0
    );
}

/// 16 MB of answers are asked for by each of the connections, and none is read.
#[test]
fn unread_answers_fail_no_probe() {
    let (_state, daemon) = start();
    let many = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    for sources in [1, 250] {
        let flood: Vec<_> = (0..100_u8)
            .map(|at| {
                let stream = connect_from([127, 0, 0, 1 + at % sources], daemon.probe);
                stream.set_nonblocking(true).unwrap();
                let _ = (&stream).write(&many);
                stream
            })
            .collect();
        for source in [[127, 0, 1, 1], [127, 0, 0, 1]] {
            let mut answer = asked_from(source, daemon.probe);
            // Who shares an address with the flood gets a place once the first of it are seen to stall.
            let deadline = Instant::now() + Duration::from_secs(2);
            while source == [127, 0, 0, 1]
                && answer.starts_with("HTTP/1.1 503")
                && Instant::now() < deadline
            {
                answer = asked_from(source, daemon.probe);
            }
            assert!(answer.starts_with("HTTP/1.1 200"), "{sources} addresses: {answer}");
        }
        drop(flood);
    }
}

#[test]
fn on_the_api_the_oldest_silent_connection_makes_room_and_is_told() {
    let limits = ["--api-max-connections", "8", "--api-max-connections-per-address", "4"];
    let (_state, daemon) = start_with(limits);
    let half = b"GET /health HTTP/1.1\r\nHost: x\r\nX-";
    let first = connect_and_send([127, 0, 0, 1], daemon.api, half);
    daemon.wait_until("the first", |daemon| open_connections(daemon) == 1.0);
    let kept: Vec<_> = (1..=7)
        .map(|at| {
            let stream = connect_and_send([127, 0, 0, 1 + at / 4], daemon.api, GET_HEALTH);
            assert!(one_answer(&stream).starts_with("HTTP/1.1 200"));
            stream
        })
        .collect();
    assert_eq!(dropped(&daemon, "displaced"), 0.0);
    // The address has its share: its own oldest goes.
    assert!(asked_from([127, 0, 0, 1], daemon.api).starts_with("HTTP/1.1 200"));
    let told = error_in(&rest(&first).0, "503");
    assert!(told.contains("too many connections are open"), "{told}");
    // All connections are open: the oldest of an address with most of them goes, without an answer that
    // could be taken for the next request's.
    daemon.wait_until("the place", |daemon| open_connections(daemon) == 7.0);
    let _eighth = connect_and_send([127, 0, 0, 3], daemon.api, GET_HEALTH);
    daemon.wait_until("all places", |daemon| open_connections(daemon) == 8.0);
    assert!(asked_from([127, 0, 0, 4], daemon.api).starts_with("HTTP/1.1 200"));
    assert_eq!(rest(&kept[3]).0, "");
    assert_eq!(dropped(&daemon, "displaced"), 2.0);
}

#[test]
fn bodies_that_do_not_come_make_room_for_another_address() {
    let (_state, daemon) = start_with(["--api-max-connections", "8"]);
    let slow: Vec<_> = (0..8)
        .map(|at| connect_and_send([127, 0, 0, 1 + at / 2], daemon.api, &post_of(3072)))
        .collect();
    daemon.wait_until("all places", |daemon| open_connections(daemon) == 8.0);
    wait_until("a place", || asked_from([127, 0, 1, 1], daemon.api).starts_with("HTTP/1.1 200"));
    assert_eq!(dropped(&daemon, "displaced"), 1.0);
    drop(slow);
}

fn limit_files(pid: u32, soft: &str) {
    let (pid, limit) = (pid.to_string(), format!("--nofile={soft}:"));
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
}

/// prlimit(1) takes the daemon's files away, and gives them back.
#[test]
fn a_listener_that_can_accept_nobody_goes_on_and_holds_up_no_other() {
    let (_state, mut daemon) = start();
    let probe = connect_to(daemon.probe);
    (&probe).write_all(GET_HEALTH).unwrap();
    one_answer(&probe);
    limit_files(daemon.pid(), "3");
    let waiting = connect_to(daemon.api);
    (&waiting).write_all(GET_HEALTH).unwrap();
    let line = daemon.wait_for_line("accept failed");
    assert!(line.contains("Too many open files"), "{line}");
    (&probe).write_all(GET_HEALTH).unwrap();
    assert!(one_answer(&probe).starts_with("HTTP/1.1 200"));
    limit_files(daemon.pid(), "1024");
    assert!(one_answer(&waiting).starts_with("HTTP/1.1 200"));
    assert!(daemon.stop().success());
}

/// The default listeners, on ports of their own.
#[test]
fn all_addresses_of_ipv6_include_those_of_ipv4() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let listeners = ["--api-listen", "[::]:0", "--probe-listen", "[::]:0"];
    let daemon = Launch::bare(state.path()).args(listeners).start();
    for listener in [daemon.api, daemon.probe] {
        for address in ["127.0.0.1", "::1"] {
            let stream =
                connect_to((address.parse::<std::net::IpAddr>().unwrap(), listener.port()).into());
            (&stream).write_all(GET_HEALTH).unwrap();
            assert!(one_answer(&stream).starts_with("HTTP/1.1 200"));
        }
    }
}
