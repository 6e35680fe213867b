//! Senders that ask for more than their share: others, other kinds of work and the probes go on.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};

use crate::sockets::{connect_from, rest};
use crate::support::{
    Daemon, cat_png, fixture, grey_pixels, run, start, start_with, stderr, stdout,
};

const ATTACKER: [u8; 4] = [127, 0, 0, 3];
const OTHER: [u8; 4] = [127, 0, 0, 2];

/// A PNG of a palette, of one colour: large to decode and small to send.
fn large_png(side: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8; 4], data: &[u8]| {
        let named = [name, data].concat();
        png.extend((data.len() as u32).to_be_bytes());
        png.extend(&named);
        png.extend(crc32fast::hash(&named).to_be_bytes());
    };
    let size = side.to_be_bytes();
    chunk(b"IHDR", &[&size[..], &size, &[8, 3, 0, 0, 0]].concat());
    chunk(b"PLTE", &[1, 2, 3].repeat(256));
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..side {
        rows.write_all(&vec![0; side as usize + 1]).unwrap();
    }
    chunk(b"IDAT", &rows.finish().unwrap());
    chunk(b"IEND", b"");
    png
}

/// A grey progressive JPEG that sends each coefficient in a scan of its own, all of them 0.
fn jpeg_of_64_scans(side: u16) -> Vec<u8> {
    let segment = |marker: u8, content: &[u8]| {
        let length = (content.len() as u16 + 2).to_be_bytes();
        [&[0xff, marker], &length[..], content].concat()
    };
    let side_bytes = side.to_be_bytes();
    let frame = [&[8], &side_bytes[..], &side_bytes, &[1, 1, 0x11, 0]].concat();
    // Each code is a single 0: no difference for DC, a long run of blocks without more for AC.
    let code = |class: u8, symbol: u8| [&[class, 1], &[0; 15][..], &[symbol]].concat();
    let blocks = usize::from(side / 8).pow(2);
    let mut jpeg = vec![0xff, 0xd8];
    jpeg.extend(segment(0xdb, &[&[0][..], &[1; 64]].concat()));
    jpeg.extend(segment(0xc2, &frame));
    jpeg.extend(segment(0xc4, &code(0x00, 0)));
    jpeg.extend(segment(0xc4, &code(0x10, 0xe0)));
    let mut runs = String::new();
    let mut left = blocks;
    while left > 0 {
        let run = left.min(32_767);
        runs.push_str(&format!("0{:014b}", run - 16_384));
        left -= run;
    }
    for coefficient in 0..64 {
        let bits = if coefficient == 0 { "0".repeat(blocks) } else { runs.clone() };
        jpeg.extend(segment(0xda, &[1, 1, 0, coefficient, coefficient, 0]));
        for byte in bits.as_bytes().chunks(8) {
            let text = format!("{:1<8}", std::str::from_utf8(byte).unwrap());
            let byte = u8::from_str_radix(&text, 2).unwrap();
            jpeg.push(byte);
            jpeg.extend((byte == 0xff).then_some(0));
        }
    }
    jpeg.extend([0xff, 0xd9]);
    jpeg
}

fn post(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

/// The whole answer to a request on a connection of its own.
fn ask_from(source: [u8; 4], to: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect_from(source, to);
    // Whoever is turned away before all is sent has its answer all the same.
    let _ = stream.write_all(request);
    rest(&stream).0
}

fn is_ok(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 ")
}

/// Asks all the time on so many connections until told to stop, and counts what is answered with 200.
struct Flood {
    stop: AtomicBool,
    answered: AtomicUsize,
}

impl Flood {
    fn new() -> Flood {
        Flood { stop: AtomicBool::new(false), answered: AtomicUsize::new(0) }
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    fn rise<'scope, 'a: 'scope>(
        &'a self,
        scope: &'scope Scope<'scope, '_>,
        connections: usize,
        source: [u8; 4],
        to: SocketAddr,
        request: &'a [u8],
    ) -> Vec<ScopedJoinHandle<'scope, ()>> {
        let ask = move || {
            while !self.stop.load(Ordering::SeqCst) {
                // A refusal takes no turn.
                if is_ok(&ask_from(source, to, request)) {
                    self.answered.fetch_add(1, Ordering::SeqCst);
                }
            }
        };
        (0..connections).map(|_| scope.spawn(ask)).collect()
    }
}

