//! A request as its route gets it.

use std::sync::Arc;

use warp::http::HeaderMap;

use super::pattern::Segments;
use crate::http::listener::{BodyStream, Head};

/// A request whose path a route has taken apart.
pub struct Request {
    head: Arc<Head>,
    segments: Segments,
    body: BodyStream,
}

impl Request {
    pub(super) fn new(
        head: Arc<Head>,
        segments: Vec<(&'static str, String)>,
        body: BodyStream,
    ) -> Request {
        Request { head, segments, body }
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Gives the query string, empty where there is none.
    pub fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// Gives what the path has for a named segment, percent-decoded.
    ///
    /// # Panics
    /// When the route's pattern has no segment of this name.
    pub fn segment(&self, name: &str) -> &str {
        let found = self.segments.iter().find(|(found, _)| *found == name);
        &found.expect("a route asks for the segments that its pattern names").1
    }

    pub fn body(&mut self) -> &mut BodyStream {
        &mut self.body
    }
}
