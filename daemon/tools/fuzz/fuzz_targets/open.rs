//! Opening a log whose files are damaged, or any bytes: it opens, perhaps with losses, or says that a newer
//! version has written it; it takes a record afterwards, can be read to its end, and never panics or hangs.

#![no_main]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use picket_base::clock::Stamp;
use picket_records::{
    Body, Entry, Group, Labels, LogError, LogReader, Origin, Predicted, PredictionLog, Retention,
    Stream, verify_stopped,
};

/// What a log, or a store of 0.1, is made of.
const FILES: [&str; 6] = [
    "journal",
    "own-00000000000000000001.seg",
    "reported-00000000000000000002.seg",
    "witness",
    "db",
    "high-water",
];

/// The files of a log with some records in each.
static WHOLE: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();

fuzz_target!(|input: &[u8]| {
    let Some((&how, bytes)) = input.split_first() else { return };
    let state = tempfile::tempdir().expect("there is room for a directory");
    let dir = state.path().join("log");
    std::fs::create_dir(&dir).expect("it is new");
    if how & 0x80 == 0 {
        edited(&dir, bytes);
    } else {
        arbitrary(&dir, how, bytes);
    }
    let _ = verify_stopped(&dir, None);
    let reader = LogReader::new();
    let opened = PredictionLog::open(&dir, Retention::NONE, &reader, None);
    if let Err(LogError::Newer { .. }) = opened {
        return;
    }
    let mut log = opened.expect("a healthy disk always gives a log");
    commit(&mut log, Stream::Own);
    reader.verify(None, || true).expect("an open log can be read");
});

/// A whole log, of which four bytes of the input each change one: file, place, and what is there.
fn edited(dir: &Path, bytes: &[u8]) {
    let mut files = WHOLE.get_or_init(whole).clone();
    for edit in bytes.chunks_exact(4) {
        let count = files.len();
        let (_, content) = &mut files[usize::from(edit[0]) % count];
        let place = usize::from(u16::from_le_bytes([edit[1], edit[2]])) % content.len().max(1);
        if let Some(byte) = content.get_mut(place) {
            *byte = edit[3];
        }
    }
    for (name, content) in files {
        std::fs::write(dir.join(name), content).expect("there is room for a file");
    }
}

/// Any bytes, spread over the files that the first byte names.
fn arbitrary(dir: &Path, which: u8, bytes: &[u8]) {
    let files = FILES.iter().enumerate().filter(|(bit, _)| which >> bit & 1 == 1);
    let names: Vec<&str> = files.map(|(_, name)| *name).collect();
    let share = bytes.len().div_ceil(names.len().max(1)).max(1);
    for (name, part) in names.iter().zip(bytes.chunks(share)) {
        std::fs::write(dir.join(name), part).expect("there is room for a file");
    }
}

fn whole() -> Vec<(String, Vec<u8>)> {
    let state = tempfile::tempdir().expect("there is room for a directory");
    let dir = state.path().join("log");
    // Sealed at its end; the second life leaves records in the journal.
    for _ in 0..2 {
        let opened = PredictionLog::open(&dir, Retention::NONE, &LogReader::new(), None);
        let mut log = opened.expect("a healthy disk always gives a log");
        for stream in [Stream::Own, Stream::Reported, Stream::Own] {
            commit(&mut log, stream);
        }
    }
    let entries = std::fs::read_dir(&dir).expect("it is there").map(|entry| entry.expect("as well"));
    let files = entries.filter(|entry| entry.path().is_file() && entry.file_name() != "reserve");
    let mut files: Vec<(String, Vec<u8>)> = files
        .map(|file| {
            let name = file.file_name().into_string().expect("names are ASCII");
            (name, std::fs::read(file.path()).expect("it was just written"))
        })
        .collect();
    files.sort();
    files
}

fn commit(log: &mut PredictionLog, stream: Stream) {
    let origin = Origin {
        boot_id: "2f4a1c66-13ad-45a5-a03c-94e9b1c3c9a4".into(),
        model_name: "cifar10-model".into(),
        model_version: "1".into(),
        device_id: Some("edge-01".into()),
        labels: Labels::new(&["cat"]),
    };
    let predicted =
        Predicted { class: 0, label: "cat".into(), uncertain: false, classes: 1, top: Vec::new() };
    let entry = Entry {
        origin: Arc::new(origin),
        at: Stamp { monotonic_us: 86_400_000_000, wall_us: 1_795_000_000_000_000, synchronised: true },
        inference_us: 350,
        defect: false,
        body: Body::Predicted(predicted),
    };
    let entries = vec![entry; 3];
    let group = Group { stream, entries: &entries, name: None };
    log.commit(&[group]).expect("a healthy disk keeps records");
}
