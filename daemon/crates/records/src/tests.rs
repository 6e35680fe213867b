//! The log on a real store: what it keeps, what it repairs, what it reports.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use picket_base::clock;

use super::high_water::HighWaterFile;
use super::keys::{ANCHOR_KEY, RECORD_PREFIX, origin_key, record_key};
use super::origin::to_content;
use super::position::Position;
use super::record::tests::{origin, predicted, reported};
use super::scan::{Scan, read_within_budget};
use super::*;

const KEEP_ALL: Retention = Retention { max_records: u64::MAX, max_bytes: u64::MAX, max_age: None };

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

    fn open(&self, retention: Retention) -> PredictionLog {
        PredictionLog::open(&self.dir(), retention, &self.reader, Climb::Quarantine).unwrap()
    }

    /// A store of `count` records that was closed.
    fn filled(count: u64) -> Bench {
        let bench = Bench::new();
        let mut log = bench.open(KEEP_ALL);
        append(&mut log, count);
        bench
    }

    fn verify(&self) -> VerifyReport {
        verify(&self.dir()).unwrap()
    }

    /// Works on the closed store beneath the log.
    fn tamper(&self, change: impl FnOnce(&sled::Db)) {
        let db = handle::open_sled(&sled::Config::new().path(self.dir())).unwrap();
        change(&db);
        db.flush().unwrap();
    }

    fn ids(&self) -> Vec<u64> {
        let mut ids = Vec::new();
        let each = |id, record: Result<LogRecord, format::Damage>| -> Result<(), LogError> {
            ids.extend(record.is_ok().then_some(id));
            Ok(())
        };
        self.reader.export(0, each).unwrap();
        ids
    }
}

/// Removes records as if they had never been.
fn remove(db: &sled::Db, ids: Range<u64>) {
    chunk::separate(db, &ids).unwrap();
    ids.for_each(|id| drop(db.remove(record_key(id)).unwrap()));
}

/// Appends and commits `count` records, alternately of two devices, every third a defect.
fn append(log: &mut PredictionLog, count: u64) {
    let devices = [origin("edge-01"), origin("edge-02")];
    let next = log.next_id();
    let entries: Vec<Entry> = (next..next + count)
        .map(|id| predicted(&devices[id as usize % 2], (id % 10) as u16, id.is_multiple_of(3)))
        .collect();
    log.append(&[&entries]).unwrap();
    log.commit().unwrap();
}

#[test]
fn an_untouched_log_is_sound_and_its_chain_has_a_head() {
    let bench = Bench::filled(500);
    let report = bench.verify();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.first, report.last, report.count), (1, 500, 500));
    assert_eq!(report.head.len(), 24);
    let mut log = bench.open(KEEP_ALL);
    append(&mut log, 1);
    drop(log);
    let later = bench.verify();
    assert!(later.is_sound(), "the chain goes on over a restart: {later:?}");
    assert_ne!(later.head, report.head);
}

#[test]
fn one_owner_at_a_time() {
    let bench = Bench::filled(1);
    let _log = bench.open(KEEP_ALL);
    let second = PredictionLog::open(&bench.dir(), KEEP_ALL, &LogReader::new(), Climb::Quarantine);
    assert!(matches!(second.err(), Some(LogError::Locked { .. })));
}

#[test]
fn retention_moves_the_anchor_and_the_log_stays_sound() {
    let bench = Bench::new();
    let mut log = bench.open(Retention { max_records: 100, ..KEEP_ALL });
    for _ in 0..20 {
        append(&mut log, 50);
    }
    let kept = log.size().0;
    assert!((50..=100).contains(&kept), "{kept}");
    drop(log);
    let report = bench.verify();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.last, report.count), (1000, kept));
    assert_eq!((report.first, report.anchor.id), (1001 - kept, 1000 - kept));
    assert!(report.anchor.moved_at.is_some());
}

