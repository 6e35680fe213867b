//! What an answer says of its connection: that it ends, or for how long it is kept.

use warp::http::header::{CONNECTION, HeaderName, HeaderValue};
use warp::http::{HeaderMap, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Tells whether a client wants its connection kept (RFC 9112, 9.3).
pub(super) fn is_wanted(version: Version, headers: &HeaderMap) -> bool {
    let says = |option: &str| {
        let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|said| said.trim().eq_ignore_ascii_case(option))
    };
    !says("close") && (version == Version::HTTP_11 || says("keep-alive"))
}

/// Has an answer say that the connection is kept for `secs` when idle, or that it ends.
pub(super) fn state(headers: &mut HeaderMap, secs: Option<u64>) {
    let Some(secs) = secs else {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        return;
    };
    headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    let timeout = HeaderValue::from_str(&format!("timeout={secs}"));
    headers.insert(KEEP_ALIVE, timeout.expect("digits are a header's value"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_decides_unless_the_client_says_otherwise() {
        let wanted = |version, said: &[&'static str]| {
            let values = said.iter().map(|said| (CONNECTION, HeaderValue::from_static(said)));
            is_wanted(version, &values.collect())
        };
        assert!(wanted(Version::HTTP_11, &[]));
        assert!(wanted(Version::HTTP_11, &["keep-alive, TE"]));
        assert!(!wanted(Version::HTTP_11, &["TE, Close"]));
        assert!(!wanted(Version::HTTP_11, &["keep-alive", "close"]));
        assert!(!wanted(Version::HTTP_10, &[]));
        assert!(wanted(Version::HTTP_10, &["Keep-Alive"]));
    }
}
