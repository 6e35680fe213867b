//! Stores that another version has written: one of format 2 as its own binary left it, and such as a
//! newer one will leave.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::format::{self, Kind, VERSION};
use super::keys::{ANCHOR_KEY, RECORD_PREFIX};
use super::record::tests::{origin, predicted, reported};
use super::*;

const KEEP_ALL: Retention = Retention { max_records: u64::MAX, max_bytes: u64::MAX, max_age: None };

/// Killed with four records in its journal alone; `export.jsonl` is what its own `log export` said of it.
const FORMAT_2: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/format-2/store.tar.gz");

/// The chain's head, as its own `log verify` said.
const HEAD: &str = "27ba94f088f36c7c9a3262f6";

const RECORDS: u64 = 45;

/// Returns the directory of the store of format 2, and what its own binary showed of each record.
fn format_2(state: &Path) -> (PathBuf, Vec<Value>) {
    // Not by a program: until it starts, its process holds the locks of every store that is open here.
    let packed = std::fs::File::open(FORMAT_2).unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(packed)).unpack(state).unwrap();
    let export = std::fs::read_to_string(state.join("export.jsonl")).unwrap();
    (state.join("log"), export.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn open(dir: &Path, reader: &LogReader) -> Result<PredictionLog, LogError> {
    PredictionLog::open(dir, KEEP_ALL, reader, Climb::Quarantine)
}

/// All records as they are shown.
fn shown(dir: &Path) -> Vec<Value> {
    let store = Store::open(dir).unwrap();
    let mut shown = Vec::new();
    let each = |_, record: Result<LogRecord, Damage>| -> Result<(), LogError> {
        let text = serde_json::to_string(&record.unwrap()).unwrap();
        shown.push(serde_json::from_str(&text).unwrap());
        Ok(())
    };
    store.reader.export(0, each).unwrap();
    shown
}

/// Beside what format 2 showed comes `top`, which names the predicted class and all by number.
fn assert_shown_as_before(shown: &[Value], before: &[Value]) {
    assert_eq!(shown.len(), before.len());
    for (shown, before) in shown.iter().zip(before) {
        let mut shown = shown.clone();
        let top = shown.as_object_mut().unwrap().remove("top");
        assert_eq!(shown, *before);
        assert_eq!(top.is_some(), before["source"] == "predict");
        let Some(top) = top else { continue };
        assert_eq!(top.as_array().unwrap().len(), 10);
        let best = ["class", "label", "confidence"].map(|field| top[0][field] == before[field]);
        assert_eq!(best, [true; 3], "{top}");
        assert!(top[1]["label"].is_null());
        assert!(top[1]["confidence"].as_f64() >= top[2]["confidence"].as_f64());
    }
}

#[test]
fn a_store_of_format_2_is_read_verified_and_continued() {
    let state = tempfile::tempdir().unwrap();
    let (dir, before) = format_2(state.path());
    let report = verify(&dir).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.first, report.last, report.count), (1, RECORDS, RECORDS));
    assert_eq!(report.head, HEAD);
    assert_shown_as_before(&shown(&dir), &before);

    let here = origin("edge-01");
    let mut log = open(&dir, &LogReader::new()).unwrap();
    let mut polygon = reported(&here, "eight corners");
    let Body::Reported(made) = &mut polygon.body else { panic!("it was reported") };
    let corners = |made| Detection { bbox: (0..16).map(f64::from).collect(), ..made };
    made.detections = made.detections.iter().map(corners).collect();
    log.append(&[&[predicted(&here, 3, true), polygon]]).unwrap();
    log.commit().unwrap();
    drop(log);
    let report = verify(&dir).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.last, report.count), (RECORDS + 2, RECORDS + 2));
    let shown = shown(&dir);
    let (old, new) = shown.split_at(before.len());
    assert_shown_as_before(old, &before);
    assert_eq!((&new[0]["class"], &new[0]["label"]), (&3.into(), &"cat".into()));
    assert_eq!(new[0]["confidence"], 0.875);
    let top = new[0]["top"].as_array().unwrap();
    let labels: Vec<_> = top.iter().map(|top| top["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["cat", "airplane", "automobile", "bird", "deer", "dog", "frog", "horse"]);
    assert!(new[0].get("probabilities").is_none(), "two of ten are not kept");
    assert_eq!(new[1]["detections"][0]["bbox"].as_array().unwrap().len(), 16);
}

#[test]
fn raw_bytes_of_format_2_give_their_records_back() {
    let state = tempfile::tempdir().unwrap();
    let (dir, before) = format_2(state.path());
    // As a power cut leaves it that hit while the store was set aside.
    std::fs::rename(&dir, state.path().join("quarantine-boot-46")).unwrap();
    let log = open(&dir, &LogReader::new()).unwrap();
    assert_eq!(log.steps(), [RecoveryStep::Salvaged(RECORDS)]);
    drop(log);
    let report = verify(&dir).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.count, report.head.as_str()), (RECORDS, HEAD));
    assert_shown_as_before(&shown(&dir), &before);
}

