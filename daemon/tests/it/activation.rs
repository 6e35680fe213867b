//! Sockets that are files, and sockets that the service manager hands over.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::{Launch, PATIENCE, grey_pixels, picket, stderr, verify, wait_until};

/// One request over a connection of its own: the whole answer.
fn ask(mut stream: impl Read + Write, head: &str, body: &[u8]) -> std::io::Result<String> {
    let length = body.len();
    let head = format!(
        "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn predict(api: SocketAddr) -> std::io::Result<String> {
    let stream = TcpStream::connect(api)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    ask(stream, "POST /predict", &grey_pixels())
}

#[test]
fn both_listeners_work_on_unix_sockets_that_come_and_go_with_the_daemon() {
    let state = tempfile::tempdir().unwrap();
    let [api, probe] = ["api.sock", "probe.sock"].map(|name| state.path().join(name));
    let endpoints = [&api, &probe].map(|path| format!("unix:{}", path.display()));
    // What a killed daemon leaves behind is in nobody's way.
    drop(UnixListener::bind(&api).unwrap());
    let args = ["--api-listen", &endpoints[0], "--probe-listen", &endpoints[1]];
    let mut daemon = Launch::bare(state.path()).args(args).start();
    assert!(daemon.wait_for_line("listener=\"api\"").ends_with(&endpoints[0]));
    let answer = ask(UnixStream::connect(&api).unwrap(), "POST /predict", &grey_pixels()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = ask(UnixStream::connect(&probe).unwrap(), "GET /ready", b"").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for path in [&api, &probe] {
        let mode = std::fs::symlink_metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
    }
    assert_eq!(
        refused(&endpoints[0]),
        format!("cannot listen on {}: another process listens there", endpoints[0])
    );
    assert!(daemon.stop().success());
    assert!(!api.exists() && !probe.exists(), "the files go with the daemon");
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "precious").unwrap();
    let line = refused(&format!("unix:{}", file.path().display()));
    assert!(line.contains("a file that is no socket is there"), "{line}");
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "precious");
}

/// The last line of a daemon that can't have this probe listener, which comes first.
fn refused(endpoint: &str) -> String {
    let state = tempfile::tempdir().unwrap();
    let mut command = picket();
    command.args(["serve", "--api-listen", "127.0.0.1:0", "--probe-listen", endpoint]);
    let output = command.arg("--state-dir").arg(state.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(74));
    stderr(&output).lines().last().unwrap().trim_start_matches("picket: ").to_string()
}

fn sockets() -> (TcpListener, TcpListener) {
    (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap())
}

fn activated(state: &Path, names: &str, (api, probe): &(TcpListener, TcpListener)) -> Launch {
    let copy = |socket: &TcpListener| OwnedFd::from(socket.try_clone().unwrap());
    Launch::activated(state, names, copy(api), copy(probe))
}

#[test]
fn sockets_handed_over_are_used_by_name_and_their_variables_are_gone() {
    let state = tempfile::tempdir().unwrap();
    let (api, probe) = sockets();
    let addrs = (api.local_addr().unwrap(), probe.local_addr().unwrap());
    // Given the other way round: the name counts, not the number.
    let daemon = activated(state.path(), "probe:api", &(probe, api)).start();
    assert_eq!((daemon.api, daemon.probe), addrs);
    assert!(predict(addrs.0).unwrap().starts_with("HTTP/1.1 200 "));
    assert_eq!(daemon.probe("/ready").status, 200);
    assert!(daemon.stop().success());
}

#[test]
fn a_unix_socket_handed_over_stays_where_it_is() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("api.sock");
    let api = UnixListener::bind(&path).unwrap();
    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    let copy = api.try_clone().unwrap().into();
    let daemon = Launch::activated(state.path(), "api:probe", copy, probe.into()).start();
    let answer = ask(UnixStream::connect(&path).unwrap(), "GET /health", b"").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(daemon.stop().success());
    assert!(path.exists(), "it is the service manager's");
}

#[test]
fn sockets_that_nobody_would_serve_are_refused_by_name() {
    for (names, text) in [
        ("api:picket.socket", "\"picket.socket\", FileDescriptorName=api or probe is needed"),
        ("api:api", "two sockets named \"api\""),
        ("api", "can't be taken over: invalid LISTEN_FDNAMES"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let mut daemon = activated(state.path(), names, &sockets()).launch();
        daemon.wait_for_line(text);
        assert_eq!(daemon.wait().code(), Some(78), "{names}");
    }
    let state = tempfile::tempdir().unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    let mut daemon =
        Launch::activated(state.path(), "api:probe", one.into(), other.into()).launch();
    daemon.wait_for_line("\"api\" can't be used: it is no stream socket that listens");
    assert_eq!(daemon.wait().code(), Some(78));
}

/// What an upgrade does: the sockets stay, the daemon behind them is another one.
#[test]
fn a_restart_under_load_fails_no_request() {
    const RESTARTS: usize = 3;
    const CLIENTS: usize = 4;
    const ANSWERS_BETWEEN: usize = 30;
    let state = tempfile::tempdir().unwrap();
    let sockets = sockets();
    let api = sockets.0.local_addr().unwrap();
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let mut daemon = activated(state.path(), "api:probe", &sockets).start();
        let client = || {
            while !done.load(Ordering::Relaxed) {
                match predict(api) {
                    Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    failed => return Err(format!("{failed:?}")),
                }
            }
            Ok(())
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let work = || {
            let goal = answered.load(Ordering::Relaxed) + ANSWERS_BETWEEN;
            wait_until("answers", || {
                answered.load(Ordering::Relaxed) >= goal
                    || clients.iter().any(|client| client.is_finished())
            });
        };
        for _ in 0..RESTARTS {
            work();
            assert!(daemon.stop().success());
            daemon = activated(state.path(), "api:probe", &sockets).start();
        }
        work();
        done.store(true, Ordering::Relaxed);
        for client in clients {
            assert_eq!(client.join().unwrap(), Ok(()));
        }
        assert!(daemon.stop().success());
    });
    let (code, report) = verify(state.path());
    let answered = answered.into_inner();
    assert_eq!((code, &report["count"]), (0, &answered.into()), "each was logged, once");
}
