//! What is nobody else's: the daemon's files, its control socket, and who is believed on it.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::support::{Launch, run, start, stderr, stdout, verify};

/// All that is below a directory and others may read, enter or change.
fn open_to_others(dir: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        if metadata.mode() & 0o077 != 0 && !metadata.is_symlink() {
            found.push((path.clone(), metadata.mode() & 0o7777));
        }
        if metadata.is_dir() {
            found.extend(open_to_others(&path));
        }
    }
    found
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn nobody_else_may_read_what_the_daemon_writes_whatever_its_umask() {
    for umask in ["000", "022", "777"] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("made/by/picket");
        let daemon = Launch::on(&state).prepared(&format!("umask {umask}")).start();
        assert_eq!(daemon.predict("application/octet-stream", &[9; 3072]).status, 200);
        assert_eq!(daemon.stop().code(), Some(0));
        assert_eq!(open_to_others(dir.path()), [], "umask {umask}");
        assert_eq!(verify(&state).0, 0);
        assert_eq!(open_to_others(dir.path()), [], "umask {umask}");
    }
}

#[test]
fn files_that_were_open_to_others_are_closed_and_told_of() {
    let (state, daemon) = start();
    assert_eq!(daemon.predict("application/octet-stream", &[9; 3072]).status, 200);
    assert_eq!(daemon.stop().code(), Some(0));
    let (log, foreign) = (state.path().join("log"), state.path().join("notes"));
    std::fs::write(&foreign, "somebody's").unwrap();
    symlink(&foreign, log.join("link")).unwrap();
    for (path, mode) in [
        (foreign.clone(), 0o644),
        (log.clone(), 0o755),
        (log.join("witness"), 0o666),
        (state.path().into(), 0o755),
    ] {
        set_mode(&path, mode);
    }
    let mut daemon = Launch::on(state.path()).start();
    daemon.wait_for_line("others could read it, not any more");
    daemon.wait_for_line("others may enter the state directory");
    assert_eq!(open_to_others(&log), []);
    assert_eq!(std::fs::metadata(&log).unwrap().mode() & 0o777, 0o700);
    assert_eq!(std::fs::metadata(&foreign).unwrap().mode() & 0o777, 0o644, "not ours to change");
}

#[test]
fn the_control_socket_is_its_owners_and_comes_and_goes_with_the_daemon() {
    let (state, daemon) = start();
    let socket = state.path().join("log.sock");
    let metadata = std::fs::symlink_metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.mode() & 0o777, 0o600);
    assert_eq!(verify(state.path()).0, 0);
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!socket.exists());

    // One that a killed daemon has left is replaced.
    Launch::on(state.path()).start().kill_9();
    assert!(socket.exists());
    let daemon = Launch::on(state.path()).start();
    assert_eq!(verify(state.path()).0, 0);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn what_lies_in_the_control_sockets_place_is_neither_used_nor_removed() {
    let state = tempfile::tempdir().unwrap();
    let socket = state.path().join("log.sock");
    std::fs::write(&socket, "somebody's").unwrap();
    let mut daemon = Launch::on(state.path()).launch();
    daemon.wait_for_line("log.sock: a file that is no socket is there");
    assert_eq!(daemon.wait().code(), Some(74));
    assert_eq!(std::fs::read(&socket).unwrap(), b"somebody's");

    std::fs::remove_file(&socket).unwrap();
    let _other = UnixListener::bind(&socket).unwrap();
    let mut daemon = Launch::on(state.path()).launch();
    daemon.wait_for_line("log.sock: another process listens there");
    assert_eq!(daemon.wait().code(), Some(74));
}

#[test]
fn daemons_are_told_apart_however_long_their_paths_are() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("d".repeat(100)).join("e".repeat(100));
    let states = [long.join("a"), long.join("b")];
    let daemons = states.each_ref().map(|state| Launch::on(state).start());
    for records in 0..3 {
        assert_eq!(
            daemons[0].predict("application/octet-stream", &[9; 3072]).status,
            200,
            "{records}"
        );
    }
    daemons[0].wait_until("the records", |daemon| daemon.metric("picket_log_records") == 3.0);
    assert!(states[0].join("log.sock").exists());
    assert_eq!(verify(&states[0]).1["count"], 3);
    assert_eq!(verify(&states[1]).1["count"], 0);
}

/// Without root a test can't become another user; with it the socket is given to one.
#[test]
fn another_users_answer_is_not_believed() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let (state, daemon) = start();
    let socket = state.path().join("log.sock");
    std::fs::remove_file(&socket).unwrap();
    set_mode(state.path(), 0o777);
    let script = "import os,socket,sys\nos.setgid(65534); os.setuid(65534)\n\
                  s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(8)\n\
                  print('up',flush=True)\nc,_=s.accept(); c.recv(4096)";
    let mut liar = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(&socket)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 2];
    std::io::Read::read_exact(liar.stdout.as_mut().unwrap(), &mut up).unwrap();
    let store = state.path().join("log");
    let output = run(["log".as_ref(), "verify".as_ref(), "--store".as_ref(), store.as_os_str()]);
    assert_eq!(output.status.code(), Some(74), "{}", stdout(&output));
    assert!(stderr(&output).contains("user 65534 answers there"), "{}", stderr(&output));
    liar.kill().unwrap();
    liar.wait().unwrap();
    assert_eq!(daemon.stop().code(), Some(0));
}

/// The daemon's side: a foreign user that reaches the socket gets no answer.
#[test]
fn another_users_question_is_not_answered() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let (state, daemon) = start();
    let socket = state.path().join("log.sock");
    set_mode(state.path(), 0o755);
    set_mode(&socket, 0o666);
    let script = "import os,socket,sys\nos.setgid(65534); os.setuid(65534)\n\
                  s=socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(sys.argv[1])\n\
                  s.sendall(b'GET /verify HTTP/1.1\\r\\nHost: picket\\r\\n\\r\\n')\n\
                  sys.exit(len(s.recv(100)) > 0)";
    let mut ask = std::process::Command::new("python3");
    let asked = ask.args(["-c", script]).arg(&socket).output().unwrap();
    let told = String::from_utf8_lossy(&asked.stderr);
    assert!(asked.status.success() || told.contains("reset") || told.contains("Broken"), "{told}");
    assert_eq!(verify(state.path()).0, 0, "its own user is");
    drop(daemon);
}