/// Stops the flood however the test ends: a scope waits for its threads.
struct Ebb<'a>(&'a Flood);

impl Drop for Ebb<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}

#[test]
fn large_pictures_of_one_address_do_not_keep_those_of_another_waiting() {
    let (_state, daemon) = start_with(["--api-workers", "2"]);
    let large = post("/predict", "image/png", &large_png(3_000));
    let small = post("/predict", "application/octet-stream", &grey_pixels());
    let (first, second) = (Flood::new(), Flood::new());
    std::thread::scope(|scope| {
        let _ebb = (Ebb(&first), Ebb(&second));
        first.rise(scope, 20, ATTACKER, daemon.api, &large);
        second.rise(scope, 20, [127, 0, 0, 4], daemon.api, &large);
        daemon.wait_until("a full house", |daemon| daemon.metric("picket_queue_depth") >= 30.0);
        for _ in 0..6 {
            let before = first.answered() + second.answered();
            let answer = ask_from(OTHER, daemon.api, &small);
            assert!(is_ok(&answer), "{answer}");
            let meanwhile = first.answered() + second.answered() - before;
            // Those in work, and what came between an answer and its count; not the 30 that waited.
            assert!(meanwhile <= 8, "{meanwhile} went first");
            assert_eq!(daemon.probe("/ready").status, 200);
        }
    });
}

#[test]
fn frozen_readers_shut_out_neither_ingest_nor_the_command_line() {
    let (state, daemon) = start();
    let batch = batch((0..3).map(|_| record("line-4", "m", 10)).collect());
    let log = post("/log?durable=false", "application/json", batch.to_string().as_bytes());
    let frozen = [daemon.freeze("reader-0"), daemon.freeze("reader-1")];
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..70)
            .map(|_| scope.spawn(|| ask_from(ATTACKER, daemon.api, &get("/predictions"))))
            .collect();
        let refused = "picket_offloaded_turned_away_total{threads=\"reader\"}";
        daemon.wait_until("a full queue", |daemon| daemon.metric(refused) == 6.0);
        let other = scope.spawn(|| ask_from(OTHER, daemon.api, &get("/stats")));
        // Its place was the flood's.
        daemon.wait_until("a place for another", |daemon| daemon.metric(refused) == 7.0);
        for _ in 0..3 {
            let answer = ask_from(OTHER, daemon.api, &log);
            assert!(is_ok(&answer), "{answer}");
        }
        let store = state.path().join("log");
        for command in ["verify", "tail"] {
            let output = run(["log", command, "--store", store.to_str().unwrap()]);
            assert!(output.status.success(), "{}", stderr(&output));
        }
        drop(frozen);
        assert!(is_ok(&other.join().unwrap()));
        let answers: Vec<String> = asked.into_iter().map(|asked| asked.join().unwrap()).collect();
        assert_eq!(answers.iter().filter(|answer| is_ok(answer)).count(), 63);
        let told = |text: &str| answers.iter().filter(|answer| answer.contains(text)).count();
        assert_eq!(told("HTTP/1.1 503 "), 7);
        assert_eq!(told("64 requests of this kind are waiting already\""), 6);
        assert_eq!(told("waiting already, most of them from this address\""), 1);
    });
}

#[test]
fn frozen_ingest_shuts_out_neither_reads_nor_predictions() {
    let (_state, daemon) = start();
    let batch = batch(vec![record("line-4", "m", 10)]);
    let log = post("/log?durable=false", "application/json", batch.to_string().as_bytes());
    let frozen = [daemon.freeze("ingest-0"), daemon.freeze("ingest-1")];
    std::thread::scope(|scope| {
        let reported = scope.spawn(|| ask_from(OTHER, daemon.api, &log));
        assert_eq!(daemon.get("/predictions").status, 200);
        assert_eq!(daemon.get("/stats").status, 200);
        assert_eq!(daemon.predict("image/png", &cat_png()).status, 200);
        assert!(!reported.is_finished());
        drop(frozen);
        assert!(is_ok(&reported.join().unwrap()));
    });
}