#[test]
fn retention_by_age_and_by_bytes_removes_the_oldest() {
    let bench = Bench::new();
    // The records' wall time is in 2026, long before now by any test machine's clock.
    let day = Duration::from_secs(86_400);
    let retention = Retention { max_age: Some(day), ..KEEP_ALL };
    let mut log = bench.open(retention);
    append(&mut log, 5);
    let mut fresh = predicted(&origin("edge-01"), 1, false);
    fresh.at = clock::Stamp::now();
    log.append(&[std::slice::from_ref(&fresh)]).unwrap();
    let kept = log.size().0;
    let expired = fresh.at.wall_us > 1_795_000_000_000_000 + 86_400_000_000;
    assert_eq!(kept, if expired { 1 } else { 6 });
    drop(log);

    let bench = Bench::new();
    let mut log = bench.open(Retention { max_bytes: 100_000, ..KEEP_ALL });
    append(&mut log, 2_000);
    append(&mut log, 1);
    assert!(log.size().1 <= 100_000 && log.size().0 > 100, "{:?}", log.size());
}

#[test]
fn counters_equal_a_scan_through_appends_retention_and_reopening() {
    let bench = Bench::new();
    let retention = Retention { max_records: 300, ..KEEP_ALL };
    let mut log = bench.open(retention);
    for _ in 0..7 {
        append(&mut log, 101);
        let counted = bench.reader.stats();
        let scanned = read_within_budget(&log.db).unwrap();
        assert_eq!(counted, Stats { complete: counted.complete, ..scanned.stats });
        let stored = log.db.scan_prefix([RECORD_PREFIX]).map(|item| item.unwrap());
        let stored_bytes: usize = stored.map(|(key, chunk)| key.len() + chunk.len()).sum();
        assert_eq!(
            (log.live_bytes, scanned.live_bytes),
            (stored_bytes as u64, stored_bytes as u64)
        );
        assert_eq!(counted.total, log.size().0);
    }
    let before = bench.reader.stats();
    drop(log);
    let _log = bench.open(retention);
    assert_eq!(bench.reader.stats(), before);
}

#[test]
fn reading_in_steps_gives_what_reading_at_once_gives() {
    let bench = Bench::filled(5_000);
    let mut log = bench.open(Retention { max_records: 4_900, ..KEEP_ALL });
    let whole = bench.reader.stats();
    // As after an open whose budget ran out at once.
    log.scan = Scan::start(&log.db).unwrap();
    log.live_bytes = 0;
    *log.stats.lock().unwrap() = Stats::default();
    append(&mut log, 0);
    while log.idle_work_due().is_some_and(|left| left.is_zero()) {
        log.idle().unwrap();
    }
    let stats = bench.reader.stats();
    assert!(stats.complete);
    assert!((4_600..=4_900).contains(&stats.total), "{}", stats.total);
    assert_eq!((stats.total, whole.total), (log.size().0, 5_000));
    assert_eq!(stats, Stats { complete: true, ..read_within_budget(&log.db).unwrap().stats });
}

#[test]
fn a_removed_record_is_a_gap_and_an_altered_one_breaks_the_chain() {
    let bench = Bench::filled(100);
    let log = bench.open(KEEP_ALL);
    remove(&log.db, 40..41);
    let report = bench.reader.verify(&bench.dir()).unwrap();
    assert_eq!(report.gaps, [[40, 40]]);
    assert!(!report.is_sound());
    drop(log);
    // The bytes are still in sled's file: whoever opens the store has the record back.
    let report = bench.verify();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.recovered, ["records salvaged: 1"]);

    let bench = Bench::filled(100);
    bench.tamper(|db| {
        // A forger who recomputes the checksum, and even the record's own link.
        let content = to_content(&origin("edge-01"));
        let before = format::identify(&chunk::get(db, 59).unwrap().unwrap()).unwrap();
        let forged = predicted(&origin("edge-01"), 9, false);
        let place =
            format::Place { id: 60, previous: before.1, origin: before.2 ^ 1, more_follow: false };
        let (value, _) = format::encode(&place, &content, &forged);
        remove(db, 60..61);
        db.insert(record_key(60), packed::single(&value).unwrap()).unwrap();
    });
    let report = bench.verify();
    assert_eq!((report.count, report.altered.contains(&61)), (100, true), "{report:?}");
    assert!(!report.is_sound());
}

