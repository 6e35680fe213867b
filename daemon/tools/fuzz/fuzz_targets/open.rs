//! Opening a store whose files are arbitrary bytes: it opens, perhaps with losses, or says why not;
//! it takes a record afterwards, and never panics or hangs.

#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_records::{Climb, LogError, LogReader, PredictionLog, Retention};

const RETENTION: Retention = Retention { max_records: 1_000, max_bytes: 10_000_000, max_age: None };

/// The files of a store; the first byte of an input says which of them it is spread over.
const FILES: [&str; 5] = ["db", "conf", "snap.0000000000000010", "high-water", "journal"];

fuzz_target!(|input: &[u8]| {
    let Some((&which, bytes)) = input.split_first() else { return };
    let state = tempfile::tempdir().expect("there is room for a directory");
    let dir = state.path().join("log");
    std::fs::create_dir(&dir).expect("it is new");
    let files = FILES.iter().enumerate().filter(|(bit, _)| which >> bit & 1 == 1);
    let names: Vec<&str> = files.map(|(_, name)| *name).collect();
    for (name, part) in
        names.iter().zip(bytes.chunks(bytes.len().div_ceil(names.len().max(1)).max(1)))
    {
        let part = if *name == "journal" { sealed(part) } else { part.to_vec() };
        std::fs::write(dir.join(name), part).expect("there is room for a file");
    }
    let reader = LogReader::new();
    let opened = PredictionLog::open(&dir, RETENTION, &reader, Climb::Quarantine);
    if let Err(LogError::Newer { .. }) = opened {
        return;
    }
    let mut log = opened.expect("a healthy disk always gives a log");
    log.append(&[]).expect("a healthy disk takes records");
    log.commit().expect("a healthy disk keeps records");
    reader.verify(&dir).expect("an open log can be read");
});

/// As one commit of the journal with a right checksum, so that what it says is looked at.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    const HEADER_BYTES: usize = 64;
    let mut commit = bytes.to_vec();
    let Some(values) = commit.len().checked_sub(HEADER_BYTES) else { return commit };
    // The length in postcard's variable form, over five bytes whatever it is.
    for (place, byte) in commit[4..9].iter_mut().enumerate() {
        let more = if place < 4 { 0x80 } else { 0 };
        *byte = (values >> (7 * place)) as u8 & 0x7f | more;
    }
    let checksum = crc32fast::hash(&commit[4..]);
    commit[..4].copy_from_slice(&checksum.to_le_bytes());
    commit
}