/// Gives the value at `at` the next version, as its writer would seal it.
fn make_newer(bytes: &mut [u8]) {
    let (_, content, _) = format::frame(bytes).unwrap();
    let length = format::HEADER_BYTES + content.len();
    bytes[1] = bytes[1] & 0xf0 | (VERSION + 1);
    let sealed = format::seal(bytes[..length].to_vec());
    bytes[..length].copy_from_slice(&sealed);
}

fn assert_refused(dir: &Path) {
    let refused = [
        open(dir, &LogReader::new()).err().unwrap(),
        Store::open(dir).err().unwrap(),
        verify(dir).unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, LogError::Newer { found: 4, .. }), "{error}");
        assert!(error.is_permanent());
        let text =
            "was written by a newer picket: its records have format 4, this one knows up to 3";
        assert!(error.to_string().ends_with(text), "{error}");
    }
}

#[test]
fn a_store_with_any_value_of_a_newer_version_is_refused_unharmed() {
    for key in ["newest chunk", "anchor", "origin"] {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join("log");
        let mut log = PredictionLog::open(
            &dir,
            Retention { max_records: 2, ..KEEP_ALL },
            &LogReader::new(),
            Climb::Quarantine,
        )
        .unwrap();
        for _ in 0..5 {
            log.append(&[&[predicted(&origin("edge-01"), 1, false)]]).unwrap();
            log.commit().unwrap();
        }
        log.checkpoint().unwrap();
        drop(log);
        let tampered = |change: &dyn Fn(&sled::Db)| {
            let db = handle::open_sled(&sled::Config::new().path(&dir)).unwrap();
            change(&db);
            db.flush().unwrap();
            db.iter().map(Result::unwrap).collect::<Vec<_>>()
        };
        let stored = tampered(&|db| {
            let prefix = match key {
                "newest chunk" => RECORD_PREFIX,
                "anchor" => ANCHOR_KEY,
                _ => b'o',
            };
            let (key, value) = db.scan_prefix([prefix]).next_back().unwrap().unwrap();
            let mut newer = value.to_vec();
            make_newer(&mut newer);
            db.insert(key, newer).unwrap();
        });
        let journal = std::fs::read(dir.join("journal")).unwrap();
        assert_refused(&dir);
        assert_eq!(std::fs::read(dir.join("journal")).unwrap(), journal, "{key}");
        assert_eq!(tampered(&|_| {}), stored, "{key}");
    }
}

#[test]
fn a_journal_of_a_newer_version_is_refused_before_anything_is_touched() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join("log");
    let mut log = open(&dir, &LogReader::new()).unwrap();
    log.append(&[&[predicted(&origin("edge-01"), 1, false)]]).unwrap();
    log.commit().unwrap();
    drop(log);
    let path = dir.join("journal");
    let mut journal = std::fs::read(&path).unwrap();
    // Behind the origin and the clock's offset.
    const HEADER_BYTES: usize = 64;
    let mut held = &journal[HEADER_BYTES..];
    while let Ok((kind, _, behind)) = format::frame(held)
        && kind != Kind::Chunk
    {
        held = behind;
    }
    let at = journal.len() - held.len();
    assert!(at > HEADER_BYTES);
    let end = at + held.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    make_newer(&mut journal[at..]);
    let checksum = crc32fast::hash(&journal[4..end]);
    journal[..4].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&path, &journal).unwrap();
    let files = || {
        let files = std::fs::read_dir(&dir).unwrap().map(Result::unwrap);
        let files = files.filter(|file| file.file_type().unwrap().is_file());
        let mut files: Vec<_> =
            files.map(|file| (file.path(), std::fs::read(file.path()).unwrap())).collect();
        files.sort();
        files
    };
    let before = files();
    assert_refused(&dir);
    assert!(files() == before);
}
