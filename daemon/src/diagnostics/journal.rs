//! Messages as entries of systemd's journal, with every field indexed under a name of its own.

use std::path::Path;

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::message::{Message, journal_name, plain};

/// The socket on which journald listens; sd_journal_sendv reports success even where it doesn't.
const SOCKET: &str = "/run/systemd/journal/socket";

pub fn is_there() -> bool {
    Path::new(SOCKET).exists()
}

pub struct Journal;

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let fields = fields(&Message::of(event));
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        // On stderr, journald finds it in the stream that it holds of us.
        if let Err(error) = systemd::journal::send(&fields) {
            eprintln!("<3>the journal took no entry: {error}: {}", fields.join(" "));
        }
    }
}

fn fields(message: &Message) -> Vec<String> {
    let mut fields = vec![
        format!("MESSAGE={}", message.text()),
        format!("PRIORITY={}", message.priority()),
        format!("SYSLOG_IDENTIFIER={}", env!("CARGO_PKG_NAME")),
        format!("SYSLOG_PID={}", std::process::id()),
        format!("SUBSYSTEM={}", message.subsystem()),
        format!("CODE_MODULE={}", message.meta.target()),
    ];
    fields.extend(message.meta.file().map(|file| format!("CODE_FILE={file}")));
    fields.extend(message.meta.line().map(|line| format!("CODE_LINE={line}")));
    for (name, value) in message.fields.iter().filter(|(name, _)| *name != "subsystem") {
        fields.extend(journal_name(name).map(|name| format!("{name}={}", plain(value))));
    }
    fields
}
