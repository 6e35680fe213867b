//! The log in a directory, with its view and its readers: what it heals, what it serves without a view, and
//! what it does when its directory goes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::owned::{Found, PredictionLog};
use super::position::Stream;
use super::reading::StoppedLog;
use super::shelf::LogReader;
use super::sizes::{Limits, Retention};
use super::staged::Group;
use crate::error::LogError;
use crate::marks::BatchName;
use crate::query::Query;
use crate::record::Entry;
use crate::record::tests::{origin, predicted, reported};

/// The view's thread has this long for what takes it milliseconds; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    state: tempfile::TempDir,
    reader: LogReader,
}

impl Bench {
    fn new() -> Bench {
        Bench { state: tempfile::tempdir().unwrap(), reader: LogReader::new() }
    }

    fn dir(&self) -> PathBuf {
        self.state.path().join("log")
    }

    fn open(&self) -> PredictionLog {
        PredictionLog::open(&self.dir(), Retention::NONE, &self.reader, None).unwrap()
    }

    /// All numbers, by pages and in order.
    fn numbers(&self) -> (Vec<u64>, Vec<u64>) {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let query = Query { limit: 1_000, after, ..Query::default() };
            let page = self.reader.query(&query).unwrap();
            pages.extend(page.records.iter().map(|record| record.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        pages.reverse();
        let (mut steps, mut from) = (Vec::new(), 0);
        loop {
            let step = self.reader.step(from).unwrap();
            let Some((last, _)) = step.last() else { return (pages, steps) };
            from = last + 1;
            steps.extend(step.iter().filter(|(_, read)| read.is_ok()).map(|(id, _)| *id));
        }
    }

    fn files(&self, of: &str) -> Vec<PathBuf> {
        let names = std::fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = names.filter(|path| path.to_string_lossy().contains(of)).collect();
        files.sort();
        files
    }
}

fn entries(stream: Stream, count: usize) -> Vec<Entry> {
    let (here, there) = (origin("edge-01"), origin("cam-07"));
    (0..count)
        .map(|index| match stream {
            Stream::Own => predicted(&here, (index % 10) as u16, index.is_multiple_of(7)),
            Stream::Reported => reported(&there, "a note"),
        })
        .collect()
}

fn commit(log: &mut PredictionLog, stream: Stream, count: usize) {
    log.commit(&[Group { stream, entries: &entries(stream, count), name: None }]).unwrap();
}

/// Two thousand records of both streams, in several files.
fn filled(bench: &Bench) -> PredictionLog {
    let mut log = bench.open();
    let limits = Limits { max_records: 8_000, ..Limits::NONE };
    log.set_retention(Retention { own: limits, reported: limits });
    for _ in 0..20 {
        commit(&mut log, Stream::Own, 70);
        commit(&mut log, Stream::Reported, 30);
    }
    log
}

/// Lets the owner do what waits until the log holds all its records again.
fn heal(log: &mut PredictionLog, records: u64) {
    let deadline = Instant::now() + PATIENCE;
    while log.repaired() < records && Instant::now() < deadline {
        log.idle().unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(log.repaired(), records);
    assert_eq!(log.lost(), 0);
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn damage_in_one_copy_is_read_from_the_other_and_healed() {
    let all: Vec<u64> = (1..=2_000).collect();
    let harm: [fn(&Bench); 6] = [
        |bench| damage(&bench.files("own-")[0]),
        |bench| std::fs::remove_file(&bench.files("reported-")[0]).unwrap(),
        |bench| std::fs::remove_file(bench.files("own-").last().unwrap()).unwrap(),
        |bench| {
            let path = &bench.files("own-")[0];
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 3]).unwrap();
        },
        |bench| {
            let path = &bench.files("own-")[0];
            let mut bytes = std::fs::read(path).unwrap();
            bytes[..4096].fill(0);
            std::fs::write(path, bytes).unwrap();
        },
        |bench| {
            for path in bench.files("reported-") {
                std::fs::remove_file(path).unwrap();
            }
        },
    ];
    for harm in harm {
        let bench = Bench::new();
        filled(&bench).close(PATIENCE).unwrap();
        harm(&bench);
        let mut log = bench.open();
        assert_eq!(log.next_id(), 2_001);
        assert_eq!(bench.numbers(), (all.clone(), all.clone()), "before it is healed");
        let deadline = Instant::now() + PATIENCE;
        while log.repaired() == 0 && Instant::now() < deadline {
            log.idle().unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        let repaired = log.repaired();
        heal(&mut log, repaired);
        assert!(repaired > 0);
        log.close(PATIENCE).unwrap();
        let report = crate::verify_stopped(&bench.dir(), None).unwrap();
        assert!(report.is_sound() && report.count == 2_000, "{report:?}");
    }
}

#[test]
fn a_view_that_is_missing_or_damaged_is_made_anew_while_pages_come() {
    let all: Vec<u64> = (1..=2_000).collect();
    let harm: [fn(&Path); 3] = [
        |view| std::fs::remove_dir_all(view).unwrap(),
        |view| std::fs::write(view.join("db"), [7; 9_000]).unwrap(),
        |view| {
            std::fs::remove_dir_all(view).unwrap();
            std::fs::write(view, "not a directory").unwrap();
        },
    ];
    for harm in harm {
        let bench = Bench::new();
        filled(&bench).close(PATIENCE).unwrap();
        harm(&bench.dir().join("view"));
        let mut log = bench.open();
        assert_eq!(bench.numbers(), (all.clone(), all.clone()));
        let rare = Query { limit: 10, label: Some("cat".into()), ..Query::default() };
        assert_eq!(bench.reader.query(&rare).unwrap().records.len(), 10);
        let deadline = Instant::now() + PATIENCE;
        let viewed = || bench.reader.shelf.lookup().map_or(0, |view| view.fed(Stream::Own).ordinal);
        while viewed() < 1_000 && Instant::now() < deadline {
            log.idle().unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(viewed() >= 1_000);
        assert_eq!(bench.numbers(), (all.clone(), all.clone()));
        log.close(PATIENCE).unwrap();
    }
}

#[test]
fn a_log_that_was_taken_away_is_not_made_anew_by_itself() {
    let bench = Bench::new();
    let mut log = filled(&bench);
    let (store, dir) = (log.store(), bench.dir());
    log.check().unwrap();
    let aside = dir.with_file_name("aside");
    std::fs::rename(&dir, &aside).unwrap();
    assert!(matches!(log.check(), Err(LogError::Gone { .. })));
    drop(log);
    let again = |expected| PredictionLog::open(&dir, Retention::NONE, &bench.reader, expected);
    assert!(matches!(again(Some(store)), Err(LogError::Gone { .. })));
    assert!(!dir.exists());
    // Nor does another take its place.
    let other = again(None).unwrap();
    assert!(matches!(other.found(), [Found::Made { .. }]));
    drop(other);
    assert!(matches!(again(Some(store)), Err(LogError::Gone { .. })));
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::rename(&aside, &dir).unwrap();
    let back = again(Some(store)).unwrap();
    assert_eq!((back.next_id(), back.store()), (2_001, store));
    assert!(matches!(back.found(), [Found::Opened { opening: 2, next: 2_001, .. }]));
}

#[test]
fn readers_see_what_is_committed_and_nothing_when_it_is_closed() {
    let bench = Bench::new();
    assert!(matches!(bench.reader.standing(), Err(LogError::Closed)) && !bench.reader.is_open());
    let mut log = bench.open();
    commit(&mut log, Stream::Own, 3);
    commit(&mut log, Stream::Reported, 2);
    assert_eq!(bench.reader.record(2).unwrap().unwrap().id, 2);
    assert!(bench.reader.record(6).unwrap().is_none() && bench.reader.record(0).unwrap().is_none());
    let standing = bench.reader.standing().unwrap();
    assert_eq!((standing.next_id, standing.first_id), (6, 1));
    assert!(standing.oldest.is_some());
    let stats = bench.reader.stats();
    assert_eq!((stats.total, stats.complete), (5, true));
    let of = |source| {
        let query = Query { limit: 9, source: Some(source), ..Query::default() };
        let page = bench.reader.query(&query).unwrap();
        page.records.iter().map(|record| record.id).collect::<Vec<_>>()
    };
    assert_eq!((of(Stream::Own), of(Stream::Reported)), (vec![3, 2, 1], vec![5, 4]));
    let keep_two = Limits { max_records: 2, ..Limits::NONE };
    let removal = Retention { own: keep_two, reported: Limits::NONE };
    let removal = bench.reader.removal(&removal).unwrap();
    assert_eq!((removal.records, removal.of), (1, 5));
    let report = bench.reader.verify(None, || true).unwrap();
    assert!(report.is_sound() && report.count == 5);
    log.close(PATIENCE).unwrap();
    assert!(matches!(bench.reader.query(&Query::default()), Err(LogError::Closed)));
}

#[test]
fn names_of_batches_outlive_their_records_and_a_restart() {
    let bench = Bench::new();
    let mut log = bench.open();
    let reported = Limits { max_records: 160, ..Limits::NONE };
    log.set_retention(Retention { own: Limits::NONE, reported });
    let name = |batch: usize| BatchName::new(Some("line-4"), &batch.to_string());
    let stored =
        |batch: usize| bench.reader.stored_batch(&name(batch)).map(|stored| stored.first_id);
    for batch in 0..400 {
        let entries = entries(Stream::Reported, 10);
        let group = Group { stream: Stream::Reported, entries: &entries, name: Some(name(batch)) };
        log.commit(&[group]).unwrap();
        if batch % 5 == 0 {
            log.checkpoint().unwrap();
        }
    }
    let first = |batch: usize| Some(batch as u64 * 10 + 1);
    for _ in 0..2 {
        for batch in 0..400 {
            assert_eq!(stored(batch), first(batch));
        }
        assert_eq!(stored(400), None);
        let report = bench.reader.verify(None, || true).unwrap();
        assert!(report.is_sound() && report.count <= 180, "{report:?}");
        log.close(PATIENCE).unwrap();
        log = bench.open();
    }
    // One that takes a file of its own, whole or not at all, has its name in it.
    let large = entries(Stream::Reported, 12_000);
    let group = Group { stream: Stream::Reported, entries: &large, name: Some(name(400)) };
    log.commit(&[group]).unwrap();
    assert_eq!(stored(400), first(400));
    drop(log);
    let _log = bench.open();
    assert_eq!(stored(400), first(400));
}

#[test]
fn others_never_take_the_place_of_own_records() {
    let bench = Bench::new();
    let mut log = bench.open();
    let limits = Limits { max_records: 500, ..Limits::NONE };
    log.set_retention(Retention { own: limits, reported: limits });
    commit(&mut log, Stream::Own, 400);
    for _ in 0..60 {
        commit(&mut log, Stream::Reported, 100);
    }
    let (pages, steps) = bench.numbers();
    assert_eq!(pages, steps);
    let left: BTreeSet<u64> = pages.into_iter().collect();
    assert!((1..=400).all(|id| left.contains(&id)));
    assert!((450..=550).contains(&(left.len() - 400)), "{}", left.len());
    let [count, bytes, age] = bench.reader.retired();
    assert_eq!(count, ("count", 6_400 - left.len() as u64));
    assert_eq!((bytes.1, age.1), (0, 0));
}

#[test]
fn a_short_life_heals_too() {
    let bench = Bench::new();
    filled(&bench).close(PATIENCE).unwrap();
    std::fs::remove_file(&bench.files("reported-")[0]).unwrap();
    damage(&bench.files("own-")[0]);
    assert!(!StoppedLog::open(&bench.dir()).unwrap().verify(None).unwrap().gaps.is_empty());
    bench.open().close(PATIENCE).unwrap();
    let found = StoppedLog::open(&bench.dir()).unwrap().verify(None).unwrap();
    assert!(found.gaps.is_empty() && found.corrupt.is_empty(), "{found:?}");
    assert_eq!(found.count, 2_000);
}
