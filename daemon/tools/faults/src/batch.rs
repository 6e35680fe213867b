//! Batches of records that can be recognised in a store.

use serde_json::{Value, json};

/// A batch whose records' image ids are `tag` and their index, with their stated time.
pub fn batch(tag: &str, records: u64, timestamp: impl Fn(u64) -> f64) -> Value {
    let predictions: Vec<Value> = (0..records)
        .map(|index| {
            json!({
                "image_id": image_id(tag, index), "timestamp": timestamp(index),
                "model_version": "v3", "model_name": "scratches", "inference_time_ms": 12.25,
                "detections": [{"class": "scratch", "confidence": 0.9, "bbox": [1, 2, 3.5, 4]}],
                "defect_detected": index % 7 == 0, "confidence_scores": [0.9, 0.1],
            })
        })
        .collect();
    json!({"batch_size": records, "predictions": predictions, "timestamp": timestamp(0),
           "edge_device_id": "line-4"})
}

pub fn image_id(tag: &str, index: u64) -> String {
    format!("{tag}.{index}")
}
