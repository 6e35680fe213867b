//! One connection from its first byte to its last: TLS where asked for, requests in turn, each wait
//! with an end. Also turns away those that there is no room for.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use warp::http::StatusCode;
use warp::reply::Response;

use super::arriving::Arriving;
use super::fixed::{Fixed, error_response};
use super::keep_alive;
use super::limits::{HEAD_BYTES_MAX, HEADERS_MAX};
use super::listen::{Connected, Stream};
use super::pace::{DRAIN_HEAD_TIMEOUT, Overdue, Pace, Paced};
use super::peer::Peer;
use super::routes::{Head, Routes};
use super::tcp::Vanishing;
use super::tls::Tls;
use super::turns::Turns;
use super::unread::{Held, Unread};
use crate::http::metrics::{Dropped, HttpMetrics};
use crate::memory::Shares;

/// A TLS handshake must end within this time.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client has so long to take its last answer and go.
const PARTING_TIMEOUT: Duration = Duration::from_secs(1);

/// What a client is told whose request had not come when its connection made room for another.
const MADE_ROOM: &str = "too many connections are open, and this one had sent no whole request";

/// Bytes that it may send meanwhile: a socket that is closed with some of them unread resets the
/// connection, and the answer may be lost with it.
const UNREAD_BYTES_MAX: usize = 4 << 20;

/// The same where requests have no bodies: whoever sends on without a pause takes the listener's thread.
const UNREAD_HEADS_BYTES_MAX: usize = 64 << 10;

/// What all connections of a listener share.
pub(super) struct Serving {
    pub name: &'static str,
    pub routes: Routes,
    pub fixed: Fixed,
    pub tls: Option<Arc<Tls>>,
    pub metrics: Arc<HttpMetrics>,
    pub stopped: watch::Receiver<bool>,
    pub turning_away: Arc<Semaphore>,
    /// Shares of the thread, as far as handshakes take it.
    pub turns: Turns,
    /// What the memory of answers is taken from, where it is counted.
    pub answers: Option<Arc<Shares>>,
}

/// A connection in the count of those that are open, however it ends.
pub(super) struct Counted {
    serving: Arc<Serving>,
}

impl Counted {
    pub fn new(serving: Arc<Serving>) -> Counted {
        serving.metrics.connected(serving.name);
        Counted { serving }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.serving.metrics.disconnected(self.serving.name);
    }
}

/// Why a connection serves no further request.
enum End {
    /// hyper is done with it, in order or with this error.
    Hyper(Option<hyper::Error>),
    Overdue(Overdue),
    /// Its client has reset it.
    Vanished,
}

/// What is still to be said to a client whose connection ends.
enum LastWords {
    None,
    /// The client gets time to take it.
    Parting(Vec<u8>),
    /// There is no time.
    Hasty(Vec<u8>),
}

/// Gives what a route answers; None when it panics, which then ends its request and nothing else.
async fn unwound<A, E>(answer: impl Future<Output = Result<A, E>>) -> Option<A> {
    let mut answer = pin!(answer);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx)));
        polled.map_or(Poll::Ready(None), |polled| polled.map(Result::ok))
    })
    .await
}

impl Serving {
    /// Serves a connection until its client has taken its leave.
    pub async fn connection(&self, connected: Connected, pace: Pace) {
        let Connected { stream, peer, vanishing } = connected;
        let stream = match &self.tls {
            None => stream,
            Some(tls) => match self.handshake(tls, stream, peer, &pace).await {
                Some(stream) => stream,
                None => return,
            },
        };
        let (stream, end) = self.requests(stream, peer, &pace, &vanishing).await;
        match self.last_words(end, &pace) {
            LastWords::None => {}
            LastWords::Parting(answer) => tokio::select! {
                () = self.part(stream, &answer) => {}
                () = pace.displaced() => {}
            },
            LastWords::Hasty(answer) => part_hastily(stream, &answer).await,
        }
    }

    async fn handshake(
        &self,
        tls: &Tls,
        stream: Box<dyn Stream>,
        peer: Peer,
        pace: &Pace,
    ) -> Option<Box<dyn Stream>> {
        let mut stopped = self.stopped.clone();
        let drain = async {
            let _ = stopped.wait_for(|stopped| *stopped).await;
            sleep(DRAIN_HEAD_TIMEOUT).await;
        };
        let shake = self.turns.handshake(peer, tls.accept(stream));
        let secured = tokio::select! {
            biased;
            secured = timeout(HANDSHAKE_TIMEOUT, shake) => secured,
            () = pace.displaced() => {
                self.metrics.dropped(self.name, Dropped::Displaced);
                return None;
            }
            () = drain => return None,
        };
        match secured {
            Ok(Ok(stream)) => {
                pace.secured();
                return Some(stream);
            }
            Ok(Err(error)) => tracing::debug!(listener = self.name, %error, "no TLS"),
            Err(_) => self.metrics.dropped(self.name, Dropped::Handshake),
        }
        None
    }