#[test]
fn an_altered_origin_breaks_the_chain_of_every_record_that_names_it() {
    let bench = Bench::filled(10);
    bench.tamper(|db| {
        let value = format::encode_origin(0, &origin("edge-99"));
        db.insert(origin_key(0), value).unwrap();
    });
    assert_eq!(bench.verify().altered.len(), 5);
}

#[test]
fn damage_is_reported_by_number_and_repaired_from_the_raw_bytes() {
    let bench = Bench::filled(300);
    let log = bench.open(KEEP_ALL);
    remove(&log.db, 250..251);
    remove(&log.db, 7..8);
    log.db.insert(record_key(7), &b"rubbish"[..]).unwrap();
    let report = bench.reader.verify(&bench.dir()).unwrap();
    assert_eq!((report.gaps, report.corrupt), (vec![[250, 250]], vec![7]));
    drop(log);

    let log = bench.open(KEEP_ALL);
    assert_eq!(log.steps(), [RecoveryStep::Salvaged(2)]);
    drop(log);
    let report = bench.verify();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.count, report.recovered.len()), (300, 0));
}

#[test]
fn damage_in_a_chunk_is_reported_by_number_and_repaired_from_the_raw_bytes() {
    // Of the second chunk: its last byte is the last record's, byte 10 the head's.
    let per_chunk = packed::CHUNK_RECORDS_MAX as u64;
    let (first, last) = (per_chunk + 1, 2 * per_chunk);
    for (back, corrupt, gaps) in [(true, last, vec![]), (false, first, vec![[first + 1, last]])] {
        let bench = Bench::filled(300);
        let log = bench.open(KEEP_ALL);
        let mut chunk = log.db.get(record_key(first)).unwrap().unwrap().to_vec();
        let at = if back { chunk.len() - 1 } else { 10 };
        chunk[at] ^= 1;
        log.db.insert(record_key(first), chunk).unwrap();
        let report = bench.reader.verify(&bench.dir()).unwrap();
        assert_eq!((report.corrupt, report.gaps), (vec![corrupt], gaps));
        drop(log);

        let log = bench.open(KEEP_ALL);
        assert_eq!(log.steps(), [RecoveryStep::Salvaged(last + 1 - corrupt)]);
        drop(log);
        let report = bench.verify();
        assert!(report.is_sound(), "{report:?}");
        assert_eq!((report.count, report.recovered.len()), (300, 0));
    }
}

#[test]
fn a_lost_tail_is_known_and_its_numbers_are_not_used_again() {
    let bench = Bench::filled(300);
    let state = high_water::read(&bench.dir()).unwrap();
    assert_eq!((state.first_id, state.next_id), (1, 301));
    // The store goes whole; what is known of it stays.
    for file in std::fs::read_dir(bench.dir()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() && !path.ends_with(high_water::FILE_NAME) {
            std::fs::remove_file(path).unwrap();
        }
    }
    let report = bench.verify();
    assert_eq!(report.gaps, [[1, 300]]);
    let mut log = bench.open(KEEP_ALL);
    assert_eq!(log.steps(), [RecoveryStep::Lost(1..301)]);
    append(&mut log, 1);
    drop(log);
    let report = bench.verify();
    assert_eq!((report.gaps, report.first, report.last), (vec![[1, 300]], 301, 301));
}

