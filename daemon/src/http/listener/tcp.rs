//! A TCP connection that one task reads and writes while it also learns that the client has reset it:
//! while a request is with its route nobody reads, and who has sent all still waits for the answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::os;

pub(super) struct Tcp(Arc<TcpStream>);

/// Tells of a connection that its client is gone. A Unix socket's tells when it is written to.
pub(super) struct Vanishing(Option<Arc<TcpStream>>);

impl Vanishing {
    pub const fn untold() -> Vanishing {
        Vanishing(None)
    }

    /// Comes once the client has reset the connection.
    pub async fn vanished(&self) {
        if let Some(stream) = &self.0
            && stream.ready(Interest::ERROR).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

impl Tcp {
    pub fn new(stream: TcpStream) -> (Tcp, Vanishing) {
        let stream = Arc::new(stream);
        (Tcp(stream.clone()), Vanishing(Some(stream)))
    }

    /// Saves asking the kernel again after it gave less than there was room for. No event is lost: the
    /// runtime has one thread, which is this one.
    fn note_empty(&self) {
        let empty = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.0.try_io(Interest::READABLE, empty);
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(read) => {
                    if 0 < read && read < room {
                        self.note_empty();
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(os::end_sending(&*self.0))
    }
}
