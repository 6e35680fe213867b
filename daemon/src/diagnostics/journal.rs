//! Messages as entries of systemd's journal, with every field indexed under a name of its own.

use std::path::Path;

use picket_base::printable;

use super::message::{Message, Said, journal_name, plain};

/// The socket on which journald listens; sd_journal_sendv reports success even where it doesn't.
const SOCKET: &str = "/run/systemd/journal/socket";

pub fn is_there() -> bool {
    Path::new(SOCKET).exists()
}

/// Sends an entry, and waits for as long as journald's socket is full.
///
/// # Errors
/// When journald takes no entry.
pub fn send(fields: &[String]) -> std::io::Result<()> {
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    systemd::journal::send(&fields).map_err(std::io::Error::other)
}

pub fn fields(message: &Message) -> Vec<String> {
    let (file, line) = message.code;
    let mut fields = vec![
        format!("MESSAGE={}", message.text()),
        format!("PRIORITY={}", message.priority()),
        format!("SYSLOG_IDENTIFIER={}", env!("CARGO_PKG_NAME")),
        format!("SYSLOG_PID={}", std::process::id()),
        format!("SUBSYSTEM={}", printable(message.subsystem())),
        format!("CODE_MODULE={}", message.target),
        format!("CODE_FILE={file}"),
        format!("CODE_LINE={line}"),
    ];
    for Said { name, value, .. } in message.fields.iter().filter(|said| said.name != "subsystem") {
        let value = printable(&plain(value));
        fields.extend(journal_name(name).map(|name| format!("{name}={value}")));
    }
    fields
}