#[test]
fn a_store_that_cannot_be_opened_is_set_aside_and_salvaged() {
    let bench = Bench::filled(2_000);
    // sled trusts the header of its file's segments: all of them go.
    let db = File::options().read(true).write(true).open(bench.dir().join("db")).unwrap();
    let length = db.metadata().unwrap().len();
    for offset in (0..length).step_by(512 << 10) {
        db.write_all_at(&[0xff; 64], offset).unwrap();
    }
    drop(db);
    std::fs::write(bench.dir().join("conf"), b"nonsense").unwrap();
    let log = bench.open(KEEP_ALL);
    assert!(
        log.steps().iter().any(|step| matches!(step, RecoveryStep::Salvaged(_))),
        "{:?}",
        log.steps()
    );
    let ids = bench.ids();
    assert!(ids.len() > 1_900, "{} of 2000 salvaged", ids.len());
    assert_eq!(log.next_id(), 2_001);
    drop(log);
    let report = bench.verify();
    let missing: u64 = report.gaps.iter().map(|[from, to]| to - from + 1).sum();
    assert_eq!(report.count + missing + report.corrupt.len() as u64, 2_000, "{report:?}");
    assert!(report.altered.is_empty(), "{report:?}");
}

/// Looking at a store may not set it aside: what a daemon would bring back is said.
#[test]
fn of_a_store_that_cannot_be_opened_verify_says_what_its_bytes_hold() {
    let bench = Bench::filled(500);
    std::fs::remove_dir(bench.dir().join("blobs")).unwrap();
    File::create(bench.dir().join("blobs")).unwrap();
    let report = bench.verify();
    assert!(report.unreadable.is_some() && !report.is_sound(), "{report:?}");
    assert_eq!((report.gaps, report.salvageable), (vec![[1, 500]], vec![[1, 500]]));
}

#[test]
fn half_written_snapshots_are_cleared_away() {
    let bench = Bench::filled(10);
    File::create(bench.dir().join("snap.0000000000000FFF.generating")).unwrap();
    let log = bench.open(KEEP_ALL);
    assert_eq!(log.steps(), [RecoveryStep::HalfSnapshotsRemoved(1)]);
    assert_eq!(bench.ids().len(), 10);
}

#[test]
fn a_filter_sees_every_record_whatever_the_wall_clock_said() {
    let bench = Bench::new();
    let mut log = bench.open(KEEP_ALL);
    let origin = origin("edge-01");
    // 1970, then the future, then now: a clock that jumps.
    for wall_s in [60, 4_000_000_000, 1_795_000_000_i64] {
        let mut entry = predicted(&origin, 1, false);
        entry.at.wall_us = wall_s * 1_000_000;
        log.append(&[&[entry]]).unwrap();
    }
    log.commit().unwrap();
    let found = |since: f64, until: f64| {
        let query = Query { limit: 10, since: Some(since), until: Some(until), ..Query::default() };
        let page = bench.reader.query(&query).unwrap();
        page.records.iter().map(|record| record.id).collect::<Vec<_>>()
    };
    assert_eq!(found(0.0, 100.0), [1]);
    assert_eq!(found(1.7e9, 1.8e9), [3]);
    assert_eq!(found(3.9e9, 4.1e9), [2]);
    assert_eq!(found(0.0, 5e9), [3, 2, 1]);
}

#[test]
fn a_group_is_there_whole_or_not_at_all() {
    let bench = Bench::filled(10);
    let mut log = bench.open(KEEP_ALL);
    append(&mut log, 250);
    drop(log);
    assert!(bench.verify().is_sound());
    // As a power cut between two of sled's batches leaves it: the last 50 are not there, and
    // neither the journal nor the high-water file has heard of any of them.
    bench.tamper(|db| remove(db, 211..261));
    std::fs::remove_file(bench.dir().join(journal::FILE_NAME)).unwrap();
    let mut high_water = HighWaterFile::open(&bench.dir()).unwrap();
    let link = format::GENESIS;
    high_water.write(Position { first_id: 1, next_id: 11, link }).unwrap();
    drop(high_water);
    let log = bench.open(KEEP_ALL);
    assert_eq!((log.next_id(), bench.ids().len()), (11, 10));
    assert_eq!(bench.reader.stats().total, 10);
    drop(log);
    assert!(bench.verify().is_sound(), "{:?}", bench.verify());
}

