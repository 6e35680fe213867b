//! Bad input through the production entry point: the status and a text that says what and what
//! limit, and a daemon that goes on.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{
    assert_goes_on, assert_refused, cat_png, fixture, picket, raw, raw_and_hang_up, request, run,
    start, start_with, stderr,
};

fn numbers(count: usize) -> Vec<u8> {
    json!({ "data": vec![7; count] }).to_string().into()
}

/// A PNG of `side` × `side` pixels in the stated depth and colour; `data` starts with its type.
fn png(side: u32, form: [u8; 5], data: &[u8]) -> Vec<u8> {
    let header = [&b"IHDR"[..], &side.to_be_bytes(), &side.to_be_bytes(), &form].concat();
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for chunk in [&header[..], data, b"IEND"] {
        png.extend((chunk.len() as u32 - 4).to_be_bytes());
        png.extend(chunk);
        png.extend(crc32fast::hash(chunk).to_be_bytes());
    }
    png
}

#[test]
fn bodies_that_are_no_picture_are_refused_with_the_fact_and_the_limit() {
    let (_state, daemon) = start();
    let cat = cat_png();
    let jpeg = std::fs::read(fixture("cifar10/cat-large.jpg")).unwrap();
    let half = |body: &[u8]| body[..body.len() / 2].to_vec();
    let cases: Vec<(&str, Vec<u8>, u16, &[&str])> = vec![
        ("image/png", vec![], 400, &["body is empty"]),
        ("application/json", vec![], 400, &["body is empty"]),
        ("image/png", half(&cat), 400, &["png is truncated"]),
        ("image/jpeg", half(&jpeg), 400, &["jpeg is truncated"]),
        ("image/png", b"x".to_vec(), 400, &["png is damaged", "signature"]),
        ("image/jpeg", b"x".to_vec(), 400, &["jpeg is damaged"]),
        ("application/octet-stream", b"x".to_vec(), 422, &["1 bytes", "exactly 3072"]),
        ("application/json", b"x".to_vec(), 400, &["json is malformed", "line 1 column 1"]),
        (
            "image/png",
            png(50_000, [16, 6, 0, 0, 0], b"IDAT"),
            413,
            &["50000x50000", "16384", "25165824"],
        ),
        ("image/jpeg", cat.clone(), 400, &["declared as jpeg", "starts like png"]),
        ("image/gif", b"GIF89a".to_vec(), 415, &["image/gif", "image/png, image/jpeg"]),
        ("", cat.clone(), 415, &["accepted are"]),
        ("application/json", numbers(3071), 422, &["3071 numbers", "exactly 3072"]),
        ("application/json", numbers(3073), 422, &["3073 numbers", "exactly 3072"]),
        ("application/json", b"{\"data\":[NaN]}".to_vec(), 422, &["data[0] is NaN"]),
        ("application/json", b"{\"data\":[1,-Infinity]}".to_vec(), 422, &["data[1] is -Infinity"]),
        ("application/json", b"{\"data\":[\"1\"]}".to_vec(), 422, &["data[0] is a string"]),
        (
            "application/json",
            b"{\"data\":[[1,2],[3]]}".to_vec(),
            422,
            &["data[1] holds 1 elements"],
        ),
        ("application/json", b"{\"data\":[1e999]}".to_vec(), 422, &["data[0] is beyond"]),
        ("application/json", b"{\"data\":{}}".to_vec(), 422, &["data is not an array"]),
        ("application/json", b"[1]".to_vec(), 422, &["not an object"]),
        ("application/json", b"{}".to_vec(), 422, &["no \"data\""]),
        ("application/json", b"{\"data\":[1".to_vec(), 400, &["malformed"]),
        ("application/json", b"{\"data\":\"\xff\"}".to_vec(), 400, &["not UTF-8"]),
    ];
    for (content_type, body, status, texts) in cases {
        assert_refused(&daemon.predict(content_type, &body), status, texts);
    }
    assert_refused(&daemon.post("/predict", None, b"x"), 415, &["not recognised"]);
    assert_refused(&daemon.post("/predict", None, b""), 400, &["body is empty"]);
    let mut beyond = vec![7.0; 3072];
    beyond[100] = 256.0;
    let body = json!({ "data": beyond }).to_string();
    let answer = daemon.predict("application/json", body.as_bytes());
    assert_refused(&answer, 422, &["data[100] is 256", "0 to 255"]);
    assert_goes_on(&daemon);
}

