//! HTTP to the daemon: requests with a deadline, and their answers as JSON.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use ureq::Agent;

/// 32×32 RGB8 of one colour.
const PIXELS: [u8; 3072] = [121; 3072];

/// Answers are read up to this size.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    /// Null when the body is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

/// One client: connections of its own, kept open between requests.
pub struct Client {
    agent: Agent,
}

impl Client {
    pub fn new(deadline: Duration) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(deadline))
            .proxy(None)
            .build();
        Client { agent: config.into() }
    }

    pub fn get(&self, to: SocketAddr, path: &str) -> anyhow::Result<Answer> {
        answer(self.agent.get(format!("http://{to}{path}")).call()?)
    }

    /// `query` with its question mark, or empty.
    pub fn predict(&self, to: SocketAddr, query: &str) -> anyhow::Result<Answer> {
        let request = self.agent.post(format!("http://{to}/predict{query}"));
        answer(request.header("content-type", "application/octet-stream").send(&PIXELS[..])?)
    }

    /// As `predict`.
    pub fn log(&self, to: SocketAddr, query: &str, batch: &Value) -> anyhow::Result<Answer> {
        let request = self.agent.post(format!("http://{to}/log{query}"));
        answer(request.header("content-type", "application/json").send(batch.to_string())?)
    }

    /// One strict prediction; its number when it is on the medium.
    pub fn strict_id(&self, to: SocketAddr) -> anyhow::Result<u64> {
        let answer = self.predict(to, "?durable=true")?;
        let json = answer.json();
        let id = json["id"].as_u64().filter(|_| json["durable"] == true);
        id.with_context(|| format!("not durable: {} {}", answer.status, answer.text))
    }
}

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

fn answer(response: ureq::http::Response<ureq::Body>) -> anyhow::Result<Answer> {
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let text = body.with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
    Ok(Answer { status, text })
}
