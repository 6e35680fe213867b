//! A request as its route gets it.

use std::sync::Arc;

use warp::http::HeaderMap;

use super::pattern::Segments;
use crate::http::listener::{BodyStream, Head};
use crate::peer::Peer;

/// Who asks: clients wait for other threads than the command line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    Client,
    Operator,
}

/// A request whose path a route has taken apart.
pub struct Request {
    head: Arc<Head>,
    asker: Asker,
    segments: Segments,
    body: BodyStream,
}

impl Request {
    pub(super) fn new(
        head: Arc<Head>,
        asker: Asker,
        segments: Vec<(&'static str, String)>,
        body: BodyStream,
    ) -> Request {
        Request { head, asker, segments, body }
    }

    pub fn asker(&self) -> Asker {
        self.asker
    }

    /// Gives the address that it came from, which the listener has noted.
    pub fn peer(&self) -> Peer {
        self.head.peer
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
