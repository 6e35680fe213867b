//! The output of the daemon's own messages: which of them are written, and in which form.

use std::io::IsTerminal;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

#[cfg(feature = "journald")]
use super::journal;
use super::message::Message;
use super::panics;
use super::queue::Lines;
use super::rate_limit::{RateLimit, Summaries};
use super::writer::{self, Form};
use crate::os;

/// What is said last has so long to be written when the daemon has ended.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The messages that are written; each level holds the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MessageLevel {
    Error,
    Warn,
    Info,
    Debug,
}

impl From<MessageLevel> for LevelFilter {
    fn from(level: MessageLevel) -> LevelFilter {
        match level {
            MessageLevel::Error => LevelFilter::ERROR,
            MessageLevel::Warn => LevelFilter::WARN,
            MessageLevel::Info => LevelFilter::INFO,
            MessageLevel::Debug => LevelFilter::DEBUG,
        }
    }
}

/// The form in which messages are written to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MessageFormat {
    /// What suits where stderr goes
    Auto,
    /// Lines for a person
    Text,
    /// One JSON object per line
    Json,
    /// For systemd's journal
    Journal,
}

/// Where stderr goes.
#[derive(Clone, Copy, Debug, Default)]
struct Stderr {
    terminal: bool,
    journal: bool,
    /// The user wants no colours: <https://no-color.org>, or the terminal has none.
    plain: bool,
}

impl Stderr {
    fn look() -> Stderr {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Stderr {
            terminal: std::io::stderr().is_terminal(),
            journal: stderr_is_the_journal(),
            plain: set("NO_COLOR").is_some() || set("TERM").is_some_and(|term| term == "dumb"),
        }
    }
}

fn choose(asked: MessageFormat, stderr: Stderr) -> Form {
    match asked {
        MessageFormat::Journal => for_the_journal(),
        MessageFormat::Json => Form::Json,
        MessageFormat::Text => Form::Text { colour: stderr.terminal && !stderr.plain },
        MessageFormat::Auto if stderr.journal => for_the_journal(),
        MessageFormat::Auto if stderr.terminal => Form::Text { colour: !stderr.plain },
        MessageFormat::Auto => Form::Json,
    }
}

fn for_the_journal() -> Form {
    #[cfg(feature = "journald")]
    if journal::is_there() {
        return Form::Journal;
    }
    Form::Prefixed
}

/// Gives every message to the writer, in one form.
struct Speaker {
    form: Form,
    lines: Lines,
}

impl<S: Subscriber> Layer<S> for Speaker {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.lines.say(self.form.entry(&Message::of(event)));
    }
}

/// The output is open until this is dropped; then the last summaries are written, and what is left of
/// the lines for as long as `FLUSH_MAX`.
#[must_use]
pub struct LogOutput {
    // Dropped in this order: the summaries are lines too.
    _summaries: Summaries,
    last: LastLines,
}

impl LogOutput {
    /// The queue that everything said goes through.
    pub fn lines(&self) -> Lines {
        self.last.0.clone()
    }
}

struct LastLines(Lines);

impl Drop for LastLines {
    fn drop(&mut self) {
        self.0.flush(FLUSH_MAX);
    }
}

/// Opens the output for the whole process, panics included. Its threads inherit the caller's signal
/// mask.
///
/// # Errors
/// When one of them can't be started.
pub fn init(level: MessageLevel, format: MessageFormat) -> std::io::Result<LogOutput> {
    let (form, lines) = (choose(format, Stderr::look()), Lines::default());
    writer::start(form, lines.clone())?;
    let (limit, summaries) = RateLimit::start()?;
    tracing_subscriber::registry()
        .with(Speaker { form, lines: lines.clone() })
        .with(limit)
        .with(LevelFilter::from(level))
        .init();
    panics::say(form, lines.clone());
    Ok(LogOutput { _summaries: summaries, last: LastLines(lines) })
}

/// Whether stderr is the stream that systemd connected to the journal. The variable alone says
/// nothing: a child whose stderr goes elsewhere inherits it (systemd.exec(5)).
pub fn stderr_is_the_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    os::stderr_file().is_some_and(|file| names_file(&stream, file))
}

/// `device:inode` in decimal.
fn names_file(stream: &str, (device, inode): (u64, u64)) -> bool {
    stream == format!("{device}:{inode}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_suits_where_stderr_goes() {
        let nowhere = Stderr::default();
        let terminal = Stderr { terminal: true, ..nowhere };
        let journal = Stderr { journal: true, ..nowhere };
        let plain = Stderr { plain: true, ..terminal };
        for (asked, stderr, expected) in [
            (MessageFormat::Auto, nowhere, Form::Json),
            (MessageFormat::Auto, terminal, Form::Text { colour: true }),
            (MessageFormat::Auto, plain, Form::Text { colour: false }),
            (MessageFormat::Auto, journal, Form::Prefixed),
            (MessageFormat::Text, nowhere, Form::Text { colour: false }),
            (MessageFormat::Text, journal, Form::Text { colour: false }),
            (MessageFormat::Text, terminal, Form::Text { colour: true }),
            (MessageFormat::Json, terminal, Form::Json),
            (MessageFormat::Journal, terminal, Form::Prefixed),
        ] {
            assert_eq!(choose(asked, stderr), expected, "{asked:?} on {stderr:?}");
        }
    }

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(names_file("9:48733", (9, 48733)));
        for other in ["", "9", "9:", ":48733", "9:4873", "9:48733 ", "09:48733", "8:48733"] {
            assert!(!names_file(other, (9, 48733)), "{other:?}");
        }
    }
}
