//! A request's body on its way to the route. It notes when it has arrived whole: what is left unread
//! ends the connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::pace::Pace;

pub(super) struct Arriving {
    body: Incoming,
    pace: Pace,
}

impl Arriving {
    pub fn new(body: Incoming, pace: Pace) -> Arriving {
        pace.request_arrived(!body.is_end_stream());
        Arriving { body, pace }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.pace.body_arrived();
        } else {
            self.pace.body_moved();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
