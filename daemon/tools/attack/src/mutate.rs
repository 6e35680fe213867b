//! Requests as they should not be: whole ones of every route, and what is done to them.

use fastrand::Rng;

/// Largest mutated request, bytes: what is over a limit needs no more.
const BYTES_MAX: usize = 40 << 10;

/// A whole request.
fn request(method: &str, target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

const JSON: &str = "Content-Type: application/json\r\n";
const PNG: &str = "Content-Type: image/png\r\n";
const PIXELS: &str = "Content-Type: application/octet-stream\r\n";

const BATCH: &[u8] = br#"{"predictions":[{"image_id":"i","timestamp":1.5,"model_version":"v","model_name":"m","inference_time_ms":1,"detections":[{"class":"c","confidence":0.9,"bbox":[1,2,3,4]}],"defect_detected":true,"confidence_scores":[0.9]}],"batch_size":2,"timestamp":1}"#;

/// Well-formed HTTP that no route takes: the connection goes on after the refusal.
pub fn refused(rng: &mut Rng) -> Vec<u8> {
    let junk: Vec<u8> = (0..rng.usize(0..200)).map(|_| rng.u8(..)).collect();
    match rng.usize(0..15) {
        0 => request("POST", "/predict", PNG, &[b"\x89PNG\r\n\x1a\n", &junk[..]].concat()),
        1 => request("POST", "/predict", "Content-Type: image/jpeg\r\n", &junk),
        2 => request("POST", "/predict", JSON, b"{\"data\":[1,2,"),
        3 => request("POST", "/predict", JSON, &[b"{\"data\":[1e999]", &junk[..]].concat()),
        4 => request("POST", "/predict", PIXELS, &junk),
        5 => request("POST", "/predict", "Content-Type: text/html\r\n", &junk),
        6 => request("POST", "/predict?durable=maybe", PIXELS, &[0; 3072]),
        7 => request("POST", "/log", JSON, BATCH),
        8 => request("POST", "/log", JSON, &junk),
        9 => request("GET", "/predictions?limit=-1&untl=now", "", b""),
        10 => request("GET", "/predictions?since=%00%ff&after=99999999999999999999", "", b""),
        11 => request("PATCH", "/stats", "", &junk),
        12 => request("GET", "/..//%2e%2e/etc/passwd", "", b""),
        13 => request("GET", ["x:80", "x", "http://x:80", "*"][rng.usize(0..4)], "", b""),
        _ => request(["DELETE", "BREW", "get"][rng.usize(0..3)], "/health", "", b""),
    }
}

/// Not HTTP any more, in all likelihood: the connection ends with it.
pub fn broken(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = refused(rng);
    match rng.usize(0..18) {
        0 => replace(&mut bytes, b"HTTP/1.1", b"HTTP/9.1"),
        1 => replace(&mut bytes, b"HTTP/1.1", b""),
        2 => replace(&mut bytes, b"Host:", b"Host"),
        3 => replace(&mut bytes, b"Host: x", b"Ho st: x"),
        4 => replace(&mut bytes, b"Content-Length: ", b"Content-Length: -"),
        5 => replace(&mut bytes, b"Content-Length: ", b"Content-Length: 1\r\nContent-Length: 2"),
        6 => replace(&mut bytes, b"Content-Length: ", b"Content-Length: 99999999999999999999"),
        7 => replace(&mut bytes, b"Content-Length: ", b"Transfer-Encoding: gzip\r\nX: "),
        8 => replace(
            &mut bytes,
            b"Content-Length: ",
            b"Transfer-Encoding: chunked\r\nContent-Length: ",
        ),
        9 => {
            bytes = b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec();
        }
        10 => {
            let long = vec![b'a'; rng.usize(16 << 10..BYTES_MAX)];
            replace(&mut bytes, b"Host: x", &[b"Host: ", &long[..]].concat());
        }
        11 => {
            let many = b"X: y\r\n".repeat(rng.usize(65..500));
            replace(&mut bytes, b"Host: x\r\n", &many);
        }
        12 => bytes = (0..rng.usize(1..300)).map(|_| rng.u8(..)).collect(),
        13 => bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        14 => {
            bytes = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
            bytes.extend((0..100).map(|_| rng.u8(..)));
        }
        15 => {
            let at = rng.usize(0..bytes.len());
            bytes.truncate(at);
        }
        16 => {
            let at = rng.usize(0..bytes.len().min(40));
            bytes.insert(at, 0);
        }
        _ => {
            for _ in 0..rng.usize(1..9) {
                let at = rng.usize(0..bytes.len().min(120));
                bytes[at] = rng.u8(..);
            }
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn replace(bytes: &mut Vec<u8>, from: &[u8], to: &[u8]) {
    let found = bytes.windows(from.len()).position(|window| window == from);
    if let Some(at) = found {
        bytes.splice(at..at + from.len(), to.iter().copied());
    }
}