/// 1 GB of zeros in 1 MB of deflate: far more than its stated 32×32 pixels need.
#[test]
fn a_zip_bomb_in_a_png_ends_at_the_pixels_that_it_states() {
    let (_state, daemon) = start();
    let before = daemon.metric("process_resident_memory_bytes");
    let bomb = zip_bomb();
    assert!(bomb.len() < 2 << 20, "{} bytes", bomb.len());
    let answer = daemon.predict("image/png", &bomb);
    assert!(matches!(answer.status, 200 | 400), "{}", answer.body);
    let grown = daemon.metric("process_resident_memory_bytes") - before;
    assert!(grown < 64e6, "{grown} bytes");
    assert_goes_on(&daemon);
}

/// A grey 32×32 PNG whose image data goes on for 1 GB after the last pixel.
fn zip_bomb() -> Vec<u8> {
    let mut data = flate2::write::ZlibEncoder::new(b"IDAT".to_vec(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..1_000 {
        data.write_all(&zeros).unwrap();
    }
    png(32, [8, 0, 0, 0, 0], &data.finish().unwrap())
}

#[test]
fn a_body_over_the_limit_is_refused_whether_its_length_is_stated_or_not() {
    let (_state, daemon) = start();
    let body = vec![b' '; 100 << 20];
    let answer = daemon.predict("application/json", &body);
    assert_refused(&answer, 413, &["larger than 16777216 bytes"]);

    let mut chunked = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                        Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        .to_vec();
    let chunk = vec![b' '; 1 << 20];
    for _ in 0..17 {
        chunked.extend(format!("{:x}\r\n", chunk.len()).bytes());
        chunked.extend(&chunk);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let answer = raw(daemon.api, &chunked);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_goes_on(&daemon);
}

#[test]
fn a_body_limit_of_the_configuration_holds() {
    let (_state, daemon) = start_with(["--api-max-body", "4000"]);
    let answer = daemon.predict("application/json", &numbers(3000));
    assert_refused(&answer, 413, &["larger than 4000 bytes"]);
    assert_goes_on(&daemon);
}

#[test]
fn unknown_routes_methods_and_parameters_are_named() {
    let (_state, daemon) = start();
    assert_refused(&daemon.get("/nothing"), 404, &["/nothing"]);
    assert_refused(&daemon.probe("/predict"), 404, &["/predict"]);
    let answer = daemon.get("/predict");
    assert_refused(&answer, 405, &["GET", "only POST"]);
    assert_eq!(answer.header("allow"), Some("POST"));
    let answer = request(daemon.api, "DELETE", "/predictions", None, b"");
    assert_refused(&answer, 405, &["DELETE", "only GET, HEAD"]);
    let answer = request(daemon.probe, "POST", "/health", None, b"{}");
    assert_refused(&answer, 405, &["POST"]);
    for (path, text) in [
        ("/predictions?limit=0", "limit is 0: 1 to 1000"),
        ("/predictions?limit=1001", "limit is 1001: 1 to 1000"),
        ("/predictions?limit=x", "limit is x: a whole number"),
        ("/predictions?after=-1", "after is -1: a whole number"),
        ("/predictions?defect_only=maybe", "defect_only is maybe: true or false"),
        ("/predictions?until=1795000010123", "until is 1795000010123: epoch seconds are needed"),
        ("/predictions?since=yesterday", "since is yesterday: epoch seconds or RFC 3339"),
        ("/predictions?untl=5", "untl"),
    ] {
        assert_refused(&daemon.get(path), 400, &["query", text]);
    }
    let answer = daemon.post("/predict?durable=perhaps", Some("image/png"), &cat_png());
    assert_refused(&answer, 400, &["durable is perhaps: true or false"]);
    assert_goes_on(&daemon);
}

#[test]
fn what_is_not_http_does_no_harm() {
    let (_state, daemon) = start();
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(20_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(70));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"GET\r\n\r\n",
        long_path.as_bytes(),
        many_headers.as_bytes(),
        b"\0",
    ] {
        let answer = raw_and_hang_up(daemon.api, bytes);
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let torn = raw_and_hang_up(
        daemon.api,
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
    );
    assert!(torn.starts_with("HTTP/1.1 400 ") && torn.contains("body broke off"), "{torn}");
    let torn = raw_and_hang_up(daemon.api, b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Le");
    assert!(torn.starts_with("HTTP/1.1 400 "), "{torn}");
    assert!(torn.ends_with("ended in the middle of a request's head\"}"), "{torn}");
    assert_eq!(raw_and_hang_up(daemon.api, b""), "", "who asked nothing is told nothing");
    assert_goes_on(&daemon);
}

/// Codings that nobody takes off would leave packed bytes to be taken for pixels, or for JSON.
#[test]
fn what_is_packed_in_an_unknown_way_is_named_and_never_taken_for_the_body() {
    let (_state, daemon) = start();
    let of_24_bytes = "POST /predict?width=24&height=1&format=mono8 HTTP/1.1\r\nHost: box\r\n\
                       Connection: close\r\n";
    let chunked = format!("18\r\n{}\r\n0\r\n\r\n", "x".repeat(24));
    for (headers, told) in [
        ("Transfer-Encoding: gzip, chunked", "Transfer-Encoding is gzip, chunked, only chunked"),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", "Transfer-Encoding is gzip, ch"),
        ("Transfer-Encoding: chunked, chunked", "Transfer-Encoding is chunked, chunked"),
    ] {
        let sent = format!("{of_24_bytes}{headers}\r\n\r\n{chunked}");
        let answer = raw(daemon.api, sent.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 501 ") && answer.contains(told), "{answer}");
    }
    let sent = format!("{of_24_bytes}Transfer-Encoding: Chunked\r\n\r\n{chunked}");
    assert!(raw(daemon.api, sent.as_bytes()).starts_with("HTTP/1.1 200 "));
    let types = "Content-Type: image/png\r\nContent-Type: application/octet-stream";
    let sent = format!("{of_24_bytes}{types}\r\nContent-Length: 24\r\n\r\n{}", "x".repeat(24));
    let answer = raw(daemon.api, sent.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("there twice"), "{answer}");
    let sent = "POST /log HTTP/1.1\r\nHost: box\r\nContent-Type: application/json\r\n\
                Content-Encoding: gzip\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    let answer = raw(daemon.api, sent.as_bytes());
    let told = "Content-Encoding is gzip, none is taken here";
    assert!(answer.starts_with("HTTP/1.1 415 ") && answer.contains(told), "{answer}");
}

fn record() -> Value {
    json!({
        "image_id": "img", "timestamp": 1_795_000_000.5, "model_version": "v3",
        "model_name": "scratches", "inference_time_ms": 12.25,
        "detections": [], "defect_detected": true, "confidence_scores": [0.9]
    })
}

#[test]
fn one_bad_record_refuses_its_whole_batch_and_is_named() {
    let (_state, daemon) = start();
    let batch = |records: Vec<Value>| json!({"batch_size": records.len(), "predictions": records, "timestamp": 1_795_000_001.0});
    let without = |field: &str| {
        let mut record = record();
        record.as_object_mut().unwrap().remove(field);
        record
    };
    let with = |field: &str, value: Value| {
        let mut record = record();
        record[field] = value;
        record
    };
    let cases: Vec<(Value, u16, &[&str])> = vec![
        (
            batch(vec![record(), record(), without("image_id")]),
            422,
            &["predictions[2]", "image_id"],
        ),
        (
            batch(vec![with("inference_time_ms", json!(-1)), record()]),
            422,
            &["predictions[0]", "0 to"],
        ),
        (
            batch(vec![record(), with("confidence_scores", json!([2]))]),
            422,
            &["predictions[1]", "[0] is 2"],
        ),
        (
            batch(vec![record(), with("timestamp", json!("now"))]),
            422,
            &["predictions[1]", "string"],
        ),
        (
            json!({"predictions": [record()], "batch_size": 2, "timestamp": 0}),
            422,
            &["batch_size is 2"],
        ),
        (json!({"predictions": 7, "batch_size": 1, "timestamp": 0}), 422, &["batch"]),
        (batch(vec![record(); 20_001]), 413, &["20001 records", "at most 20000"]),
    ];
    for (body, status, texts) in cases {
        let answer = daemon.post("/log", Some("application/json"), body.to_string().as_bytes());
        assert_refused(&answer, status, texts);
    }
    assert_refused(&daemon.post("/log", Some("application/json"), b""), 400, &["body is empty"]);
    assert_refused(
        &daemon.post("/log", Some("application/json"), b"{\"predictions\":["),
        400,
        &["batch"],
    );
    assert_refused(&daemon.post("/log", Some("text/csv"), b"{}"), 415, &["text/csv"]);
    assert_eq!(daemon.get("/stats").json()["total_predictions"], 0, "nothing of them was stored");
    assert_goes_on(&daemon);
}

/// Runs a `picket serve` that must not start: its exit code and the one line that says why.
fn refused_start(state_dir: &Path, args: &[&str]) -> (i32, String) {
    let mut command = picket();
    command.args(["serve", "--message-level", "error", "--state-dir"]).arg(state_dir);
    command.args(["--api-listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0"]);
    let output = command.args(args).output().unwrap();
    let text = stderr(&output).trim_end().to_string();
    assert_eq!(text.lines().count(), 1, "one line says why: {text}");
    (output.status.code().unwrap(), text)
}

#[test]
fn a_start_that_cannot_succeed_ends_with_its_code_and_one_line() {
    let scratch = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = scratch.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_string()
    };
    let unknown_key = file("unknown.toml", b"[api]\nlisten = \"127.0.0.1:0\"\nlistne = 3\n");
    let unknown_section = file("section.toml", b"[apii]\n");
    let bad_value = file("value.toml", b"[log]\nmax_records = 0\n");
    let bad_type = file("type.toml", b"[log]\nmax_records = \"many\"\n");
    let corrupt = file("corrupt.onnx", &[7; 5000]);
    let truncated = file("truncated.onnx", &std::fs::read(embedded()).unwrap()[..100_000]);
    let cases: Vec<(Vec<&str>, i32, &[&str])> = vec![
        (vec!["--config", &unknown_key], 78, &["line 3", "listne"]),
        (vec!["--config", &unknown_section], 78, &["apii"]),
        (vec!["--config", &bad_value], 78, &["log.max_records is 0", "1 to 5000000"]),
        (vec!["--config", &bad_type], 78, &["line 2", "max_records"]),
        (vec!["--config", "/nonexistent.toml"], 74, &["/nonexistent.toml", "No such file"]),
        (vec!["--verdict-defect-labels", "rust"], 78, &["\"rust\"", "airplane"]),
        (vec!["--model-path", "/nonexistent.onnx"], 74, &["/nonexistent.onnx", "No such file"]),
        (vec!["--model-path", &corrupt], 65, &["not a usable ONNX file"]),
        (vec!["--model-path", &truncated], 65, &["not a usable ONNX file"]),
    ];
    for (args, code, texts) in cases {
        let state = tempfile::tempdir().unwrap();
        let (found, line) = refused_start(state.path(), &args);
        assert_eq!(found, code, "{args:?}: {line}");
        for text in texts {
            assert!(line.contains(text), "{line:?} lacks {text:?}");
        }
    }
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (code, line) = refused_start(&file.path().join("state"), &[]);
    assert_eq!(code, 74);
    assert!(line.contains("cannot use log directory"), "{line}");
    assert!(line.contains("Not a directory"), "{line}");
}

#[test]
fn unknown_flags_and_commands_are_usage_errors() {
    for args in
        [&["serve", "--listen", "x"][..], &["sevre"], &["serve", "--api-listen", "here"], &[]]
    {
        assert_eq!(run(args).status.code(), Some(64), "{args:?}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for flag in ["--api-listen", "--probe-listen"] {
        let state = tempfile::tempdir().unwrap();
        let state_dir = state.path().to_str().unwrap();
        let other = if flag == "--api-listen" { "--probe-listen" } else { "--api-listen" };
        let output = run(["serve", "--state-dir", state_dir, flag, &addr, other, "127.0.0.1:0"]);
        assert_eq!(output.status.code(), Some(74));
        let last = stderr(&output).lines().last().unwrap().to_string();
        assert!(
            last.contains(&format!("cannot listen on {addr}: Address already in use")),
            "{last}"
        );
    }
}

#[test]
fn a_second_daemon_on_the_same_store_is_refused() {
    let (state, _daemon) = start();
    let (code, line) = refused_start(state.path(), &[]);
    assert_eq!(code, 74);
    assert!(line.contains("in use by another process"), "{line}");
}

fn embedded() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/classifier/embedded/cifar10-int8.onnx")
}