    /// Answers requests until the connection can't go on, and gives its socket back.
    async fn requests(
        &self,
        stream: Box<dyn Stream>,
        peer: Peer,
        pace: &Pace,
        vanishing: &Vanishing,
    ) -> (Box<dyn Stream>, End) {
        let service = service_fn(|request| self.answer(pace, peer, request));
        let paced = Paced::new(stream, pace.clone(), self.metrics.clone(), self.fixed.clone());
        let mut connection = http1::Builder::new()
            // Deadlines are those of Pace, which tells an idle client from a slow one.
            .header_read_timeout(None)
            // A client that has sent all that it wants to send still waits for its answer (`nc -N`).
            .half_close(true)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(paced), service);
        let mut stopped = self.stopped.clone();
        let mut alarm = pin!(pace.alarm());
        let end = loop {
            tokio::select! {
                // The connection first: on a stop it takes what has come by then.
                biased;
                ended = &mut connection => break End::Hyper(ended.err()),
                overdue = poll_fn(|cx| pace.poll_overdue(alarm.as_mut(), cx)) => {
                    break End::Overdue(overdue);
                }
                () = vanishing.vanished() => break End::Vanished,
                () = pace.displaced() => {
                    if pace.waiting().is_some() {
                        break End::Overdue(Overdue::Displaced);
                    }
                    // Its request has come meanwhile, and is the last one. If its client keeps the
                    // daemon waiting for the rest, it is overdue.
                    Pin::new(&mut connection).graceful_shutdown();
                }
                _ = stopped.wait_for(|stopped| *stopped), if !pace.is_stopping() => {
                    pace.stopping();
                    // hyper would close a connection that has sent nothing yet, though its
                    // request may be under way.
                    if !pace.is_before_a_head() {
                        Pin::new(&mut connection).graceful_shutdown();
                    }
                }
            }
        };
        (connection.into_parts().io.into_inner().into_inner(), end)
    }

    async fn answer(
        &self,
        pace: &Pace,
        peer: Peer,
        request: Request<Incoming>,
    ) -> Result<
        warp::http::Response<impl Body<Data = Bytes, Error = warp::Error> + use<>>,
        Infallible,
    > {
        let (head, body) = request.into_parts();
        let (body, rest) = Arriving::new(body, &head.headers, pace.clone());
        let keep_alive = keep_alive::is_wanted(head.version, &head.headers);
        let signature = self.routes.signature(Some(&head.headers));
        let answer = if head.uri.path_and_query().is_some() {
            let answer = self.routes.answer(Head::new(head, peer), body);
            unwound(answer).await.unwrap_or_else(|| self.fault())
        } else {
            self.refuse(StatusCode::BAD_REQUEST, "the request's target is no path")
        };
        rest.throw_away(pace).await;
        let goes_on = pace.request_answered() && keep_alive;
        let mut answer = self.unread(answer, peer, pace);
        answer.headers_mut().extend(signature);
        keep_alive::state(answer.headers_mut(), goes_on.then(|| pace.idle_secs()));
        Ok(answer)
    }

    /// Takes the memory of an answer until its client has read it.
    fn unread(
        &self,
        answer: Response,
        peer: Peer,
        pace: &Pace,
    ) -> warp::http::Response<impl Body<Data = Bytes, Error = warp::Error> + use<>> {
        let (mut head, body) = answer.into_parts();
        let held = head.extensions.remove::<Held>().and_then(Held::take);
        match Unread::new(body, self.answers.as_ref(), (peer, held), pace) {
            Ok(body) => warp::http::Response::from_parts(head, body),
            Err(full) => {
                let refusal = self.refuse(StatusCode::SERVICE_UNAVAILABLE, &full.to_string());
                let (head, body) = refusal.into_parts();
                let body = Unread::new(body, None, (peer, None), pace)
                    .expect("what takes no memory is not refused");
                warp::http::Response::from_parts(head, body)
            }
        }
    }

    fn last_words(&self, end: End, pace: &Pace) -> LastWords {
        match end {
            End::Hyper(Some(error)) if error.is_parse_version_h2() => {
                let why = "HTTP/2 without TLS is not spoken here, use HTTP/1.1";
                LastWords::Parting(self.refusal(400, why))
            }
            End::Hyper(Some(error)) if error.is_incomplete_message() && pace.owes_nothing() => {
                let why = "the connection ended in the middle of a request's head";
                LastWords::Parting(self.refusal(400, why))
            }
            // hyper has said its last word; what the client sends on must not take it back.
            End::Hyper(_) => LastWords::Parting(Vec::new()),
            End::Overdue(Overdue::Idle) | End::Vanished => LastWords::None,
            End::Overdue(Overdue::Write) => {
                self.metrics.dropped(self.name, Dropped::Write);
                LastWords::None
            }
            End::Overdue(Overdue::Head(limit)) => {
                self.metrics.dropped(self.name, Dropped::Head);
                let text =
                    format!("the request's head did not arrive within {} s", limit.as_secs());
                LastWords::Parting(self.fixed.answer(408, &text))
            }
            End::Overdue(Overdue::Stopping) => {
                LastWords::Parting(self.fixed.answer(503, "shutting down"))
            }
            End::Overdue(Overdue::Displaced) => {
                self.metrics.dropped(self.name, Dropped::Displaced);
                // To a client that has its answer, the next one would be another request's.
                let answer = pace.expects_an_answer().then(|| self.fixed.answer(503, MADE_ROOM));
                LastWords::Hasty(answer.unwrap_or_default())
            }
        }
    }

    /// Counts and writes the refusal of what hyper ends without a word.
    fn refusal(&self, status: u16, why: &str) -> Vec<u8> {
        self.metrics.rejected(status);
        self.fixed.answer(status, why)
    }

    fn refuse(&self, status: StatusCode, why: &str) -> Response {
        self.metrics.rejected(status.as_u16());
        error_response(status, why)
    }

    fn fault(&self) -> Response {
        tracing::error!(listener = self.name, "a request panicked");
        self.refuse(StatusCode::INTERNAL_SERVER_ERROR, "the request panicked")
    }

    /// Tells a client that there is no room for it.
    pub async fn turn_away(&self, stream: Box<dyn Stream>, why: &str) {
        // Who expects a handshake understands nothing else.
        if self.tls.is_some() {
            return;
        }
        let answer = self.fixed.answer(503, why);
        if let Ok(_permit) = self.turning_away.clone().try_acquire_owned() {
            self.part(stream, &answer).await;
        } else {
            part_hastily(stream, &answer).await;
        }
    }

    /// Writes a last answer, and closes once the client has it or its time is up.
    async fn part(&self, mut stream: Box<dyn Stream>, answer: &[u8]) {
        let part = async {
            stream.write_all(answer).await?;
            stream.shutdown().await?;
            let bytes_max =
                if self.answers.is_some() { UNREAD_BYTES_MAX } else { UNREAD_HEADS_BYTES_MAX };
            let mut unread = stream.take(bytes_max as u64);
            let mut thrown_away = [0; 4 << 10];
            while unread.read(&mut thrown_away).await? > 0 {}
            Ok::<(), std::io::Error>(())
        };
        // The connection ends either way.
        let _ = timeout(PARTING_TIMEOUT, part).await;
    }
}

