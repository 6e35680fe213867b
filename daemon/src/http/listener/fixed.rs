//! Answers that no route gives: to connections that are turned away, to heads that are no HTTP or
//! never come.

use super::server::{HEAD_BYTES_MAX, HEADERS_MAX};

/// A whole answer after which the connection is closed.
pub(super) fn answer(status: u16, text: &str) -> Vec<u8> {
    let (reason, more) = match status {
        400 => ("Bad Request", ""),
        408 => ("Request Timeout", ""),
        414 => ("URI Too Long", ""),
        431 => ("Request Header Fields Too Large", ""),
        _ => ("Service Unavailable", "retry-after: 1\r\n"),
    };
    let body = serde_json::json!({ "error": text }).to_string();
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\n{more}content-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// What stands in for a refusal of hyper's own, which has a status and an empty body; None for
/// any other answer.
pub(super) fn refusal(written: &[u8]) -> Option<(u16, Vec<u8>)> {
    let status = written.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let status: u16 = std::str::from_utf8(status).ok()?.parse().ok()?;
    let text = match status {
        400 => "the request's head is not HTTP/1.1".to_string(),
        414 => {
            format!("the request's target is too long, its head may have {HEAD_BYTES_MAX} bytes")
        }
        431 => format!(
            "the request's head is too large, at most {HEADERS_MAX} headers and {HEAD_BYTES_MAX} bytes \
             are taken"
        ),
        _ => return None,
    };
    Some((status, answer(status, &text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_states_the_length_that_it_has() {
        let text = String::from_utf8(answer(503, "say \"when\"")).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{text}");
        assert!(head.contains("retry-after: 1\r\n"), "{text}");
        assert_eq!(body, "{\"error\":\"say \\\"when\\\"\"}");
    }

    #[test]
    fn only_refusals_are_replaced() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        let (status, text) = refusal(bare).unwrap();
        assert_eq!(status, 431);
        assert!(String::from_utf8(text).unwrap().contains("at most 64 headers and 16384 bytes"));
        for other in [&b"HTTP/1.1 200 OK\r\n\r\n"[..], b"HTTP/1.1 100 Continue\r\n\r\n", b"{}", b""]
        {
            assert!(refusal(other).is_none());
        }
    }
}
