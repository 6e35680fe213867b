//! How long connections are kept, what is said of that, and what becomes of clients that close one
//! side, or vanish.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::sockets::{
    GET_HEALTH, connect_to, error_in, one_answer, open_connections, post_of, rest, seconds,
};
use crate::support::{grey_pixels, raw, raw_and_hang_up, start, start_with};

const DURABLE: &[u8] = b"POST /predict?durable=True HTTP/1.1\r\nHost: x\r\n\
    Content-Type: application/octet-stream\r\nContent-Length: 3072\r\n\r\n";

const PREDICTED: &str = "inference_predictions_total{model=\"cifar10-model\"}";

#[test]
fn an_idle_connection_is_kept_for_as_long_as_its_client_is_told() {
    let (_state, daemon) = start_with(["--api-idle-timeout", "2s"]);
    for listener in [daemon.api, daemon.probe] {
        let mut stream = connect_to(listener);
        stream.write_all(GET_HEALTH).unwrap();
        let answer = one_answer(&stream);
        assert!(answer.contains("\r\nconnection: keep-alive\r\n"), "{answer}");
        assert!(answer.contains("\r\nkeep-alive: timeout=2\r\n"), "{answer}");
        let (answer, time) = rest(&stream);
        assert_eq!(answer, "", "an idle connection is closed without a word");
        seconds(time, 2);
    }
    assert!(daemon.stop().success());
    let (_state, daemon) = start();
    let kept = daemon.get("/health").header("keep-alive").map(str::to_string);
    assert!(kept.is_some_and(|kept| kept == "timeout=120"), "longer than any proxy keeps it");
}

#[test]
fn what_closes_a_connection_is_said_in_the_answer_before() {
    let (_state, daemon) = start();
    let ask = |request: &str| {
        let answer = raw(daemon.api, request.as_bytes());
        let (head, _) = answer.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("keep-alive"), "{head}");
        head.to_string()
    };
    let closes = "\r\nconnection: close";
    // The body is not read; the daemon does not wait for the rest of a long one either.
    for length in [300, 100_000] {
        let head = ask(&format!(
            "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\nabc"
        ));
        assert!(head.starts_with("HTTP/1.1 404") && head.contains(closes), "{head}");
    }
    assert!(
        ask("GET /health HTTP/1.1\r\nHost: x\r\nConnection: TE, Close\r\n\r\n").contains(closes)
    );
    assert!(ask("GET /health HTTP/1.0\r\n\r\n").contains(closes));
    assert!(ask("GET /health\r\n\r\n").contains(closes), "no HTTP/1.1");
    let kept = connect_to(daemon.api);
    (&kept).write_all(b"GET /health HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").unwrap();
    let answer = one_answer(&kept);
    assert!(answer.contains("\r\nkeep-alive: timeout=120\r\n"), "{answer}");
    (&kept).write_all(GET_HEALTH).unwrap();
    assert!(one_answer(&kept).starts_with("HTTP/1.1 200"));
    // A short body that was not read is thrown away.
    let nowhere = b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    (&kept).write_all(&nowhere.repeat(2)).unwrap();
    for _ in 0..2 {
        let answer = one_answer(&kept);
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("keep-alive"), "{answer}");
    }
    // A body that was read keeps the connection, whatever the answer.
    let refused = [&post_of(3)[..], b"abc", &post_of(3)[..], b"abc"].concat();
    (&kept).write_all(&refused).unwrap();
    for _ in 0..2 {
        let answer = one_answer(&kept);
        assert!(answer.starts_with("HTTP/1.1 422") && answer.contains("keep-alive"), "{answer}");
    }
}

/// The deadline of a head holds on a connection that has been idle for longer, too.
#[test]
fn a_head_that_stops_on_a_kept_connection_is_given_up() {
    let (_state, daemon) = start();
    let mut stream = connect_to(daemon.probe);
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(2500) {
        stream.write_all(GET_HEALTH).unwrap();
        assert!(one_answer(&stream).starts_with("HTTP/1.1 200"));
    }
    stream.write_all(b"GET /hea").unwrap();
    let (answer, time) = rest(&stream);
    assert!(error_in(&answer, "408").contains("did not arrive within 2 s"), "{answer}");
    seconds(time, 2);
}

#[test]
fn a_client_that_half_closes_after_its_request_is_answered() {
    let (_state, daemon) = start();
    for _ in 0..20 {
        let mut client = connect_to(daemon.api);
        client.write_all(&[&post_of(3072)[..], &grey_pixels()].concat()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let (answer, _) = rest(&client);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }
    let one = [&post_of(3072)[..], &grey_pixels()].concat();
    let answers = raw_and_hang_up(daemon.api, &[&one[..], &one, GET_HEALTH].concat());
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 3, "{answers}");
    assert!(raw_and_hang_up(daemon.probe, GET_HEALTH).starts_with("HTTP/1.1 200"));
    // The answer is long in coming, and comes.
    let before = daemon.metric(PREDICTED);
    let frozen = daemon.freeze("log-writer");
    let mut client = connect_to(daemon.api);
    client.write_all(&[DURABLE, &grey_pixels()].concat()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    daemon.wait_until("the record", |daemon| daemon.metric(PREDICTED) == before + 1.0);
    drop(frozen);
    let (answer, _) = rest(&client);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    assert!(answer.contains("\"durable\":true"), "{answer}");
}

#[test]
fn a_client_that_vanishes_while_it_waits_is_noticed() {
    let (_state, daemon) = start();
    let frozen = daemon.freeze("log-writer");
    let mut client = connect_to(daemon.api);
    client.write_all(&[DURABLE, &grey_pixels()].concat()).unwrap();
    daemon.wait_until("the request", |daemon| daemon.metric(PREDICTED) == 1.0);
    assert_eq!(open_connections(&daemon), 1.0);
    // The kernel tells the daemon at once: a reset.
    let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&client, sockopt::Linger, &at_once).unwrap();
    drop(client);
    let gone = Instant::now();
    daemon.wait_until("the close", |daemon| open_connections(daemon) == 0.0);
    // Unnoticed, it would wait for its record until that is given up.
    assert!(gone.elapsed() < Duration::from_secs(7), "{:?}", gone.elapsed());
    drop(frozen);
}
