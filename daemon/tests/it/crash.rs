//! kill -9 in the middle of work: what was acknowledged as durable is there afterwards.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use crate::support::{Launch, grey_pixels, verify, wait_until};

/// Kills, with two strict clients and a relaxed one writing; the full size is `./dev faults`.
const ROUNDS: u64 = 6;

#[test]
fn no_acknowledged_strict_record_is_lost_to_kill_9() {
    let state = tempfile::tempdir().unwrap();
    let acknowledged = AtomicU64::new(0);
    for round in 0..ROUNDS {
        let daemon = Launch::on(state.path()).start();
        let api = daemon.api;
        let killed = AtomicBool::new(false);
        let target = acknowledged.load(Ordering::SeqCst) + 20 + round * 7;
        std::thread::scope(|scope| {
            for path in ["/predict?durable=true", "/predict?durable=true", "/predict"] {
                let (killed, acknowledged) = (&killed, &acknowledged);
                scope.spawn(move || {
                    while !killed.load(Ordering::SeqCst) {
                        let Some(answer) = try_predict(api, path) else { continue };
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
        let (code, report) = verify(state.path());
        let acknowledged = acknowledged.load(Ordering::SeqCst);
        assert_eq!(code, 0, "round {round}: {report}");
        assert_eq!(report["gaps"], json!([]));
        assert_eq!(report["first"], 1);
        assert!(report["last"].as_u64().unwrap() >= acknowledged, "{acknowledged}: {report}");
    }
}

/// One prediction, none when the daemon is gone.
fn try_predict(api: std::net::SocketAddr, path: &str) -> Option<serde_json::Value> {
    let answer = ureq::post(format!("http://{api}{path}"))
        .header("content-type", "application/octet-stream")
        .send(&grey_pixels()[..]);
    answer.ok()?.body_mut().read_to_string().ok().map(|body| serde_json::from_str(&body).unwrap())
}
