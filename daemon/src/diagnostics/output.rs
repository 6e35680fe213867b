//! The output of the daemon's own messages: which of them are written, and in which form.

use std::io::IsTerminal;

use clap::ValueEnum;
use serde::Deserialize;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[cfg(feature = "journald")]
use super::journal;
use super::lines::{JsonLines, PrefixedLines};
use super::rate_limit::{RateLimit, Summaries};
use crate::os;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text { colour: bool },
    Json,
    Journal,
}

impl Form {
    fn choose(asked: MessageFormat, stderr: Stderr) -> Form {
        match asked {
            MessageFormat::Journal => Form::Journal,
            MessageFormat::Json => Form::Json,
            MessageFormat::Text => Form::Text { colour: stderr.terminal && !stderr.plain },
            MessageFormat::Auto if stderr.journal => Form::Journal,
            MessageFormat::Auto if stderr.terminal => Form::Text { colour: !stderr.plain },
            MessageFormat::Auto => Form::Json,
        }
    }

    fn layer(self) -> Box<dyn Layer<tracing_subscriber::Registry> + Send + Sync> {
        match self {
            Form::Text { colour } => tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(colour)
                .boxed(),
            Form::Json => JsonLines.boxed(),
            #[cfg(feature = "journald")]
            Form::Journal if journal::is_there() => journal::Journal.boxed(),
            Form::Journal => PrefixedLines.boxed(),
        }
    }
}

/// The output is open until this is dropped; then the last summaries are written.
#[must_use]
pub struct LogOutput {
    _summaries: Summaries,
}

/// Opens the output for the whole process. The thread that sums up suppressed messages inherits the
/// caller's signal mask.
///
/// # Errors
/// When that thread can't be started.
pub fn init(level: MessageLevel, format: MessageFormat) -> std::io::Result<LogOutput> {
    let (limit, summaries) = RateLimit::start()?;
    tracing_subscriber::registry()
        .with(Form::choose(format, Stderr::look()).layer())
        .with(limit)
        .with(LevelFilter::from(level))
        .init();
    Ok(LogOutput { _summaries: summaries })
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
            (MessageFormat::Auto, journal, Form::Journal),
            (MessageFormat::Text, nowhere, Form::Text { colour: false }),
            (MessageFormat::Text, journal, Form::Text { colour: false }),
            (MessageFormat::Text, terminal, Form::Text { colour: true }),
            (MessageFormat::Json, terminal, Form::Json),
            (MessageFormat::Journal, terminal, Form::Journal),
        ] {
            assert_eq!(Form::choose(asked, stderr), expected, "{asked:?} on {stderr:?}");
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