/// Writes what fits into the socket, and closes.
async fn part_hastily(mut stream: Box<dyn Stream>, answer: &[u8]) {
    poll_fn(|cx| {
        if !answer.is_empty() {
            let _ = Pin::new(&mut stream).poll_write(cx, answer);
        }
        let _ = Pin::new(&mut stream).poll_shutdown(cx);
        Poll::Ready(())
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::listener::pace::Patience;
    use warp::Reply;

    /// What a client of the routes gets for these requests, the last of which ends the connection. Its
    /// socket takes so many bytes at a time.
    fn answers(routes: Routes, requests: &[u8], socket_bytes: usize) -> Vec<u8> {
        let (_stop, stopped) = watch::channel(false);
        let serving = Serving {
            name: "api",
            fixed: Fixed::new(&routes.signature(None)),
            routes,
            tls: None,
            metrics: Arc::new(HttpMetrics::new(&crate::metrics::Registry::new())),
            stopped,
            turning_away: Arc::new(Semaphore::new(1)),
            turns: Turns::default(),
            answers: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut client, server) = tokio::io::duplex(socket_bytes);
        runtime.block_on(async {
            client.write_all(requests).await.unwrap();
            let connected = Connected {
                stream: Box::new(server),
                peer: Peer::Local,
                vanishing: Vanishing::untold(),
            };
            let minute = Duration::from_secs(60);
            let pace = Pace::start(Patience { head: minute, idle: minute, answer: minute });
            let mut answers = Vec::new();
            let served = serving.connection(connected, pace);
            let (_, read) = tokio::join!(served, client.read_to_end(&mut answers));
            read.unwrap();
            answers
        })
    }

    #[test]
    fn a_route_that_panics_answers_500_and_the_connection_goes_on() {
        let routes = Routes::new(|head, _| async move {
            assert!(head.uri.path() != "/panic", "as it must not");
            "well".into_response()
        });
        let requests = b"GET /panic HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n";
        let answers = String::from_utf8(answers(routes, requests, 1 << 16)).unwrap();
        assert!(answers.starts_with("HTTP/1.1 500"), "{answers}");
        assert!(answers.contains("{\"error\":\"the request panicked\"}HTTP/1.1 200"), "{answers}");
    }
    /// A refusal of hyper's own is told by how it begins, and by when it comes.
    #[test]
    fn an_answer_that_reads_like_a_refusal_comes_as_it_is() {
        let text = "HTTP/1.1 400".repeat(10_000);
        let whole = text.clone();
        let routes = Routes::new(move |_, _| {
            let whole = whole.clone();
            async move { whole.into_response() }
        });
        let requests = b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n";
        for socket_bytes in [1 << 10, 12 << 10, 1 << 18] {
            let answers =
                String::from_utf8(answers(routes.clone(), requests, socket_bytes)).unwrap();
            let bodies: Vec<&str> = answers.split("\r\n\r\n").skip(1).collect();
            assert_eq!(bodies.len(), 2, "{socket_bytes}");
            assert!(bodies[0].starts_with(&text), "{socket_bytes}");
            assert!(bodies[1] == text, "{socket_bytes}");
        }
    }
}
