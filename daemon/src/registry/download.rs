//! Brings a file here whole, over links that drop: it goes on where it was cut, and what comes must be what
//! was listed. What something on the way answers instead of the file is no fault of the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use super::mlflow::Remote;
use crate::client::{Client, Credentials, Opened};

/// So often a download goes on after it was cut without a byte in between.
const ATTEMPTS_MAX: u32 = 6;

/// The pause before another attempt, doubled each time.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause, and the longest that a server may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// So much is read at once, bytes.
const PIECE_BYTES: usize = 64 << 10;

/// Where a download goes on, so much of what is there is asked for again, bytes: it shows whether the server
/// goes on at the right place, and with the same file.
const OVERLAP_BYTES: u64 = 4096;

/// Why a file is not here.
#[derive(Debug, thiserror::Error)]
pub enum NotHere {
    /// What came is not the file, or it was cut too often.
    #[error("{0}")]
    Failed(String),
    #[error("cannot store it: {0}")]
    Disk(io::Error),
    #[error("the daemon ends")]
    Stopped,
}

/// What a download does between its pieces.
pub trait Between {
    /// Waits for so long; false if the daemon ends meanwhile.
    fn pause(&self, time: Duration) -> bool;
    /// Shows that it goes on.
    fn beat(&self);
}

/// What has come of a file. It outlives a download that was given up.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    bytes: u64,
    /// By which the server tells that it is the same file still.
    etag: Option<String>,
}

/// Downloads a file to `path`, where what came before still is.
///
/// # Errors
/// As `NotHere`.
pub fn download(
    client: &Client,
    credentials: &Credentials,
    remote: &Remote,
    (path, progress): (&Path, &mut Progress),
    between: &dyn Between,
) -> Result<(), NotHere> {
    let mut open = OpenOptions::new();
    let open = open.create(true).truncate(false).read(true).write(true);
    let mut file = open.open(path).map_err(NotHere::Disk)?;
    let there = file.metadata().map_err(NotHere::Disk)?.len();
    if there < progress.bytes || progress.bytes > remote.bytes {
        *progress = Progress::default();
    }
    if progress.bytes == remote.bytes {
        return Ok(());
    }
    let mut part = Part { file: &mut file, progress };
    let mut attempts = 0;
    loop {
        let before = part.progress.bytes;
        let cut = match part.fetch(client, credentials, remote, between) {
            Ok(()) => return file.sync_all().map_err(NotHere::Disk),
            Err(Step::Ends(why)) => return Err(why),
            Err(Step::Cut(cut)) => cut,
        };
        attempts = if part.progress.bytes > before { 0 } else { attempts + 1 };
        if attempts >= ATTEMPTS_MAX {
            let (bytes, all) = (part.progress.bytes, remote.bytes);
            return Err(NotHere::Failed(format!("{bytes} of {all} bytes came: {}", cut.why)));
        }
        let pause = PAUSE.saturating_mul(1 << attempts).min(PAUSE_MAX);
        if !between.pause(cut.after.map_or(pause, |after| after.min(PAUSE_MAX))) {
            return Err(NotHere::Stopped);
        }
    }
}

/// What there is of a file.
struct Part<'a> {
    file: &'a mut File,
    progress: &'a mut Progress,
}

enum Step {
    Ends(NotHere),
    Cut(Cut),
}

struct Cut {
    why: String,
    /// When the server wants to be asked again.
    after: Option<Duration>,
}

fn cut(why: impl ToString) -> Step {
    Step::Cut(Cut { why: why.to_string(), after: None })
}

fn wrong(why: impl ToString) -> Step {
    Step::Ends(NotHere::Failed(why.to_string()))
}

