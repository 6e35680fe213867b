//! What the daemon takes of the box's memory: a matter of its limits, not of how much it has kept.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::sockets::{GET_HEALTH, connect_from, one_answer, try_answer};
use crate::support::{Launch, assert_refused, request_with, start_with};

/// The least that is ever derived.
const LEAST: [&str; 2] = ["--memory-budget", "8MiB"];

/// Of it, what one body may have: three quarters of 10 of 64 parts.
const BODY_MAX: usize = (8 << 20) / 64 * 10 / 4 * 3;

/// A grey bitmap of about so many bytes.
fn bitmap(bytes: usize) -> Vec<u8> {
    let (width, height) = (1_024, (bytes - 54) / 3 / 1_024);
    let mut file = b"BM".to_vec();
    file.extend([0; 8]);
    file.extend(54_u32.to_le_bytes());
    file.extend(40_u32.to_le_bytes());
    file.extend(u32::try_from(width).unwrap().to_le_bytes());
    file.extend(u32::try_from(height).unwrap().to_le_bytes());
    file.extend(1_u16.to_le_bytes());
    file.extend(24_u16.to_le_bytes());
    file.extend([0; 24]);
    file.resize(54 + width * height * 3, 121);
    file
}

#[test]
fn a_form_takes_no_more_memory_than_the_file_in_it() {
    let (_state, daemon) = start_with(LEAST);
    let mut form =
        b"--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n".to_vec();
    form.extend(bitmap(BODY_MAX - 10_000));
    form.extend(b"\r\n--x--\r\n");
    let answer = daemon.post("/predict", Some("multipart/form-data; boundary=x"), &form);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn a_packed_body_that_never_fits_unpacked_beside_itself_is_413() {
    let (_state, daemon) = start_with(LEAST);
    let gzip = |bytes: usize| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
        gzip.write_all(&bitmap(bytes)).unwrap();
        gzip.finish().unwrap()
    };
    let post = |body: &[u8]| {
        let headers = [("Content-Type", "image/bmp"), ("Content-Encoding", "gzip")];
        request_with(daemon.api, "POST", "/predict", &headers, body)
    };
    assert_refused(&post(&gzip(BODY_MAX * 2 / 3)), 413, &["it needs more than 983040 bytes"]);
    let answer = post(&gzip(BODY_MAX / 3));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(daemon.metric("picket_memory_taken_bytes{class=\"body\"}"), 0.0);
}

#[test]
fn connections_of_one_address_leave_memory_to_others() {
    let (_state, daemon) = start_with(LEAST);
    let silent: Vec<_> = (0..40).map(|_| connect_from([127, 0, 0, 1], daemon.api)).collect();
    for host in 2..60 {
        let mut other = connect_from([127, 0, 0, host], daemon.api);
        other.write_all(GET_HEALTH).unwrap();
        assert!(one_answer(&other).starts_with("HTTP/1.1 200"), "{host}");
    }
    let taken = daemon.metric("picket_memory_taken_bytes{class=\"connection\"}");
    assert!(taken < f64::from(10 * (8 << 20) / 64), "{taken}");
    drop(silent);
    let again = connect_from([127, 0, 0, 1], daemon.api);
    (&again).write_all(GET_HEALTH).unwrap();
    assert!(try_answer(&again).unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn pages_end_where_the_memory_for_one_ends() {
    let (_state, daemon) = start_with(LEAST);
    let record = json!({
        "image_id": "img", "timestamp": 1_795_000_000, "model_version": "v3",
        "model_name": "scratches", "inference_time_ms": 12.25, "defect_detected": true,
        "detections": [], "confidence_scores": [0.9], "processing_notes": "n".repeat(4_000),
    });
    let batch = json!({"predictions": vec![record; 100], "batch_size": 100, "timestamp": 1});
    let stored = daemon.post("/log", Some("application/json"), batch.to_string().as_bytes());
    assert_eq!(stored.status, 200, "{}", stored.body);
    let page = daemon.get("/predictions?limit=100");
    assert!((100_000..=128 << 10).contains(&page.body.len()), "{}", page.body.len());
    assert!(page.json()["next"].is_u64());
}

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
