//! JPEG files with a segment changed, put in or left out, and what is expected of them.

use std::ops::Range;

use crate::error::{DecodeError, DecodeFault};
use crate::fixtures::{SMALL, read};
use crate::{JsonRange, MediaType, Picture};

pub const SOF0: u8 = 0xc0;
pub const SOF2: u8 = 0xc2;
pub const SOS: u8 = 0xda;
pub const DHT: u8 = 0xc4;
pub const DQT: u8 = 0xdb;
pub const APP0: u8 = 0xe0;
pub const APP14: u8 = 0xee;
pub const EOI: &[u8] = b"\xff\xd9";
/// Where a frame header's data has its first component's sampling factors; three bytes further is
/// the second component's.
pub const LUMA_SAMPLING: usize = 7;
/// Where a segment's data starts, after its marker and length.
pub const DATA: usize = 4;

pub fn decode(body: &[u8]) -> Result<Picture, DecodeError> {
    Picture::decode(body, MediaType::Jpeg, &SMALL, JsonRange::default())
}

/// The error of a file that must be refused; a picture is not printed.
#[track_caller]
pub fn refused(body: &[u8]) -> DecodeError {
    decode(body).map(drop).unwrap_err()
}

#[track_caller]
pub fn assert_refused(body: &[u8], fault: DecodeFault, text: &str) {
    let error = refused(body);
    assert_eq!(error.to_string(), text);
    assert_eq!(error.fault(), fault);
}

/// The segments up to and including the first scan header, marker and length included.
pub fn segments(body: &[u8]) -> Vec<(u8, Range<usize>)> {
    let (mut at, mut found) = (2, Vec::new());
    loop {
        assert_eq!(body[at], 0xff);
        let end = at + 2 + usize::from(u16::from_be_bytes([body[at + 2], body[at + 3]]));
        found.push((body[at + 1], at..end));
        if body[at + 1] == SOS {
            return found;
        }
        at = end;
    }
}

pub fn segment(body: &[u8], marker: u8) -> Range<usize> {
    segments(body).into_iter().find(|(found, _)| *found == marker).unwrap().1
}

/// The file with one byte of a segment's data replaced.
pub fn patched(name: &str, marker: u8, at: usize, value: u8) -> Vec<u8> {
    let mut body = read(name);
    let start = segment(&body, marker).start + DATA;
    body[start + at] = value;
    body
}

/// The file with bytes put in front of a segment.
pub fn inserted(name: &str, marker: u8, bytes: &[u8]) -> Vec<u8> {
    let mut body = read(name);
    let start = segment(&body, marker).start;
    body.splice(start..start, bytes.iter().copied());
    body
}

pub fn without(name: &str, marker: u8) -> Vec<u8> {
    let mut body = read(name);
    body.drain(segment(&body, marker));
    body
}

/// The file without any segment of a kind.
pub fn without_all(name: &str, marker: u8) -> Vec<u8> {
    let mut body = read(name);
    while let Some((_, range)) = segments(&body).into_iter().find(|(found, _)| *found == marker) {
        body.drain(range);
    }
    body
}

/// A grey file of these many pixels a side with steps of 1 and two codes of one bit, 0: what it means for
/// levels and for runs. A scan is the end of its header (band and bits) and its data, as bits.
pub fn handmade(frame: u8, side: u16, [dc, ac]: [u8; 2], scans: &[([u8; 3], String)]) -> Vec<u8> {
    let mut body = b"\xff\xd8\xff\xdb\0\x43\0".to_vec();
    body.extend([1; 64]);
    let [high, low] = side.to_be_bytes();
    body.extend([0xff, frame, 0, 11, 8, high, low, high, low, 1, 1, 0x11, 0]);
    for (kind, symbol) in [(0, dc), (0x10, ac)] {
        body.extend([0xff, DHT, 0, 20, kind, 1]);
        body.extend([0; 15]);
        body.push(symbol);
    }
    for (band, bits) in scans {
        body.extend(b"\xff\xda\0\x08\x01\x01\0");
        body.extend(band);
        for byte in bits.as_bytes().chunks(8) {
            let bits = (0..8).map(|at| byte.get(at) != Some(&b'0'));
            let byte = bits.fold(0, |value, bit| value << 1 | u8::from(bit));
            body.push(byte);
            if byte == 0xff {
                body.push(0);
            }
        }
    }
    body.extend(EOI);
    body
}

pub fn adobe(transform: u8) -> Vec<u8> {
    [b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0", &[transform][..]].concat()
}
