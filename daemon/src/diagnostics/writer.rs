//! The thread that writes what is said, to stderr or to the journal. It is the only one that ever waits
//! for whoever reads there.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use tracing::Level;

#[cfg(feature = "journald")]
use super::journal;
use super::lines;
use super::message::Message;
use super::queue::{Entry, Lines};

/// The pause before another attempt at a stderr that somebody has made non-blocking.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// The time that the last line of a process may take.
const LAST_LINE_MAX: Duration = Duration::from_secs(1);

/// The form of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text {
        colour: bool,
    },
    Json,
    /// Lines with a priority.
    Prefixed,
    #[cfg(feature = "journald")]
    Journal,
}

impl Form {
    pub fn entry(self, message: &Message) -> Entry {
        Entry::Line(match self {
            Form::Text { colour } => lines::text(message, SystemTime::now(), colour),
            Form::Json => lines::json(message, SystemTime::now()),
            Form::Prefixed => lines::prefixed(message),
            #[cfg(feature = "journald")]
            Form::Journal => return Entry::Journal(journal::fields(message)),
        })
    }
}

/// Starts the thread, which goes on until the process ends: it may be waiting for a reader that never
/// comes, and nobody waits for it.
///
/// # Errors
/// When the kernel refuses the thread.
pub fn start(form: Form, lines: Lines) -> io::Result<()> {
    // A handle of its own: std's lock on stderr would be held for as long as a reader stalls.
    let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let mut writer = Writer { form, stderr: stderr.ok() };
    let work = move || {
        loop {
            let entry = lines.next();
            if writer.write(entry).is_err() {
                lines.not_written();
            }
        }
    };
    std::thread::Builder::new().name("log-lines".into()).spawn(work).map(drop)
}

/// Writes what a process says last, for so long at most that a reader who stalls doesn't keep it from
/// ending.
pub fn say_last(line: String) {
    let (done, written) = mpsc::channel();
    let line = Arc::new(line);
    let write = |line: &str| {
        let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from).ok();
        // When stderr is closed, nobody is left to tell.
        let _ = Writer { form: Form::Prefixed, stderr }.write_line(line);
    };
    let theirs = line.clone();
    let work = move || {
        write(&theirs);
        let _ = done.send(());
    };
    match std::thread::Builder::new().name("last-line".into()).spawn(work) {
        Ok(_) => drop(written.recv_timeout(LAST_LINE_MAX)),
        // Where no thread can be had, that is what the line is about.
        Err(_) => write(&line),
    }
}

struct Writer {
    form: Form,
    /// None where stderr is closed.
    stderr: Option<File>,
}

impl Writer {
    fn write(&mut self, entry: Entry) -> io::Result<()> {
        match entry {
            Entry::Line(line) => self.write_line(&line),
            #[cfg(feature = "journald")]
            Entry::Journal(fields) => journal::send(&fields).or_else(|error| {
                // On stderr, journald finds it in the stream that it holds of us.
                let fields = fields.join(" ");
                self.write_line(&format!("<3>the journal took no entry: {error}: {fields}\n"))
            }),
            Entry::Lost(lost) => {
                let words = format!("{lost} lines were lost: whoever reads them did not keep up");
                let message = Message::new(Level::WARN, module_path!(), words);
                self.write(self.form.entry(&message))
            }
        }
    }

    fn write_line(&mut self, line: &str) -> io::Result<()> {
        let Some(stderr) = &mut self.stderr else { return Err(ErrorKind::BrokenPipe.into()) };
        let mut left = line.as_bytes();
        while !left.is_empty() {
            match stderr.write(left) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(RETRY_INTERVAL);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
