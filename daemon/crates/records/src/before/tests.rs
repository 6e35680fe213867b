//! Stores that 0.1 has written: two as its own binary left them, and bytes that are damaged, or were written by
//! hand, since no binary writes them twice.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::heritage::Heritage;
use crate::format::{self, Anchor, GENESIS, Kind, Link, Place, VERSION};
use crate::log::StoppedLog;
use crate::packed::Packer;
use crate::record::tests::{origin, predicted};
use crate::record::{Entry, LogRecord};
use crate::{LogError, origin as origins, verify_stopped};

/// Killed with four records in its journal alone. Returns its directory, and what its own binary showed of each
/// record.
fn format_2(state: &Path) -> (PathBuf, Vec<Value>) {
    unpacked(state, "format-2")
}

/// Retention has removed its oldest records, it has named batches, and its newest records are in its journal.
pub(crate) fn format_3(state: &Path) -> (PathBuf, Vec<Value>) {
    unpacked(state, "format-3")
}

/// The chain's heads, as 0.1's `log verify` said.
const HEAD_2: &str = "27ba94f088f36c7c9a3262f6";
pub(crate) const HEAD_3: &str = "4bd210922b50b3d3dfa40a8b";

fn unpacked(state: &Path, name: &str) -> (PathBuf, Vec<Value>) {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data");
    let packed = std::fs::File::open(format!("{data}/{name}/store.tar.gz")).unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(packed)).unpack(state).unwrap();
    let export = std::fs::read_to_string(state.join("export.jsonl")).unwrap();
    (state.join("log"), export.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// All records of a store, or of a log.
pub(crate) fn records(dir: &Path) -> Vec<LogRecord> {
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

fn shown(dir: &Path) -> Vec<Value> {
    let text = |record: &LogRecord| serde_json::to_string(record).unwrap();
    records(dir).iter().map(|record| serde_json::from_str(&text(record)).unwrap()).collect()
}

/// Beside what 0.1 showed come classes by number, and more of a report.
fn assert_shown_as_before(shown: &[Value], before: &[Value]) {
    assert_eq!(shown.len(), before.len());
    for (shown, before) in shown.iter().zip(before) {
        for (field, value) in before.as_object().unwrap() {
            assert_eq!(shown.get(field), Some(value), "{field} of {shown}");
        }
    }
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.is_file())
        .map(|p| (p.clone(), std::fs::read(p).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn what_the_binaries_left_is_all_there_and_stays_as_it_was() {
    for (name, head, first, last) in
        [("format-2", HEAD_2, 1, 45), ("format-3", HEAD_3, 3_957, 4_503)]
    {
        let state = tempfile::tempdir().unwrap();
        let (dir, before) = unpacked(state.path(), name);
        let left = files(&dir);
        let report = verify_stopped(&dir, None).unwrap();
        assert!(report.is_sound(), "{report:?}");
        assert_eq!((report.first, report.last, report.count), (first, last, last - first + 1));
        assert_eq!((report.anchor.id, report.head.as_str()), (first - 1, head));
        assert_shown_as_before(&shown(&dir), &before);
        assert!(files(&dir) == left, "{name}");
    }
}

#[test]
fn neither_file_that_says_where_it_stood_is_needed() {
    for missing in [&["high-water"][..], &["journal"], &["high-water", "journal"], &["conf"]] {
        let state = tempfile::tempdir().unwrap();
        let (dir, before) = format_2(state.path());
        missing.iter().for_each(|name| std::fs::remove_file(dir.join(name)).unwrap());
        let report = verify_stopped(&dir, None).unwrap();
        let there = if missing.contains(&"journal") { 41 } else { 45 };
        assert_eq!((report.count, &report.altered), (there, &vec![]), "without {missing:?}");
        assert_eq!(report.gaps, [[0; 2]; 0], "without {missing:?}");
        assert_shown_as_before(&shown(&dir), &before[..there as usize]);
    }
}

#[test]
fn a_damaged_page_of_sleds_file_costs_nothing_beside_the_journal_and_never_alters_a_record() {
    let mut lost = 0;
    for journaled in [true, false] {
        let state = tempfile::tempdir().unwrap();
        let (dir, before) = format_3(state.path());
        if !journaled {
            std::fs::remove_file(dir.join("journal")).unwrap();
        }
        let whole = std::fs::read(dir.join("db")).unwrap();
        for at in (0..whole.len()).step_by(8 << 10) {
            let mut damaged = whole.clone();
            let end = whole.len().min(at + 4096);
            damaged[at..end].fill(0);
            std::fs::write(dir.join("db"), &damaged).unwrap();
            let report = verify_stopped(&dir, None).unwrap();
            let missing: u64 = report.gaps.iter().map(|[from, to]| to - from + 1).sum();
            assert_eq!(report.count + missing, report.last - report.first + 1, "at {at}");
            assert!(!journaled || report.last == 4_503);
            assert_eq!((report.altered, report.corrupt), (vec![], vec![]), "at {at}");
            assert!(!journaled || missing == 0, "{missing} at {at}");
            lost += missing;
            let shown = shown(&dir);
            let was = |record: &Value| before.iter().find(|b| b["id"] == record["id"]).cloned();
            let expected: Vec<Value> = shown.iter().filter_map(was).collect();
            assert_shown_as_before(&shown, &expected);
        }
    }
    assert!(lost > 0, "without a journal some page holds what is nowhere else");
}

/// Gives the first value in the journal the next version, as its writer would seal it.
pub(crate) fn make_newer(dir: &Path) {
    let path = dir.join("journal");
    let mut journal = std::fs::read(&path).unwrap();
    const HEADER_BYTES: usize = 64;
    let (_, content, _) = format::frame(&journal[HEADER_BYTES..]).unwrap();
    let value = HEADER_BYTES..HEADER_BYTES + format::HEADER_BYTES + content.len();
    journal[value.start + 1] = journal[value.start + 1] & 0xf0 | (VERSION + 1);
    let sealed = format::seal(journal[value.clone()].to_vec());
    journal[value].copy_from_slice(&sealed);
    // The commit's own checksum, over what its header says that it holds.
    let (held, _) = postcard::take_from_bytes::<u32>(&journal[4..]).unwrap();
    let checksum = crc32fast::hash(&journal[4..HEADER_BYTES + held as usize]);
    journal[..4].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&path, &journal).unwrap();
}

#[test]
fn a_store_whose_journal_is_of_a_newer_version_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let (dir, _) = format_3(state.path());
    make_newer(&dir);
    let left = files(&dir);
    let error = StoppedLog::open(&dir).err().unwrap();
    assert!(matches!(error, LogError::Newer { found: 4, .. }) && error.is_permanent(), "{error}");
    assert!(files(&dir) == left);
}

/// The bytes of a store, value by value.
#[derive(Default)]
pub(crate) struct Written {
    bytes: Vec<u8>,
}

impl Written {
    pub(crate) fn origin(&mut self, number: u32, entry: &Entry) {
        self.bytes.extend(format::encode_origin(number, &entry.origin));
    }

    pub(crate) fn anchor(&mut self, id: u64, link: Link) {
        let anchor = Anchor { id, link: Some(link), moved_at_us: 7 };
        self.bytes.extend(format::encode_other(Kind::Anchor, 0, &anchor));
    }

    /// Adds entries from `id` on, chained to `previous`; returns the link of the last.
    pub(crate) fn records(
        &mut self,
        (id, previous): (u64, Link),
        origin: u32,
        entries: &[Entry],
        more_follow: bool,
    ) -> Link {
        let (mut packer, mut link) = (Packer::default(), previous);
        for (id, entry) in (id..).zip(entries) {
            if packer.is_full() {
                self.bytes.extend(std::mem::take(&mut packer).finish().unwrap().1);
            }
            let place = Place { id, previous: link, origin, more_follow };
            let content = origins::to_content(&entry.origin);
            let (value, next) = format::encode(&place, &content, entry).unwrap();
            packer.add(&value).unwrap();
            link = next;
        }
        self.bytes.extend(packer.finish().unwrap().1);
        link
    }

    pub(crate) fn save(&self, dir: &Path) {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("db"), &self.bytes).unwrap();
    }
}

fn entries(device: &str, classes: std::ops::Range<u16>) -> Vec<Entry> {
    classes.map(|class| predicted(&origin(device), class % 10, false)).collect()
}

fn classes(dir: &Path) -> Vec<u64> {
    shown(dir).iter().map(|record| record["class"].as_u64().unwrap()).collect()
}

#[test]
fn of_several_versions_of_a_number_the_one_in_the_chain_counts() {
    let state = tempfile::tempdir().unwrap();
    let (first, last) = (entries("edge-01", 1..4), entries("edge-01", 4..7));
    for undone_is_last in [false, true] {
        let dir = state.path().join(undone_is_last.to_string());
        let mut written = Written::default();
        written.origin(0, &first[0]);
        let link = written.records((1, GENESIS), 0, &first, false);
        let undone = |written: &mut Written| {
            written.records((4, [9; 12]), 0, &entries("edge-01", 7..10), false);
        };
        if !undone_is_last {
            undone(&mut written);
        }
        written.records((4, link), 0, &last, false);
        if undone_is_last {
            undone(&mut written);
        }
        written.save(&dir);
        assert_eq!(classes(&dir), [1, 2, 3, 4, 5, 6]);
        assert!(verify_stopped(&dir, None).unwrap().is_sound());
    }
}

#[test]
fn a_number_of_an_origin_that_was_given_again_names_whom_the_chain_covers() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join("log");
    let (first, second) = (entries("edge-01", 1..3), entries("edge-02", 3..5));
    let mut written = Written::default();
    written.origin(0, &first[0]);
    let link = written.records((1, GENESIS), 0, &first, false);
    written.origin(0, &second[0]);
    written.records((3, link), 0, &second, false);
    written.save(&dir);
    let devices: Vec<Option<String>> =
        records(&dir).into_iter().map(|r| r.entry.origin.device_id.clone()).collect();
    let expected = ["edge-01", "edge-01", "edge-02", "edge-02"].map(|d| Some(d.to_string()));
    assert_eq!(devices, expected);
    assert!(verify_stopped(&dir, None).unwrap().is_sound());
}

#[test]
fn an_unfinished_batch_behind_the_last_commit_is_left_out() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join("log");
    let mut written = Written::default();
    let all = entries("edge-01", 1..6);
    written.origin(0, &all[0]);
    let eighth = written.records((8, [3; 12]), 0, &all[..1], false);
    let link = written.records((9, eighth), 0, &all[1..3], false);
    written.anchor(7, [3; 12]);
    written.records((11, link), 0, &all[3..], true);
    written.save(&dir);
    assert_eq!(classes(&dir), [1, 2, 3]);
    let position = Heritage::open(&dir).unwrap().position();
    assert_eq!((position.first_id, position.next_id), (8, 11));
    let stated = super::position::Position { first_id: 8, next_id: 11, link };
    super::high_water::tests::write(&dir, stated);
    assert_eq!(classes(&dir), [1, 2, 3]);
    // It says less than there is.
    let stated = super::position::Position { next_id: 9, link: eighth, ..stated };
    super::high_water::tests::write(&dir, stated);
    assert_eq!(classes(&dir), [1, 2, 3]);
}
