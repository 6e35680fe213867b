//! Answers without substance: an error in JSON, as a response where a request asked, and as bytes for
//! connections that are turned away and for heads that are no HTTP or never come.

use std::sync::Arc;

use picket_base::printable;
use serde_json::json;
use warp::http::header::{HeaderValue, RETRY_AFTER};
use warp::http::{HeaderMap, StatusCode};
use warp::reply::{Reply, Response};

use super::limits::{HEAD_BYTES_MAX, HEADERS_MAX};

/// Seconds after which a client that was turned away should try again.
const RETRY_AFTER_SECS: HeaderValue = HeaderValue::from_static("1");

/// Answers a request with an error. What the text repeats of the request is escaped: a person may read
/// it on a terminal.
pub(in crate::http) fn error_response(status: StatusCode, text: &str) -> Response {
    let body = warp::reply::json(&json!({ "error": printable(text) }));
    let mut response = warp::reply::with_status(body, status).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECS);
    }
    response
}

/// Answers whose request is not known, each the last one of its connection.
#[derive(Clone)]
pub(super) struct Fixed {
    /// What they say beside their own headers, as lines.
    signature: Arc<str>,
}

impl Fixed {
    pub fn new(signature: &HeaderMap) -> Fixed {
        let lines = signature.iter().map(|(name, value)| {
            format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()))
        });
        Fixed { signature: lines.collect::<String>().into() }
    }

    /// Writes a whole answer, after which the connection is closed.
    pub fn answer(&self, status: u16, text: &str) -> Vec<u8> {
        let (reason, retry) = match status {
            400 => ("Bad Request", ""),
            408 => ("Request Timeout", ""),
            414 => ("URI Too Long", ""),
            431 => ("Request Header Fields Too Large", ""),
            _ => ("Service Unavailable", "retry-after: 1\r\n"),
        };
        let body = json!({ "error": printable(text) }).to_string();
        let (signature, length) = (&self.signature, body.len());
        format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n{retry}{signature}\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }

    /// Gives what stands in for a refusal of hyper's own, which has a status and an empty body. It gives
    /// nothing for any other answer.
    pub fn refusal(&self, written: &[u8]) -> Option<(u16, Vec<u8>)> {
        let status = written.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
        let status: u16 = std::str::from_utf8(status).ok()?.parse().ok()?;
        let text = match status {
            400 => "the request's head is not HTTP/1.1".to_string(),
            414 => {
                let most = HEAD_BYTES_MAX;
                format!("the request's target is too long, its head may have {most} bytes")
            }
            431 => format!(
                "the request's head is too large, at most {HEADERS_MAX} headers and {HEAD_BYTES_MAX} \
                 bytes are taken, or its Content-Length is"
            ),
            _ => return None,
        };
        Some((status, self.answer(status, &text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_states_the_length_that_it_has() {
        let fixed = Fixed::new(&HeaderMap::new());
        let text = String::from_utf8(fixed.answer(503, "say \"when\"")).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{text}");
        assert!(head.contains("retry-after: 1\r\n"), "{text}");
        assert_eq!(body, "{\"error\":\"say \\\"when\\\"\"}");
    }

    #[test]
    fn only_refusals_are_replaced() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        let fixed = Fixed::new(&HeaderMap::new());
        let (status, text) = fixed.refusal(bare).unwrap();
        assert_eq!(status, 431);
        assert!(String::from_utf8(text).unwrap().contains("at most 64 headers and 16384 bytes"));
        for other in [&b"HTTP/1.1 200 OK\r\n\r\n"[..], b"HTTP/1.1 100 Continue\r\n\r\n", b"{}", b""]
        {
            assert!(fixed.refusal(other).is_none());
        }
    }
}
