//! Damaged and unusual JPEG files, made by patching those of other encoders.

use std::ops::Range;

use proptest::prelude::*;
use proptest::sample::Index;

use super::outline;
use crate::error::{DecodeError, DecodeFault};
use crate::fixtures::{SMALL, names, read};
use crate::{JsonRange, MediaType, Picture};

const SOF0: u8 = 0xc0;
const SOF2: u8 = 0xc2;
const SOS: u8 = 0xda;
const APP14: u8 = 0xee;
const EOI: &[u8] = b"\xff\xd9";
/// Where a frame header's data has its first component's sampling factors; three bytes further is
/// the second component's.
const LUMA_SAMPLING: usize = 7;
/// Where a segment's data starts, after its marker and length.
const DATA: usize = 4;

fn decode(body: &[u8]) -> Result<Picture, DecodeError> {
    Picture::decode(body, MediaType::Jpeg, &SMALL, JsonRange::default())
}

#[track_caller]
fn assert_refused(body: &[u8], fault: DecodeFault, text: &str) {
    let error = decode(body).unwrap_err();
    assert_eq!(error.to_string(), text);
    assert_eq!(error.fault(), fault);
}

/// The segments up to and including the first scan header, marker and length included.
fn segments(body: &[u8]) -> Vec<(u8, Range<usize>)> {
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

fn segment(body: &[u8], marker: u8) -> Range<usize> {
    segments(body).into_iter().find(|(found, _)| *found == marker).unwrap().1
}

/// The file with one byte of a segment's data replaced.
fn patched(name: &str, marker: u8, at: usize, value: u8) -> Vec<u8> {
    let mut body = read(name);
    let start = segment(&body, marker).start + DATA;
    body[start + at] = value;
    body
}

/// The file with bytes put in front of a segment.
fn inserted(name: &str, marker: u8, bytes: &[u8]) -> Vec<u8> {
    let mut body = read(name);
    let start = segment(&body, marker).start;
    body.splice(start..start, bytes.iter().copied());
    body
}

fn without(name: &str, marker: u8) -> Vec<u8> {
    let mut body = read(name);
    body.drain(segment(&body, marker));
    body
}

fn adobe(transform: u8) -> Vec<u8> {
    [b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0", &[transform][..]].concat()
}

#[test]
fn every_truncation_is_malformed() {
    for name in names(".jpg") {
        let body = read(&name);
        for length in 0..body.len() {
            let error = decode(&body[..length]).unwrap_err();
            assert_eq!(error.fault(), DecodeFault::Malformed, "{name} cut to {length}: {error}");
        }
    }
}

#[test]
fn body_without_end_marker_says_so() {
    let body = read("444.jpg");
    let text = "jpeg is truncated, its end marker is missing";
    assert_refused(body.strip_suffix(EOI).unwrap(), DecodeFault::Malformed, text);
}

#[test]
fn garbage_after_the_end_marker_is_ignored() {
    for name in ["420.jpg", "progressive.jpg"] {
        let body = read(name);
        let plain = decode(&body).unwrap();
        for garbage in [&b"\0\0\0"[..], b"\xff\xd8\xff\xc0", &body, b"\xff"] {
            assert_eq!(decode(&[&body, garbage].concat()).unwrap(), plain, "{name}");
        }
    }
}

#[test]
fn scan_that_was_closed_too_early_is_truncated() {
    for name in ["444.jpg", "420.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg"] {
        let body = read(name);
        let start = segment(&body, SOS).end;
        let cut = [&body[..start + 2], EOI].concat();
        let text = "jpeg is truncated, a scan is too short for its blocks";
        assert_refused(&cut, DecodeFault::Malformed, text);
    }
}

#[test]
fn progressive_file_without_its_colour_scans_is_truncated() {
    let mut body = read("progressive.jpg");
    let header = segment(&body, SOS);
    // The first scan holds the first coefficient of all three components: keep only one's.
    body.splice(header, *b"\xff\xda\0\x08\x01\x01\0\0\0\x01");
    let text = "jpeg is truncated, a colour component has no scan";
    assert_refused(&body, DecodeFault::Malformed, text);
}

#[test]
fn lossless_and_arithmetic_coding_are_refused_with_the_reason() {
    for marker in [0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf] {
        let mut body = read("444.jpg");
        let start = segment(&body, SOF0).start;
        body[start + 1] = marker;
        let text = "jpeg uses lossless or arithmetic coding, which is not supported";
        assert_refused(&body, DecodeFault::Unprocessable, text);
    }
}

#[test]
fn samples_of_12_bits_are_refused_with_the_reason() {
    let mut body = patched("444.jpg", SOF0, 0, 12);
    let start = segment(&body, SOF0).start;
    body[start + 1] = 0xc1;
    let text = "jpeg uses samples that are not of 8 bits, which is not supported";
    assert_refused(&body, DecodeFault::Unprocessable, text);
}

#[test]
fn extended_sequential_file_of_8_bits_is_read_like_a_baseline_one() {
    let mut body = read("444.jpg");
    let start = segment(&body, SOF0).start;
    body[start + 1] = 0xc1;
    assert_eq!(decode(&body).unwrap(), decode(&read("444.jpg")).unwrap());
}

#[test]
fn second_frame_header_is_refused() {
    let body = read("444.jpg");
    let frame = &body[segment(&body, SOF0)];
    let text = "jpeg is damaged, it holds two frame headers";
    assert_refused(&inserted("444.jpg", SOS, frame), DecodeFault::Malformed, text);
}

#[test]
fn scan_before_its_frame_and_file_without_one_are_damaged() {
    let text = "jpeg is damaged, a scan precedes its frame";
    assert_refused(&without("444.jpg", SOF0), DecodeFault::Malformed, text);
    let text = "jpeg is damaged, it holds no frame";
    assert_refused(b"\xff\xd8\xff\xd9", DecodeFault::Malformed, text);
}

#[test]
fn scans_are_counted_to_the_limit() {
    let body = read("progressive.jpg");
    let starts: Vec<usize> =
        (0..body.len()).filter(|&at| body[at..].starts_with(&[0xff, SOS])).collect();
    let end = body.len() - EOI.len();
    let (before, last) = (&body[..end], &body[*starts.last().unwrap()..end]);
    let with_scans = |scans: usize| [before, &last.repeat(scans - starts.len()), EOI].concat();
    outline(&with_scans(64)).unwrap();
    let text = "jpeg holds more than 64 scans, at most 64 are accepted";
    assert_refused(&with_scans(65), DecodeFault::TooLarge, text);
}

#[test]
fn stated_size_beyond_the_limits_is_refused_before_the_scan() {
    let mut body = read("444.jpg");
    let frame = segment(&body, SOF0);
    body[frame.start + DATA + 1..][..4].copy_from_slice(&[0xc3, 0x50, 0xc3, 0x50]);
    body.truncate(frame.end);
    let text = "image is 50000x50000, at most 16384 pixels a side and 25165824 pixels in all are \
                accepted";
    assert_refused(&body, DecodeFault::TooLarge, text);
}

#[test]
fn height_that_follows_the_scan_is_refused() {
    let mut body = read("444.jpg");
    let frame = segment(&body, SOF0).start + DATA;
    body[frame + 1..][..2].copy_from_slice(&[0, 0]);
    assert_refused(&body, DecodeFault::Malformed, "image is 50x0, at least 1x1 is needed");
    let text = "jpeg uses a height stated after the first scan, which is not supported";
    let dnl = inserted("444.jpg", SOS, b"\xff\xdc\0\x04\0\x26");
    assert_refused(&dnl, DecodeFault::Unprocessable, text);
}

#[test]
fn coefficients_of_a_large_progressive_picture_count_as_memory() {
    let mut body = read("progressive.jpg");
    let frame = segment(&body, SOF2).start + DATA;
    // 4000 x 4000 in 4:4:4: 500 x 500 blocks of 128 bytes, three times, beside 48 MB of pixels.
    body[frame + 1..][..4].copy_from_slice(&[0x0f, 0xa0, 0x0f, 0xa0]);
    body.truncate(segment(&body, SOS).end);
    // One bit a block is the least: 750,000 bits.
    body.extend_from_slice(&[0; 93_750]);
    body.extend_from_slice(EOI);
    let text = "decoding needs 144000000 bytes of memory, at most 75497472 are accepted";
    assert_refused(&body, DecodeFault::TooLarge, text);
}

#[test]
fn cmyk_without_adobe_marker_is_refused_with_the_reason() {
    let text = "jpeg uses CMYK without an Adobe segment, whose inks may be inverted or not, which \
                is not supported";
    for name in ["cmyk.jpg", "ycck.jpg"] {
        assert_refused(&without(name, APP14), DecodeFault::Unprocessable, text);
    }
    assert_refused(&patched("cmyk.jpg", APP14, 11, 1), DecodeFault::Unprocessable, text);
}

#[test]
fn rgb_jpeg_whose_components_have_no_names_is_refused() {
    let text = "jpeg uses RGB with unnamed components, which is not supported";
    assert_refused(&inserted("444.jpg", SOS, &adobe(0)), DecodeFault::Unprocessable, text);
}

#[test]
fn adobe_marker_that_states_ycbcr_changes_nothing() {
    let plain = decode(&read("444.jpg")).unwrap();
    for marker in [SOF0, SOS] {
        assert_eq!(decode(&inserted("444.jpg", marker, &adobe(1))).unwrap(), plain);
    }
}

#[test]
fn adobe_marker_of_four_inks_is_ignored_for_three_components() {
    // As libjpeg does.
    for (name, frame) in [("444.jpg", SOF0), ("progressive.jpg", SOF2)] {
        let plain = decode(&read(name)).unwrap();
        for marker in [frame, SOS] {
            assert_eq!(decode(&inserted(name, marker, &adobe(2))).unwrap(), plain, "{name}");
        }
    }
}

#[test]
fn adobe_marker_of_an_unknown_transform_is_damaged() {
    for name in ["444.jpg", "grey.jpg"] {
        let error = decode(&inserted(name, SOF0, &adobe(3))).unwrap_err();
        assert_eq!(error.fault(), DecodeFault::Malformed, "{name}: {error}");
    }
}

#[test]
fn grey_jpeg_of_adobe_stays_grey_or_is_refused() {
    let plain = decode(&read("grey.jpg")).unwrap();
    let text = "jpeg uses an Adobe segment after a grey frame or after a scan, which is not \
                supported";
    for transform in [0, 1, 2] {
        let before = inserted("grey.jpg", SOF0, &adobe(transform));
        assert_eq!(decode(&before).unwrap(), plain, "transform {transform}");
        let after = inserted("grey.jpg", SOS, &adobe(transform));
        assert_refused(&after, DecodeFault::Unprocessable, text);
    }
}

#[test]
fn adobe_marker_between_scans_is_refused() {
    let text = "jpeg uses an Adobe segment after a grey frame or after a scan, which is not \
                supported";
    for name in ["progressive.jpg", "scans.jpg"] {
        let mut body = read(name);
        let end = body.len() - EOI.len();
        body.splice(end..end, adobe(0));
        assert_refused(&body, DecodeFault::Unprocessable, text);
    }
}

#[test]
fn baseline_scans_that_the_decoder_would_garble_are_refused() {
    let text = "jpeg uses vertical subsampling or restarts in several baseline scans, which is \
                not supported";
    for sampling in [0x12, 0x22] {
        let tall = patched("scans.jpg", SOF0, LUMA_SAMPLING, sampling);
        assert_refused(&tall, DecodeFault::Unprocessable, text);
    }
    let restarts = inserted("scans.jpg", SOS, b"\xff\xdd\0\x04\0\x03");
    assert_refused(&restarts, DecodeFault::Unprocessable, text);
    let none = inserted("scans.jpg", SOS, b"\xff\xdd\0\x04\0\0");
    assert_eq!(decode(&none).unwrap(), decode(&read("scans.jpg")).unwrap());
}

#[test]
fn chroma_that_the_decoder_would_garble_is_refused() {
    let text = "jpeg uses sampling factors that do not divide the first component's, which is not \
                supported";
    for (name, frame) in [("444.jpg", SOF0), ("progressive.jpg", SOF2), ("cmyk.jpg", SOF0)] {
        for sampling in [0x21, 0x12, 0x31] {
            let fine = patched(name, frame, LUMA_SAMPLING + 3, sampling);
            assert_refused(&fine, DecodeFault::Unprocessable, text);
        }
    }
    let mut odd = patched("420.jpg", SOF0, LUMA_SAMPLING, 0x31);
    let frame = segment(&odd, SOF0).start + DATA;
    odd[frame + LUMA_SAMPLING + 3] = 0x21;
    assert_refused(&odd, DecodeFault::Unprocessable, text);
}

#[test]
fn sampling_factors_are_1_to_4() {
    let text = "jpeg is damaged, a sampling factor is not in 1 to 4";
    for sampling in [0x01, 0x10, 0x51, 0x15, 0xff] {
        let body = patched("444.jpg", SOF0, LUMA_SAMPLING, sampling);
        assert_refused(&body, DecodeFault::Malformed, text);
    }
}

#[test]
fn component_counts_other_than_1_3_and_4_are_refused() {
    let mut body = read("444.jpg");
    let frame = segment(&body, SOF0);
    body.splice(frame, *b"\xff\xc0\0\x0e\x08\0\x26\0\x32\x02\x01\x11\0\x02\x11\0");
    let text = "jpeg uses a number of colour components other than 1, 3 and 4, which is not \
                supported";
    assert_refused(&body, DecodeFault::Unprocessable, text);
    let text = "jpeg is damaged, its frame header does not match its component count";
    assert_refused(&patched("444.jpg", SOF0, 5, 2), DecodeFault::Malformed, text);
}

#[test]
fn first_exif_segment_counts() {
    let exif = &read("orientation6.jpg");
    let exif = &exif[segment(exif, 0xe1)];
    let turned = decode(&inserted("444.jpg", SOF0, exif)).unwrap();
    assert_ne!(turned, decode(&read("444.jpg")).unwrap());
    let upright = read("orientation1.jpg");
    let upright = &upright[segment(&upright, 0xe1)];
    assert_eq!(decode(&inserted("444.jpg", SOF0, &[exif, upright].concat())).unwrap(), turned);
}

proptest! {
    #[test]
    fn damaged_header_never_panics(
        name in prop::sample::select(names(".jpg")),
        changes in prop::collection::vec((any::<Index>(), prop_oneof![any::<u8>(), 0_u8..5]), 1..4),
    ) {
        let mut body = read(&name);
        let fields: Vec<usize> = segments(&body)
            .into_iter()
            .filter(|(marker, _)| matches!(marker, 0xc0..=0xc3 | 0xda..=0xdd | 0xee))
            .flat_map(|(_, range)| range)
            .collect();
        for (at, value) in changes {
            body[*at.get(&fields)] = value;
        }
        let _ = decode(&body);
    }
}
