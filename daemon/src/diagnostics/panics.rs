//! What a panic says. It goes the way of every other line: a panic that waited for the reader of stderr
//! would take its thread along.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::time::Duration;

use tracing::Level;

use super::message::Message;
use super::queue::Lines;
use super::writer::Form;

/// A panic waits this long for its text to be written: it may be the last that the process does.
const FLUSH_MAX: Duration = Duration::from_millis(200);

/// Has every panic said by way of `lines`.
pub fn say(form: Form, lines: Lines) {
    std::panic::set_hook(Box::new(move |info| {
        // No event: whatever panicked may hold a lock of those that pass events on.
        for words in text(info) {
            lines.say(form.entry(&Message::new(Level::ERROR, module_path!(), words)));
        }
        lines.flush(FLUSH_MAX);
    }));
}

/// What std's own hook says, and the backtrace where the environment asks for one.
fn text(info: &PanicHookInfo<'_>) -> Vec<String> {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let place = info.location().map_or_else(|| "an unknown place".into(), ToString::to_string);
    let words = info.payload_as_str().unwrap_or("a value that is no text");
    let mut text = vec![format!("thread '{name}' panicked at {place}: {words}")];
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text.extend(backtrace.to_string().lines().map(str::to_string));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::queue::Entry;
    use super::*;

    #[test]
    fn a_panic_says_where_and_why_and_waits_for_no_reader() {
        let lines = Lines::default();
        let before = std::panic::take_hook();
        say(Form::Prefixed, lines.clone());
        let thread = std::thread::Builder::new().name("worker-0".into());
        let ended = thread.spawn(|| panic!("as it\nmust not")).unwrap().join();
        std::panic::set_hook(before);
        assert!(ended.is_err());
        let Entry::Line(line) = lines.next() else { panic!("it is a line") };
        let (start, end) =
            ("<3>diagnostics: thread 'worker-0' panicked at ", ": as it\\nmust not\n");
        assert!(line.starts_with(start) && line.ends_with(end), "{line}");
    }
}
