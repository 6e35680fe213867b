//! What another device sends: in one batch all that an outage has kept it from sending, and once more
//! what got no answer.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Answer, Daemon, Launch, assert_refused, start, start_with, verify};

/// As a device writes it that knows nothing of this daemon: absent things are null, and there is more
/// than anybody asks for.
fn record(index: usize) -> Value {
    json!({
        "image_id": format!("img-{index}"), "timestamp": 1_795_000_000.0 + index as f64,
        "model_version": "v3", "model_name": "scratches", "inference_time_ms": 12.5,
        "detections": [{"class": "scratch", "confidence": 1.000_000_1, "bbox": [1.5, 2, 3, 4, 0.1],
                        "uncertain": null, "area": 7}],
        "defect_detected": index.is_multiple_of(3), "confidence_scores": [0.9, -1e-7],
        "processing_notes": null, "edge_device_id": null, "camera": {"gain": 2}
    })
}

fn batch(records: &[Value], batch_id: Option<&str>) -> Value {
    json!({"predictions": records, "batch_size": records.len(), "site": "north",
           "timestamp": "2026-01-28T15:30:45.123456", "edge_device_id": "line-4",
           "batch_id": batch_id})
}

fn send(daemon: &Daemon, batch: &Value) -> Answer {
    daemon.post("/log", Some("application/json"), batch.to_string().as_bytes())
}

fn total(daemon: &Daemon) -> u64 {
    daemon.get("/stats").json()["total_predictions"].as_u64().unwrap()
}

#[test]
fn all_that_an_outage_has_kept_back_is_taken_at_once_and_no_more() {
    let (state, daemon) = start();
    let records: Vec<Value> = (0..20_001).map(record).collect();
    let refused = send(&daemon, &batch(&records, Some("outage")));
    assert_refused(&refused, 413, &["batch holds 20001 records, at most 20000 are taken at once"]);
    let stored = send(&daemon, &batch(&records[..20_000], Some("outage")));
    assert_eq!(stored.status, 200, "{}", stored.body);
    assert_eq!(stored.json()["predictions_stored"], 20_000);
    assert_eq!(total(&daemon), 20_000);
    let newest = daemon.get("/predictions?limit=1").json()["predictions"][0].clone();
    assert_eq!(newest["detections"][0]["confidence"], 1.0);
    assert_eq!(newest["confidence_scores"], json!([0.9, 0.0]));
    assert_eq!(newest["edge_device_id"], "line-4");
    daemon.kill_9();
    let (code, report) = verify(state.path());
    assert_eq!((code, &report["count"]), (0, &json!(20_000)), "{report}");
}

/// The budget of the shipped limit of 256 MiB with eight workers.
const SHIPPED_BUDGET: [&str; 2] = ["--memory-budget", "150MiB"];

/// As many records as a batch may hold and as many detections as a body has room for.
#[test]
fn the_shipped_memory_has_room_for_an_outage_of_crowded_pictures() {
    let (state, daemon) = start_with(SHIPPED_BUDGET);
    let mut crowded = record(7);
    let detection = json!({"class": "scratch", "confidence": 0.9123, "bbox": [1.5, 2.25, 30, 44]});
    crowded["detections"] = json!(vec![detection; 7]);
    let sent = batch(&vec![crowded; 20_000], None);
    let bytes = sent.to_string().len();
    assert!((14_000_000..16_000_000).contains(&bytes), "{bytes}");
    for _ in 0..2 {
        let stored = send(&daemon, &sent);
        assert_eq!(
            (stored.status, stored.json()["predictions_stored"].clone()),
            (200, json!(20_000))
        );
    }
    assert_eq!(daemon.metric("picket_memory_taken_bytes{class=\"decode\"}"), 0.0);
    assert!(daemon.stop().success());
    assert_eq!(verify(state.path()).1["count"], 40_000);
}

#[test]
fn a_batch_that_never_fits_is_413_and_names_the_limit() {
    let (_state, daemon) = start_with(["--memory-budget", "8MiB"]);
    let bare = json!({"image_id": "i", "timestamp": 1, "model_version": "v", "model_name": "m",
                      "inference_time_ms": 1, "detections": [], "defect_detected": false,
                      "confidence_scores": []});
    let refused = send(&daemon, &batch(&vec![bare; 5_000], None));
    // The log's queue has 8 parts of 64; all but a sixteenth of them are for one batch.
    let most = (8 << 20) / 64 * 8 / 16 * 15;
    assert_refused(&refused, 413, &["predictions[", &format!("at most {most} are there")]);
    assert_eq!(send(&daemon, &batch(&[record(1)], None)).status, 200);
}

#[test]
fn every_way_to_write_a_batchs_time_is_taken() {
    let (_state, daemon) = start();
    for zone in ["", "Z", "+01:00", "-0500"] {
        for fraction in ["", ".123456"] {
            let mut sent = batch(&[record(1)], None);
            sent["timestamp"] = format!("2026-01-28T15:30:45{fraction}{zone}").into();
            assert_eq!(send(&daemon, &sent).status, 200, "{sent}");
        }
    }
}

