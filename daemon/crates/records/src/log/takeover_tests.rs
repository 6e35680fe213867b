//! Stores of 0.1 that are taken over: whatever is in them keeps its number and its link, at whatever moment
//! the process is killed.

use std::path::{Path, PathBuf};

use super::position::Stream;
use super::proof::{Testimony, Witness};
use super::reading::StoppedLog;
use super::sizes::Limits;
use super::staged::Group;
use super::store::Log;
use super::trouble::Trouble;
use crate::LogError;
use crate::before::{self, Climb, LogReader, PredictionLog, Retention};
use crate::marks::BatchName;
use crate::record::LogRecord;
use crate::record::tests::{origin, predicted, reported};
use picket_base::clock::Stamp;

const RECORDS: u64 = 9_000;

/// The batch of the newest three records.
fn batch_name() -> BatchName {
    BatchName::new(Some("cam-07"), "41")
}

fn open_before(dir: &Path, max_records: u64) -> PredictionLog {
    let retention = Retention { max_records, max_bytes: u64::MAX, max_age: None };
    PredictionLog::open(dir, retention, &LogReader::new(), Climb::Quarantine).unwrap()
}

/// An old store whose retention has taken the oldest records, and whose newest are in its journal.
fn old_store(dir: &Path) -> (Vec<LogRecord>, before::VerifyReport) {
    let mut log = open_before(dir, RECORDS - 500);
    for round in 0..RECORDS / 100 {
        let own: Vec<_> = (0..60).map(|c| predicted(&origin("edge-01"), c % 10, c > 8)).collect();
        let others: Vec<_> = (0..40).map(|_| reported(&origin("cam-07"), "a note")).collect();
        log.append(&[&own, &others]).unwrap();
        log.commit().unwrap();
        if round % 20 == 0 {
            log.checkpoint().unwrap();
        }
    }
    let others: Vec<_> = (0..3).map(|_| reported(&origin("cam-07"), "a note")).collect();
    let batch = before::Group { entries: &others, name: Some(batch_name()) };
    log.append_named(&[batch], &mut || ()).unwrap();
    log.commit().unwrap();
    drop(log);
    let report = before::verify(dir).unwrap();
    assert!(report.is_sound() && report.anchor.id > 0, "{report:?}");
    (shown_before(dir), report)
}

fn shown_before(dir: &Path) -> Vec<LogRecord> {
    let store = before::Store::open(dir).unwrap();
    let mut records = Vec::new();
    store
        .reader
        .export(0, |_, record| -> Result<(), LogError> {
            records.push(record.unwrap());
            Ok(())
        })
        .unwrap();
    records
}

