//! A request's body on its way to the route. It notes when it has arrived whole. What a route leaves of it
//! ends the connection, unless it is short: then the rest is taken from the client and thrown away.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use warp::http::HeaderMap;
use warp::http::header::EXPECT;

use super::pace::Pace;

/// A rest up to this length is thrown away, bytes; who sends more may as well connect again.
const REST_BYTES_MAX: u64 = 16 << 10;

/// What has arrived shows within so many looks at the socket. For more nobody waits: the connection ends.
const LOOKS_MAX: usize = 8;

pub(super) struct Arriving {
    /// None once it is left to whoever throws the rest away.
    body: Option<Incoming>,
    pace: Pace,
    rest: Rest,
}

/// What a route has left of a body.
#[derive(Clone, Default)]
pub(super) struct Rest(Arc<Mutex<Option<Incoming>>>);

impl Arriving {
    pub fn new(body: Incoming, headers: &HeaderMap, pace: Pace) -> (Arriving, Rest) {
        pace.request_arrived(!body.is_end_stream());
        let rest = Rest::default();
        // Who expects to be asked for its body sends none yet.
        let asks_first = headers.contains_key(EXPECT);
        let arriving = Arriving { body: Some(body), pace, rest: rest.clone() };
        (arriving, if asks_first { Rest::default() } else { rest })
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        *self.rest.0.lock().expect("nothing panics while it leaves a body") = self.body.take();
    }
}

impl Rest {
    /// Takes a short rest of which all has arrived.
    pub async fn throw_away(&self, pace: &Pace) {
        let left = self.0.lock().expect("nothing panics while it leaves a body").take();
        let Some(mut body) = left.filter(|body| !body.is_end_stream()) else { return };
        if body.size_hint().upper().is_none_or(|bytes| bytes > REST_BYTES_MAX) {
            return;
        }
        let mut looks = 0;
        poll_fn(|cx| {
            while let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(cx) {
                if !matches!(frame, Some(Ok(_))) {
                    return Poll::Ready(());
                }
            }
            looks += 1;
            if looks == LOOKS_MAX {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        if body.is_end_stream() {
            pace.body_arrived();
        }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        if frame.is_none() || body.is_end_stream() {
            self.pace.body_arrived();
        } else {
            self.pace.body_moved();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}