#[test]
fn a_committed_group_that_lost_its_tail_to_damage_is_not_taken_back() {
    let bench = Bench::filled(10);
    let mut log = bench.open(KEEP_ALL);
    append(&mut log, 250);
    drop(log);
    bench.tamper(|db| remove(db, 211..261));
    std::fs::remove_file(bench.dir().join(journal::FILE_NAME)).unwrap();
    let log = bench.open(KEEP_ALL);
    assert_eq!(
        log.steps(),
        [RecoveryStep::Salvaged(50)],
        "what damage took is still in the raw bytes"
    );
    assert_eq!((log.next_id(), bench.ids().len()), (261, 260));
}

/// As seen after a simulated power cut: old values are back, and the anchor is an older one.
#[test]
fn what_retention_removed_stays_removed() {
    let bench = Bench::new();
    let retention = Retention { max_records: 100, ..KEEP_ALL };
    let mut log = bench.open(retention);
    append(&mut log, 10);
    let old = chunk::get(&log.db, 5).unwrap().unwrap();
    for _ in 0..6 {
        append(&mut log, 50);
    }
    let kept = log.size().0;
    drop(log);
    bench.tamper(|db| {
        db.insert(record_key(5), packed::single(&old).unwrap()).unwrap();
        db.remove([ANCHOR_KEY]).unwrap();
    });
    let log = bench.open(retention);
    assert_eq!((log.size().0, log.steps().len()), (kept, 0), "{:?}", log.steps());
    drop(log);
    let report = bench.verify();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.first, report.last, report.count), (311 - kept, 310, kept));
}

fn files_of_sled(dir: &Path) -> Vec<PathBuf> {
    let own = [journal::FILE_NAME, high_water::FILE_NAME];
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.is_file() && !own.iter().any(|name| path.ends_with(name))).collect()
}

/// sled's files as they are now; given back by `restore`.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files_of_sled(dir)
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

fn restore(dir: &Path, files: &[(PathBuf, Vec<u8>)]) {
    files_of_sled(dir).iter().for_each(|path| std::fs::remove_file(path).unwrap());
    files.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
}

/// As a power cut leaves it: sled's files as of the last checkpoint, the journal as of the last
/// commit.
#[test]
fn what_was_committed_since_the_checkpoint_comes_from_the_journal() {
    let bench = Bench::filled(100);
    let mut log = bench.open(Retention { max_records: 120, ..KEEP_ALL });
    let before = files(&bench.dir());
    for count in [1, 10, 40, 1] {
        append(&mut log, count);
    }
    let newcomer = origin("edge-03");
    log.append(&[&[predicted(&newcomer, 3, true)]]).unwrap();
    log.commit().unwrap();
    let (kept, next_id) = (log.size().0, log.next_id());
    assert!(kept < 153, "retention was at work: {kept}");
    drop(log);
    restore(&bench.dir(), &before);

    let log = bench.open(KEEP_ALL);
    assert_eq!(log.steps(), []);
    assert_eq!((log.size().0, log.next_id()), (kept, next_id));
    assert_eq!(bench.ids(), (next_id - kept..next_id).collect::<Vec<_>>());
    assert_eq!(bench.reader.stats().by_device.most(9).0["edge-03"], 1);
    drop(log);
    let report = bench.verify();
    assert!(report.is_sound(), "{report:?}");
}

#[test]
fn a_damaged_journal_loses_nothing_that_sled_has_and_what_it_alone_had_is_known() {
    let bench = Bench::filled(100);
    let log = bench.open(KEEP_ALL);
    let before = files(&bench.dir());
    drop(log);
    let journal = bench.dir().join(journal::FILE_NAME);
    let mut log = bench.open(KEEP_ALL);
    append(&mut log, 20);
    drop(log);
    let whole = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, vec![0; whole.len()]).unwrap();
    assert!(bench.verify().is_sound());
    restore(&bench.dir(), &before);
    std::fs::write(&journal, vec![0; whole.len()]).unwrap();
    let log = bench.open(KEEP_ALL);
    assert_eq!((log.steps(), log.next_id()), (&[RecoveryStep::Lost(101..121)][..], 121));
}