fn shown(dir: &Path) -> Vec<LogRecord> {
    let log = StoppedLog::open(dir).unwrap();
    let mut records: Vec<LogRecord> = Vec::new();
    loop {
        let step = log.step(records.last().map_or(0, |last| last.id + 1)).unwrap();
        if step.is_empty() {
            return records;
        }
        records.extend(step.into_iter().map(|(_, record)| record.unwrap()));
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// The same old store as often as it is needed.
struct Old {
    state: tempfile::TempDir,
    records: Vec<LogRecord>,
    report: before::VerifyReport,
    copies: usize,
}

impl Old {
    fn new() -> Old {
        let state = tempfile::tempdir().unwrap();
        let (records, report) = old_store(&state.path().join("old"));
        Old { state, records, report, copies: 0 }
    }

    fn copy(&mut self) -> PathBuf {
        self.copies += 1;
        let state = self.state.path().join(self.copies.to_string());
        std::fs::create_dir(&state).unwrap();
        copy(&self.state.path().join("old"), &state.join("log"));
        state.join("log")
    }

    /// The log has all that the old store had, under the same numbers and links, and goes on.
    fn assert_taken_over(&self, dir: &Path) {
        let (mut log, opened) = Log::open_in(dir).unwrap();
        let inheritance = opened.inheritance.unwrap();
        assert_eq!(inheritance.no_room, None);
        assert!(opened.losses.is_empty(), "{:?}", opened.losses);
        assert_eq!(log.position().head(), self.report.head);
        let marks = log.marks.lock().unwrap();
        let batch = marks.get(&batch_name()).unwrap();
        drop(marks);
        assert_eq!((batch.first_id, batch.records), (self.report.last - 2, 3));
        let entries = [predicted(&origin("edge-01"), 3, false)];
        log.commit(&[Group { stream: Stream::Own, entries: &entries, name: None }]).unwrap();
        drop(log);
        let shown = shown(dir);
        assert_eq!(shown.len(), self.records.len() + 1);
        assert!(shown.iter().zip(&self.records).all(|(new, old)| new == old));
        let witness = Witness { id: self.report.last, head: self.report.head.clone() };
        let found = StoppedLog::open(dir).unwrap().verify(Some(&witness)).unwrap();
        assert_eq!((found.first, found.count), (self.report.first, self.report.count + 1));
        assert!(found.gaps.is_empty() && found.corrupt.is_empty() && found.altered.is_empty());
        assert_eq!((found.retired, found.witness), (self.report.anchor.id, Some(Testimony::Holds)));
        // The old store is there as it was, and taken over once.
        assert!(dir.join("before-0.2/db").exists());
        let of_before = |name: &String| {
            ["db", "conf", "blobs", "before-0.2.lock"].contains(&name.as_str())
                || name.starts_with("snap")
        };
        let left: Vec<String> = names(dir).into_iter().filter(of_before).collect();
        assert_eq!(left, Vec::<String>::new());
        let (_, opened) = Log::open_in(dir).unwrap();
        assert_eq!(opened.inheritance, None);
    }
}

#[test]
fn a_store_of_before_goes_on_under_the_same_numbers_and_links() {
    let mut old = Old::new();
    let dir = old.copy();
    old.assert_taken_over(&dir);
    // Its own version finds nothing in place of it, and can't lock what is there.
    let lock = std::fs::File::create(dir.with_file_name("log.lock")).unwrap_err();
    assert_eq!(lock.kind(), std::io::ErrorKind::IsADirectory);
    // What it had is found without the witness as well.
    std::fs::remove_file(dir.join("witness")).unwrap();
    let found = StoppedLog::open(&dir).unwrap().verify(None).unwrap();
    assert_eq!((found.count, found.gaps), (old.report.count + 1, vec![]));
    // The operator removes the old one.
    std::fs::remove_dir_all(dir.join("before-0.2")).unwrap();
    assert_eq!(shown(&dir).len() as u64, old.report.count + 1);
}

#[test]
fn an_old_store_that_was_put_back_is_taken_over_again() {
    let mut old = Old::new();
    let dir = old.copy();
    old.assert_taken_over(&dir);
    std::fs::rename(&dir, dir.with_file_name("log.new")).unwrap();
    std::fs::rename(dir.with_file_name("log.new").join("before-0.2"), &dir).unwrap();
    std::fs::remove_dir_all(dir.with_file_name("log.lock")).unwrap();
    drop(open_before(&dir, u64::MAX));
    old.assert_taken_over(&dir);
}

#[test]
fn killed_while_files_are_moved_it_goes_on() {
    let mut old = Old::new();
    let moved = ["blobs", "conf", "journal", "high-water", "db"];
    for count in 0..=moved.len() {
        let dir = old.copy();
        std::fs::create_dir(dir.join("before-0.2")).unwrap();
        for name in &moved[..count] {
            let _ = std::fs::rename(dir.join(name), dir.join("before-0.2").join(name));
        }
        if count == moved.len() {
            // Those are moved before, by the order that is kept.
            let left: Vec<_> =
                std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
            for path in left.iter().filter(|path| !path.ends_with("before-0.2")) {
                let name = path.file_name().unwrap();
                std::fs::rename(path, dir.join("before-0.2").join(name)).unwrap();
            }
        }
        old.assert_taken_over(&dir);
    }
}

#[test]
fn killed_while_records_are_copied_it_is_readable_and_goes_on() {
    let mut old = Old::new();
    let whole = old.copy();
    drop(Log::open_in(&whole).unwrap());
    let mut files = names(&whole);
    files.retain(|name| name.starts_with("own-"));
    files.sort();
    assert_eq!(files.len(), 3, "{files:?}");
    for count in 0..=files.len() {
        let dir = old.copy();
        std::fs::remove_dir_all(&dir).unwrap();
        copy(&whole, &dir);
        std::fs::remove_file(dir.join("before-0.2/taken-over")).unwrap();
        for (place, name) in files.iter().enumerate().skip(count) {
            let bytes = std::fs::read(dir.join(name)).unwrap();
            std::fs::remove_file(dir.join(name)).unwrap();
            if place == count {
                std::fs::write(dir.join(format!("{name}.new")), &bytes[..bytes.len() / 2]).unwrap();
            }
        }
        assert!(shown(&dir) == old.records, "{count} of them");
        old.assert_taken_over(&dir);
    }
}

#[test]
fn what_the_old_store_lacks_stays_a_gap_and_the_rest_is_proven() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join("log");
    let entries: Vec<_> = (0..90).map(|c| predicted(&origin("edge-01"), c % 10, false)).collect();
    let mut log = open_before(&dir, u64::MAX);
    for _ in 0..2 {
        log.append(&[&entries]).unwrap();
        log.commit().unwrap();
        // Numbers of records that a broken disk never took.
        log.resume_at(log.next_id() + 20);
    }
    log.append(&[&entries]).unwrap();
    log.commit().unwrap();
    drop(log);
    let had = shown_before(&dir);
    let (_, opened) = Log::open_in(&dir).unwrap();
    assert_eq!(opened.losses.iter().map(|loss| loss.records).collect::<Vec<_>>(), [20, 20]);
    assert!(shown(&dir) == had && had.len() == 270);
    let found = StoppedLog::open(&dir).unwrap().verify(None).unwrap();
    assert_eq!(found.gaps, [[91, 110], [201, 220]]);
    assert!(found.altered.is_empty() && found.corrupt.is_empty());
}

#[test]
fn retention_goes_on_where_the_old_one_stood() {
    let mut old = Old::new();
    let dir = old.copy();
    let (mut log, _) = Log::open_in(&dir).unwrap();
    log.set_limits([Limits { max_records: 1_000, ..Limits::NONE }, Limits::NONE]);
    while log.retire(0, &Stamp::now()).unwrap() > 0 {}
    drop(log);
    let found = StoppedLog::open(&dir).unwrap().verify(None).unwrap();
    assert!(found.count <= 1_000 && found.gaps.is_empty() && found.altered.is_empty());
    assert_eq!(found.retired + found.count, old.report.last);
}

#[test]
fn a_store_that_0_1_has_open_is_in_use() {
    let mut old = Old::new();
    let dir = old.copy();
    let log = open_before(&dir, u64::MAX);
    let Err(Trouble::Before(error)) = Log::open_in(&dir) else { panic!("it is in use") };
    assert!(matches!(*error, LogError::Locked { .. }), "{error:?}");
    drop(log);
    old.assert_taken_over(&dir);
}
