//! What parsing a batch holds against what it takes of the budget, under an allocator that counts.

use picket::recording::batch::{self, Room, Terms};
use picket_base::budget::{Budget, Class};
use picket_base::clock::Stamp;
use serde_json::json;

#[path = "../../crates/picture/tests/counted/mod.rs"]
mod counted;

const RECORDS_MAX: usize = 20_000;

const AT: Stamp = Stamp { monotonic_us: 1, wall_us: 2, synchronised: true };

/// More than any of these batches needs.
const MOST: usize = 1 << 30;

/// Holds what parsing a body takes of the heap against what it takes of the budget; returns whether it
/// was a batch.
fn check(name: &str, body: &[u8]) -> bool {
    let budget = Budget::new(8 << 30);
    let mut room = Room { taken: budget.take(Class::Decode, 0).unwrap(), most: MOST };
    let boot_id = "8e0c2f6e-6f5c-4b5a-9d0f-0f6b8f0c3d11";
    let terms = Terms { records_max: RECORDS_MAX, bytes_max: MOST, boot_id, at: AT };
    let (parsed, held) = counted::peak_of(|| {
        let parsed = batch::parse(body, terms, &mut room);
        parsed.map(|batch| batch.entries.len()).map_err(|error| error.to_string().len())
    });
    let taken = room.taken.bytes();
    assert!(held <= taken, "{name}: {held} held, {taken} taken, {parsed:?}");
    parsed.is_ok()
}

fn batch_of(record: &serde_json::Value, count: usize) -> Vec<u8> {
    let record = record.to_string();
    let records = vec![record.as_str(); count].join(",");
    format!("{{\"predictions\":[{records}],\"batch_size\":{count},\"timestamp\":1}}").into_bytes()
}

fn small() -> serde_json::Value {
    json!({"image_id": "i", "timestamp": 1, "model_version": "v", "model_name": "m",
           "inference_time_ms": 1, "detections": [], "defect_detected": false,
           "confidence_scores": []})
}

#[test]
fn batches_of_every_kind_stay_within_what_they_take() {
    let mut scores = small();
    scores["confidence_scores"] = json!(vec![0; 1_000]);
    let mut boxes = small();
    let detection = json!({"class": "c", "confidence": 0, "bbox": [1]});
    boxes["detections"] = json!(vec![detection; 33]);
    let mut full = small();
    let detection = json!({"class": "c".repeat(128), "confidence": 0.5, "bbox": [1, 2, 3, 4]});
    full["detections"] = json!(vec![detection; 100]);
    full["processing_notes"] = json!("\u{1}".repeat(4_096));
    full["image_id"] = json!("\u{1}".repeat(256));
    for (name, record) in [("small", small()), ("scores", scores), ("boxes", boxes), ("full", full)]
    {
        for count in [1, 2, 100, 990, 3_000] {
            assert!(check(name, &batch_of(&record, count)), "{name} {count}");
        }
    }
}

#[test]
fn what_is_no_batch_stays_within_what_it_takes() {
    let long = "a".repeat(1 << 20);
    let escaped = "\\u0001".repeat(1 << 18);
    let zeros = "0,".repeat(1 << 20);
    let (texts, objects) = ("\"\",".repeat(1 << 18), "{},".repeat(1 << 18));
    let small = small().to_string();
    for body in [
        format!("{{\"batch_size\":1,\"timestamp\":1,\"predictions\":[{zeros}0]}}"),
        format!("{{\"batch_size\":1,\"timestamp\":1,\"predictions\":[{texts}0]}}"),
        format!("{{\"batch_size\":1,\"timestamp\":1,\"predictions\":[{objects}0]}}"),
        format!("{{\"batch_size\":\"{long}\"}}"),
        format!("{{\"batch_size\":\"{escaped}\"}}"),
        format!("{{\"timestamp\":\"{long}\",\"predictions\":[],\"batch_size\":0}}"),
        format!("{{\"timestamp\":[{zeros}0],\"predictions\":[],\"batch_size\":0}}"),
        format!("{{\"timestamp\":{{\"a\":[{objects}0]}},\"predictions\":[],\"batch_size\":0}}"),
        format!("{{\"{long}\":1}}"),
        format!("{{\"{escaped}\":1}}"),
        format!("\"{long}\""),
        format!("{{\"predictions\":{}", "[".repeat(1 << 20)),
        format!(
            "{{\"predictions\":[{}],\"batch_size\":1,\"timestamp\":1}}",
            small.replace("\"i\"", &format!("\"{long}\""))
        ),
        format!(
            "{{\"predictions\":[{}],\"batch_size\":1,\"timestamp\":1}}",
            small.replace("[]", &format!("[{zeros}0]"))
        ),
        format!(
            "{{\"predictions\":[{}],\"batch_size\":1,\"timestamp\":1}}",
            small.replace("[]", &format!("\"{long}\""))
        ),
    ] {
        assert!(!check(&body[..70], body.as_bytes()));
    }
}
