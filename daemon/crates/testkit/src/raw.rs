//! Bytes over a connection of their own, for requests that no client would send and for clocks that no
//! client's work should be part of.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::wait::PATIENCE;

/// Sends bytes as they are and returns what comes back until the daemon closes.
pub fn exchange(to: SocketAddr, bytes: &[u8]) -> std::io::Result<String> {
    exchange_within(PATIENCE, to, bytes)
}

/// The same for a client that says at once that it will send no more.
pub fn exchange_and_hang_up(to: SocketAddr, bytes: &[u8]) -> std::io::Result<String> {
    let stream = send(PATIENCE, to, bytes)?;
    // A daemon that has seen enough hangs up first.
    let _ = stream.shutdown(Shutdown::Write);
    answer(stream)
}

/// The same with a limit on connecting and on each silence.
pub fn exchange_within(limit: Duration, to: SocketAddr, bytes: &[u8]) -> std::io::Result<String> {
    answer(send(limit, to, bytes)?)
}

fn send(limit: Duration, to: SocketAddr, bytes: &[u8]) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&to, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(bytes)?;
    Ok(stream)
}

fn answer(mut stream: TcpStream) -> std::io::Result<String> {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // Closed with something of the request unread: what came before that is the answer.
        Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error),
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}
