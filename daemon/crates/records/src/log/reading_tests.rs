//! A log without an owner: what is read of it, that nothing is written, and what a witness proves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::position::Stream;
use super::proof::{Testimony, Witness};
use super::reading::{StoppedLog, is_log};
use super::sizes::Limits;
use super::staged::Group;
use super::store::Log;
use crate::record::tests::{origin, predicted, reported};
use crate::{LogError, PAGE_RECORDS_MAX, Query};
use picket_base::clock::Stamp;

fn commit(log: &mut Log, stream: Stream, count: usize) {
    let entries: Vec<_> = (0..count)
        .map(|class| match stream {
            Stream::Own => predicted(&origin("edge-01"), (class % 10) as u16, false),
            Stream::Reported => reported(&origin("cam-07"), "seen elsewhere"),
        })
        .collect();
    log.commit(&[Group { stream, entries: &entries, name: None }]).unwrap();
}

fn noted(log: &Log) -> Witness {
    Witness { id: log.position().next - 1, head: log.position().head() }
}

fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// A log of 3,000 records in both streams, some of them in its journal alone, and where it stood on the way.
fn log_with_witnesses(dir: &Path) -> Vec<Witness> {
    let (mut log, _) = Log::open_in(dir).unwrap();
    let mut witnesses = vec![];
    for _ in 0..10 {
        commit(&mut log, Stream::Own, 200);
        witnesses.push(noted(&log));
        commit(&mut log, Stream::Reported, 100);
        witnesses.push(noted(&log));
        if witnesses.len() < 18 {
            log.checkpoint().unwrap();
        }
    }
    witnesses
}

#[test]
fn reading_finds_all_records_and_changes_nothing_by_whatever_path() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join("log");
    log_with_witnesses(&dir);
    let before = content(&dir);
    let link = state.path().join("link");
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    for path in [dir.clone(), link, dir.join("../log/.")] {
        assert!(is_log(&path));
        let log = StoppedLog::open(&path).unwrap();
        let (mut from, mut ids) = (0, Vec::new());
        loop {
            let step = log.step(from).unwrap();
            let Some((last, _)) = step.last() else { break };
            assert!(step.len() <= PAGE_RECORDS_MAX && step.iter().all(|(_, read)| read.is_ok()));
            from = last + 1;
            ids.extend(step.into_iter().map(|(id, _)| id));
        }
        assert!(ids.iter().copied().eq(1..=3_000));
        let query = Query { limit: 5, label: Some("scratch".into()), ..Query::default() };
        let page = log.query(&query).unwrap();
        let shown: Vec<u64> = page.records.iter().map(|record| record.id).collect();
        assert_eq!(shown, [3_000, 2_999, 2_998, 2_997, 2_996]);
        let findings = log.verify(None).unwrap();
        assert_eq!((findings.first, findings.last, findings.count), (1, 3_000, 3_000));
        assert!(findings.gaps.is_empty() && findings.altered.is_empty());
    }
    assert_eq!(content(&dir), before);
}

#[test]
fn a_directory_without_a_log_stays_as_it_is() {
    let state = tempfile::tempdir().unwrap();
    for dir in [state.path().to_path_buf(), state.path().join("nowhere")] {
        assert!(!is_log(&dir));
        assert!(matches!(StoppedLog::open(&dir), Err(LogError::Directory { .. })));
    }
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
}

#[test]
fn a_witness_of_any_moment_holds_and_one_of_another_log_does_not() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join("log");
    let witnesses = log_with_witnesses(&dir);
    let asked = |witness: &Witness| {
        StoppedLog::open(&dir).unwrap().verify(Some(witness)).unwrap().witness.unwrap()
    };
    for witness in &witnesses {
        assert_eq!(asked(witness), Testimony::Holds, "{witness:?}");
        // Whoever notes the number that comes next means the same moment.
        assert_eq!(asked(&Witness { id: witness.id + 1, ..witness.clone() }), Testimony::Holds);
        let mut other = witness.clone();
        other.head.replace_range(0..1, if other.head.starts_with('0') { "1" } else { "0" });
        assert_eq!(asked(&other), Testimony::Differs);
        assert_eq!(asked(&Witness { id: witness.id - 7, ..witness.clone() }), Testimony::Differs);
    }
    assert_eq!(asked(&Witness { id: 3_002, ..witnesses[19].clone() }), Testimony::Ahead);
}

#[test]
fn a_witness_of_what_retention_took_or_damage_hides_is_no_proof() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join("log");
    let witnesses = log_with_witnesses(&dir);
    let (mut log, _) = Log::open_in(&dir).unwrap();
    log.set_limits([Limits { max_records: 320, ..Limits::NONE }, Limits::NONE]);
    log.retire(0, &Stamp::now()).unwrap();
    log.checkpoint().unwrap();
    drop(log);
    let findings = |witness| StoppedLog::open(&dir).unwrap().verify(Some(witness)).unwrap();
    let found = findings(&witnesses[0]);
    assert_eq!(found.witness, Some(Testimony::Retired));
    assert!(found.retired > 1_600 && found.retired_at_us.is_some(), "{}", found.retired);
    assert!(found.gaps.is_empty() && found.retired_until > witnesses[10].id);
    assert_eq!(findings(&witnesses[18]).witness, Some(Testimony::Holds));
    // All that is sealed of the other stream becomes unreadable.
    for (path, mut bytes) in content(&dir) {
        if path.to_string_lossy().contains("reported-") {
            bytes.iter_mut().for_each(|byte| *byte ^= 0xff);
            std::fs::write(path, bytes).unwrap();
        }
    }
    let found = findings(&witnesses[18]);
    assert_eq!(found.witness, Some(Testimony::Unreadable));
    assert!(!found.gaps.is_empty(), "{found:?}");
}
