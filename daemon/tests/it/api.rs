//! What a client gets: predictions in every accepted form, the log, its counters.

use std::collections::BTreeMap;

use picket_picture::{Colour, Element, JsonRange, Layout, MediaType, Picture, Spec};
use serde_json::{Value, json};

use crate::support::{cat_png, fixture, grey_pixels, start, start_with};

/// What a batch says that it is.
const JSON: Option<&str> = Some("application/json");

/// The cat's pixels as the JSON forms state them: flattened 3×32×32.
fn cat_planes() -> Vec<u8> {
    let rgb = cat_rgb();
    (0..3).flat_map(|channel| rgb.iter().copied().skip(channel).step_by(3)).collect()
}

fn cat_rgb() -> Vec<u8> {
    let spec = Spec::raw(Element::U8, Layout::Nchw, [32, 32], Colour::Rgb);
    let picture = Picture::decode(&cat_png(), MediaType::Png, &spec, JsonRange::default());
    picture.unwrap().pixels().to_vec()
}

#[test]
fn a_picture_of_a_cat_is_called_cat_with_every_field_of_the_contract() {
    let (_state, daemon) = start();
    let answer = daemon.predict("image/png", &cat_png());
    assert_eq!(answer.status, 200, "{}", answer.body);
    let prediction = answer.json();
    assert_eq!(prediction["label"], "cat");
    assert_eq!(prediction["class"], 3);
    assert_eq!(prediction["id"], 1);
    assert_eq!(prediction["logged"], true);
    assert_eq!(prediction["durable"], false, "/predict is relaxed by default");
    assert_eq!(prediction["defect"], false);
    assert_eq!(prediction["uncertain"], false);
    assert_eq!(prediction["model"]["name"], "cifar10-model");
    assert_eq!(prediction["model"]["digest"].as_str().unwrap().len(), 64);
    assert!(prediction["model"]["version"].is_string());
    let probabilities: Vec<f64> =
        serde_json::from_value(prediction["probabilities"].clone()).unwrap();
    assert_eq!(probabilities.len(), 10);
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{probabilities:?}");
    assert_eq!(prediction["confidence"], prediction["probabilities"][3]);
    assert!(prediction["confidence"].as_f64().unwrap() > 0.9);
    for stage in ["queue", "decode", "inference", "total"] {
        assert!(prediction["timing_ms"][stage].as_f64().unwrap() >= 0.0, "{stage}");
    }
}

#[test]
fn one_picture_gets_one_answer_in_every_form() {
    let (_state, daemon) = start();
    let planes = cat_planes();
    let fractions: Vec<f64> = planes.iter().map(|&value| f64::from(value) / 255.0).collect();
    let forms: [(Option<&str>, Vec<u8>); 8] = [
        (Some("image/png"), cat_png()),
        (None, cat_png()),
        (Some("application/octet-stream"), cat_rgb()),
        (None, cat_rgb()),
        (Some("application/json"), json!({"data": planes}).to_string().into()),
        (Some("application/json; charset=utf-8"), json!({"data": planes}).to_string().into()),
        (None, json!({"data": planes, "range": "0..255"}).to_string().into()),
        (Some("application/json"), json!({"data": fractions, "range": "0..1"}).to_string().into()),
    ];
    let expected = daemon.predict("image/png", &cat_png()).json()["probabilities"].clone();
    for (content_type, body) in forms {
        let answer = daemon.post("/predict", content_type, &body);
        assert_eq!(answer.status, 200, "{content_type:?}: {}", answer.body);
        assert_eq!(answer.json()["probabilities"], expected, "{content_type:?}");
    }
}

#[test]
fn a_large_jpeg_is_resized_and_recognised() {
    let (_state, daemon) = start();
    let body = std::fs::read(fixture("cifar10/cat-large.jpg")).unwrap();
    assert_eq!(daemon.predict("image/jpeg", &body).json()["label"], "cat");
    assert_eq!(daemon.post("/predict", None, &body).json()["label"], "cat");
}

