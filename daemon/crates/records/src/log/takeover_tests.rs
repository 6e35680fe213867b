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
use crate::before::tests::{HEAD_3, Written, format_3, make_newer, records};
use crate::format::GENESIS;
use crate::marks::BatchName;
use crate::record::LogRecord;
use crate::record::tests::{origin, predicted};
use crate::{VerifyReport, verify_stopped};
use picket_base::clock::Stamp;

/// The newest batch of the old store.
fn batch_name() -> BatchName {
    BatchName::new(Some("cam-07"), "b17")
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
    report: VerifyReport,
    copies: usize,
}

impl Old {
    fn new() -> Old {
        let state = tempfile::tempdir().unwrap();
        let (dir, _) = format_3(state.path());
        let (records, report) = (records(&dir), verify_stopped(&dir, None).unwrap());
        assert!(report.is_sound() && report.head == HEAD_3, "{report:?}");
        Old { state, records, report, copies: 0 }
    }

    fn copy(&mut self) -> PathBuf {
        self.copies += 1;
        let state = self.state.path().join(self.copies.to_string());
        std::fs::create_dir(&state).unwrap();
        copy(&self.state.path().join("log"), &state.join("log"));
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
        assert_eq!((batch.first_id, batch.records), (self.report.last - 25, 25));
        let entries = [predicted(&origin("edge-01"), 3, false)];
        log.commit(&[Group { stream: Stream::Own, entries: &entries, name: None }]).unwrap();
        drop(log);
        let shown = records(dir);
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
    assert_eq!(records(&dir).len() as u64, old.report.count + 1);
}

#[test]
fn an_old_store_that_was_put_back_is_taken_over_again() {
    let mut old = Old::new();
    let dir = old.copy();
    old.assert_taken_over(&dir);
    std::fs::rename(&dir, dir.with_file_name("log.new")).unwrap();
    std::fs::rename(dir.with_file_name("log.new").join("before-0.2"), &dir).unwrap();
    std::fs::remove_dir_all(dir.with_file_name("log.lock")).unwrap();
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
    assert_eq!(files.len(), 2, "{files:?}");
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
        assert!(records(&dir) == old.records, "{count} of them");
        old.assert_taken_over(&dir);
    }
}

#[test]
fn what_the_old_store_lacks_stays_a_gap_and_the_rest_is_proven() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join("log");
    let entries: Vec<_> = (0..90).map(|c| predicted(&origin("edge-01"), c % 10, false)).collect();
    let mut written = Written::default();
    written.origin(0, &entries[0]);
    // Between them are numbers of records that a broken disk never took.
    let link = written.records((1, GENESIS), 0, &entries, false);
    let link = written.records((111, link), 0, &entries, false);
    written.records((221, link), 0, &entries, false);
    written.save(&dir);
    let had = records(&dir);
    let (_, opened) = Log::open_in(&dir).unwrap();
    assert_eq!(opened.losses.iter().map(|loss| loss.records).collect::<Vec<_>>(), [20, 20]);
    assert!(records(&dir) == had && had.len() == 270);
    let found = StoppedLog::open(&dir).unwrap().verify(None).unwrap();
    assert_eq!(found.gaps, [[91, 110], [201, 220]]);
    assert!(found.altered.is_empty() && found.corrupt.is_empty());
}

#[test]
fn retention_goes_on_where_the_old_one_stood() {
    let mut old = Old::new();
    let dir = old.copy();
    let (mut log, _) = Log::open_in(&dir).unwrap();
    log.set_limits([Limits { max_records: 300, ..Limits::NONE }, Limits::NONE]);
    while log.retire(0, &Stamp::now()).unwrap() > 0 {}
    drop(log);
    let found = StoppedLog::open(&dir).unwrap().verify(None).unwrap();
    assert!(found.count <= 300 && found.gaps.is_empty() && found.altered.is_empty());
    assert_eq!(found.retired + found.count, old.report.last);
}

#[test]
fn a_store_that_0_1_has_open_is_in_use() {
    let mut old = Old::new();
    let dir = old.copy();
    let lock = std::fs::File::create(dir.with_file_name("log.lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(Log::open_in(&dir), Err(Trouble::Locked)));
    drop(lock);
    old.assert_taken_over(&dir);
}

#[test]
fn a_store_of_a_newer_version_is_left_as_it_is() {
    let mut old = Old::new();
    let dir = old.copy();
    make_newer(&dir);
    let left = names(&dir);
    assert!(matches!(Log::open_in(&dir), Err(Trouble::Newer(4))));
    assert_eq!(names(&dir), left);
    assert!(std::fs::File::create(dir.with_file_name("log.lock")).is_ok(), "it is not barred");
}
