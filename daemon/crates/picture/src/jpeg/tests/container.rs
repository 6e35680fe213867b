//! Damaged and unusual JPEG files, made by patching those of other encoders.

use proptest::prelude::*;
use proptest::sample::Index;

use super::patch::*;
use crate::error::DecodeFault;
use crate::fixtures::{difference, names, read};

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
fn progressive_file_without_its_colour_scans_is_truncated() {
    let mut body = read("progressive.jpg");
    let header = segment(&body, SOS);
    // The first scan holds the first coefficient of all three components: keep only one's.
    body.splice(header, *b"\xff\xda\0\x08\x01\x01\0\0\0\x01");
    let text = "jpeg is damaged, a scan does not continue those before it";
    assert_refused(&body, DecodeFault::Malformed, text);
}

#[test]
fn file_without_the_scan_of_a_colour_is_truncated() {
    let mut body = read("scans.jpg");
    let last = body.windows(2).rposition(|marker| marker == [0xff, SOS]).unwrap();
    body.drain(last..body.len() - EOI.len());
    let text = "jpeg is truncated, a colour component has no scan";
    assert_refused(&body, DecodeFault::Malformed, text);
}

#[test]
fn progressive_file_without_its_last_scan_is_truncated() {
    let mut body = read("progressive.jpg");
    let last = body.windows(2).rposition(|marker| marker == [0xff, SOS]).unwrap();
    let text = "jpeg is truncated, its end marker is missing";
    assert_refused(&body[..last], DecodeFault::Malformed, text);
    let text = "jpeg is truncated, the scans that refine it are missing";
    body.drain(last..body.len() - EOI.len());
    assert_refused(&body, DecodeFault::Malformed, text);
}

#[test]
fn component_that_is_sent_twice_is_refused() {
    let body = read("scans.jpg");
    let last = body.windows(2).rposition(|marker| marker == [0xff, SOS]).unwrap();
    let twice = [&body[..body.len() - EOI.len()], &body[last..]].concat();
    assert_refused(&twice, DecodeFault::Malformed, "jpeg is damaged, a component has two scans");
}

#[test]
fn band_of_a_header_is_ignored_in_a_sequential_scan() {
    // Some phones write zeros.
    let mut body = read("444.jpg");
    let end = segment(&body, SOS).end;
    body[end - 3..end].fill(0);
    assert_eq!(decode(&body).unwrap(), decode(&read("444.jpg")).unwrap());
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
    // A grey block: its mean, every other coefficient in a scan of its own, and what refines the mean.
    let file = |levels: &[[u8; 2]]| {
        let bands = (1..64).map(|place| [place, place, 0]);
        let levels = levels.iter().map(|&[high, low]| [0, 0, high << 4 | low]);
        let scans: Vec<_> = levels.chain(bands).map(|band| (band, "0".to_owned())).collect();
        handmade(SOF2, 8, [0, 0], &scans)
    };
    assert_eq!(decode(&file(&[[0, 0]])).unwrap().pixels(), &[128; 3072]);
    let text = "jpeg holds more than 64 scans, at most 64 are accepted";
    assert_refused(&file(&[[0, 1], [1, 0]]), DecodeFault::TooLarge, text);
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
    // 4000 x 4000 in 4:4:4: 500 x 500 blocks of 128 bytes, three times, beside some rows of samples.
    body[frame + 1..][..4].copy_from_slice(&[0x0f, 0xa0, 0x0f, 0xa0]);
    // One bit a block is the least in a scan: 750,000 bits.
    for at in
        (0..body.len()).rev().filter(|&at| body[at..].starts_with(&[0xff, SOS])).collect::<Vec<_>>()
    {
        let data = at + 2 + usize::from(body[at + 3]);
        body.splice(data..data, [0; 93_750]);
    }
    let text = "decoding needs 96242304 bytes of memory, at most 75497472 are accepted";
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
fn adobe_marker_of_rgb_counts_where_there_is_none_of_jfif() {
    let plain = decode(&read("444.jpg")).unwrap();
    assert_eq!(decode(&inserted("444.jpg", SOS, &adobe(0))).unwrap(), plain);
    let mut bare = inserted("444.jpg", SOS, &adobe(0));
    bare.drain(segment(&bare, APP0));
    // Brightness as red, the blue difference as green: a third colour is far off.
    assert!(difference(&decode(&bare).unwrap(), &plain) > 60);
    assert_eq!(decode(&without("444.jpg", APP0)).unwrap(), plain);
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
fn grey_jpeg_of_adobe_stays_grey() {
    let plain = decode(&read("grey.jpg")).unwrap();
    for transform in [0, 1, 2] {
        for marker in [SOF0, SOS] {
            let body = inserted("grey.jpg", marker, &adobe(transform));
            assert_eq!(decode(&body).unwrap(), plain, "transform {transform}");
        }
    }
}

#[test]
fn adobe_marker_behind_the_first_scan_comes_too_late() {
    // As for libjpeg.
    for name in ["progressive.jpg", "scans.jpg"] {
        let mut body = read(name);
        let end = body.len() - EOI.len();
        body.splice(end..end, adobe(0));
        assert_eq!(decode(&body).unwrap(), decode(&read(name)).unwrap(), "{name}");
    }
}

#[test]
fn restart_interval_of_zero_means_none() {
    let none = inserted("scans.jpg", SOS, b"\xff\xdd\0\x04\0\0");
    assert_eq!(decode(&none).unwrap(), decode(&read("scans.jpg")).unwrap());
    let restarts = inserted("scans.jpg", SOS, b"\xff\xdd\0\x04\0\x03");
    assert_eq!(refused(&restarts).fault(), DecodeFault::Malformed);
}

#[test]
fn sampling_that_libjpeg_does_not_read_is_refused() {
    let text = "jpeg uses sampling factors that do not divide the largest one, which is not \
                supported";
    let mut odd = patched("420.jpg", SOF0, LUMA_SAMPLING, 0x31);
    let frame = segment(&odd, SOF0).start + DATA;
    odd[frame + LUMA_SAMPLING + 3] = 0x21;
    assert_refused(&odd, DecodeFault::Unprocessable, text);
    let text = "jpeg is damaged, a unit of a scan holds more than 10 blocks";
    let large = patched("420.jpg", SOF0, LUMA_SAMPLING, 0x44);
    assert_refused(&large, DecodeFault::Malformed, text);
}

#[test]
fn tables_that_are_missing_or_impossible_are_named() {
    let codes = "jpeg is damaged, a Huffman table holds more codes than fit";
    for (marker, bytes, text) in [
        (SOS, &b"\xff\xc4\0\x03\0"[..], "jpeg is damaged, a Huffman table is cut"),
        (SOS, &[b"\xff\xc4\0\x15\0\x02", &[0; 17][..]].concat(), codes),
        (SOS, b"\xff\xdb\0\x03\0", "jpeg is damaged, a quantisation table is cut"),
        (
            SOS,
            &[b"\xff\xdb\0\x43\0", &[0; 64][..]].concat(),
            "jpeg is damaged, a quantisation step is 0",
        ),
    ] {
        assert_refused(&inserted("444.jpg", marker, bytes), DecodeFault::Malformed, text);
    }
    let text = "jpeg is damaged, a quantisation table is missing";
    assert_refused(&without_all("444.jpg", DQT), DecodeFault::Malformed, text);
    let text = "jpeg is damaged, a Huffman table is missing";
    assert_refused(&without_all("progressive.jpg", DHT), DecodeFault::Malformed, text);
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
