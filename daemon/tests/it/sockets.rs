//! Connections as bare sockets, and what the daemon counts of them.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use crate::support::Daemon;

pub const GET_HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

/// Longer than any deadline of the daemon but that of an idle connection.
const READ_PATIENCE: Duration = Duration::from_secs(60);

pub fn connect_to(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(READ_PATIENCE)).unwrap();
    stream
}

/// From another address of this machine's loopback network.
pub fn connect_from(source: [u8; 4], addr: SocketAddr) -> TcpStream {
    let SocketAddr::V4(addr) = addr else { panic!("{addr} is not IPv4") };
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
    let stream = TcpStream::from(fd);
    let raw = std::os::fd::AsRawFd::as_raw_fd(&stream);
    let [a, b, c, d] = source;
    bind(raw, &SockaddrIn::new(a, b, c, d, 0)).unwrap();
    connect(raw, &SockaddrIn::from(addr)).unwrap();
    stream.set_read_timeout(Some(READ_PATIENCE)).unwrap();
    stream
}

/// What comes until the daemon closes, and how long that took.
pub fn rest(mut stream: &TcpStream) -> (String, Duration) {
    let started = Instant::now();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => (String::from_utf8_lossy(&answer).into_owned(), started.elapsed()),
    }
}

/// One answer of a connection that stays open.
pub fn one_answer(stream: &TcpStream) -> String {
    try_answer(stream).unwrap()
}

pub fn try_answer(mut stream: &TcpStream) -> std::io::Result<String> {
    let mut answer = String::new();
    let mut byte = [0; 1];
    while !answer.ends_with("\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        answer.push(byte[0] as char);
    }
    let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body)?;
    Ok(answer + std::str::from_utf8(&body).unwrap())
}

pub fn error_in(answer: &str, status: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    assert!(head.contains("content-type: application/json"), "{answer}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["error"].as_str().unwrap().to_string()
}

pub fn dropped(daemon: &Daemon, why: &str) -> f64 {
    daemon
        .metric(&format!("picket_http_dropped_connections_total{{listener=\"api\",why=\"{why}\"}}"))
}

pub fn open_connections(daemon: &Daemon) -> f64 {
    daemon.metric("picket_http_connections{listener=\"api\"}")
}

pub fn seconds(found: Duration, expected: u64) {
    let range = Duration::from_secs(expected)..Duration::from_secs(expected + 8);
    let slack = Duration::from_millis(200);
    assert!(range.contains(&(found + slack)), "{found:?}, not {expected} s");
}

pub fn post_of(length: usize) -> Vec<u8> {
    format!("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n")
        .into_bytes()
}
