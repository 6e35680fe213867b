//! kill -9 in the middle of work: what was acknowledged as durable is there afterwards.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use picket_testkit::{Client, store_exists};
use serde_json::json;

use crate::support::{Launch, PATIENCE, verify, wait_until};

/// Kills, with two strict clients and a relaxed one writing; the full size is `./dev faults`.
const ROUNDS: u64 = 6;

#[test]
fn no_acknowledged_strict_record_is_lost_to_kill_9() {
    let state = tempfile::tempdir().unwrap();
    let acknowledged = AtomicU64::new(0);
    assert!(!store_exists(&state.path().join("log")));
    for round in 0..ROUNDS {
        let daemon = Launch::on(state.path()).start();
        let api = daemon.api;
        let killed = AtomicBool::new(false);
        let target = acknowledged.load(Ordering::SeqCst) + 20 + round * 7;
        std::thread::scope(|scope| {
            for query in ["?durable=true", "?durable=true", ""] {
                let (killed, acknowledged) = (&killed, &acknowledged);
                scope.spawn(move || {
                    while !killed.load(Ordering::SeqCst) {
                        let Some(answer) = try_predict(api, query) else { continue };
                        if answer["durable"] == true {
                            acknowledged
                                .fetch_max(answer["id"].as_u64().unwrap(), Ordering::SeqCst);
                        }
                    }
                });
            }
            wait_until("strict records", || acknowledged.load(Ordering::SeqCst) >= target);
            daemon.kill_9();
            killed.store(true, Ordering::SeqCst);
        });
        assert!(store_exists(&state.path().join("log")));
        let (code, report) = verify(state.path());
        let acknowledged = acknowledged.load(Ordering::SeqCst);
        assert_eq!(code, 0, "round {round}: {report}");
        assert_eq!(report["gaps"], json!([]));
        assert_eq!(report["first"], 1);
        assert!(report["last"].as_u64().unwrap() >= acknowledged, "{acknowledged}: {report}");
    }
}

/// One prediction, none when the daemon is gone.
fn try_predict(api: std::net::SocketAddr, query: &str) -> Option<serde_json::Value> {
    let answer = Client::new(PATIENCE).predict(api, query).ok()?;
    (answer.status == 200).then(|| answer.json())
}
