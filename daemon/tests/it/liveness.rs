//! What a stuck thread leads to, from its first missed deadline to the end of the pings, and back.

use std::time::{Duration, Instant};

use crate::support::{Daemon, cat_png};
use crate::systemd::ServiceManager;

/// The shortest that the configuration takes.
const SHORT_DEADLINES: [&str; 6] = [
    "--health-runtime-deadline",
    "3s",
    "--health-worker-deadline",
    "3s",
    "--health-log-deadline",
    "3s",
];

fn near_misses(daemon: &Daemon, thread: &str) -> f64 {
    daemon.metric(&format!("picket_subsystem_near_misses_total{{subsystem=\"{thread}\"}}"))
}

#[test]
fn a_silence_that_ends_in_time_leaves_its_trace_in_the_metrics_only() {
    let (_state, daemon) = crate::support::start_with(["--health-worker-deadline", "20s"]);
    // Once it has been shown, it is watched.
    assert_eq!(near_misses(&daemon, "worker-0"), 0.0);
    let frozen = daemon.freeze("worker-0");
    daemon.wait_until("a near miss", |daemon| near_misses(daemon, "worker-0") == 1.0);
    drop(frozen);
    assert_eq!(daemon.probe("/health").status, 200);
    assert_eq!(near_misses(&daemon, "log-writer"), 0.0);
}

/// Stops one thread, and follows what the daemon says of it.
fn a_frozen_thread_is_named(thread: &str) {
    let manager = ServiceManager::new();
    let launch = manager.launch().env("WATCHDOG_USEC", "300000").args(SHORT_DEADLINES);
    let mut daemon = launch.start();
    assert_eq!(daemon.predict("image/png", &cat_png()).status, 200);
    // Some pings later, all that this brought about is done and the thread waits.
    for _ in 0..5 {
        manager.receive_until("WATCHDOG=1");
    }
    let frozen = daemon.freeze(thread);

    let expected = format!("not alive: {thread} gave no sign of life for ");
    let status = manager.receive_until_status(&expected);
    assert!(status.ends_with(" s, at most 3 s\n") || status.ends_with(" s, at most 12 s\n"));
    let line = daemon.wait_for_line("not alive, no watchdog ping");
    assert!(line.contains("ERROR"), "{line}");
    assert!(line.contains(&format!("{thread} gave no sign of life")), "{line}");
    manager.receive_until("WATCHDOG=trigger");
    let silence = Instant::now() + Duration::from_secs(1);
    while Instant::now() < silence {
        if let Some(message) = manager.receive_within(Duration::from_millis(100)) {
            assert!(!message.contains("WATCHDOG=1"), "{message}");
        }
    }

    let health = daemon.probe("/health");
    assert_eq!((health.status, &health.json()["status"]), (500, &"unhealthy".into()));
    assert!(health.error().starts_with(&format!("{thread} gave no sign of life")));
    let verbose = daemon.probe("/ready?verbose").body;
    assert!(verbose.contains(&format!("[-]{thread} failed: {thread} gave")), "{verbose}");
    let alive = |of: &str| daemon.metric(&format!("picket_subsystem_alive{{subsystem=\"{of}\"}}"));
    assert_eq!((alive(thread), alive("probe")), (0.0, 1.0));
    assert!(near_misses(&daemon, thread) >= 1.0, "a miss was near before");

    drop(frozen);
    manager.receive_until("WATCHDOG=1");
    daemon.wait_until("health", |daemon| daemon.probe("/health").status == 200);
    assert_eq!(daemon.predict("image/png", &cat_png()).status, 200);
    daemon.wait_for_line("alive again");
}

#[test]
fn a_frozen_worker_stops_the_pings_and_is_named() {
    a_frozen_thread_is_named("worker-0");
}

#[test]
fn a_frozen_log_writer_stops_the_pings_and_is_named() {
    a_frozen_thread_is_named("log-writer");
}

#[test]
fn a_frozen_api_runtime_stops_the_pings_and_is_named_on_the_probe_port() {
    a_frozen_thread_is_named("api");
}

#[test]
fn a_frozen_reader_stops_the_pings_and_is_named() {
    a_frozen_thread_is_named("reader-0");
}

#[test]
fn every_heartbeat_is_a_check_and_a_metric() {
    let registry = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_state, daemon) = crate::support::start_with([
        "--api-workers",
        "2",
        "--model-registry",
        &format!("http://{registry}"),
    ]);
    let before = std::time::SystemTime::now();
    let verbose = daemon.probe("/ready?verbose").body;
    for subsystem in [
        "signals",
        "supervisor",
        "probe",
        "watchdog",
        "log-writer",
        "worker-0",
        "worker-1",
        "registry",
        "ingest-0",
        "ingest-1",
        "reader-0",
        "reader-1",
        "ctl-reader-0",
        "ctl-reader-1",
        "control",
        "control-keeper",
        "api",
    ] {
        assert!(verbose.contains(&format!("[+]{subsystem} ok\n")), "{subsystem}: {verbose}");
        let label = format!("{{subsystem=\"{subsystem}\"}}");
        assert_eq!(daemon.metric(&format!("picket_subsystem_alive{label}")), 1.0);
        let last = daemon.metric(&format!("picket_subsystem_last_beat_timestamp_seconds{label}"));
        let started = before - Duration::from_secs(60);
        let started = started.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(last > started, "{subsystem}: {last}");
    }
}

#[test]
fn a_picture_that_no_worker_takes_is_answered_at_the_limit_of_waiting() {
    let settings = ["--api-workers", "1", "--health-worker-deadline", "3s"];
    let (_state, daemon) = crate::support::start_with(settings);
    let frozen = daemon.freeze("worker-0");
    let answer = daemon.predict("image/png", &cat_png());
    assert_eq!(answer.status, 503, "{}", answer.json());
    assert_eq!(answer.json()["error"], "no worker was done with it within 23 s");
    assert_eq!(answer.header("retry-after"), Some("1"));
    drop(frozen);
    daemon.wait_until("a worker", |daemon| daemon.predict("image/png", &cat_png()).status == 200);
}
