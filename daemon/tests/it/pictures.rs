//! Pictures as people send them: formats, raw pixels, forms, gzip, and clients that state nothing.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::{assert_goes_on, assert_refused, fixture, request_with, start, start_with};

fn field(name: &str) -> Vec<u8> {
    std::fs::read(fixture(&format!("field/{name}"))).unwrap()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(body).unwrap();
    gzip.finish().unwrap()
}

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (head, content) in parts {
        body.extend(
            format!("--frontier\r\nContent-Disposition: form-data; {head}\r\n\r\n").bytes(),
        );
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(b"--frontier--\r\n");
    body
}

const FORM: &str = "multipart/form-data; boundary=frontier";

#[test]
fn file_of_a_camera_gets_the_answer_of_the_same_png() {
    let (_state, daemon) = start();
    for (name, reference, content_type) in [
        ("f01_bgr24.bmp", "ref_64x64.png", "image/bmp"),
        ("f02_mono8.bmp", "ref_grey_96x64.png", "image/x-ms-bmp"),
        ("f03_mono8.tif", "ref_grey_96x64.png", "image/tiff"),
        ("f05_mono8.pgm", "ref_grey_96x64.png", "image/x-portable-graymap"),
    ] {
        let expected =
            daemon.predict("image/png", &field(reference)).json()["probabilities"].clone();
        let curl = Some("application/x-www-form-urlencoded");
        let octets = Some("application/octet-stream");
        for content_type in [Some(content_type), None, curl, octets] {
            let answer = daemon.post("/predict", content_type, &field(name));
            assert_eq!(answer.status, 200, "{name} {content_type:?}: {}", answer.body);
            assert_eq!(answer.json()["probabilities"], expected, "{name} {content_type:?}");
        }
    }
}

#[test]
fn twelve_bits_in_sixteen_are_never_a_black_picture() {
    let (_state, daemon) = start();
    let expected = daemon.predict("image/png", &field("ref_grey_96x64.png")).json();
    for name in ["f04_mono16.tif", "p01_mono12_in_16.png", "p02_mono12_in_16_sbit.png"] {
        let answer = daemon.post("/predict", None, &field(name));
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
        let answer = answer.json();
        assert_eq!(answer["class"], expected["class"], "{name}");
        let confidence = |answer: &serde_json::Value| answer["confidence"].as_f64().unwrap();
        assert!((confidence(&answer) - confidence(&expected)).abs() < 0.05, "{name}: {answer}");
    }
    let dark = [b"P5 32 32 65535 ".to_vec(), [1, 200].repeat(1024)].concat();
    let answer = daemon.post("/predict", None, &dark);
    assert_refused(&answer, 422, &["16-bit samples of at most 456", "state the bits"]);
}

#[test]
fn format_that_is_not_read_is_named() {
    let (_state, daemon) = start();
    for content_type in [None, Some("image/jpeg"), Some("application/octet-stream")] {
        let post = |name| daemon.post("/predict", content_type, &field(name));
        assert_refused(&post("f07_lossy.webp"), 415, &["body is WebP", "accepted are"]);
        assert_refused(&post("f09_phone.heic"), 415, &["body is HEIC", "accepted are"]);
    }
}

#[test]
fn raw_pixels_of_any_size_are_taken_with_their_form() {
    let (_state, daemon) = start();
    let body = field("r02_mono8_1024.bin");
    let path = |query: &str| format!("/predict?{query}");
    let octets = Some("application/octet-stream");
    let mono = "width=32&height=32&format=mono8";
    let rgb: Vec<u8> = body.iter().flat_map(|&grey| [grey; 3]).collect();
    let expected = daemon.post("/predict", octets, &rgb).json()["probabilities"].clone();
    for content_type in [None, octets, Some("application/x-www-form-urlencoded")] {
        let answer = daemon.post(&path(mono), content_type, &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json()["probabilities"], expected);
    }
    let answer = daemon.post(&path("width=32&height=32&format=bgr8&durable=true"), octets, &rgb);
    assert_eq!(answer.json()["probabilities"], expected);

    for (query, status, texts) in [
        ("width=32&height=31&format=mono8", 422, &["1024 bytes", "exactly 992", "32x31 mono8"][..]),
        ("width=32&height=32&format=rgb8", 422, &["exactly 3072"]),
        ("width=99999&height=1&format=mono8", 413, &["99999x1", "16384"]),
        ("width=0&height=32&format=mono8", 400, &["0x32"]),
        ("width=32&format=mono8", 400, &["all of width, height and format"]),
        ("width=32&height=32&format=mono9", 400, &["format is not known", "mono8"]),
        ("width=-1&height=32&format=mono8", 400, &["width is -1"]),
        ("size=32", 400, &["unknown field `size`"]),
    ] {
        assert_refused(&daemon.post(&path(query), octets, &body), status, texts);
    }
    let png = field("ref_64x64.png");
    let answer = daemon.post(&path(mono), Some("image/png"), &png);
    assert_refused(&answer, 400, &["of raw pixels, not of png"]);
    let exact = format!("width={}&height=1&format=mono8", png.len());
    assert_refused(&daemon.post(&path(&exact), octets, &png), 400, &["starts like png"]);
}

