//! One message taken apart: its text, its fields, the room that it comes from.

use std::error::Error;
use std::fmt::{Debug, Write};

use picket_base::printable;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// The longest field name that the journal keeps, bytes; `data_field_is_valid` in its sources.
#[cfg(feature = "journald")]
const JOURNAL_NAME_BYTES_MAX: usize = 64;

/// Other names for those that have a meaning of their own in the journal, systemd.journal-fields(7),
/// and for those that would be unclear in the journal of a whole machine.
#[cfg(feature = "journald")]
const JOURNAL_NAMES: [(&str, &str); 10] = [
    ("digest", "MODEL_DIGEST"),
    ("message", "FIELD_MESSAGE"),
    ("message_id", "FIELD_MESSAGE_ID"),
    ("priority", "FIELD_PRIORITY"),
    ("errno", "FIELD_ERRNO"),
    ("unit", "FIELD_UNIT"),
    ("documentation", "FIELD_DOCUMENTATION"),
    ("invocation_id", "FIELD_INVOCATION_ID"),
    ("tid", "FIELD_TID"),
    ("target", "FIELD_TARGET"),
];

pub struct Message {
    pub level: Level,
    /// The module that speaks.
    pub target: &'static str,
    /// File and line of the code that speaks.
    pub code: (&'static str, u32),
    /// What it says, without its fields.
    pub words: String,
    pub fields: Vec<Said>,
}

/// A field of a message.
pub struct Said {
    pub name: &'static str,
    pub value: Value,
    /// It is text of its own, rather than a value in its own form.
    pub quoted: bool,
}

impl Message {
    pub fn of(event: &Event<'_>) -> Message {
        let meta = event.metadata();
        let code = (meta.file().unwrap_or("unknown"), meta.line().unwrap_or_default());
        let mut message = Message { code, ..Message::new(*meta.level(), meta.target(), "") };
        event.record(&mut message);
        message
    }

    /// A message that no event carries.
    pub fn new(level: Level, target: &'static str, words: impl Into<String>) -> Message {
        let code = ("unknown", 0);
        Message { level, target, code, words: words.into(), fields: Vec::new() }
    }

    /// The room that speaks: the field `subsystem` where the message has one, else the module.
    pub fn subsystem(&self) -> &str {
        let named = self.fields.iter().find(|field| field.name == "subsystem");
        named.and_then(|field| field.value.as_str()).unwrap_or_else(|| room(self.target))
    }

    /// The text for a person, on one line: the words, then the fields.
    pub fn text(&self) -> String {
        let mut text = self.words.clone();
        for Said { name, value, .. } in &self.fields {
            let _ = write!(text, " {name}={}", plain(value));
        }
        // Escaped, a line break starts no entry of its own.
        printable(&text)
    }

    /// The same with text of its own in quotes.
    pub fn quoted_text(&self) -> String {
        let mut text = self.words.clone();
        for Said { name, value, quoted } in &self.fields {
            let _ = match value.as_str().filter(|_| *quoted) {
                Some(value) => write!(text, " {name}={value:?}"),
                None => write!(text, " {name}={}", plain(value)),
            };
        }
        printable(&text)
    }

    /// Syslog's severity, 0 the worst.
    pub fn priority(&self) -> u8 {
        match self.level {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        }
    }
}

/// The room that a target belongs to: `picket::http::listener` speaks for `http`, the crate
/// `picket_records` for `records`, any other crate for itself.
pub fn room(target: &str) -> &str {
    let mut parts = target.split("::");
    let krate = parts.next().unwrap_or_default();
    if krate == env!("CARGO_PKG_NAME") {
        return parts.next().unwrap_or(krate);
    }
    krate.strip_prefix(concat!(env!("CARGO_PKG_NAME"), "_")).unwrap_or(krate)
}

/// Text without the quotes that JSON puts around it.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// A field's name as the journal takes it: capitals, digits and underscores, no underscore in
/// front (those names are journald's own), no digit in front, at most 64 bytes. None when nothing
/// is left.
#[cfg(feature = "journald")]
pub fn journal_name(name: &str) -> Option<String> {
    if let Some((_, reserved)) = JOURNAL_NAMES.iter().find(|(ours, _)| *ours == name) {
        return Some((*reserved).to_string());
    }
    let upper: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    let mut clean = upper.trim_matches('_').to_string();
    let own = ["CODE_", "SYSLOG_", "OBJECT_", "COREDUMP_"];
    let digit = clean.starts_with(|c: char| c.is_ascii_digit());
    if digit || own.iter().any(|prefix| clean.starts_with(prefix)) {
        clean.insert_str(0, "FIELD_");
    }
    clean.truncate(JOURNAL_NAME_BYTES_MAX);
    (!clean.is_empty()).then_some(clean)
}

impl Message {
    fn push(&mut self, field: &Field, value: Value) {
        self.say(field, value, false);
    }

    fn say(&mut self, field: &Field, value: Value, quoted: bool) {
        if field.name() == "message" {
            self.words = plain(&value);
        } else {
            self.fields.push(Said { name: field.name(), value, quoted });
        }
    }
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.push(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.say(field, value.into(), true);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.into());
    }

    /// Milliseconds, mostly: JSON's numbers have room for them.
    fn record_u128(&mut self, field: &Field, value: u128) {
        let value = u64::try_from(value).map_or_else(|_| value.to_string().into(), Value::from);
        self.push(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.push(field, picket_base::chain(value).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lines(std::sync::Mutex<Vec<String>>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for &'static Lines {
        fn on_event(&self, event: &Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.lock().unwrap().push(Message::of(event).text());
        }
    }

    #[test]
    fn a_message_is_one_line_whatever_it_repeats() {
        use tracing_subscriber::layer::SubscriberExt;
        static LINES: Lines = Lines(std::sync::Mutex::new(Vec::new()));
        let cause = std::io::Error::other("disk\nPRIORITY=0");
        let error: &(dyn Error + 'static) = &cause;
        tracing::subscriber::with_default(tracing_subscriber::registry().with(&LINES), || {
            tracing::info!(error, bytes = 12u128, ok = true, "a\r\nline \x1b[31m");
        });
        let expected = "a\\r\\nline \\u{1b}[31m error=disk\\nPRIORITY=0 bytes=12 ok=true";
        assert_eq!(*LINES.0.lock().unwrap(), [expected]);
    }

    #[test]
    fn the_room_that_speaks_is_the_module() {
        assert_eq!(room("picket::http::server"), "http");
        assert_eq!(room("picket::registry"), "registry");
        assert_eq!(room("picket_records::recovery"), "records");
        assert_eq!(room("picket"), "picket");
        assert_eq!(room("warp::server"), "warp");
        assert_eq!(room("picketing::x"), "picketing");
    }

    #[cfg(feature = "journald")]
    #[test]
    fn the_journal_takes_every_name_that_it_gets() {
        for (name, expected) in [
            ("error", Some("ERROR")),
            ("prediction_id", Some("PREDICTION_ID")),
            ("digest", Some("MODEL_DIGEST")),
            ("listener.addr", Some("LISTENER_ADDR")),
            ("_pid", Some("PID")),
            ("2fast", Some("FIELD_2FAST")),
            ("priority", Some("FIELD_PRIORITY")),
            ("code_file", Some("FIELD_CODE_FILE")),
            ("größe", Some("GR__E")),
            ("___", None),
        ] {
            assert_eq!(journal_name(name).as_deref(), expected, "{name}");
        }
        assert_eq!(journal_name(&"x".repeat(100)).map(|name| name.len()), Some(64));
    }
}