#[test]
fn a_batch_larger_than_the_journal_is_committed_all_the_same() {
    let bench = Bench::filled(10);
    let mut log = bench.open(KEEP_ALL);
    append(&mut log, 15_000);
    let before = files(&bench.dir());
    drop(log);
    restore(&bench.dir(), &before);
    let log = bench.open(KEEP_ALL);
    assert_eq!((log.steps(), log.next_id()), (&[][..], 15_011));
    drop(log);
    assert!(bench.verify().is_sound());
}

#[test]
fn large_batches_leave_the_log_within_its_limit() {
    let bench = Bench::new();
    let mut log = bench.open(Retention { max_records: 3_000, ..KEEP_ALL });
    for batch in 0..4 {
        append_named(&mut log, named("line-4", &batch.to_string()), 2_900);
        let (records, _) = log.size();
        assert!(records <= 3_000, "{records} after {batch}");
    }
    drop(log);
    assert!(bench.verify().is_sound());
}

fn named(sender: &str, batch: &str) -> BatchName {
    BatchName::new(Some(sender), batch)
}

/// Appends and commits a batch of `count` records under a name.
fn append_named(log: &mut PredictionLog, name: BatchName, count: u64) {
    let origin = origin("line-4");
    let entries: Vec<Entry> =
        (0..count).map(|number| reported(&origin, &number.to_string())).collect();
    let mut steps = 0;
    log.append_named(&[Group { entries: &entries, name: Some(name) }], &mut || steps += 1).unwrap();
    let chunks = count / 256;
    assert!(steps >= chunks, "{steps} signs of life in {chunks} chunks");
    log.commit().unwrap();
}

#[test]
fn a_named_batch_is_known_after_a_restart_from_the_store_and_from_the_journal() {
    let bench = Bench::filled(10);
    let mut log = bench.open(KEEP_ALL);
    append_named(&mut log, named("line-4", "1"), 7);
    drop(log);
    let log = bench.open(KEEP_ALL);
    let stored = bench.reader.stored_batch(&named("line-4", "1")).unwrap();
    assert_eq!((stored.first_id, stored.records), (11, 7));
    assert_eq!(stored.taken_at_us, 1_795_000_000_000_000);
    assert_eq!(bench.reader.stored_batch(&named("line-5", "1")), None);
    let before = files(&bench.dir());
    drop(log);
    let mut log = bench.open(KEEP_ALL);
    append_named(&mut log, named("line-4", "2"), 60);
    drop(log);
    restore(&bench.dir(), &before);
    let _log = bench.open(KEEP_ALL);
    let stored = bench.reader.stored_batch(&named("line-4", "2")).unwrap();
    assert_eq!((stored.first_id, stored.records), (18, 60));
}

#[test]
fn a_named_batch_that_is_taken_back_is_not_known_and_its_numbers_are_given_again() {
    let bench = Bench::filled(10);
    let mut log = bench.open(KEEP_ALL);
    append_named(&mut log, named("line-4", "1"), 250);
    drop(log);
    bench.tamper(|db| remove(db, 211..261));
    std::fs::remove_file(bench.dir().join(journal::FILE_NAME)).unwrap();
    let mut high_water = HighWaterFile::open(&bench.dir()).unwrap();
    let link = format::GENESIS;
    high_water.write(Position { first_id: 1, next_id: 11, link }).unwrap();
    drop(high_water);
    let mut log = bench.open(KEEP_ALL);
    assert_eq!(log.next_id(), 11);
    assert_eq!(bench.reader.stored_batch(&named("line-4", "1")), None);
    append(&mut log, 300);
    drop(log);
    let _log = bench.open(KEEP_ALL);
    assert_eq!(bench.reader.stored_batch(&named("line-4", "1")), None, "nor later");
}

