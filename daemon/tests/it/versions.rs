//! Stores that other versions of Picket have written: what the production binary makes of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Launch, cat_png, fixture, run, stderr, stdout, verify};

fn unpack(name: &str, state: &Path) {
    let archive = fixture(name).join("store.tar.gz");
    let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(state).status();
    assert!(unpacked.unwrap().success());
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// As this version shows it, less what format 2 did not show.
fn without_top(record: &Value) -> Value {
    let mut record = record.clone();
    record.as_object_mut().unwrap().remove("top");
    record
}

#[test]
fn a_store_of_format_2_is_served_on_verified_and_exported() {
    let state = tempfile::tempdir().unwrap();
    unpack("format-2", state.path());
    let before = json_lines(&std::fs::read_to_string(state.path().join("export.jsonl")).unwrap());

    let daemon = Launch::on(state.path()).start();
    let answer = daemon.post("/predict?durable=true", Some("image/png"), &cat_png()).json();
    let mut page = daemon.get("/predictions?limit=1000").json()["predictions"].clone();
    let page = page.as_array_mut().unwrap();
    page.reverse();
    assert_eq!(page.len(), before.len() + 1);
    assert!(page.iter().map(without_top).take(before.len()).eq(before.iter().cloned()));
    assert!(daemon.stop().success());

    let (code, report) = verify(state.path());
    assert_eq!((code, &report["count"]), (0, &46.into()), "{report}");
    assert!(state.path().join("log/before-0.2/db").exists());
    let store = state.path().join("log");
    let export = |format| {
        let store = store.to_str().unwrap();
        let output = run(["log", "export", "--store", store, "--format", format]);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).to_string()
    };
    let mut exported = json_lines(&export("jsonl"));
    assert_eq!(exported.pop().unwrap()["records"], 46, "its end mark");
    assert_eq!(exported, *page);
    let new = exported.last().unwrap();
    assert_eq!(new["id"], 46);
    assert_eq!((&new["class"], &new["label"]), (&answer["class"], &answer["label"]));
    assert!(new.get("probabilities").is_none());
    let top = new["top"].as_array().unwrap();
    assert_eq!(top.len(), 8);
    for top in top {
        let answered = &answer["probabilities"][top["class"].as_u64().unwrap() as usize];
        let difference = top["confidence"].as_f64().unwrap() - answered.as_f64().unwrap();
        assert!(difference.abs() <= 1e-5, "{top}: {answered}");
        assert!(top["label"].is_string());
    }
    let csv = export("csv");
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows.len(), 1 + exported.len() + 1);
    for (number, label) in [(1, ",airplane,0.969592,"), (46, ",cat,0.9781")] {
        assert!(rows[number].contains(label), "{}", rows[number]);
    }
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let files = files.filter(|file| file.file_type().unwrap().is_file());
    // What keeps room on the disk holds nothing.
    let files = files.filter(|file| file.file_name() != "reserve");
    files.map(|file| (file.path(), std::fs::read(file.path()).unwrap())).collect()
}

#[test]
fn a_store_of_a_newer_version_is_refused_unharmed() {
    let state = tempfile::tempdir().unwrap();
    unpack("format-15", state.path());
    let store = state.path().join("log");
    let before = files(&store);
    let path = store.to_str().unwrap();
    let (state_dir, free) = (state.path().to_str().unwrap(), "127.0.0.1:0");
    let commands: [&[&str]; 4] = [
        &["serve", "--state-dir", state_dir, "--api-listen", free, "--probe-listen", free],
        &["log", "verify", "--store", path],
        &["log", "export", "--store", path],
        &["log", "tail", "--store", path],
    ];
    for command in commands {
        let output = run(command);
        assert_eq!(output.status.code(), Some(74), "{command:?}: {}", stderr(&output));
        let error = stderr(&output);
        assert!(error.contains("was written by a newer picket: it has format 15"), "{error}");
        assert_eq!(stdout(&output), "");
        assert!(files(&store) == before, "{command:?}");
    }
}
