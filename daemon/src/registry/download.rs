//! Brings a file here whole, over links that drop: it goes on where it was cut, and what comes must be what
//! was listed. What is refused is refused for good; what is cut is tried again.

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

/// Why a file is not here.
#[derive(Debug, thiserror::Error)]
pub enum NotHere {
    /// What the server sends is not the file, whenever it is asked.
    #[error("{0}")]
    Wrong(String),
    /// It was cut too often.
    #[error("{0}")]
    Cut(String),
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

/// Downloads a file to `path`.
///
/// # Errors
/// As `NotHere`.
pub fn download(
    client: &Client,
    credentials: &Credentials,
    remote: &Remote,
    path: &Path,
    between: &dyn Between,
) -> Result<(), NotHere> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(path)
        .map_err(NotHere::Disk)?;
    let mut part = Part { file: &mut file, bytes: 0, etag: None };
    let mut attempts = 0;
    loop {
        let before = part.bytes;
        let cut = match part.fetch(client, credentials, remote, between) {
            Ok(()) => return file.sync_all().map_err(NotHere::Disk),
            Err(Step::Ends(why)) => return Err(why),
            Err(Step::Cut(cut)) => cut,
        };
        attempts = if part.bytes > before { 0 } else { attempts + 1 };
        if attempts >= ATTEMPTS_MAX {
            let (bytes, all) = (part.bytes, remote.bytes);
            return Err(NotHere::Cut(format!("{bytes} of {all} bytes came: {}", cut.why)));
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
    bytes: u64,
    /// By which the server tells that it is the same file still.
    etag: Option<String>,
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
    Step::Ends(NotHere::Wrong(why.to_string()))
}

impl Part<'_> {
    fn fetch(
        &mut self,
        client: &Client,
        credentials: &Credentials,
        remote: &Remote,
        between: &dyn Between,
    ) -> Result<(), Step> {
        let from = Some(self.bytes).filter(|bytes| *bytes > 0);
        let opened = client.open(&remote.uri, credentials, from, self.etag.as_deref());
        let mut opened = opened.map_err(cut)?;
        self.place(&opened, remote)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            between.beat();
            let read = match opened.body.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => return Err(cut(error)),
            };
            if self.bytes + read as u64 > remote.bytes {
                return Err(wrong(format!("more comes than the {} bytes listed", remote.bytes)));
            }
            self.file
                .write_all(&piece[..read])
                .map_err(|error| Step::Ends(NotHere::Disk(error)))?;
            self.bytes += read as u64;
            if !between.pause(Duration::ZERO) {
                return Err(Step::Ends(NotHere::Stopped));
            }
        }
        if self.bytes == remote.bytes {
            return Ok(());
        }
        Err(cut(format!("it ends after {} of the {} bytes listed", self.bytes, remote.bytes)))
    }

    /// Sees whether what comes is the file, and where it begins.
    fn place(&mut self, opened: &Opened, remote: &Remote) -> Result<(), Step> {
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
                let begins = format!("bytes {}-", self.bytes);
                let ends = format!("/{}", remote.bytes);
                let range = opened.range.as_deref().unwrap_or_default();
                if range.starts_with(&begins) && range.ends_with(&ends) {
                    return Ok(());
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

    fn start_again(&mut self, opened: &Opened, remote: &Remote) -> Result<(), Step> {
        self.forget()?;
        self.etag = opened.etag.clone();
        match opened.length.filter(|length| *length != remote.bytes) {
            None => Ok(()),
            Some(length) => {
                Err(wrong(format!("it has {length} bytes, {} are listed", remote.bytes)))
            }
        }
    }

    fn forget(&mut self) -> Result<(), Step> {
        let disk = |error| Step::Ends(NotHere::Disk(error));
        (self.bytes, self.etag) = (0, None);
        self.file.set_len(0).map_err(disk)?;
        self.file.seek(SeekFrom::Start(0)).map_err(disk)?;
        Ok(())
    }
}