#[test]
fn a_named_batch_outlives_its_records() {
    let bench = Bench::new();
    let keep = Retention { max_records: 100, ..KEEP_ALL };
    let mut log = bench.open(keep);
    append_named(&mut log, named("line-4", "old"), 60);
    append(&mut log, 90);
    assert!(log.first_id > 60);
    drop(log);
    let _log = bench.open(keep);
    assert!(bench.reader.stored_batch(&named("line-4", "old")).is_some());
}

#[test]
fn a_named_batch_is_salvaged_with_its_records() {
    let bench = Bench::filled(1_000);
    let mut log = bench.open(KEEP_ALL);
    append_named(&mut log, named("line-4", "1"), 60);
    append(&mut log, 1_000);
    drop(log);
    let db = File::options().read(true).write(true).open(bench.dir().join("db")).unwrap();
    for offset in (0..db.metadata().unwrap().len()).step_by(512 << 10) {
        db.write_all_at(&[0xff; 64], offset).unwrap();
    }
    drop(db);
    std::fs::write(bench.dir().join("conf"), b"nonsense").unwrap();
    let log = bench.open(KEEP_ALL);
    let salvaged = |step: &RecoveryStep| matches!(step, RecoveryStep::Salvaged(_));
    assert!(log.steps().iter().any(salvaged), "{:?}", log.steps());
    let stored = bench.reader.stored_batch(&named("line-4", "1")).unwrap();
    assert_eq!((stored.first_id, stored.records), (1_001, 60));
}

/// sled's file and the journal as a power cut leaves them after each part of what a large batch writes:
/// of its syncs, and between them of each page.
#[test]
fn a_batch_of_20_000_is_there_whole_or_not_at_all_wherever_its_writing_is_cut() {
    const RECORDS: u64 = 20_000;
    const CUTS: usize = 24;
    let bench = Bench::filled(10);
    let log = bench.open(KEEP_ALL);
    drop(log);
    let before = all_files(&bench.dir());
    let mut log = bench.open(KEEP_ALL);
    append_named(&mut log, named("line-4", "1"), RECORDS);
    let after = all_files(&bench.dir());
    drop(log);
    let (mut whole, mut nothing) = (0, 0);
    for cut in 0..CUTS {
        let dir = bench.dir();
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::create_dir(&dir).unwrap();
        for (path, new) in &after {
            let old =
                before.iter().find(|(other, _)| other == path).map_or(&[][..], |(_, old)| old);
            let mut bytes = new.clone();
            if path.ends_with("db") {
                // sled writes its file from the front to the back.
                let from =
                    if cut == 0 { new.len() } else { (new.len() * (CUTS - cut) / CUTS) & !511 };
                let rest = old.get(from..).unwrap_or_default();
                bytes.truncate(from);
                bytes.extend_from_slice(rest);
            } else if cut > 0 {
                bytes = old.to_vec();
            }
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let log = bench.open(KEEP_ALL);
        let stored = bench.reader.stored_batch(&named("line-4", "1"));
        match log.next_id() {
            11 => nothing += 1,
            20_011 => whole += 1,
            other => panic!("cut {cut}: next is {other}"),
        }
        assert_eq!(stored.is_some(), log.next_id() > 11, "cut {cut}: {:?}", log.steps());
        assert_eq!(bench.ids().len() as u64, log.next_id() - 1, "cut {cut}: {:?}", log.steps());
        drop(log);
    }
    assert!(whole > 0 && nothing > 0, "{whole} whole, {nothing} not there");
}

/// Every file of the store.
fn all_files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let own = [journal::FILE_NAME, high_water::FILE_NAME].map(|name| dir.join(name));
    let mut files = files(dir);
    files.extend(own.map(|path| (path.clone(), std::fs::read(path).unwrap())));
    files
}