#[test]
fn several_addresses_that_are_turned_away_are_an_overload_and_one_is_none() {
    let (_state, daemon) = start_with(["--api-workers", "1", "--api-queue", "1"]);
    let picture = std::fs::read(fixture("cifar10/cat-large.jpg")).unwrap();
    let predict = post("/predict", "image/jpeg", &picture);
    let flood = Flood::new();
    let turned_away =
        |daemon: &Daemon| daemon.metric("picket_predictions_turned_away_total") as usize;
    std::thread::scope(|scope| {
        let _ebb = Ebb(&flood);
        flood.rise(scope, 8, ATTACKER, daemon.api, &predict);
        daemon.wait_until("many refusals", |daemon| turned_away(daemon) > 200);
        assert_eq!(daemon.probe("/ready").status, 200);
        for host in 4..9 {
            flood.rise(scope, 4, [127, 0, 0, host], daemon.api, &predict);
        }
        daemon.wait_until("overload", |daemon| {
            daemon.probe("/ready").json()["reason"] == "overloaded"
        });
    });
    daemon.wait_until("ready again", |daemon| daemon.probe("/ready").status == 200);
}

fn record(device: &str, model: &str, note_bytes: usize) -> Value {
    json!({
        "image_id": "i", "timestamp": 1_795_000_000.5, "model_version": "v", "model_name": model,
        "inference_time_ms": 1, "detections": [], "defect_detected": false,
        "confidence_scores": [], "processing_notes": "n".repeat(note_bytes),
        "edge_device_id": device
    })
}

fn batch(records: Vec<Value>) -> Value {
    json!({"batch_size": records.len(), "predictions": records, "timestamp": 1_795_000_000.5})
}

fn store(daemon: &Daemon, records: Vec<Value>) {
    let batch = batch(records).to_string();
    let answer = daemon.post("/log", Some("application/json"), batch.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn a_page_ends_at_a_mebibyte_and_its_next_leads_on() {
    let (state, daemon) = start();
    for _ in 0..4 {
        store(&daemon, (0..150).map(|_| record("line-4", "m", 4_000)).collect());
    }
    let (mut ids, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = daemon.get(&format!("/predictions?limit=1000{after}"));
        assert_eq!(page.header("content-type"), Some("application/json"));
        assert!(page.body.len() <= 1 << 20, "{} bytes", page.body.len());
        let page = page.json();
        let records = page["predictions"].as_array().unwrap();
        assert_eq!(page["count"], records.len());
        ids.extend(records.iter().map(|record| record["id"].as_u64().unwrap()));
        pages += 1;
        let Some(next) = page["next"].as_u64() else { break };
        after = format!("&after={next}");
    }
    assert!(ids.into_iter().rev().eq(1..=600));
    assert_eq!(pages, 3);
    let store = state.path().join("log");
    let output = run(["log", "export", "--store", store.to_str().unwrap()]);
    let exported = stdout(&output).lines().filter(|line| line.contains("\"image_id\"")).count();
    assert_eq!(exported, 600, "{}", stderr(&output));
}

#[test]
fn stats_name_the_hundred_with_most_records_and_count_all() {
    let (_state, daemon) = start();
    store(&daemon, (0..5).map(|_| record("line-4", "scratches", 0)).collect());
    for first in [0, 900] {
        let named = |at: i32| record(&format!("d{at}"), &format!("m{at}"), 0);
        store(&daemon, (first..first + 900).map(named).collect());
    }
    store(&daemon, (0..5).map(|_| record("line-4", "scratches", 0)).collect());
    let counted = || daemon.get("/stats").json();
    daemon.wait_until("all records", |_| counted()["total_predictions"] == 1_810);
    let stats = counted();
    for (names, most) in [("by_edge_device", "line-4"), ("by_model", "scratches")] {
        let names = stats[names].as_object().unwrap();
        assert_eq!(names.len(), 101);
        assert_eq!(names[most], 10);
        assert_eq!(names["other"], 1_810 - 10 - 99);
    }
}

#[test]
fn a_picture_with_far_more_scans_than_any_camera_writes_is_refused_where_it_takes_too_long() {
    // A board that has not measured itself yet takes itself for slow.
    let (_state, daemon) = start();
    let picture = jpeg_of_64_scans(4_000);
    let refused = daemon.predict("image/jpeg", &picture);
    assert_eq!(refused.status, 413, "{}", refused.body);
    assert!(refused.error().contains("1024 megapixels over all its scans"), "{}", refused.error());
    assert_eq!(daemon.probe("/ready").status, 200);
}
