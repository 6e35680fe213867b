//! The queue between whoever says something and the thread that writes it. Saying never waits: what
//! finds the queue full is lost, counted, and said to be once there is room. It doesn't know how an
//! entry is written.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Entries that may wait to be written, bytes: some 1,500 lines.
const WAITING_BYTES_MAX: usize = 256 << 10;

/// What an entry takes beside its text, bytes.
const ENTRY_BYTES: usize = 64;

/// What waits to be written.
#[derive(Debug, PartialEq)]
pub enum Entry {
    /// One line for stderr.
    Line(String),
    /// An entry of the journal, by its fields.
    #[cfg(feature = "journald")]
    Journal(Vec<String>),
    /// So many entries were lost here.
    Lost(u64),
}

impl Entry {
    fn bytes(&self) -> usize {
        ENTRY_BYTES
            + match self {
                Entry::Line(line) => line.len(),
                #[cfg(feature = "journald")]
                Entry::Journal(fields) => fields.iter().map(|f| f.len() + ENTRY_BYTES / 2).sum(),
                Entry::Lost(_) => 0,
            }
    }
}

#[derive(Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The writer has one in hand.
    writing: bool,
    lost: u64,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    written: Condvar,
}

/// A handle on the queue, for anyone who says something and for the writer.
#[derive(Clone, Default)]
pub struct Lines(Arc<Shared>);

impl Lines {
    /// Queues an entry behind those before it, or loses it where there is no room.
    pub fn say(&self, entry: Entry) {
        let mut waiting = self.lock();
        let bytes = entry.bytes();
        if waiting.bytes + bytes <= WAITING_BYTES_MAX {
            waiting.bytes += bytes;
            waiting.entries.push_back(entry);
        } else {
            waiting.lost += 1;
            match waiting.entries.back_mut() {
                Some(Entry::Lost(lost)) => *lost += 1,
                // Beyond the room, once for each time that it is used up.
                _ => {
                    waiting.bytes += ENTRY_BYTES;
                    waiting.entries.push_back(Entry::Lost(1));
                }
            }
        }
        drop(waiting);
        self.0.arrived.notify_one();
    }

    /// Returns how many entries were lost so far.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Waits until everything said so far is written, for so long at most; false when it is not.
    pub fn flush(&self, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        let mut waiting = self.lock();
        while waiting.writing || !waiting.entries.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.0.written.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits for the next entry; it is in the writer's hand until the next call.
    pub(super) fn next(&self) -> Entry {
        let mut waiting = self.lock();
        waiting.writing = false;
        loop {
            if let Some(entry) = waiting.entries.pop_front() {
                waiting.bytes -= entry.bytes();
                waiting.writing = true;
                return entry;
            }
            self.0.written.notify_all();
            waiting = self.0.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Counts an entry that could not be written.
    pub(super) fn not_written(&self) {
        self.lock().lost += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize) -> Entry {
        Entry::Line(format!("{number:01000}"))
    }

    #[test]
    fn saying_never_waits_and_what_is_lost_is_said_in_its_place() {
        let lines = Lines::default();
        let room = WAITING_BYTES_MAX / (1_000 + ENTRY_BYTES);
        (0..room + 7).for_each(|number| lines.say(line(number)));
        assert_eq!(lines.lost(), 7);
        assert!(!lines.flush(Duration::from_millis(1)), "nobody writes");
        assert!((0..room / 2).all(|number| lines.next() == line(number)));
        lines.say(line(room + 7));
        assert!((room / 2..room).all(|number| lines.next() == line(number)));
        assert_eq!(lines.next(), Entry::Lost(7));
        assert_eq!(lines.next(), line(room + 7), "in order");
        assert_eq!(lines.lost(), 7);
    }

    #[test]
    fn the_room_is_all_there_again_once_everything_is_written() {
        let lines = Lines::default();
        for _ in 0..3 {
            (0..1_000).for_each(|number| lines.say(line(number)));
            while !lines.lock().entries.is_empty() {
                lines.next();
            }
            assert_eq!(lines.lock().bytes, 0);
        }
        let writer = std::thread::spawn({
            let lines = lines.clone();
            move || while lines.next() != Entry::Lost(0) {}
        });
        assert!(lines.flush(Duration::from_secs(30)));
        lines.say(Entry::Lost(0));
        writer.join().unwrap();
    }
}