#[test]
fn the_limit_of_a_batch_is_a_setting() {
    let (_state, daemon) = start_with(["--api-batch-max", "3"]);
    let records: Vec<Value> = (0..4).map(record).collect();
    assert_eq!(send(&daemon, &batch(&records[..3], None)).status, 200);
    assert_eq!(send(&daemon, &batch(&records, None)).status, 413);
}

#[test]
fn a_batch_that_is_sent_again_is_stored_once_and_answered_as_the_first_time() {
    let (state, daemon) = start();
    let records: Vec<Value> = (0..10).map(record).collect();
    let mut refused = batch(&records, Some("line-4/1"));
    refused["predictions"][9]["model_name"] = "".into();
    assert_eq!(send(&daemon, &refused).status, 422);
    let sent = batch(&records, Some("line-4/1"));
    let first = send(&daemon, &sent).json();
    assert_eq!(first["predictions_stored"], 10, "a refused batch leaves its name free: {first}");
    for _ in 0..2 {
        let again = send(&daemon, &sent);
        assert_eq!((again.status, again.json()), (200, first.clone()));
    }
    let mut of_another = sent.clone();
    of_another["edge_device_id"] = "line-5".into();
    assert_eq!(send(&daemon, &of_another).json()["first_id"], 11);
    assert_eq!(send(&daemon, &batch(&records, None)).json()["first_id"], 21);
    assert_eq!(total(&daemon), 30);
    assert_eq!(daemon.metric("logging_predictions_total{service=\"cloud-logging-api\"}"), 30.0);
    daemon.kill_9();
    let daemon = Launch::on(state.path()).start();
    assert_eq!(send(&daemon, &sent).json(), first, "after a crash too");
    assert_eq!(total(&daemon), 30);
    assert!(daemon.stop().success());
    let daemon = Launch::on(state.path()).start();
    assert_eq!(send(&daemon, &sent).json(), first, "and after a stop");
    assert_eq!(total(&daemon), 30);
}

#[test]
fn of_two_that_are_under_way_at_once_one_is_stored() {
    for batch_id in [Some("1"), None] {
        let (_state, daemon) = start();
        let records: Vec<Value> = (0..50).map(record).collect();
        let sent = batch(&records, batch_id);
        let frozen = daemon.freeze("log-writer");
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..4).map(|_| scope.spawn(|| send(&daemon, &sent))).collect();
            daemon.wait_until("all of them", |daemon| {
                daemon.metric("picket_http_connections{listener=\"api\"}") >= 4.0
            });
            // They are read by now on any machine: one without a name that comes later is another batch.
            std::thread::sleep(Duration::from_secs(1));
            drop(frozen);
            senders.into_iter().map(|sender| sender.join().unwrap()).collect()
        });
        for answer in &answers {
            assert_eq!((answer.status, answer.json()), (200, answers[0].json()));
        }
        assert_eq!(total(&daemon), 50);
    }
}

/// Whoever got no word of the medium sends again, and is told when there is one.
#[test]
fn a_batch_whose_commit_was_not_seen_is_stored_once() {
    for batch_id in [Some("1"), None] {
        let (state, daemon) = start();
        let sent = batch(&(0..50).map(record).collect::<Vec<_>>(), batch_id);
        let frozen = daemon.freeze("log-writer");
        assert_refused(&send(&daemon, &sent), 503, &["it may still get there"]);
        drop(frozen);
        assert_eq!(send(&daemon, &sent).json()["first_id"], 1);
        assert_eq!(total(&daemon), 50);
        daemon.signal(Signal::SIGTERM);
        assert!(daemon.wait().success());
        assert_eq!(verify(state.path()).1["count"], 50);
    }
}

/// A flood of batches waits for the card; this box's own predictions are logged beside it.
#[test]
fn batches_that_fill_the_logs_queue_leave_room_for_own_predictions() {
    let (_state, daemon) = start_with(["--memory-budget", "24MiB"]);
    let frozen = daemon.freeze("log-writer");
    for records in [500, 1] {
        let sent = batch(&(0..records).map(record).collect::<Vec<_>>(), None).to_string();
        let mut refused = None;
        for _ in 0..20_000 {
            let answer =
                daemon.post("/log?durable=false", Some("application/json"), sent.as_bytes());
            if answer.status != 200 {
                refused = Some(answer);
                break;
            }
        }
        let refused = refused.expect("the queue has an end");
        assert_refused(&refused, 503, &["the log's queue is full", "are one address's"]);
    }
    for _ in 0..200 {
        let answer = daemon.predict("application/octet-stream", &[16; 3072]).json();
        assert_eq!(answer["logged"], true, "{answer}");
    }
    drop(frozen);
}
