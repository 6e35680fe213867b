//! HTTP to the daemon: requests with a deadline, and their answers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use ureq::Agent;

/// 32×32 RGB8 of one colour: the simplest body that is a picture.
pub const GREY_PIXELS: [u8; 3072] = [121; 3072];

/// Answers are read up to this size.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: String,
}

impl Answer {
    /// The body; null if it is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// The text of an error answer; the whole body if it is none.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or(&self.body).to_string()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// One client: connections of its own, kept open between requests.
pub struct Client {
    agent: Agent,
}

impl Client {
    /// `deadline` holds for each request as a whole.
    pub fn new(deadline: Duration) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(deadline))
            .proxy(None)
            .build();
        Client { agent: config.into() }
    }

    pub fn get(&self, to: SocketAddr, path: &str) -> anyhow::Result<Answer> {
        self.request(to, "GET", path, &[], b"")
    }

    pub fn post(
        &self,
        to: SocketAddr,
        path: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        let header = content_type.map(|content_type| ("content-type", content_type));
        self.request(to, "POST", path, header.as_slice(), body)
    }

    /// Predicts `GREY_PIXELS`. `query` has its question mark, or is empty.
    pub fn predict(&self, to: SocketAddr, query: &str) -> anyhow::Result<Answer> {
        let path = format!("/predict{query}");
        self.post(to, &path, Some("application/octet-stream"), &GREY_PIXELS)
    }

    /// Reports a batch of predictions. `query` as for `predict`.
    pub fn log(&self, to: SocketAddr, query: &str, batch: &Value) -> anyhow::Result<Answer> {
        let path = format!("/log{query}");
        self.post(to, &path, Some("application/json"), batch.to_string().as_bytes())
    }

    /// Makes one strict prediction and returns its number.
    ///
    /// # Errors
    /// If the answer does not promise that the record is on the medium.
    pub fn strict_id(&self, to: SocketAddr) -> anyhow::Result<u64> {
        let answer = self.predict(to, "?durable=true")?;
        let json = answer.json();
        let id = json["id"].as_u64().filter(|_| json["durable"] == true);
        id.with_context(|| format!("not durable: {} {}", answer.status, answer.body))
    }

    pub fn request(
        &self,
        to: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        let uri = format!("http://{to}{path}");
        let mut request = ureq::http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        // A request without a body says so by having no length, except POST.
        let mut response = if body.is_empty() && method != "POST" {
            self.agent.run(request.body(())?)?
        } else {
            self.agent.run(request.body(body)?)?
        };
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body })
    }
}
