//! Messages as lines: for a person, as JSON for a machine, and with a priority for a journal that this
//! build can't speak to. It doesn't know where lines go.

use std::time::SystemTime;

use picket_base::rfc3339::{self, Precision};
use picket_base::{printable, printable_json};
use serde::{Serialize, Serializer};
use tracing::Level;

use super::message::{Message, Said};

/// `2026-11-27T11:16:10.123456Z  INFO picket::room: words name="value"`
pub fn text(message: &Message, now: SystemTime, colour: bool) -> String {
    let Message { level, target, .. } = message;
    let time = rfc3339::format(now, Precision::Micros);
    let (level_text, words) = (level.as_str(), message.quoted_text());
    if !colour {
        return format!("{time} {level_text:>5} {target}: {words}\n");
    }
    let paint = match *level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    };
    format!(
        "\x1b[2m{time}\x1b[0m \x1b[{paint}m{level_text:>5}\x1b[0m \x1b[2m{target}:\x1b[0m {words}\n"
    )
}

/// `{"timestamp","level","subsystem","message","fields":{…},"code"}`. What a viewer would obey is
/// escaped in JSON's own way, so that the text is the same once it is read.
pub fn json(message: &Message, now: SystemTime) -> String {
    let (file, line) = message.code;
    let line = JsonLine {
        timestamp: rfc3339::format(now, Precision::Micros),
        level: message.level.as_str().to_ascii_lowercase(),
        subsystem: message.subsystem(),
        message: &message.words,
        fields: Fields(&message.fields),
        code: format!("{file}:{line}"),
    };
    let json = serde_json::to_string(&line).expect("a line has no value that JSON lacks");
    printable_json(&json) + "\n"
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
struct Fields<'a>(&'a [Said]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|field| (field.name, &field.value)))
    }
}

/// `<4>text`: journald takes the number as the priority (sd-daemon(3)) and adds its own time.
pub fn prefixed(message: &Message) -> String {
    let subsystem = printable(message.subsystem());
    format!("<{}>{subsystem}: {}\n", message.priority(), message.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_lets_outside_text_command_a_terminal_or_forge_a_line() {
        let hostile = "a\x1b[31m\n<0>forged\u{9b}2J\u{202e}\u{200b}";
        let mut message = Message::new(Level::WARN, "picket::life", hostile);
        for (name, quoted) in [("error", false), ("file", true)] {
            message.fields.push(Said { name, value: hostile.into(), quoted });
        }
        let now = SystemTime::UNIX_EPOCH;
        for line in [text(&message, now, false), json(&message, now), prefixed(&message)] {
            let line = line.strip_suffix('\n').unwrap();
            assert!(!line.chars().any(picket_base::is_obeyed), "{line:?}");
        }
        let read: serde_json::Value = serde_json::from_str(&json(&message, now)).unwrap();
        assert_eq!(read["message"], hostile);
        assert_eq!(read["fields"]["file"], hostile);
        assert_eq!(text(&message, now, true).matches('\x1b').count(), 6, "its own colours alone");
    }
}
