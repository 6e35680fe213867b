//! Messages as entries of systemd's journal, with every field indexed under a name of its own.

use std::path::Path;

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::entry::{Entry, journal_name, plain};

/// Where journald listens; sd_journal_sendv says success when it doesn't.
const SOCKET: &str = "/run/systemd/journal/socket";

pub fn is_there() -> bool {
    Path::new(SOCKET).exists()
}

pub struct Journal;

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let fields = fields(&Entry::of(event));
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        // On stderr, journald finds it in the stream that it holds of us.
        if let Err(error) = systemd::journal::send(&fields) {
            eprintln!("<3>the journal took no entry: {error}: {}", fields.join(" "));
        }
    }
}

fn fields(entry: &Entry) -> Vec<String> {
    let mut fields = vec![
        format!("MESSAGE={}", entry.text()),
        format!("PRIORITY={}", entry.priority()),
        format!("SYSLOG_IDENTIFIER={}", env!("CARGO_PKG_NAME")),
        format!("SYSLOG_PID={}", std::process::id()),
        format!("SUBSYSTEM={}", entry.subsystem()),
        format!("CODE_MODULE={}", entry.meta.target()),
    ];
    fields.extend(entry.meta.file().map(|file| format!("CODE_FILE={file}")));
    fields.extend(entry.meta.line().map(|line| format!("CODE_LINE={line}")));
    for (name, value) in entry.fields.iter().filter(|(name, _)| *name != "subsystem") {
        fields.extend(journal_name(name).map(|name| format!("{name}={}", plain(value))));
    }
    fields
}
