//! Scans that are cut or changed: never a picture that looks whole.

use super::patch::*;
use crate::error::DecodeFault;
use crate::fixtures::{names, read};

/// Files of all codings: restarts, several scans, four components.
const FILES: [&str; 9] = [
    "jpeg/420.jpg",
    "jpeg/grey.jpg",
    "jpeg/restarts.jpg",
    "jpeg/scans.jpg",
    "jpeg/progressive_420.jpg",
    "jpeg/progressive_422.jpg",
    "jpeg/progressive_grey.jpg",
    "cmyk.jpg",
    "ycck.jpg",
];

/// The number of the zeros at the end of what is padded, in bytes.
const PADDING: usize = 700;
/// The end of a sequential scan's header: all coefficients, all of their bits.
const WHOLE: [u8; 3] = [0, 63, 0];
/// The length of a part that was lost, in bytes.
const LOST: usize = 24;

#[test]
fn every_truncation_is_malformed() {
    for name in names(".jpg") {
        let body = read(&name);
        // Without all or half of the end marker every scan is still whole.
        for length in 0..body.len() - EOI.len() {
            let error = refused(&body[..length]);
            assert_eq!(error.fault(), DecodeFault::Malformed, "{name} cut to {length}: {error}");
        }
    }
}

#[test]
fn whole_scans_without_an_end_marker_are_decoded() {
    for name in FILES {
        let body = read(name);
        let plain = decode(&body).unwrap();
        let body = body.strip_suffix(EOI).unwrap();
        for padding in [&[][..], b"\xff", &[0; PADDING], &[0xff; PADDING]] {
            assert_eq!(decode(&[body, padding].concat()).unwrap(), plain, "{name}");
        }
    }
}

#[test]
fn scan_that_is_closed_or_padded_too_early_is_malformed() {
    for name in FILES {
        let body = read(name);
        let start = segment(&body, SOS).end;
        for length in start..body.len() - EOI.len() {
            for end in [EOI, &[0; PADDING], &[&[0; PADDING], EOI].concat(), &[0xff; PADDING]] {
                let outcome = decode(&[&body[..length], end].concat());
                let fault = outcome.map(drop).map_err(|error| error.fault());
                assert_eq!(fault, Err(DecodeFault::Malformed), "{name} cut to {length}");
            }
        }
    }
}

#[test]
fn scan_of_a_few_bytes_is_refused_before_it_is_decoded() {
    for name in ["444.jpg", "420.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg"] {
        let body = read(name);
        let start = segment(&body, SOS).end;
        let cut = [&body[..start + 2], EOI].concat();
        let text = "jpeg is truncated, a scan is too short for its blocks";
        assert_refused(&cut, DecodeFault::Malformed, text);
    }
}

#[test]
fn lost_part_of_a_scan_is_malformed() {
    // Zeros as a file system or a camera leaves them for a block or packet that did not come. With these
    // files' code libjpeg decodes some of them without a warning.
    for name in ["jpeg/420.jpg", "jpeg/444.jpg", "jpeg/restarts.jpg", "jpeg/fine.jpg", "420.jpg"] {
        let body = read(name);
        for start in segment(&body, SOS).end..body.len() - EOI.len() - LOST {
            let mut lost = body.clone();
            lost[start..start + LOST].fill(0);
            let fault = decode(&lost).map(drop).map_err(|error| error.fault());
            assert_eq!(fault, Err(DecodeFault::Malformed), "{name} without data from {start}");
        }
    }
}

#[test]
fn flat_picture_whose_code_is_zeros_is_decoded() {
    let scan = (WHOLE, "00".repeat(64 * 64));
    let body = handmade(SOF0, 512, [0, 0], &[scan]);
    assert_eq!(decode(&body).unwrap().pixels(), &[128; 3072]);
}

#[test]
fn brightness_that_drifts_beyond_8_bits_is_malformed() {
    // A difference of 2047 and the end of the block: white once, and twice what no picture has.
    let block = "0111111111110";
    let white = handmade(SOF0, 8, [11, 0], &[(WHOLE, block.to_owned())]);
    assert_eq!(decode(&white).unwrap().pixels(), &[255; 3072]);
    let text = "jpeg is damaged, a scan holds a brightness beyond 8 bits";
    let drifted = handmade(SOF0, 16, [11, 0], &[(WHOLE, block.repeat(4))]);
    assert_refused(&drifted, DecodeFault::Malformed, text);
    let levels = ([0, 0, 0], "011111111111".repeat(4));
    let drifted = handmade(SOF2, 16, [11, 0], &[levels, ([1, 63, 0], "0000".to_owned())]);
    assert_refused(&drifted, DecodeFault::Malformed, text);
}