impl Part<'_> {
    fn fetch(
        &mut self,
        client: &Client,
        credentials: &Credentials,
        remote: &Remote,
        between: &dyn Between,
    ) -> Result<(), Step> {
        let from = self.progress.bytes.saturating_sub(OVERLAP_BYTES);
        let etag = self.progress.etag.as_deref();
        let opened = client.open(&remote.uri, credentials, Some(from).filter(|it| *it > 0), etag);
        let mut opened = opened.map_err(cut)?;
        let mut again = self.place(&opened, remote, from)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            between.beat();
            let read = match opened.body.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => return Err(cut(error)),
            };
            let known = again.len().min(read);
            if piece[..known] != again[..known] {
                self.forget()?;
                return Err(cut("what comes again differs from what came before"));
            }
            again.drain(..known);
            let new = &piece[known..read];
            if self.progress.bytes + new.len() as u64 > remote.bytes {
                self.forget()?;
                return Err(wrong(format!("more comes than the {} bytes listed", remote.bytes)));
            }
            self.file.write_all(new).map_err(|error| Step::Ends(NotHere::Disk(error)))?;
            self.progress.bytes += new.len() as u64;
            if !between.pause(Duration::ZERO) {
                return Err(Step::Ends(NotHere::Stopped));
            }
        }
        let (bytes, listed) = (self.progress.bytes, remote.bytes);
        if bytes == listed {
            return Ok(());
        }
        Err(cut(format!("it ends after {bytes} of the {listed} bytes listed")))
    }

    /// Sees whether what comes is the file, and where it begins. Returns what must come again first.
    fn place(&mut self, opened: &Opened, remote: &Remote, from: u64) -> Result<Vec<u8>, Step> {
        if let Some(encoding) = &opened.encoding {
            return Err(wrong(format!(
                "it comes encoded as {encoding:?}, which was not asked for"
            )));
        }
        if opened.media.as_deref().is_some_and(|media| media.starts_with("text/html")) {
            return Err(wrong(
                "a page comes instead: something between here and the registry answers",
            ));
        }
        match opened.status {
            200 => self.start_again(opened, remote),
            206 => {
                let begins = format!("bytes {from}-");
                let ends = format!("/{}", remote.bytes);
                let range = opened.range.as_deref().unwrap_or_default();
                if from > 0 && range.starts_with(&begins) && range.ends_with(&ends) {
                    return self.written_from(from);
                }
                self.forget()?;
                Err(cut(format!("another part comes than was asked for: {range:?}")))
            }
            416 => {
                self.forget()?;
                Err(cut("the server has no such part of it"))
            }
            300..=399 => {
                Err(wrong(format!("status {}: redirects are not followed", opened.status)))
            }
            429 | 500..=599 | 408 => Err(Step::Cut(Cut {
                why: format!("status {}", opened.status),
                after: opened.retry_after,
            })),
            status => Err(wrong(format!("status {status}"))),
        }
    }

    /// Reads what was written from a byte on. What comes next is written behind it.
    fn written_from(&mut self, from: u64) -> Result<Vec<u8>, Step> {
        let mut written = Vec::new();
        self.file
            .seek(SeekFrom::Start(from))
            .and_then(|_| self.file.take(self.progress.bytes - from).read_to_end(&mut written))
            .and_then(|_| self.file.seek(SeekFrom::Start(self.progress.bytes)))
            .map_err(|error| Step::Ends(NotHere::Disk(error)))?;
        Ok(written)
    }

    fn start_again(&mut self, opened: &Opened, remote: &Remote) -> Result<Vec<u8>, Step> {
        self.forget()?;
        self.progress.etag = opened.etag.clone();
        match opened.length.filter(|length| *length != remote.bytes) {
            None => Ok(Vec::new()),
            Some(length) => {
                Err(wrong(format!("it has {length} bytes, {} are listed", remote.bytes)))
            }
        }
    }

    fn forget(&mut self) -> Result<(), Step> {
        let disk = |error| Step::Ends(NotHere::Disk(error));
        *self.progress = Progress::default();
        self.file.set_len(0).map_err(disk)?;
        self.file.seek(SeekFrom::Start(0)).map_err(disk)?;
        Ok(())
    }
}
