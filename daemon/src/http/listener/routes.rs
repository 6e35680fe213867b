//! The border between a listener and what it serves: a request's head and the pieces of its body go
//! in, an answer comes out. Knows no route.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::Request;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::request::Parts;
use warp::http::{HeaderMap, Method, Uri, Version};
use warp::reply::Response;

use super::arriving::Arriving;
use super::peer::Peer;

/// A request without its body. It is moved from hyper to the route: nobody copies its headers.
#[derive(Debug)]
pub struct Head {
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    /// Whose shares the request counts against.
    pub peer: Peer,
}

impl Head {
    pub fn new(parts: Parts, peer: Peer) -> Head {
        let Parts { method, uri, version, headers, .. } = parts;
        Head { method, uri, version, headers, peer }
    }
}

/// The pieces of a request's body, as they arrive.
pub type BodyStream = Pin<Box<dyn Pieces>>;

/// A stream of pieces whose type can be named.
pub trait Pieces: Send {
    /// Gives the next piece; None behind the last one.
    fn poll_piece(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, warp::Error>>>;
}

impl<S, B> Pieces for S
where
    S: warp::Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    fn poll_piece(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, warp::Error>>> {
        self.poll_next(cx).map_ok(|mut piece| piece.copy_to_bytes(piece.remaining()))
    }
}

/// What every answer also says in headers, by those of its request. None asks for answers that come
/// before a request's head does.
type Signature = Arc<dyn Fn(Option<&HeaderMap>) -> HeaderMap + Send + Sync>;

/// What a listener serves: one filter of warp that takes every request.
#[derive(Clone)]
pub struct Routes {
    filter: BoxedFilter<(Response,)>,
    signature: Option<Signature>,
}

impl Routes {
    /// Serves what `answer` makes of each request.
    pub fn new<F, A>(answer: F) -> Routes
    where
        F: Fn(Arc<Head>, BodyStream) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let request = warp::ext::get::<Arc<Head>>().and(warp::body::stream());
        let filter =
            request.then(move |head, body| answer(head, Box::pin(body) as BodyStream)).boxed();
        Routes { filter, signature: None }
    }

    /// Has every answer signed, the listener's own too.
    pub fn signed(
        self,
        signature: impl Fn(Option<&HeaderMap>) -> HeaderMap + Send + Sync + 'static,
    ) -> Routes {
        Routes { signature: Some(Arc::new(signature)), ..self }
    }

    pub(super) fn signature(&self, headers: Option<&HeaderMap>) -> HeaderMap {
        self.signature.as_ref().map_or_else(HeaderMap::new, |signature| signature(headers))
    }

    /// Passes a request on. Its head travels as an extension, the one part that a filter can take
    /// without a copy. All others who wait for the thread go before it, so that whoever sends requests
    /// without end gets no more of it than one who sends a single one.
    pub(super) fn answer(
        &self,
        head: Head,
        body: Arriving,
    ) -> impl Future<Output = Result<Response, Infallible>> + use<> {
        let mut request = Request::new(body);
        request.extensions_mut().insert(Arc::new(head));
        let filter = self.filter.clone();
        async move {
            tokio::task::yield_now().await;
            TowerToHyperService::new(warp::service(filter)).call(request).await
        }
    }
}
