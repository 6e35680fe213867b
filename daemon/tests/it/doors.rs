//! Who may ask, by which name and from which page: Host, cross-site requests, CORS, and what is said of
//! an API that everybody may use.

use std::io::Write;
use std::net::SocketAddr;

use crate::sockets::{connect_to, post_of, rest};
use crate::support::{
    Daemon, Launch, assert_refused, grey_pixels, raw, request_with, run, start, start_with, stderr,
};

const BATCH: &[u8] = br#"{"predictions":[],"batch_size":0,"timestamp":0}"#;
const JSON: (&str, &str) = ("content-type", "application/json");

/// POSTs to each route that takes one, and gives the statuses.
fn posts(daemon: &Daemon, headers: &[(&str, &str)]) -> (u16, u16) {
    let with = |own| [&[own], headers].concat();
    let log = request_with(daemon.api, "POST", "/log", &with(JSON), BATCH);
    let pixels = with(("content-type", "application/octet-stream"));
    (log.status, request_with(daemon.api, "POST", "/predict", &pixels, &grey_pixels()).status)
}

fn total(daemon: &Daemon) -> u64 {
    daemon.get("/stats").json()["total_predictions"].as_u64().unwrap()
}

/// The status of a request whose head is written here, without its version.
fn status(addr: SocketAddr, request: &str, headers: &str) -> String {
    let answer = raw(addr, format!("{request}\r\n{headers}Connection: close\r\n\r\n").as_bytes());
    answer.get(9..12).unwrap_or_default().to_string()
}

#[test]
fn a_batch_must_say_that_it_is_json() {
    let (_state, daemon) = start();
    let with = |headers: &[(&str, &str)]| request_with(daemon.api, "POST", "/log", headers, BATCH);
    assert_refused(&with(&[]), 415, &["Content-Type is missing", "application/json"]);
    for other in
        ["text/plain", "text/plain; application/json", "application/x-www-form-urlencoded", ""]
    {
        assert_refused(&with(&[("content-type", other)]), 415, &["only application/json"]);
    }
    assert_refused(&with(&[JSON, ("content-type", "text/plain")]), 415, &["there twice"]);
    for json in ["application/json", "Application/JSON; charset=utf-8"] {
        assert_eq!(with(&[("content-type", json)]).status, 200, "{json}");
    }
}

#[test]
fn a_page_of_another_site_changes_nothing() {
    let (_state, daemon) = start();
    let (own, secure, other_port) = (
        format!("http://{}", daemon.api),
        format!("https://{}", daemon.api),
        format!("http://{}:1", daemon.api.ip()),
    );
    let (own, secure, other_port) = (own.as_str(), secure.as_str(), other_port.as_str());
    for foreign in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "Cross-Site")],
        &[("sec-fetch-site", "unheard-of")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[("origin", "")],
        &[("origin", other_port)],
        &[("origin", own), ("origin", "http://evil.example")],
        &[("origin", "http://evil.example"), ("sec-fetch-site", "same-origin")],
        &[("origin", own), ("sec-fetch-site", "cross-site")],
    ] {
        assert_eq!(posts(&daemon, foreign), (403, 403), "{foreign:?}");
    }
    assert_eq!(total(&daemon), 0);
    assert_eq!(daemon.metric("picket_http_rejected_requests_total{status=\"403\"}"), 24.0);
    for near in [
        &[][..],
        &[("origin", own)],
        &[("origin", own), ("sec-fetch-site", "same-origin")],
        &[("origin", secure)],
        &[("sec-fetch-site", "none")],
    ] {
        assert_eq!(posts(&daemon, near), (200, 200), "{near:?}");
    }
    // Reading is what the browser itself keeps from such a page.
    let foreign = [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")];
    let read = request_with(daemon.api, "GET", "/stats", &foreign, b"");
    assert_eq!((read.status, read.header("access-control-allow-origin")), (200, None));
}

