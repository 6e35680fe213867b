//! Messages as lines of stderr: JSON for a machine, and lines with a priority for a journal that
//! this build can't speak to.

use std::io::Write;
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use serde_json::Value;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::message::Message;

/// `{"timestamp","level","subsystem","message","fields":{…},"code"}`, one a line.
pub struct JsonLines;

impl<S: Subscriber> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let message = Message::of(event);
        write(&json_line(&message, SystemTime::now()));
    }
}

fn json_line(message: &Message, now: SystemTime) -> String {
    let file = message.meta.file().unwrap_or("unknown");
    let line = JsonLine {
        timestamp: humantime::format_rfc3339_micros(now).to_string(),
        level: message.meta.level().as_str().to_ascii_lowercase(),
        subsystem: message.subsystem(),
        message: &message.words,
        fields: Fields(&message.fields),
        code: format!("{file}:{}", message.meta.line().unwrap_or_default()),
    };
    serde_json::to_string(&line).expect("a line has no value that JSON lacks")
}

#[derive(Serialize)]
struct JsonLine<'a> {
    timestamp: String,
    level: String,
    subsystem: &'a str,
    message: &'a str,
    fields: Fields<'a>,
    code: String,
}

/// The fields in the order in which the message names them.
struct Fields<'a>(&'a [(&'static str, Value)]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// `<4>text`: journald takes the number as the priority (sd-daemon(3)) and adds its own time.
pub struct PrefixedLines;

impl<S: Subscriber> Layer<S> for PrefixedLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let message = Message::of(event);
        write(&format!("<{}>{}: {}", message.priority(), message.subsystem(), message.text()));
    }
}

/// Writes the line in one call, so that lines of several threads don't mix. When stderr is closed,
/// nobody is left to tell.
fn write(line: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}
