//! A request that gets no answer of substance.

use warp::http::StatusCode;
use warp::http::header::{HeaderName, HeaderValue};
use warp::reply::Response;

use crate::http::listener::error_response;
use crate::offload::Undone;

/// The longest text of an error, bytes. A parser quotes what it did not expect, whatever its length.
const TEXT_BYTES_MAX: usize = 2 << 10;

/// Cuts a text that is too long, and says so.
fn shortened(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.shrink_to_fit();
        text.push('…');
    }
    text
}

/// Status and text of an error, and what some statuses say in a header of their own.
#[derive(Debug)]
pub struct Rejected {
    pub(super) status: StatusCode,
    text: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Rejected {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Rejected {
        Rejected { status, text: shortened(text.into()), header: None }
    }

    /// Rejects what may work a moment later.
    pub(super) fn unavailable(text: impl Into<String>) -> Rejected {
        Rejected::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    pub(super) fn with_header(self, name: HeaderName, value: HeaderValue) -> Rejected {
        Rejected { header: Some((name, value)), ..self }
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = error_response(self.status, &self.text);
        response.headers_mut().extend(self.header);
        response
    }
}

impl From<Undone> for Rejected {
    fn from(undone: Undone) -> Rejected {
        match undone {
            Undone::Panicked => {
                Rejected::new(StatusCode::INTERNAL_SERVER_ERROR, undone.to_string())
            }
            _ => Rejected::unavailable(undone.to_string()),
        }
    }
}
