//! An answer whose JSON is written already.

use warp::http::header::{CONTENT_TYPE, HeaderValue};
use warp::reply::{Reply, Response};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) fn json_response(json: Vec<u8>) -> Response {
    let mut response = json.into_response();
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}