#[test]
fn run_beyond_a_block_or_beyond_the_last_one_is_malformed() {
    let text = "jpeg is damaged, a scan holds a run beyond its blocks";
    // Fifteen zeros and a 1 four times: the last one would be the 65th coefficient.
    let run = handmade(SOF0, 8, [0, 0xf1], &[(WHOLE, format!("0{}", "01".repeat(4)))]);
    assert_refused(&run, DecodeFault::Malformed, text);
    let levels = |count: usize| ([0, 0, 0], "0".repeat(count));
    let run = handmade(SOF2, 8, [0, 0xf1], &[levels(1), ([1, 63, 0], "01".repeat(4))]);
    assert_refused(&run, DecodeFault::Malformed, text);
    // Two or three blocks whose band has ended, in a picture of one and of four.
    let ended = |side: u16, count: usize, bits: &str| {
        handmade(SOF2, side, [0, 0x10], &[levels(count), ([1, 63, 0], bits.to_owned())])
    };
    assert_refused(&ended(8, 1, "00"), DecodeFault::Malformed, text);
    assert_refused(&ended(16, 4, "0101"), DecodeFault::Malformed, text);
    assert_eq!(decode(&ended(16, 4, "0000")).unwrap().pixels(), &[128; 3072]);
}

#[test]
fn data_behind_the_last_block_is_malformed() {
    let text = "jpeg is damaged, a scan holds more data than its blocks";
    for name in FILES {
        let body = read(name);
        let body = body.strip_suffix(EOI).unwrap();
        for excess in [&b"\x55"[..], b"\0", b"\xff\0"] {
            assert_refused(&[body, excess, EOI].concat(), DecodeFault::Malformed, text);
        }
        let filled = [body, &b"\xff\xff"[..], EOI].concat();
        assert_eq!(decode(&filled).unwrap(), decode(&read(name)).unwrap(), "{name}");
    }
}

#[test]
fn restart_markers_must_come_in_order() {
    let body = read("jpeg/restarts.jpg");
    let markers: Vec<usize> = (segment(&body, SOS).end..body.len())
        .filter(|&at| body[at] == 0xff && matches!(body[at + 1], 0xd0..=0xd7))
        .collect();
    assert!(markers.len() > 2);
    for &at in &markers {
        let mut other = body.clone();
        other[at + 1] ^= 1;
        let text = "jpeg is damaged, a restart marker is missing or out of order";
        assert_refused(&other, DecodeFault::Malformed, text);
        let mut none = body.clone();
        none.drain(at..at + 2);
        assert_eq!(refused(&none).fault(), DecodeFault::Malformed);
    }
    // One behind the last interval is allowed: 4 × 3 units make 4 intervals.
    let end = body.len() - EOI.len();
    let closed = [&body[..end], b"\xff\xd3", EOI].concat();
    assert_eq!(decode(&closed).unwrap(), decode(&body).unwrap());
    let closed = [&body[..end], b"\xff\xd4", EOI].concat();
    assert_eq!(refused(&closed).fault(), DecodeFault::Malformed);
}

#[test]
fn restart_marker_where_none_is_due_is_malformed() {
    let mut body = read("jpeg/420.jpg");
    let end = body.len() - EOI.len();
    body.splice(end - 40..end - 40, *b"\xff\xd0");
    assert_eq!(refused(&body).fault(), DecodeFault::Malformed);
}

#[test]
fn cameras_awkward_files_are_decoded_or_refused() {
    let plain = decode(&read("field/jpeg_ref_422.jpg")).unwrap();
    for name in ["j01_mjpeg_no_dht", "j04_no_eoi", "j06_no_eoi_padded"] {
        assert_eq!(decode(&read(&format!("field/{name}.jpg"))).unwrap(), plain, "{name}");
    }
    decode(&read("field/j36_adobe0_three_ids.jpg")).unwrap();
    let text = "jpeg is truncated, a scan ends before its last block";
    let half = read("field/j07_half_scan_with_eoi.jpg");
    assert_refused(&half, DecodeFault::Malformed, text);
    let text = "jpeg is damaged, a part of a scan is lost, zeros stand in its place";
    let zeroed = read("field/j09_zeroed_middle.jpg");
    assert_refused(&zeroed, DecodeFault::Malformed, text);
}
