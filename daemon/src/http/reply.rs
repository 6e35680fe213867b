//! The answer that a request without an answer of substance gets; the same from both rooms.

use serde_json::json;
use warp::http::StatusCode;
use warp::http::header::{HeaderValue, RETRY_AFTER};
use warp::reply::{Reply, Response};

/// Seconds after which a client that was turned away should try again.
const RETRY_AFTER_SECS: HeaderValue = HeaderValue::from_static("1");

pub fn error_response(status: StatusCode, text: &str) -> Response {
    let body = warp::reply::json(&json!({ "error": text }));
    let mut response = warp::reply::with_status(body, status).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECS);
    }
    response
}