#[test]
fn every_class_is_recognised() {
    let (_state, daemon) = start();
    for label in
        ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    {
        let body = std::fs::read(fixture(&format!("cifar10/{label}.png"))).unwrap();
        assert_eq!(daemon.predict("image/png", &body).json()["label"], label);
    }
}

#[test]
fn verdicts_follow_the_configuration() {
    let (_state, daemon) =
        start_with(["--verdict-defect-labels", "cat,dog", "--verdict-uncertain-between", "0,1"]);
    let prediction = daemon.predict("image/png", &cat_png()).json();
    assert_eq!((&prediction["defect"], &prediction["uncertain"]), (&json!(true), &json!(true)));
    let ship = std::fs::read(fixture("cifar10/ship.png")).unwrap();
    let prediction = daemon.predict("image/png", &ship).json();
    assert_eq!((&prediction["defect"], &prediction["uncertain"]), (&json!(false), &json!(true)));
    let page = daemon.get("/predictions?defect_only=true");
    daemon.wait_until("the relaxed records", |daemon| {
        daemon.get("/stats").json()["total_predictions"] == 2
    });
    assert_eq!(page.status, 200);
    let page = daemon.get("/predictions?defect_only=true").json();
    assert_eq!(page["predictions"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!(page["predictions"][0]["label"], "cat");
}

#[test]
fn json_fractions_need_their_range_unless_the_configuration_states_it() {
    let fractions: Vec<f64> = cat_planes().iter().map(|&value| f64::from(value) / 255.0).collect();
    let body = json!({ "data": fractions }).to_string();
    let (_state, daemon) = start();
    let answer = daemon.predict("application/json", body.as_bytes());
    assert_eq!(answer.status, 422);
    assert!(answer.error().contains("state \"range\":\"0..1\""), "{}", answer.body);

    let (_state, daemon) = start_with(["--api-json-range", "0..1"]);
    assert_eq!(daemon.predict("application/json", body.as_bytes()).json()["label"], "cat");
}

#[test]
fn asking_for_durability_waits_for_the_commit() {
    let (_state, daemon) = start_with(["--log-commit-interval", "1min"]);
    let answer = daemon.post("/predict?durable=true", Some("image/png"), &cat_png());
    assert_eq!(answer.json()["durable"], true);
    assert!(answer.json()["timing_ms"]["commit"].as_f64().unwrap() > 0.0);
    // Committed means readable: within the minute nothing but this request asked for a commit.
    let page = daemon.get("/predictions").json();
    assert_eq!(page["predictions"][0]["id"], answer.json()["id"]);
}

fn reported(index: u64) -> Value {
    json!({
        "image_id": format!("img-{index}"), "timestamp": 1_795_000_000.0 + index as f64,
        "model_version": "v3", "model_name": format!("scratches-{}", index % 2),
        "inference_time_ms": 10.0 + index as f64,
        "detections": [{"class": if index.is_multiple_of(3) { "scratch" } else { "dent" },
                        "confidence": 0.9, "bbox": [1.5, 2.0, 3.0, 4.0], "uncertain": false}],
        "defect_detected": index.is_multiple_of(3), "confidence_scores": [0.9],
        "processing_notes": "night shift",
        "edge_device_id": format!("line-{}", index % 4)
    })
}

fn batch(records: Vec<Value>) -> Vec<u8> {
    let batch = json!({"batch_size": records.len(), "predictions": records,
                       "timestamp": 1_795_000_100.5, "edge_device_id": "line-0"});
    batch.to_string().into()
}

#[test]
fn a_batch_of_another_device_is_stored_whole_and_read_back_as_it_was() {
    let (_state, daemon) = start();
    let answer =
        daemon.post("/log", Some("application/json"), &batch((0..3).map(reported).collect()));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let stored = answer.json();
    assert_eq!(stored["status"], "success");
    assert_eq!((&stored["predictions_stored"], &stored["batch_size"]), (&json!(3), &json!(3)));
    assert_eq!(stored["durable"], true, "/log is strict by default");
    assert!(stored["timestamp"].is_string());

    let page = daemon.get("/predictions").json();
    let ids: Vec<u64> =
        page["predictions"].as_array().unwrap().iter().map(|r| r["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [3, 2, 1], "newest first");
    let (sent, kept) = (reported(2), &page["predictions"][0]);
    for field in sent.as_object().unwrap().keys() {
        assert_eq!(kept[field], sent[field], "{field}");
    }
}

#[test]
fn every_filter_keeps_what_it_should_and_pages_join_without_loss() {
    let (_state, daemon) = start();
    for start in [0, 100, 200] {
        let records = (start..start + 100).map(reported).collect();
        assert_eq!(daemon.post("/log", JSON, &batch(records)).status, 200);
    }
    let ids = |query: &str| -> Vec<u64> {
        let page = daemon.get(&format!("/predictions?limit=1000&{query}")).json();
        page["predictions"].as_array().unwrap().iter().map(|r| r["id"].as_u64().unwrap()).collect()
    };
    // Record `id` was made of index id - 1.
    let expect = |keep: &dyn Fn(u64) -> bool| -> Vec<u64> {
        (0..300).rev().filter(|&index| keep(index)).map(|index| index + 1).collect()
    };
    assert_eq!(ids(""), expect(&|_| true));
    assert_eq!(ids("edge_device_id=line-2"), expect(&|index| index % 4 == 2));
    assert_eq!(ids("defect_only=true"), expect(&|index| index.is_multiple_of(3)));
    assert_eq!(ids("label=dent"), expect(&|index| !index.is_multiple_of(3)));
    assert_eq!(
        ids("since=1795000010&until=1795000020"),
        expect(&|index| (10..20).contains(&index))
    );
    assert_eq!(ids("since=2026-11-18T11:06:50Z").len(), 290, "RFC 3339 works as well");
    assert_eq!(
        ids("label=scratch&edge_device_id=line-0&since=1795000100&defect_only=1"),
        expect(&|index| index.is_multiple_of(12) && index >= 100)
    );
    assert_eq!(ids("label=&edge_device_id=&after="), expect(&|_| true), "empty means any");

    let mut paged = Vec::new();
    let mut after = String::new();
    loop {
        let page = daemon.get(&format!("/predictions?limit=70&defect_only=1&after={after}")).json();
        paged.extend(
            page["predictions"].as_array().unwrap().iter().map(|r| r["id"].as_u64().unwrap()),
        );
        match page["next"].as_u64() {
            Some(next) => after = next.to_string(),
            None => break,
        }
    }
    assert_eq!(paged, expect(&|index| index.is_multiple_of(3)));
}

#[test]
fn stats_equal_a_full_scan_also_after_retention_and_restart() {
    let state = tempfile::tempdir().unwrap();
    let limits = ["--log-max-records", "150"];
    let daemon = crate::support::Launch::on(state.path()).args(limits).start();
    for start in [0, 90, 180] {
        let records = (start..start + 90).map(reported).collect();
        assert_eq!(daemon.post("/log", JSON, &batch(records)).status, 200);
        daemon.post("/predict?durable=1", Some("image/png"), &cat_png());
        daemon.post("/predict?durable=true", Some("image/png"), &cat_png());
        assert_stats_equal_a_scan(&daemon);
    }
    let before = daemon.get("/stats").json();
    let kept = before["total_predictions"].as_u64().unwrap();
    assert!((100..=150).contains(&kept), "retention keeps up to 150, and found {kept}");
    assert!(daemon.stop().success());
    let daemon = crate::support::Launch::on(state.path()).args(limits).start();
    assert_eq!(daemon.get("/stats").json(), before);
    assert_stats_equal_a_scan(&daemon);
}

fn assert_stats_equal_a_scan(daemon: &crate::support::Daemon) {
    let page = daemon.get("/predictions?limit=1000").json();
    let records = page["predictions"].as_array().unwrap();
    let mut by_device = BTreeMap::<&str, u64>::new();
    let mut by_model = BTreeMap::<&str, u64>::new();
    for record in records {
        *by_device.entry(record["edge_device_id"].as_str().unwrap()).or_default() += 1;
        *by_model.entry(record["model_name"].as_str().unwrap()).or_default() += 1;
    }
    let defects = records.iter().filter(|record| record["defect_detected"] == true).count();
    let time: f64 = records.iter().map(|r| r["inference_time_ms"].as_f64().unwrap()).sum();
    let stats = daemon.get("/stats").json();
    assert_eq!(stats["total_predictions"], records.len());
    assert_eq!(stats["defects_detected"], defects);
    assert_eq!(stats["normal_detections"], records.len() - defects);
    assert_eq!(stats["by_edge_device"], json!(by_device));
    assert_eq!(stats["by_model"], json!(by_model));
    let average = stats["average_inference_time_ms"].as_f64().unwrap();
    assert!((average - time / records.len() as f64).abs() < 1e-3, "{average}");
}

#[test]
fn numbers_go_on_where_they_were_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    for expected in 1..=3 {
        let daemon = crate::support::Launch::on(state.path()).start();
        let prediction = daemon.predict("image/png", &cat_png()).json();
        assert_eq!(prediction["id"], expected, "a relaxed record is synced by the drain");
        assert!(daemon.stop().success());
    }
}

#[test]
fn retention_by_bytes_holds() {
    // The smallest budget: 1 MB on disk, of which a third is live data.
    let (state, daemon) = start_with(["--log-max-bytes", "1MB"]);
    for start in (0..20_000).step_by(1_000) {
        let records = (start..start + 1_000).map(reported).collect();
        assert_eq!(daemon.post("/log", JSON, &batch(records)).status, 200);
    }
    let kept = daemon.metric("picket_log_records");
    assert!((1.0..10_000.0).contains(&kept), "{kept}");
    assert!(daemon.metric("picket_log_budgeted_bytes") <= 1e6);
    assert_eq!(daemon.get("/predictions?limit=1").json()["predictions"][0]["id"], 20_000);
    assert!(daemon.stop().success());
    let (code, report) = crate::support::verify(state.path());
    assert_eq!((code, &report["last"]), (0, &json!(20_000)), "{report}");
}

#[test]
fn the_description_is_served_as_it_is_written() {
    let (_state, daemon) = start();
    let answer = daemon.get("/openapi.yaml");
    assert_eq!(answer.header("content-type"), Some("application/yaml"));
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    assert_eq!(answer.body, std::fs::read_to_string(root.join("docs/openapi.yaml")).unwrap());
}

/// Batches of daemon/tests/data/field, and words as other languages write them.
#[test]
fn what_other_clients_write_is_understood() {
    let (_state, daemon) = start();
    let batch = |name: &str| {
        let body = std::fs::read(fixture("field").join(name)).unwrap();
        daemon.post("/log", Some("application/json"), &body)
    };
    for name in ["l01_ok.json", "l02_confidence_1_0000001.json"] {
        let answer = batch(name);
        assert_eq!(answer.status, 200, "{name}: {:?}", answer.body);
    }
    let refused = batch("l05_nan_confidence.json");
    assert_eq!(refused.status, 400);
    let text = refused.error();
    assert!(text.starts_with("predictions[") && text.contains("]: NaN at line 1"), "{text}");
    for query in ["durable=True", "durable=TRUE", "durable=False"] {
        let path = format!("/predict?{query}");
        let answer = daemon.post(&path, Some("application/octet-stream"), &grey_pixels());
        assert_eq!(answer.status, 200, "{query}");
        assert_eq!(answer.json()["durable"], query != "durable=False", "{query}");
    }
    for since in
        ["1971-01-01T00:00:10.123+01:00", "1971-01-01T00:00:10-0500", "1971-01-01 00:00:10+01:00"]
    {
        let answer = daemon.get(&format!("/predictions?since={}", since.replace(' ', "%20")));
        assert_eq!(answer.status, 200, "{since}");
        assert!(answer.json()["count"].as_u64().unwrap() >= 3, "{since}");
    }
}
