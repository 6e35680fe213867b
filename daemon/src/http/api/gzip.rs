//! Bodies in gzip: what comes out is handed on piece by piece, within a limit of work. It must not know
//! what the content is.

use std::io::{self, BufRead, Read};
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;
use picket_base::clock::thread_cpu_time;
use warp::http::StatusCode;

use super::rejected::Rejected;
use crate::offload::Progress;

/// So much of a body is unpacked at once, bytes.
const UNPACKED_BYTES: usize = 64 << 10;

/// After so much of its input a sign of life is due: it may hold blocks without any content.
const PACKED_BYTES: usize = 4 << 10;

/// Processor time that one body may take. 64 MiB take 2 s on a slow board; the smallest blocks that the
/// format has take minutes.
const CPU_TIME_MAX: Duration = Duration::from_secs(3);

/// Unpacks all members, and gives each piece away.
///
/// # Errors
/// Those of `push`, 400 when the body is cut or damaged, 413 when it takes too much work.
pub(super) fn unpack(
    packed: &[u8],
    progress: &Progress,
    mut push: impl FnMut(&[u8]) -> Result<(), Rejected>,
) -> Result<(), Rejected> {
    let spent = Spent { progress, since: thread_cpu_time() };
    let mut zipped = MultiGzDecoder::new(Metered { rest: packed, spent });
    let mut piece = vec![0; UNPACKED_BYTES];
    loop {
        match zipped.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => push(&piece[..read])?,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let limit = CPU_TIME_MAX.as_secs();
                let text = format!("gzip body takes more than {limit} s to unpack, the limit");
                return Err(Rejected::new(StatusCode::PAYLOAD_TOO_LARGE, text));
            }
            Err(error) => {
                return Err(Rejected::new(StatusCode::BAD_REQUEST, format!("gzip body: {error}")));
            }
        }
    }
}

/// What unpacking has taken so far.
struct Spent<'a> {
    progress: &'a Progress<'a>,
    since: Duration,
}

/// A packed body, given in pieces.
struct Metered<'a> {
    rest: &'a [u8],
    spent: Spent<'a>,
}

impl Read for Metered<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(to)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Metered<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.spent.progress.beat();
        if thread_cpu_time().saturating_sub(self.spent.since) > CPU_TIME_MAX {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(&self.rest[..self.rest.len().min(PACKED_BYTES)])
    }

    fn consume(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }
}