#[test]
fn form_with_one_file_is_that_file() {
    let (_state, daemon) = start();
    let (png, tiff) = (field("ref_64x64.png"), field("f03_mono8.tif"));
    let expected = daemon.predict("image/png", &png).json()["probabilities"].clone();
    let file = "name=\"file\"; filename=\"a.png\"";
    let typed = "name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png";
    let note = ("name=\"note\"", &b"of line 4"[..]);
    for parts in [vec![(file, &png[..])], vec![(typed, &png)], vec![note, (typed, &png), note]] {
        let answer = daemon.post("/predict", Some(FORM), &form(&parts));
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json()["probabilities"], expected);
    }
    let many = vec![note; 40];
    let untyped = "name=\"file\"; filename=\"a.xyz\"\r\nContent-Type: chemical/x-xyz";
    for (parts, status, texts) in [
        (vec![(file, &png[..]), (file, &tiff)], 400, &["2 files", "exactly one"][..]),
        (vec![note], 400, &["0 files", "exactly one"]),
        (vec![], 400, &["0 files", "exactly one"]),
        (many, 400, &["more than 32 parts"]),
        (vec![(typed, &tiff)], 400, &["declared as png", "starts like tiff"]),
        (vec![(untyped, &png)], 415, &["chemical/x-xyz", "accepted are"]),
        (vec![(file, b"")], 400, &["body is empty"]),
    ] {
        assert_refused(&daemon.post("/predict", Some(FORM), &form(&parts)), status, texts);
    }
    let whole = form(&[(file, &png)]);
    for length in [0, 10, 100, whole.len() - 4, whole.len() - 20] {
        let answer = daemon.post("/predict", Some(FORM), &whole[..length]);
        assert_refused(&answer, 400, &["multipart body"]);
    }
    let answer = daemon.post("/predict", Some("multipart/form-data"), &whole);
    assert_refused(&answer, 400, &["multipart body", "boundary"]);
    assert_goes_on(&daemon);
}

#[test]
fn gzip_is_unpacked_within_the_limit() {
    let (_state, daemon) = start();
    let post = |coding: &str, content_type: &str, body: &[u8]| {
        let headers = [("content-type", content_type), ("content-encoding", coding)];
        request_with(daemon.api, "POST", "/predict", &headers, body)
    };
    let bitmap = field("f01_bgr24.bmp");
    let expected = daemon.predict("image/bmp", &bitmap).json()["probabilities"].clone();
    let answer = post("gzip", "image/bmp", &gzip(&bitmap));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["probabilities"], expected);
    let parts = form(&[("name=\"f\"; filename=\"f\"", &bitmap)]);
    assert_eq!(post("GZIP", FORM, &gzip(&parts)).json()["probabilities"], expected);
    assert_eq!(post("identity", "image/bmp", &bitmap).json()["probabilities"], expected);

    for coding in ["deflate", "br", "zstd", "gzip, gzip", "nonsense"] {
        assert_refused(&post(coding, "image/bmp", &bitmap), 415, &[coding, "only gzip"]);
    }
    let zipped = gzip(&bitmap);
    for length in [0, 1, 10, zipped.len() / 2, zipped.len() - 1] {
        assert_refused(&post("gzip", "image/bmp", &zipped[..length]), 400, &["gzip body"]);
    }
    let mut damaged = zipped.clone();
    damaged[zipped.len() - 6] ^= 1;
    assert_refused(&post("gzip", "image/bmp", &damaged), 400, &["gzip body"]);
    assert_refused(&post("gzip", "image/bmp", &bitmap), 400, &["gzip body"]);
    // A gigabyte of zeros in a megabyte.
    let before = daemon.metric("process_resident_memory_bytes");
    let bomb = gzip(&vec![0; 1 << 30]);
    assert!(bomb.len() < 2 << 20, "{} bytes", bomb.len());
    assert_refused(&post("gzip", "image/bmp", &bomb), 413, &["larger than 16777216 bytes"]);
    let grown = daemon.metric("process_resident_memory_bytes") - before;
    assert!(grown < 48e6, "{grown} bytes");
    assert_goes_on(&daemon);
}

/// Ten bits that hold nothing cost as much as a block that holds something. So does a member of twenty bytes.
#[test]
fn a_gzip_body_that_holds_next_to_nothing_is_given_up_and_holds_up_no_sign_of_life() {
    let deadline = ["--health-runtime-deadline", "5s", "--api-workers", "1"];
    let (_state, daemon) = start_with(deadline);
    let empty_blocks = [0x02, 0x08, 0x20, 0x80, 0x00].repeat(3 << 20);
    let blocks = [&b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..], &empty_blocks].concat();
    let coding = [("content-encoding", "gzip"), ("content-type", "image/png")];
    let ask = |body: &[u8]| request_with(daemon.api, "POST", "/predict", &coding, body);
    assert_refused(&ask(&blocks), 413, &["takes more than 3 s to unpack"]);
    let members = gzip(b"").repeat(500_000);
    let answer = ask(&members);
    assert!(matches!(answer.status, 400 | 413), "{}", answer.body);
    assert_eq!(daemon.probe("/health").status, 200);
    for thread in ["ingest-0", "ingest-1"] {
        let near = format!("picket_subsystem_near_misses_total{{subsystem=\"{thread}\"}}");
        assert_eq!(daemon.metric(&near), 0.0, "{thread}");
    }
}
