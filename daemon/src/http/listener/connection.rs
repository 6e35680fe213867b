//! One connection from its first byte to its last: TLS where asked for, requests in turn, each wait
//! with an end. Also turns away those that there is no room for.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use warp::http::StatusCode;
use warp::http::header::{CONNECTION, HeaderValue};
use warp::reply::Response;

use super::fixed::{self, error_response};
use super::limits::{HEAD_BYTES_MAX, HEADERS_MAX};
use super::listen::Stream;
use super::pace::{DRAIN_HEAD_TIMEOUT, Overdue, Pace, Paced};
use super::peer::Peer;
use super::routes::{Head, Routes};
use super::tls::Tls;
use crate::http::metrics::{Dropped, HttpMetrics};

/// A TLS handshake must end within this time.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client has so long to take its last answer and go.
const PARTING_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes that it may send meanwhile: a socket that is closed with some of them unread resets the
/// connection, and the answer may be lost with it.
const UNREAD_BYTES_MAX: usize = 4 << 20;

/// What all connections of a listener share.
pub(super) struct Serving {
    pub name: &'static str,
    pub routes: Routes,
    pub tls: Option<Arc<Tls>>,
    pub metrics: Arc<HttpMetrics>,
    pub stopped: watch::Receiver<bool>,
    pub turning_away: Arc<Semaphore>,
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
    pub async fn connection(&self, stream: Box<dyn Stream>, peer: Peer) {
        let Some(tls) = &self.tls else { return self.requests(stream, peer).await };
        let mut stopped = self.stopped.clone();
        let handshake = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
        let drain = async {
            let _ = stopped.wait_for(|stopped| *stopped).await;
            sleep(DRAIN_HEAD_TIMEOUT).await;
        };
        let secured = tokio::select! {
            secured = handshake => secured,
            () = drain => return,
        };
        match secured {
            Ok(Ok(stream)) => self.requests(stream, peer).await,
            Ok(Err(error)) => tracing::debug!(listener = self.name, %error, "no TLS"),
            Err(_) => self.metrics.dropped(self.name, Dropped::Handshake),
        }
    }

    async fn requests(&self, stream: Box<dyn Stream>, peer: Peer) {
        let pace = Pace::start();
        let service = service_fn(|request| {
            pace.request_arrived();
            self.answer(&pace, peer, request)
        });
        let paced = Paced::new(stream, pace.clone(), self.metrics.clone());
        let mut connection = http1::Builder::new()
            // Deadlines are those of Pace, which tells an idle client from a slow one.
            .header_read_timeout(None)
            // A client that has sent all that it wants to send still waits for its answer (`nc -N`).
            .half_close(true)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(paced), service);
        let mut stopped = self.stopped.clone();
        let end = loop {
            tokio::select! {
                // The connection first: on a stop it takes what has come by then.
                biased;
                ended = &mut connection => break End::Hyper(ended.err()),
                () = sleep_until(pace.deadline().0) => {
                    // Whatever has moved since has moved the deadline.
                    let (deadline, overdue) = pace.deadline();
                    if deadline <= Instant::now() {
                        break End::Overdue(overdue);
                    }
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
        if let Some(answer) = self.last_words(end, &pace) {
            let stream = connection.into_parts().io.into_inner().into_inner();
            self.part(stream, &answer).await;
        }
    }

    async fn answer(
        &self,
        pace: &Pace,
        peer: Peer,
        request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        let (head, body) = request.into_parts();
        let mut answer = if head.uri.path_and_query().is_some() {
            unwound(self.routes.answer(Head::new(head, peer), body))
                .await
                .unwrap_or_else(|| self.fault())
        } else {
            self.refuse(StatusCode::BAD_REQUEST, "the request's target is no path")
        };
        pace.request_answered();
        if pace.is_stopping() {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(answer)
    }

    /// Gives what is still to be said to a client whose connection ends. None for one that is left
    /// without a word, at once.
    fn last_words(&self, end: End, pace: &Pace) -> Option<Vec<u8>> {
        match end {
            End::Hyper(Some(error)) if error.is_parse_version_h2() => {
                Some(self.refusal(400, "HTTP/2 without TLS is not spoken here, use HTTP/1.1"))
            }
            End::Hyper(Some(error)) if error.is_incomplete_message() && pace.owes_nothing() => {
                Some(self.refusal(400, "the connection ended in the middle of a request's head"))
            }
            // hyper has said its last word; what the client sends on must not take it back.
            End::Hyper(_) => Some(Vec::new()),
            End::Overdue(Overdue::Idle) => None,
            End::Overdue(Overdue::Write) => {
                self.metrics.dropped(self.name, Dropped::Write);
                None
            }
            End::Overdue(Overdue::Head(limit)) => {
                self.metrics.dropped(self.name, Dropped::Head);
                let text =
                    format!("the request's head did not arrive within {} s", limit.as_secs());
                Some(fixed::answer(408, &text))
            }
            End::Overdue(Overdue::Stopping) => Some(fixed::answer(503, "shutting down")),
        }
    }

    /// Counts and writes the refusal of what hyper ends without a word.
    fn refusal(&self, status: u16, why: &str) -> Vec<u8> {
        self.metrics.rejected(status);
        fixed::answer(status, why)
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
    pub async fn turn_away(&self, mut stream: Box<dyn Stream>, why: &str) {
        // Who expects a handshake understands nothing else.
        if self.tls.is_some() {
            return;
        }
        let answer = fixed::answer(503, why);
        if let Ok(_permit) = self.turning_away.clone().try_acquire_owned() {
            self.part(stream, &answer).await;
        } else {
            poll_fn(|cx| {
                let _ = Pin::new(&mut stream).poll_write(cx, &answer);
                Poll::Ready(())
            })
            .await;
        }
    }

    /// Writes a last answer, and closes once the client has it or its time is up.
    async fn part(&self, mut stream: Box<dyn Stream>, answer: &[u8]) {
        let part = async {
            stream.write_all(answer).await?;
            stream.shutdown().await?;
            let mut unread = stream.take(UNREAD_BYTES_MAX as u64);
            let mut thrown_away = [0; 4 << 10];
            while unread.read(&mut thrown_away).await? > 0 {}
            Ok::<(), std::io::Error>(())
        };
        // The connection ends either way.
        let _ = timeout(PARTING_TIMEOUT, part).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::Reply;

    #[test]
    fn a_route_that_panics_answers_500_and_the_connection_goes_on() {
        let routes = Routes::new(|head, _| async move {
            assert!(head.uri.path() != "/panic", "as it must not");
            "well".into_response()
        });
        let (_stop, stopped) = watch::channel(false);
        let serving = Serving {
            name: "api",
            routes,
            tls: None,
            metrics: Arc::new(HttpMetrics::new(&crate::metrics::Registry::new())),
            stopped,
            turning_away: Arc::new(Semaphore::new(1)),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let answers = runtime.block_on(async {
            let requests =
                b"GET /panic HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n";
            client.write_all(requests).await.unwrap();
            serving.connection(Box::new(server), Peer::Local).await;
            let mut answers = String::new();
            client.read_to_string(&mut answers).await.unwrap();
            answers
        });
        assert!(answers.starts_with("HTTP/1.1 500"), "{answers}");
        assert!(answers.contains("{\"error\":\"the request panicked\"}HTTP/1.1 200"), "{answers}");
    }
}