#[test]
fn pages_of_allowed_origins_may_ask_and_are_told_so_with_every_answer() {
    let token = "an-edge-boxs-own-token-of-32-bytes";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, token).unwrap();
    let file = file.to_str().unwrap();
    let allowed = "https://app.example,http://localhost:3000";
    let (_state, daemon) = start_with(["--api-allow-origins", allowed, "--api-token-file", file]);
    let page = ("origin", "https://app.example");
    let bearer = format!("Bearer {token}");
    let bearer = ("authorization", bearer.as_str());
    let preflight = |origin| {
        let asks = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        request_with(daemon.api, "OPTIONS", "/log", &asks, b"")
    };
    let answer = preflight(page.1);
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    for (name, value) in [
        ("access-control-allow-origin", page.1),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "HEAD, POST, GET"),
        ("vary", "Origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    let headers = answer.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");

    let foreign = preflight("https://app.example.evil.example");
    assert_eq!((foreign.status, foreign.header("access-control-allow-origin")), (401, None));
    assert_eq!(foreign.header("vary"), Some("Origin"), "a cache must not mix the two up");

    let ask = |method, path, headers: &[_]| request_with(daemon.api, method, path, headers, BATCH);
    for (answer, status) in [
        (ask("POST", "/log", &[page, bearer, JSON, ("sec-fetch-site", "cross-site")]), 200),
        (ask("POST", "/log", &[("origin", "http://localhost:3000"), bearer, JSON]), 200),
        (ask("POST", "/log", &[page, JSON]), 401),
        (ask("POST", "/log", &[page, bearer]), 415),
        (ask("POST", "/nowhere", &[page, bearer]), 404),
        (ask("DELETE", "/log", &[page, bearer]), 405),
    ] {
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.header("access-control-allow-origin").is_some(), "{status}");
        assert_eq!(answer.header("vary"), Some("Origin"), "{status}");
    }
    let evil = ask("POST", "/log", &[("origin", "http://app.example"), bearer, JSON]);
    assert_refused(&evil, 403, &["http://app.example", "[api] allow_origins"]);
}

/// Those of the listener itself too, before and after a request's head.
#[test]
fn a_page_of_an_allowed_origin_can_read_why_there_is_no_other_answer() {
    let limits = ["--api-max-connections", "1", "--api-workers", "1", "--api-max-body", "4096B"];
    let allowed = ["--api-allow-origins", "https://app.example"];
    let (_state, daemon) = start_with(limits.into_iter().chain(allowed));
    let page = "Origin: https://app.example\r\n";
    let ask = |head: &str| raw(daemon.api, format!("{head}\r\n\r\n").as_bytes());
    let post = "POST /predict HTTP/1.1\r\nHost: x\r\n";
    for (answer, status) in [
        (ask(&format!("{post}{page}Content-Length: 9999\r\nExpect: 100-continue")), "413"),
        (ask(&format!("{post}{page}Content-Length: 3072")), "408"),
        (ask(&format!("GET x:80 HTTP/1.1\r\nHost: x\r\n{page}Connection: close")), "400"),
    ] {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        let allows = "\r\naccess-control-allow-origin: https://app.example\r\n";
        assert!(answer.contains(allows), "{answer}");
    }
    let foreign = ask("GET x:80 HTTP/1.1\r\nHost: x\r\nOrigin: https://a\r\nConnection: close");
    assert!(!foreign.contains("access-control"), "{foreign}");
    let everybody = "\r\naccess-control-allow-origin: *\r\n";
    let long = ask(&format!("GET /{} HTTP/1.1", "x".repeat(20_000)));
    assert!(long.starts_with("HTTP/1.1 431") && long.contains(everybody), "{long}");
    let frozen = daemon.freeze("worker-0");
    let mut only = connect_to(daemon.api);
    only.write_all(&[&post_of(3072)[..], &grey_pixels()].concat()).unwrap();
    daemon.wait_until("the request", |daemon| daemon.metric("picket_queue_depth") == 1.0);
    let (full, _) = rest(&connect_to(daemon.api));
    assert!(full.starts_with("HTTP/1.1 503") && full.contains(everybody), "{full}");
    drop(frozen);
    let (_state, daemon) = start();
    let closed = raw(daemon.api, b"GET\r\n\r\n");
    assert!(closed.starts_with("HTTP/1.1 400") && !closed.contains("access-control"), "{closed}");
}

