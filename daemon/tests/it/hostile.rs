//! Clients that send too little, too slowly, too much at once or without the token: each gets its
//! answer or its end, and the probes go on.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::sockets::{
    GET_HEALTH, connect_to, dropped, error_in, one_answer, open_connections, post_of, rest, seconds,
};
use crate::support::{
    Daemon, Launch, cat_png, grey_pixels, raw, raw_and_hang_up, request_with, start, start_with,
};

/// The deadlines are waited for side by side: the longest is 30 s.
#[test]
fn every_wait_for_a_client_has_an_end() {
    let (_state, daemon) = start();
    let head = || {
        let mut stream = connect_to(daemon.api);
        stream.write_all(b"GET /health HTTP/1.1\r\nHos").unwrap();
        let (answer, time) = rest(&stream);
        assert!(error_in(&answer, "408").contains("head did not arrive within 10 s"));
        seconds(time, 10);
    };
    let trickled_head = || {
        let mut stream = connect_to(daemon.api);
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let started = Instant::now();
        let mut answer = [0; 12];
        // One byte each half second moves no deadline.
        loop {
            let _ = stream.write_all(b"a");
            match stream.read(&mut answer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => break assert_eq!((other.unwrap(), &answer), (12, b"HTTP/1.1 408")),
            }
        }
        seconds(started.elapsed(), 10);
    };
    let silence = || {
        let (answer, time) = rest(&connect_to(daemon.api));
        assert!(error_in(&answer, "408").contains("head did not arrive"));
        seconds(time, 10);
    };
    let stopped_body = || {
        let mut stream = connect_to(daemon.api);
        stream.write_all(&post_of(3072)).unwrap();
        stream.write_all(&grey_pixels()[..100]).unwrap();
        let (answer, time) = rest(&stream);
        assert!(error_in(&answer, "408").contains("slower than 1024 bytes in 5 s"));
        seconds(time, 5);
    };
    let steady_body = || {
        let mut stream = connect_to(daemon.api);
        stream.write_all(&post_of(1 << 20)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let started = Instant::now();
        // Fast enough at any moment, and still too slow for the whole.
        loop {
            let _ = stream.write_all(&[b' '; 2048]);
            let mut answer = vec![0; 4096];
            match stream.read(&mut answer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => {
                    let answer = String::from_utf8_lossy(&answer[..other.unwrap()]).into_owned();
                    break assert!(error_in(&answer, "408").contains("within 30 s"));
                }
            }
        }
        seconds(started.elapsed(), 30);
    };
    std::thread::scope(|scope| {
        scope.spawn(head);
        scope.spawn(trickled_head);
        scope.spawn(silence);
        scope.spawn(stopped_body);
        scope.spawn(steady_body);
    });
    assert_eq!(dropped(&daemon, "head"), 3.0);
    daemon.wait_until("the last close", |daemon| open_connections(daemon) == 0.0);
    assert_eq!(daemon.metric("picket_http_rejected_requests_total{status=\"408\"}"), 2.0);
    assert_eq!(daemon.predict("image/png", &cat_png()).status, 200);
}

/// 60 MB of answers are asked for in one go, and none is read.
#[test]
fn a_client_that_never_reads_its_answers_is_given_up() {
    let (_state, daemon) = start();
    let stream = connect_to(daemon.api);
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let metrics = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let started = Instant::now();
    for _ in 0..100 {
        // The daemon stops reading where its answers are stuck.
        if (&stream).write_all(&metrics).is_err() {
            break;
        }
    }
    daemon.wait_until("the end", |daemon| dropped(daemon, "write") == 1.0);
    seconds(started.elapsed(), 10);
    daemon.wait_until("the last close", |daemon| open_connections(daemon) == 0.0);
    assert!(daemon.stop().success());
}

#[test]
fn heads_that_are_no_http_get_a_reason() {
    let (_state, daemon) = start();
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
    for (bytes, status, text) in [
        (&b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03"[..], "400", "not HTTP/1.1"),
        (b"GET\r\n\r\n", "400", "not HTTP/1.1"),
        (b"GET / HTTP/9.9\r\n\r\n", "400", "not HTTP/1.1"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", "400", "not HTTP/1.1"),
        (b"POST /log HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400", "not HTTP/1.1"),
        (long.as_bytes(), "431", "64 headers and 16384 bytes"),
        (many.as_bytes(), "431", "64 headers and 16384 bytes"),
    ] {
        for addr in [daemon.api, daemon.probe] {
            let answer = raw(addr, bytes);
            assert!(error_in(&answer, status).contains(text), "{answer}");
        }
    }
    // Targets that are no path: an authority alone, as a proxy is asked for.
    for target in ["GET x:80", "CONNECT x:80", "OPTIONS x"] {
        for addr in [daemon.api, daemon.probe] {
            let request = format!("{target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let answer = raw(addr, request.as_bytes());
            assert!(error_in(&answer, "400").contains("target is no path"), "{answer}");
        }
    }
    let preface = raw(daemon.api, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(preface.starts_with("HTTP/1.1 400 "), "{preface}");
    assert!(
        preface.ends_with(r#"{"error":"HTTP/2 without TLS is not spoken here, use HTTP/1.1"}"#)
    );
    // What came before it on the connection has been answered.
    let answer = raw(daemon.api, &[GET_HEALTH, GET_HEALTH, b"\0\r\n\r\n"].concat());
    let statuses: Vec<&str> =
        answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "400"], "{answer}");
    // A bare status would have nothing behind its head.
    assert!(answer.ends_with("{\"error\":\"the request's head is not HTTP/1.1\"}"), "{answer}");
    let torn = raw_and_hang_up(daemon.api, &[GET_HEALTH, b"GET /health HT"].concat());
    assert!(torn.starts_with("HTTP/1.1 200 ") && torn.contains("HTTP/1.1 400 "), "{torn}");
    assert!(torn.ends_with("ended in the middle of a request's head\"}"), "{torn}");
    let counted = daemon.metric("picket_http_rejected_requests_total{status=\"431\"}");
    assert_eq!(counted, 4.0);
}

/// What was connected before the stop is served; what has nothing to say is not waited for.
#[test]
fn after_the_stop_open_connections_are_answered_and_idle_ones_closed() {
    let (_state, mut daemon) = start();
    let mut fresh = connect_to(daemon.api);
    let idle = connect_to(daemon.api);
    (&idle).write_all(GET_HEALTH).unwrap();
    one_answer(&idle);
    let silent = connect_to(daemon.api);
    daemon.wait_until("the connections", |daemon| open_connections(daemon) == 3.0);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(rest(&idle).0, "");
    fresh.write_all(&[&post_of(3072)[..], &grey_pixels()].concat()).unwrap();
    let (answer, time) = rest(&fresh);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(time < Duration::from_secs(5), "{time:?}");
    let (answer, time) = rest(&silent);
    assert_eq!(error_in(&answer, "503"), "shutting down");
    seconds(time, 0);
    daemon.wait_for_line("stopped");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn without_the_token_nothing_on_the_api_is_told() {
    let secret = "0123456789abcdef01234567";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{secret}\n")).unwrap();
    let path = file.path().to_str().unwrap();
    let (_state, daemon) = start_with(["--api-token-file", path]);
    for path in ["/predictions", "/health", "/ready", "/metrics", "/nothing"] {
        let answer = daemon.get(path);
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"picket\""));
        assert!(answer.error().contains("a bearer token is needed"), "{}", answer.body);
    }
    assert_eq!(daemon.predict("image/png", &cat_png()).status, 401);
    // An upload that is refused unread can't take its refusal back: nothing of it is reset.
    let mut upload = connect_to(daemon.api);
    upload.write_all(&post_of(200_000)).unwrap();
    let (answer, _) = rest(&upload);
    assert!(error_in(&answer, "401").contains("a bearer token is needed"), "{answer}");
    upload.write_all(&[7; 100_000]).unwrap();
    upload.write_all(&[7; 100_000]).unwrap();
    let ask = |token: &str| {
        let value = format!("Bearer {token}");
        request_with(daemon.api, "GET", "/stats", &[("authorization", &value)], b"")
    };
    assert_eq!(ask(secret).json()["total_predictions"], json!(0));
    let answer = ask("0123456789abcdef01234568");
    assert_eq!(answer.status, 401);
    assert!(answer.error().contains("not the one that is configured"), "{}", answer.body);
    assert_eq!(daemon.probe("/ready").status, 200, "probes need no token");
    assert_eq!(daemon.metric("picket_http_rejected_requests_total{status=\"401\"}"), 8.0);
}

#[test]
fn a_token_comes_from_a_credential_and_one_that_all_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let credentials = tempfile::tempdir().unwrap();
    let file = credentials.path().join("picket-api-token");
    std::fs::write(&file, "0123456789abcdef01234567").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let state = tempfile::tempdir().unwrap();
    let launch = || Launch::on(state.path()).env("CREDENTIALS_DIRECTORY", credentials.path());
    let mut daemon = launch().start();
    assert_eq!(daemon.get("/stats").status, 401);
    let line = daemon.wait_for_line("every user of this machine may read the token");
    assert!(line.contains("644"), "{line}");
    assert!(daemon.stop().success());

    std::fs::write(&file, "guess me").unwrap();
    let mut daemon = launch().launch();
    daemon.wait_for_line("has 8 characters, 24 to 4096 are possible");
    assert_eq!(daemon.wait().code(), Some(78));
}

/// Each connection is a file: the limit is raised, and where it can't be, the setting gives way.
#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_goes() {
    let state = tempfile::tempdir().unwrap();
    let limits = |daemon: &Daemon| {
        let text = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
        line.split_whitespace().nth(3).unwrap().parse::<u64>().unwrap()
    };
    let daemon = Launch::on(state.path()).prepared("ulimit -Sn 256").start();
    assert!(limits(&daemon) >= 512 + 64 + 8, "{}", limits(&daemon));
    assert!(daemon.stop().success());
    let mut daemon = Launch::on(state.path()).prepared("ulimit -n 600").start();
    assert_eq!(limits(&daemon), 600);
    let line = daemon.wait_for_line("the limit of open files allows fewer connections");
    assert!(line.contains("asked=512 possible=112"), "{line}");
    assert!(daemon.stop().success());
}
