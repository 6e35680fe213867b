//! Watches the MLflow server that the configuration names. Only whether it answers: models come
//! from files, and predictions never wait for it.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::health::{Health, Heartbeat, RegistryState, Work};

/// Between two questions.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// Longest wait for a connection, for sending and for an answer each.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;

/// A resolver whose name servers are gone may try for minutes, which no restart cures.
pub const STUCK_AFTER: Duration = Duration::from_secs(10 * 60);

/// Host, port and path of a tracking URI.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    host: String,
    port: u16,
    path: String,
    /// Behind TLS only the connection is tried: that it opens is what can be told without a key
    /// store on the box.
    tls: bool,
}

/// Asks the registry now and then.
pub struct RegistryWatch {
    endpoint: Endpoint,
    required: bool,
    health: Arc<Health>,
}

impl RegistryWatch {
    /// Nothing for a URI that names no server, such as `file:` or `sqlite:`.
    pub fn new(uri: &str, required: bool, health: Arc<Health>) -> Option<RegistryWatch> {
        let Some(endpoint) = parse(uri) else {
            tracing::warn!(uri, "the model registry is no http server and is not watched");
            return None;
        };
        health.set_registry(RegistryState { required, accessible: false });
        Some(RegistryWatch { endpoint, required, health })
    }

    /// Runs until the other end of `stopped` is gone.
    pub fn run(&self, heartbeat: &Heartbeat, stopped: &Receiver<()>) {
        loop {
            heartbeat.busy(Work::Registry);
            let accessible = answers(&self.endpoint).unwrap_or(false);
            self.health.set_registry(RegistryState { required: self.required, accessible });
            heartbeat.beat();
            if stopped.recv_timeout(CHECK_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
    }
}

fn parse(uri: &str) -> Option<Endpoint> {
    let (tls, rest) = match uri.split_once("://")? {
        ("http", rest) => (false, rest),
        ("https", rest) => (true, rest),
        _ => return None,
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let default_port = if tls { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, default_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let path = format!("{}/health", format!("/{path}").trim_end_matches('/'));
    (!host.is_empty()).then(|| Endpoint { host: host.to_string(), port, path, tls })
}

fn answers(endpoint: &Endpoint) -> std::io::Result<bool> {
    let mut connected = Err(std::io::ErrorKind::NotFound.into());
    for addr in (endpoint.host.as_str(), endpoint.port).to_socket_addrs()?.take(ADDRESSES_MAX) {
        connected = TcpStream::connect_timeout(&addr, CHECK_TIMEOUT);
        if connected.is_ok() {
            break;
        }
    }
    let mut stream = connected?;
    if endpoint.tls {
        return Ok(true);
    }
    stream.set_read_timeout(Some(CHECK_TIMEOUT))?;
    stream.set_write_timeout(Some(CHECK_TIMEOUT))?;
    let Endpoint { host, path, .. } = endpoint;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut status_line = [0; 12];
    stream.read_exact(&mut status_line)?;
    Ok(status_line.starts_with(b"HTTP/1.") && status_line.ends_with(b" 200"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16, path: &str, tls: bool) -> Option<Endpoint> {
        Some(Endpoint { host: host.into(), port, path: path.into(), tls })
    }

    #[test]
    fn tracking_uris_are_taken_apart() {
        assert_eq!(parse("http://mlflow:5000"), endpoint("mlflow", 5000, "/health", false));
        assert_eq!(parse("http://h/mlflow/"), endpoint("h", 80, "/mlflow/health", false));
        assert_eq!(parse("https://u:p@h.example/x"), endpoint("h.example", 443, "/x/health", true));
        assert_eq!(parse("http://[::1]:5000"), endpoint("::1", 5000, "/health", false));
        assert_eq!(parse("http://[::1]"), endpoint("::1", 80, "/health", false));
        for local in ["file:///mlruns", "sqlite:///mlflow.db", "mlruns", "http://", "http://h:x"] {
            assert_eq!(parse(local), None, "{local}");
        }
    }

    #[test]
    fn only_a_server_that_answers_200_is_accessible() {
        for (status, expected) in [("200 OK", true), ("503 Service Unavailable", false)] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 256];
                let read = stream.read(&mut request).unwrap();
                // In one piece: the asker hangs up after the status.
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8_lossy(&request[..read]).into_owned()
            });
            let endpoint = endpoint("127.0.0.1", port, "/health", false).unwrap();
            assert_eq!(answers(&endpoint).unwrap(), expected);
            assert!(server.join().unwrap().starts_with("GET /health HTTP/1.0\r\n"));
        }
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let endpoint = endpoint("127.0.0.1", closed.port(), "/health", false).unwrap();
        assert!(answers(&endpoint).is_err());
    }
}