#[test]
fn a_request_names_its_host_once_and_as_a_host() {
    let (_state, daemon) = start();
    for addr in [daemon.api, daemon.probe] {
        for (request, headers, expected) in [
            ("GET /health HTTP/1.1", "", "400"),
            ("GET /health HTTP/1.1", "Host: a\r\nHost: a\r\n", "400"),
            ("GET /health HTTP/1.1", "Host: \r\n", "400"),
            ("GET /health HTTP/1.1", "Host: a, b\r\n", "400"),
            ("GET /health HTTP/1.1", "Host: a/b\r\n", "400"),
            ("GET /health HTTP/1.1", "Host: user@a\r\n", "400"),
            ("GET /health HTTP/1.1", "Host: a:99999\r\n", "400"),
            ("GET /health HTTP/1.0", "Host: a\r\nHost: b\r\n", "400"),
            ("GET http://u@a/health HTTP/1.1", "Host: a\r\n", "400"),
            ("GET ftp://a/health HTTP/1.1", "Host: a\r\n", "400"),
            ("GET http://a/health HTTP/1.1", "", "400"),
            ("GET /health HTTP/1.0", "", "200"),
            ("GET /health HTTP/1.1", "Host: [::1]:8000\r\n", "200"),
            ("GET /health HTTP/1.1", "Host: 192.168.1.7\r\n", "200"),
            ("GET http://a/health HTTP/1.1", "Host: a\r\n", "200"),
        ] {
            assert_eq!(status(addr, request, headers), expected, "{request} {headers:?}");
        }
    }
    // The target's host goes before the header's.
    let log = "POST http://box/log HTTP/1.1";
    let body = "Content-Type: text/plain\r\nContent-Length: 0\r\n";
    for (headers, expected) in [
        ("Host: evil.example\r\nOrigin: http://evil.example\r\n", "403"),
        ("Host: evil.example\r\nOrigin: http://box\r\n", "415"),
    ] {
        assert_eq!(status(daemon.api, log, &format!("{headers}{body}")), expected, "{headers}");
    }
}

#[test]
fn only_named_hosts_are_served_and_probes_need_none() {
    let (_state, daemon) = start_with(["--api-hosts", "box.local,192.168.1.7:8000,[fd00::7]"]);
    for (host, expected) in [
        ("box.local", "200"),
        ("BOX.local:8000", "200"),
        ("box.local.:8000", "200"),
        ("192.168.1.7:8000", "200"),
        ("[fd00:0::7]:81", "200"),
        ("192.168.1.7", "421"),
        ("box.local.evil.example", "421"),
        ("127.0.0.1", "421"),
    ] {
        let headers = format!("Host: {host}\r\n");
        assert_eq!(status(daemon.api, "GET /stats HTTP/1.1", &headers), expected, "{host}");
    }
    let rebound = "GET http://evil.example/stats HTTP/1.1";
    assert_eq!(status(daemon.api, rebound, "Host: box.local\r\n"), "421");
    assert_eq!(status(daemon.api, "GET /stats HTTP/1.0", ""), "421");
    assert_eq!(daemon.probe("/ready").status, 200);
}

#[test]
fn what_is_no_host_or_origin_is_refused_as_configuration() {
    for (flag, value, told) in [
        ("--api-hosts", "http://box", "names no host"),
        ("--api-allow-origins", "*", "no origin such as"),
        ("--api-allow-origins", "https://app.example/", "no origin such as"),
        ("--api-allow-origins", "null", "no origin such as"),
    ] {
        let output = run(["config", "check", flag, value]);
        assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
    }
}

#[test]
fn an_api_that_everybody_may_use_is_told_of_unless_it_is_meant() {
    let everywhere = ["--api-listen", "0.0.0.0:0", "--probe-listen", "127.0.0.1:0"];
    let warning = "without a token everybody who reaches the API may write to the log";
    let lines = |args: &[&str]| {
        let state = tempfile::tempdir().unwrap();
        Launch::bare(state.path()).args(args).start().last_lines()
    };
    assert!(lines(&everywhere).contains(warning));
    let meant = [&everywhere[..], &["--api-open", "true"]].concat();
    assert!(!lines(&meant).contains(warning));
    let local = ["--api-listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0"];
    assert!(!lines(&local).contains(warning));
}
