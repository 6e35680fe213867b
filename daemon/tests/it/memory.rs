//! What the daemon takes of the box's memory: a matter of its limits, not of how much it has kept.

use serde_json::json;

use crate::support::Launch;

/// Records in a batch, and batches. Kept in memory whole they took 64 MB on x86-64.
const BATCH_RECORDS: usize = 1_000;
const BATCHES: usize = 600;

/// 11 MB were seen.
const GROWTH_MAX_BYTES: f64 = 24e6;

#[test]
fn a_log_of_many_records_takes_little_memory_at_the_next_start() {
    let state = tempfile::tempdir().unwrap();
    let limits = ["--log-max-records", "1000000", "--log-max-bytes", "1GB"];
    let daemon = Launch::on(state.path()).args(limits).start();
    let empty = daemon.metric("process_resident_memory_bytes");
    let record = json!({
        "image_id": "img", "timestamp": 1_795_000_000, "model_version": "v3",
        "model_name": "scratches", "inference_time_ms": 12.25, "defect_detected": true,
        "detections": [{"class": "scratch", "confidence": 0.9, "bbox": [1, 2, 3, 4]}],
        "confidence_scores": [0.9],
    });
    let batch = json!({
        "predictions": vec![record; BATCH_RECORDS], "batch_size": BATCH_RECORDS,
        "timestamp": 1_795_000_200.0, "edge_device_id": "line-4",
    });
    let body = batch.to_string();
    for _ in 0..BATCHES {
        let answer = daemon.post("/log", Some("application/json"), body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert!(daemon.stop().success());

    let daemon = Launch::on(state.path()).args(limits).start();
    // Once all are counted, all have been read.
    let all = (BATCH_RECORDS * BATCHES) as f64;
    daemon.wait_until("every record", |daemon| {
        daemon.get("/stats").json()["total_predictions"] == json!(all as u64)
    });
    let grown = daemon.metric("process_resident_memory_bytes") - empty;
    assert!(grown < GROWTH_MAX_BYTES, "{grown} bytes more than with an empty log");
}

#[test]
fn the_kernel_fills_no_hole_of_the_heap_with_huge_pages() {
    let state = tempfile::tempdir().unwrap();
    let daemon = Launch::on(state.path()).start();
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    assert!(status.contains("THP_enabled:\t0"), "{status}");
}
