//! Whether the listeners' addresses are free, and who has them if not.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use crate::config::Config;
use crate::http::listener::bind_advice;
use crate::os;

use super::finding::Finding;
use super::kernel::read;

/// TCP_LISTEN in /proc/net/tcp; include/net/tcp_states.h.
const LISTENING: &str = "0A";

pub fn check(config: &Config, root: &Path) -> Vec<Finding> {
    let listeners = [
        ("api_port", config.api.listen.to_string()),
        ("probe_port", config.probe.listen.to_string()),
    ];
    let tcp = listeners
        .into_iter()
        .filter_map(|(check, listen)| Some((check, listen.parse::<SocketAddr>().ok()?)));
    tcp.map(|(check, addr)| port(check, addr, root)).collect()
}

fn port(check: &'static str, addr: SocketAddr, root: &Path) -> Finding {
    let error = match os::listen(addr) {
        Ok(_) => return Finding::ok(check, format!("{addr} is free")),
        Err(error) => error,
    };
    if error.kind() != ErrorKind::AddrInUse {
        let advice =
            bind_advice(addr.port(), &error).unwrap_or("an address of this machine is needed");
        return Finding::fail(check, format!("{addr}: {error}"), advice);
    }
    let Some(owner) = owner(root, addr.port()) else {
        let why = format!("{addr} is taken by another user's process: ask as root");
        return Finding::unknown(check, why);
    };
    let fact = format!("{addr} is held by {owner}");
    // systemd holds the sockets of picket.socket and picket-probe.socket.
    if ["picket ", "systemd "].iter().any(|ours| owner.starts_with(ours)) {
        return Finding::ok(check, fact);
    }
    Finding::fail(check, fact, "stop that, or choose another [api] or [probe] listen")
}

/// `name (pid N)` of the process that listens on a port.
fn owner(root: &Path, port: u16) -> Option<String> {
    let tables = ["proc/net/tcp", "proc/net/tcp6"].map(|table| read(root.join(table)));
    let sockets: HashSet<String> = tables
        .iter()
        .flatten()
        .flat_map(|table| listening_inodes(table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = std::fs::read_dir(root.join("proc")).ok()?.flatten();
    let holders = processes.filter_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let files = std::fs::read_dir(process.path().join("fd")).ok()?.flatten();
        let holds = files
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .any(|target| target.to_str().is_some_and(|target| sockets.contains(target)));
        let name = read(process.path().join("comm"))?;
        holds.then_some((pid, name))
    });
    // A socket that systemd passed on is held by both: whoever serves it says more.
    let (pid, name) = holders.max_by_key(|(pid, _)| *pid)?;
    Some(format!("{name} (pid {pid})"))
}

fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    let port = format!(":{port:04X}");
    let lines = table.lines().skip(1);
    lines
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let matches = words.get(1)?.ends_with(&port) && *words.get(3)? == LISTENING;
            matches.then(|| words.get(9).map(|inode| (*inode).to_string()))?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    use crate::cli::doctor::finding::Status;

    #[test]
    fn listeners_are_found_in_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                     uid  timeout inode\n   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 \
                     00:00000000 00000000     0        0 20861 1 0000000000000000 100 0 0 10 0\n   \
                     1: 0100007F:1F40 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     \
                     0        0 20862 1 0000000000000000 20 4 30 10 -1\n";
        assert_eq!(listening_inodes(table, 8000), ["20861"]);
        assert!(listening_inodes(table, 8001).is_empty());
        assert!(listening_inodes("", 8000).is_empty());
    }

    #[test]
    fn a_port_taken_by_something_else_fails_and_names_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let finding = port("api_port", addr, Path::new("/"));
        assert_eq!(finding.status, Status::Fail);
        assert!(finding.fact.contains(&format!("(pid {})", std::process::id())), "{finding:?}");
        drop(taken);
        assert_eq!(port("api_port", addr, Path::new("/")).status, Status::Ok);
        let nowhere = "192.0.2.1:8000".parse().unwrap();
        assert_eq!(port("api_port", nowhere, Path::new("/")).status, Status::Fail);
    }
}
