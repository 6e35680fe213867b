//! By which name the API is asked, and from which web pages. A browser lends a page its place in the
//! network: what the page may do with it is decided here, before any route is asked. Knows no route.

use warp::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderName, HeaderValue, ORIGIN, VARY,
};
use warp::http::{HeaderMap, Method, StatusCode, Version};
use warp::reply::Response;

use super::rejected::Rejected;
use crate::http::listener::Head;
use crate::origin::{Authority, Origin};

/// Which site a browser sends a request from (Fetch Metadata).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What Chromium asks for before a public page may reach a private address, and what allows it.
const ASKS_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOWS_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

const TRUE: HeaderValue = HeaderValue::from_static("true");
const BY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");
const ANY_ORIGIN: HeaderValue = HeaderValue::from_static("*");

/// Headers that a page of an allowed origin may send, and those of an answer that it may read.
const MAY_SEND: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, content-encoding, inference-header-content-length",
);
const MAY_READ: HeaderValue = HeaderValue::from_static("retry-after, allow, www-authenticate");

/// A browser may keep for so long what a preflight has told it, seconds.
const PREFLIGHT_MAX_AGE_SECS: HeaderValue = HeaderValue::from_static("600");

/// Characters of a header that are repeated to its sender.
const TOLD_CHARS_MAX: usize = 100;

/// Names and pages that are let in.
#[derive(Default)]
pub struct Doors {
    /// Pages that may do what this host's own may.
    pub allow_origins: Vec<Origin>,
    /// The names that requests may use; any where there are none.
    pub hosts: Option<Vec<Authority>>,
}

impl Doors {
    /// Tells which host a request is for, by its target or its Host header. None for HTTP/1.0 without one.
    ///
    /// # Errors
    /// 400 for a Host that is missing, double or malformed, 421 for one that `hosts` does not name.
    pub(super) fn addressed(&self, head: &Head) -> Result<Option<Authority>, Rejected> {
        let stated = stated_host(head)?;
        // RFC 9112: a target that names its host goes before the header.
        let asked = target_host(head)?.or(stated);
        let Some(hosts) = &self.hosts else { return Ok(asked) };
        if asked.as_ref().is_some_and(|asked| hosts.iter().any(|host| host.covers(asked))) {
            return Ok(asked);
        }
        let asked = asked.map_or("a host without a name".to_string(), |asked| asked.to_string());
        let text = format!("{asked} is not served here: [api] hosts does not name it");
        Err(Rejected::new(StatusCode::MISDIRECTED_REQUEST, text))
    }

    /// Answers a browser that asks what a page of an allowed origin may send. None for any other request.
    pub(super) fn preflight(&self, head: &Head, methods: &str) -> Option<Response> {
        let asks = head.method == Method::OPTIONS
            && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
            && self.allowed(&head.headers).is_some();
        if !asks {
            return None;
        }
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NO_CONTENT;
        let methods = HeaderValue::from_str(methods).expect("methods are a header's value");
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, MAY_SEND);
        headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE_SECS);
        if head.headers.contains_key(ASKS_PRIVATE_NETWORK) {
            headers.insert(ALLOWS_PRIVATE_NETWORK, TRUE);
        }
        Some(response)
    }

    /// Refuses what a page of another site has a browser send. Programs send neither header.
    ///
    /// # Errors
    /// 403 unless the page is of the host that it asks, or of an allowed origin.
    pub(super) fn own_site(&self, head: &Head, asked: Option<&Authority>) -> Result<(), Rejected> {
        if self.allowed(&head.headers).is_some() {
            return Ok(());
        }
        let foreign_site = head.headers.get_all(FETCH_SITE).iter().find(|site| {
            let site = site.as_bytes().trim_ascii();
            !site.eq_ignore_ascii_case(b"same-origin") && !site.eq_ignore_ascii_case(b"none")
        });
        let foreign_origin = head.headers.get_all(ORIGIN).iter().find(|value| {
            let origin = parsed(value);
            !origin.zip(asked).is_some_and(|(origin, asked)| origin.is_of(asked))
        });
        let (name, value) = match (foreign_origin, foreign_site) {
            (Some(origin), _) => ("Origin", origin),
            (None, Some(site)) => ("Sec-Fetch-Site", site),
            (None, None) => return Ok(()),
        };
        let text = format!(
            "{name} is {}: only pages of this host, or of [api] allow_origins, may change something",
            told(value)
        );
        Err(Rejected::new(StatusCode::FORBIDDEN, text))
    }

    /// Gives what lets a page of an allowed origin read an answer, whatever it says. Without a request
    /// nobody knows who asks; those answers hold nothing but why there is no other.
    pub(super) fn signature(&self, headers: Option<&HeaderMap>) -> HeaderMap {
        let mut signature = HeaderMap::new();
        if self.allow_origins.is_empty() {
            return signature;
        }
        let Some(headers) = headers else {
            signature.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN);
            signature.insert(ACCESS_CONTROL_EXPOSE_HEADERS, MAY_READ);
            return signature;
        };
        signature.insert(VARY, BY_ORIGIN);
        if let Some(origin) = self.allowed(headers) {
            signature.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            signature.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
            signature.insert(ACCESS_CONTROL_EXPOSE_HEADERS, MAY_READ);
        }
        signature
    }

    /// The request's one Origin, if it is an allowed one.
    fn allowed<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let (value, None) = (origins.next()?, origins.next()) else { return None };
        let origin = parsed(value)?;
        self.allow_origins.contains(&origin).then_some(value)
    }
}

fn parsed(origin: &HeaderValue) -> Option<Origin> {
    origin.to_str().ok()?.parse().ok()
}

/// The host that a request's header names.
fn stated_host(head: &Head) -> Result<Option<Authority>, Rejected> {
    let refuse = |text: String| Err(Rejected::new(StatusCode::BAD_REQUEST, text));
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if head.version <= Version::HTTP_10 => Ok(None),
        (None, _) => refuse("there is no Host header, HTTP/1.1 needs one".into()),
        (Some(_), Some(_)) => {
            let count = 2 + hosts.count();
            refuse(format!("there are {count} Host headers, exactly one is needed"))
        }
        (Some(value), None) => match value.to_str().ok().and_then(|text| text.parse().ok()) {
            Some(host) => Ok(Some(host)),
            None => refuse(format!("Host is {:?}, which names no host", told(value))),
        },
    }
}

/// The host that a request's target names, where it is written as a whole URL.
fn target_host(head: &Head) -> Result<Option<Authority>, Rejected> {
    let (Some(authority), scheme) = (head.uri.authority(), head.uri.scheme_str()) else {
        return Ok(None);
    };
    let host = authority.as_str().parse().ok().filter(|_| matches!(scheme, Some("http" | "https")));
    host.map(Some).ok_or_else(|| {
        let text = "the request's target is a URL that names no host of http or https";
        Rejected::new(StatusCode::BAD_REQUEST, text)
    })
}

fn told(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).chars().take(TOLD_CHARS_MAX).collect()
}
