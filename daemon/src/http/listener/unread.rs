//! An answer on its way to a client that may read slowly: its memory is taken from the budget until the
//! last of it is handed to the socket. Knows no route.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use picket_base::budget::Taken;
use warp::reply::Response;

use super::pace::Pace;
use crate::memory::{NoShare, Share, Shares};
use crate::peer::Peer;

/// An answer up to this length is part of its connection's flat sum, bytes.
const FLAT_BYTES: u64 = 8 << 10;

/// So much is handed on at a time: hyper asks for more once it is nearly written, bytes.
const PIECE_BYTES: usize = 16 << 10;

/// The memory of an answer that its route has taken; it goes with the answer. Extensions must be clones.
#[derive(Clone)]
pub(super) struct Held(Arc<Mutex<Option<Taken>>>);

impl Held {
    pub fn take(self) -> Option<Taken> {
        self.0.lock().expect("nothing panics while it is taken").take()
    }
}

/// Leaves the memory of an answer with it until its client has read it.
pub fn leave_memory(answer: &mut Response, memory: Taken) {
    answer.extensions_mut().insert(Held(Arc::new(Mutex::new(Some(memory)))));
}

/// The body of an answer.
pub(super) struct Unread<B> {
    body: B,
    pace: Pace,
    /// What the body has given and hyper has not asked for.
    rest: Bytes,
    _share: Option<Share>,
}

impl<B: Body<Data = Bytes>> Unread<B> {
    /// Takes the memory of a peer's answer, or what its route has taken of the same class. Without shares
    /// nothing is counted.
    ///
    /// # Errors
    /// When unread answers, or those of this peer, use their share up.
    pub fn new(
        body: B,
        shares: Option<&Arc<Shares>>,
        (peer, held): (Peer, Option<Taken>),
        pace: &Pace,
    ) -> Result<Unread<B>, NoShare> {
        let length = body.size_hint().exact().unwrap_or(0);
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        let share = match (shares.filter(|_| length > FLAT_BYTES), held) {
            (None, _) => None,
            (Some(shares), Some(mut held)) if held.class() == shares.class() => {
                held.shrink_to(bytes);
                Some(shares.adopt(peer, held)?)
            }
            // Beside what is held until then.
            (Some(shares), _held) => Some(shares.take(peer, bytes)?),
        };
        Ok(Unread { body, pace: pace.clone(), rest: Bytes::new(), _share: share })
    }
}

/// hyper lets go of a body once it has the last of it.
impl<B> Drop for Unread<B> {
    fn drop(&mut self) {
        self.pace.handed_over();
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Unread<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return other,
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::http::listener::pace::Patience;
    use picket_base::budget::{Budget, Class};
    use std::time::Duration;
    use warp::Reply;

    fn pace() -> Pace {
        let minute = Duration::from_secs(60);
        Pace::start(Patience { head: minute, idle: minute, answer: minute })
    }

    fn answer(bytes: usize) -> impl Body<Data = Bytes, Error = warp::Error> + Unpin {
        vec![7_u8; bytes].into_response().into_body()
    }

    #[tokio::test]
    async fn an_answer_is_taken_whole_and_given_in_pieces_until_it_is_dropped() {
        let budget = Budget::new(64 << 20);
        let shares = Shares::new(budget.clone(), Class::Answer);
        let mut unread =
            Unread::new(answer(100_000), Some(&shares), (Peer::Local, None), &pace()).ok().unwrap();
        assert_eq!(budget.taken(Class::Answer), 100_000);
        assert_eq!(unread.size_hint().exact(), Some(100_000));
        let mut seen = 0;
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut unread).poll_frame(cx)).await {
            let piece = frame.unwrap().into_data().ok().unwrap();
            seen += piece.len();
            assert!(piece.len() <= PIECE_BYTES);
            assert_eq!(unread.size_hint().exact(), Some(100_000 - seen as u64));
        }
        assert!(seen == 100_000 && unread.is_end_stream());
        assert_eq!(budget.taken(Class::Answer), 100_000);
        drop(unread);
        assert_eq!(budget.taken(Class::Answer), 0);
    }

    #[test]
    fn a_short_answer_is_free_and_one_beyond_the_share_is_refused() {
        let budget = Budget::new(64 << 10);
        let shares = Shares::new(budget.clone(), Class::Answer);
        let new = |bytes, shares| Unread::new(answer(bytes), shares, (Peer::Local, None), &pace());
        let short = new(FLAT_BYTES as usize, Some(&shares)).ok().unwrap();
        assert_eq!(budget.taken(Class::Answer), 0);
        assert!(new(60_000, Some(&shares)).is_err());
        assert!(new(60_000, None).is_ok());
        drop(short);
    }

    #[test]
    fn what_its_route_has_taken_of_an_answer_is_its_share_or_goes_behind_it() {
        let budget = Budget::new(64 << 20);
        let shares = Shares::new(budget.clone(), Class::Answer);
        for class in [Class::Answer, Class::Decode] {
            let mut response = vec![7_u8; 100_000].into_response();
            leave_memory(&mut response, budget.take(class, 300_000).unwrap());
            let held = response.extensions_mut().remove::<Held>().and_then(Held::take);
            let unread =
                Unread::new(response.into_body(), Some(&shares), (Peer::Local, held), &pace());
            let unread = unread.ok().unwrap();
            assert_eq!(budget.taken(Class::Answer), 100_000);
            assert_eq!(budget.taken(Class::Decode), 0);
            drop(unread);
            assert_eq!(budget.taken(Class::Answer), 0);
        }
    }
}
