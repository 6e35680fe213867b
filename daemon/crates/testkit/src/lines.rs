//! The lines of a daemon's log, read as they come by a thread of their own. It knows no line's meaning.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Lines that are kept; older ones are dropped.
const KEPT_MAX: usize = 2_000;

/// Lines that are shown with a failure.
const SHOWN_MAX: usize = 20;

/// What is called with each line, on the reader's thread.
pub type OnLine = Box<dyn Fn(&str) + Send>;

pub struct Lines {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

/// Why a line did not come.
#[derive(Debug, PartialEq, Eq)]
pub enum Missing {
    /// The log has ended.
    Ended,
    Late,
}

#[derive(Default)]
struct Shared {
    log: Mutex<Log>,
    changed: Condvar,
}

#[derive(Default)]
struct Log {
    kept: VecDeque<String>,
    dropped: usize,
    ended: bool,
}

impl Lines {
    pub fn read(
        from: impl Read + Send + 'static,
        on_line: Option<OnLine>,
    ) -> std::io::Result<Lines> {
        let shared = Arc::new(Shared::default());
        let to = shared.clone();
        let reader = std::thread::Builder::new().name("daemon-log".into()).spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                if let Some(on_line) = &on_line {
                    on_line(&line);
                }
                to.add(line);
            }
            to.lock().ended = true;
            to.changed.notify_all();
        })?;
        Ok(Lines { shared, reader: Some(reader) })
    }

    /// Waits for a line that holds `text`, from line number `first` on; returns it and its number.
    pub fn wait_for(
        &self,
        text: &str,
        first: usize,
        limit: Duration,
    ) -> Result<(String, usize), Missing> {
        let deadline = Instant::now() + limit;
        let mut next = first;
        let mut log = self.shared.lock();
        loop {
            let skip = next.saturating_sub(log.dropped);
            let mut unread = log.kept.iter().skip(skip).zip(log.dropped + skip..);
            if let Some((line, number)) = unread.find(|(line, _)| line.contains(text)) {
                return Ok((line.clone(), number));
            }
            if log.ended {
                return Err(Missing::Ended);
            }
            next = log.dropped + log.kept.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Missing::Late);
            }
            let waited = self.shared.changed.wait_timeout(log, left);
            log = waited.expect("no holder of the lines panics").0;
        }
    }

    /// The newest lines, for a failure's report.
    pub fn last(&self) -> String {
        let log = self.shared.lock();
        let skip = log.kept.len().saturating_sub(SHOWN_MAX);
        let lines: Vec<&str> = log.kept.iter().skip(skip).map(String::as_str).collect();
        lines.join("\n    ")
    }

    /// Waits for the end of the log.
    pub fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            // One that panicked has said so.
            let _ = reader.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no holder of the lines panics")
    }

    fn add(&self, line: String) {
        let mut log = self.lock();
        if log.kept.len() == KEPT_MAX {
            log.kept.pop_front();
            log.dropped += 1;
        }
        log.kept.push_back(line);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn a_line_is_found_by_its_text_from_a_number_on() {
        let mut lines = Lines::read(&b"one\ntwo\none more\n"[..], None).unwrap();
        lines.join();
        assert_eq!(lines.wait_for("one", 0, SHORT), Ok(("one".into(), 0)));
        assert_eq!(lines.wait_for("one", 1, SHORT), Ok(("one more".into(), 2)));
        assert_eq!(lines.wait_for("one", 3, SHORT), Err(Missing::Ended));
        assert_eq!(lines.last(), "one\n    two\n    one more");
    }

    #[test]
    fn numbers_count_the_lines_that_were_dropped() {
        let text = (0..KEPT_MAX + 3).map(|number| format!("line {number};\n")).collect::<String>();
        let mut lines = Lines::read(std::io::Cursor::new(text), None).unwrap();
        lines.join();
        assert_eq!(lines.wait_for("line 2;", 0, SHORT), Err(Missing::Ended));
        assert_eq!(lines.wait_for("line 3;", 0, SHORT), Ok(("line 3;".into(), 3)));
        let last = format!("line {};", KEPT_MAX + 2);
        assert_eq!(lines.wait_for(&last, 2_000, SHORT), Ok((last.clone(), KEPT_MAX + 2)));
    }

    #[test]
    fn a_line_that_comes_late_is_waited_for_and_one_that_never_comes_is_not() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let lines = Lines::read(reader, None).unwrap();
        assert_eq!(lines.wait_for("there", 0, SHORT), Err(Missing::Late));
        std::io::Write::write_all(&mut writer, b"there\n").unwrap();
        assert_eq!(lines.wait_for("there", 0, crate::PATIENCE), Ok(("there".into(), 0)));
    }
}
