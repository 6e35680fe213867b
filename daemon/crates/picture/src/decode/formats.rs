//! BMP, TIFF and PNM files of other encoders against the pixels that tests/data/make.py computed, then cut
//! and damaged ones.

use proptest::prelude::*;
use proptest::sample::Index;

use crate::error::{DecodeError, DecodeFault};
use crate::fixtures::{SMALL, difference, expected, names_in, read};
use crate::{JsonRange, MediaType, Picture};

/// What a channel loses when five bits of eight are kept, after averaging.
const FIVE_BITS_TOLERANCE: u8 = 8;
/// What grey loses as a share of 1023, or of 100.
const TEN_BITS_TOLERANCE: u8 = 1;
const HUNDRED_TOLERANCE: u8 = 3;

fn media(name: &str) -> MediaType {
    match name.rsplit_once('.').unwrap().1 {
        "bmp" => MediaType::Bmp,
        "tif" => MediaType::Tiff,
        "pgm" | "ppm" => MediaType::Pnm,
        _ => panic!("{name} is of no format here"),
    }
}

fn file(name: &str) -> Vec<u8> {
    read(&format!("formats/{name}"))
}

fn decode(name: &str, body: &[u8]) -> Result<Picture, DecodeError> {
    Picture::decode(body, media(name), &SMALL, JsonRange::default())
}

#[track_caller]
fn assert_decodes(name: &str, to: &str, tolerance: u8) {
    let body = file(name);
    let image = decode(name, &body).unwrap_or_else(|error| panic!("{name}: {error}"));
    let difference = difference(&image, &expected(to));
    assert!(difference <= tolerance, "{name} differs from {to} by {difference}");
    // Its first bytes say what it is.
    assert_eq!(MediaType::sniff(&body, &SMALL).unwrap(), media(name), "{name}");
    let raw = Picture::decode(&body, MediaType::Raw, &SMALL, JsonRange::default()).unwrap();
    assert_eq!(raw, image, "{name}");
}

#[track_caller]
fn assert_refused(name: &str, fault: DecodeFault, text: &str) {
    let error = decode(name, &file(name)).unwrap_err();
    assert_eq!(error.to_string(), text, "{name}");
    assert_eq!(error.fault(), fault, "{name}");
}

#[test]
fn bitmap_of_every_kind_shows_the_picture() {
    for (name, to, tolerance) in [
        ("rgb24.bmp", "colours.rgb", 0),
        ("top_down.bmp", "colours.rgb", 0),
        ("rgb32.bmp", "colours.rgb", 0),
        ("rgba32.bmp", "colours.rgb", 0),
        ("opencv.bmp", "colours.rgb", 0),
        ("palette8.bmp", "colours.rgb", 0),
        ("grey8.bmp", "grey.grey", 0),
        ("bits1.bmp", "grey1.grey", 0),
        ("clear.bmp", "colours.rgb", 0),
        ("alpha32.bmp", "alpha.rgb", 0),
        ("rgb555.bmp", "colours.rgb", FIVE_BITS_TOLERANCE),
        ("rgb565.bmp", "colours.rgb", FIVE_BITS_TOLERANCE),
    ] {
        assert_decodes(name, to, tolerance);
    }
}

#[test]
fn bitmap_of_four_bits_keeps_its_colours() {
    let image = decode("palette4.bmp", &file("palette4.bmp")).unwrap();
    for (x, y, colour) in [
        (0, 0, [230, 40, 30]),
        (31, 0, [40, 200, 60]),
        (0, 31, [50, 70, 220]),
        (31, 31, [240, 220, 50]),
    ] {
        assert_eq!(image.pixels()[(y * 32 + x) * 3..][..3], colour);
    }
}

#[test]
fn tiff_of_every_kind_shows_the_picture() {
    for (name, to) in [
        ("rgb8_none.tif", "colours.rgb"),
        ("rgb8_lzw.tif", "colours.rgb"),
        ("rgb8_deflate.tif", "colours.rgb"),
        ("rgb8_packbits.tif", "colours.rgb"),
        ("grey8_none.tif", "grey.grey"),
        ("grey8_lzw.tif", "grey.grey"),
        ("grey8_deflate.tif", "grey.grey"),
        ("grey8_packbits.tif", "grey.grey"),
        ("grey16_lzw.tif", "grey.grey"),
        ("predictor.tif", "colours.rgb"),
        ("opencv.tif", "colours.rgb"),
        ("opencv16.tif", "colours.rgb"),
        ("strips.tif", "colours.rgb"),
        ("tiles.tif", "colours.rgb"),
        ("tiles16.tif", "colours.rgb"),
        ("one_tile.tif", "grey.grey"),
        ("planes.tif", "colours.rgb"),
        ("plane_tiles.tif", "colours.rgb"),
        ("big_endian.tif", "grey.grey"),
        ("big_endian8.tif", "colours.rgb"),
        ("white_is_zero.tif", "grey.grey"),
        ("rgba.tif", "alpha.rgb"),
        ("grey_alpha.tif", "grey_alpha.grey"),
        ("pages.tif", "colours.rgb"),
        ("orientation6.tif", "colours.rgb"),
    ] {
        assert_decodes(name, to, 0);
    }
}

#[test]
fn tiff_that_is_not_read_says_why() {
    for (name, feature) in [
        ("float.tif", "samples that are not unsigned whole numbers"),
        ("big.tif", "64-bit offsets (BigTIFF)"),
        ("cmyk.tif", "photometric interpretation 5"),
        ("palette.tif", "a palette"),
        ("bits1.tif", "1 bit a sample"),
    ] {
        let text = format!("tiff uses {feature}, which is not supported");
        assert_refused(name, DecodeFault::Unprocessable, &text);
    }
}

#[test]
fn anymap_of_every_kind_shows_the_picture() {
    for (name, to, tolerance) in [
        ("grey8.pgm", "grey.grey", 0),
        ("rgb8.ppm", "colours.rgb", 0),
        ("opencv16.pgm", "grey.grey", 0),
        ("opencv16.ppm", "colours.rgb", 0),
        ("plain.pgm", "grey.grey", 0),
        ("plain.ppm", "colours.rgb", 0),
        ("ten_bits.pgm", "grey.grey", TEN_BITS_TOLERANCE),
        ("hundred.pgm", "grey.grey", HUNDRED_TOLERANCE),
    ] {
        assert_decodes(name, to, tolerance);
    }
}

fn all() -> Vec<String> {
    let mut all = names_in("formats", "");
    all.retain(|name| decode(name, &file(name)).is_ok());
    assert!(all.len() > 40, "{all:?}");
    all
}

#[test]
fn every_truncation_is_refused() {
    for name in all() {
        let body = file(&name);
        let whole = decode(&name, &body).unwrap();
        for length in 1..body.len() {
            // Nobody misses what fills up a bitmap's last row, the line end of a plain anymap, where a
            // second directory is, and a second page.
            let unused = if name == "pages.tif" { body.len() } else { 4 };
            match decode(&name, &body[..length]) {
                Ok(image) => {
                    assert_eq!(image, whole, "{name} cut to {length}");
                    assert!(length + unused >= body.len(), "{name} cut to {length}");
                }
                Err(error) => {
                    let fault = error.fault();
                    assert_eq!(fault, DecodeFault::Malformed, "{name} cut to {length}: {error}");
                }
            }
        }
    }
}

#[test]
fn stated_size_beyond_the_limits_is_refused() {
    let huge = 50_000_u32.to_le_bytes();
    let mut bitmap = file("rgb24.bmp");
    bitmap[18..22].copy_from_slice(&huge);
    let anymap = b"P6 50000 38 255\n".to_vec();
    // Pillow's directory begins with width and height, each in an entry of twelve bytes.
    let mut tiff = file("rgb8_none.tif");
    let at = u32::from_le_bytes(tiff[4..8].try_into().unwrap()) as usize;
    assert_eq!(tiff[at + 2..at + 4], [0, 1]);
    tiff[at + 4] = 4;
    tiff[at + 10..at + 14].copy_from_slice(&huge);
    for (name, body) in [("x.bmp", bitmap), ("x.ppm", anymap), ("x.tif", tiff)] {
        let error = decode(name, &body).unwrap_err();
        assert_eq!(error.fault(), DecodeFault::TooLarge, "{name}: {error}");
        assert!(error.to_string().starts_with("image is 50000x38,"), "{error}");
    }
}

/// The file with a tag's first value changed; the tag is in a little-endian directory.
fn with_tag(name: &str, tag: u16, value: u32) -> Vec<u8> {
    tagged(file(name), tag, value)
}

fn tagged(mut body: Vec<u8>, tag: u16, value: u32) -> Vec<u8> {
    let start = u32::from_le_bytes(body[4..8].try_into().unwrap()) as usize;
    let count = usize::from(u16::from_le_bytes([body[start], body[start + 1]]));
    let entries = (0..count).map(|index| start + 2 + index * 12);
    let at = { entries }.find(|&at| body[at..at + 2] == tag.to_le_bytes()).unwrap();
    // As a 32-bit number.
    body[at + 2..at + 4].copy_from_slice(&[4, 0]);
    body[at + 4..at + 8].copy_from_slice(&[1, 0, 0, 0]);
    body[at + 8..at + 12].copy_from_slice(&value.to_le_bytes());
    body
}

#[test]
fn tiff_that_asks_for_more_than_the_limits_is_refused() {
    for (name, tag, value, text) in [
        ("tiles.tif", 322, 16_400, "tiff uses tiles of 16400x16, which is not supported"),
        ("tiles.tif", 322, u32::MAX, "tiff uses tiles of 4294967295x16, which is not supported"),
        ("tiles.tif", 322, 0, "tiff is damaged, its strips or tiles have no pixels"),
        ("tiles.tif", 323, 8, "tiff is damaged, it has 6 strips or tiles, 10 are needed"),
        ("strips.tif", 278, 0, "tiff is damaged, its strips or tiles have no pixels"),
        ("strips.tif", 278, 38, "tiff is damaged, it has 6 strips or tiles, 1 are needed"),
        ("strips.tif", 284, 2, "tiff is damaged, it has 6 strips or tiles, 18 are needed"),
        ("rgb8_none.tif", 273, 1 << 30, "tiff is truncated, a strip or tile is missing"),
        ("rgb8_none.tif", 273, u32::MAX, "tiff is truncated, a strip or tile is missing"),
        (
            "rgb8_none.tif",
            279,
            5_699,
            "tiff is truncated, a strip or tile ends before its last pixel",
        ),
        ("rgb8_lzw.tif", 279, 0, "tiff is truncated, a strip or tile ends before its last pixel"),
        ("rgb8_none.tif", 257, 50, "tiff is damaged, it has 1 strips or tiles, 2 are needed"),
        ("rgb8_none.tif", 259, 7, "tiff uses JPEG inside, which is not supported"),
        ("rgb8_none.tif", 259, 50_000, "tiff uses compression 50000, which is not supported"),
        ("predictor.tif", 317, 3, "tiff uses predictor 3, which is not supported"),
    ] {
        let error = decode(name, &with_tag(name, tag, value)).unwrap_err();
        assert_eq!(error.to_string(), text, "{name} {tag} {value}");
    }
    // A tile as large as a picture may be each way, of which hardly anything is shown.
    let error = decode("x.tif", &tagged(with_tag("tiles.tif", 322, 16_384), 323, 16_384));
    let text = "tiff uses tiles of 16384x16384, which is not supported";
    assert_eq!(error.unwrap_err().to_string(), text);
    // One strip for a picture of 24 megapixels in 16 bits.
    let mut body = with_tag("rgb8_none.tif", 256, 6_000);
    let start = u32::from_le_bytes(body[4..8].try_into().unwrap()) as usize;
    let count = usize::from(u16::from_le_bytes([body[start], body[start + 1]]));
    for at in (0..count).map(|index| start + 2 + index * 12) {
        match u16::from_le_bytes([body[at], body[at + 1]]) {
            257 | 278 => body[at + 8..at + 10].copy_from_slice(&4_000_u16.to_le_bytes()),
            258 => body[at + 4..at + 12].copy_from_slice(&[1, 0, 0, 0, 16, 0, 0, 0]),
            _ => {}
        }
    }
    let error = decode("x.tif", &body).unwrap_err();
    let text = "decoding needs 144000000 bytes of memory, at most 75497472 are accepted";
    assert_eq!((error.to_string().as_str(), error.fault()), (text, DecodeFault::TooLarge));
}

/// A grey TIFF of so many rows, each a strip of its own, that are all the same bytes of the file.
fn one_strip_for_all_rows(compression: u32, width: u32, rows: u32, strip: &[u8]) -> Vec<u8> {
    let mut body = b"II*\0\0\0\0\0".to_vec();
    body.extend(strip);
    let offsets = body.len() as u32;
    (0..rows).for_each(|_| body.extend(8_u32.to_le_bytes()));
    (0..rows).for_each(|_| body.extend((strip.len() as u32).to_le_bytes()));
    let directory = body.len() as u32;
    body[4..8].copy_from_slice(&directory.to_le_bytes());
    let lengths = offsets + 4 * rows;
    let tags = [
        (256_u16, 1, width),
        (257, 1, rows),
        (258, 1, 8),
        (259, 1, compression),
        (262, 1, 1),
        (273, rows, offsets),
        (277, 1, 1),
        (278, 1, 1),
        (279, rows, lengths),
    ];
    body.extend((tags.len() as u16).to_le_bytes());
    for (tag, count, value) in tags {
        body.extend(tag.to_le_bytes());
        body.extend(4_u16.to_le_bytes());
        body.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    body.extend([0; 4]);
    body
}

/// Each row would be read through all of the file: pairs of bytes that decode to nothing come first.
#[test]
fn strips_of_a_tiff_that_share_much_of_the_file_are_refused() {
    let run = [0x81, 7];
    let nothing = [0x80].repeat(100_000);
    for (compression, strip) in [(32_773, [&nothing[..], &run].concat()), (1, nothing.clone())] {
        let body = one_strip_for_all_rows(compression, 64, 1_000, &strip);
        let error = decode("x.tif", &body).unwrap_err().to_string();
        assert!(error.starts_with("tiff is damaged, its strips or tiles overlap"), "{error}");
    }
    // Blank rows may be one.
    decode("x.tif", &one_strip_for_all_rows(32_773, 64, 1_000, &run)).unwrap();
}

#[test]
fn deflated_strip_without_its_whole_checksum_is_truncated() {
    let body = file("rgb8_deflate.tif");
    let directory = crate::directory::Directory::first(&body).unwrap();
    let length = directory.number(279).unwrap();
    decode("x.tif", &with_tag("rgb8_deflate.tif", 279, length)).unwrap();
    for missing in 1..=4 {
        let cut = with_tag("rgb8_deflate.tif", 279, length - missing);
        let text = "tiff is truncated, a strip or tile lacks its checksum";
        assert_eq!(decode("x.tif", &cut).unwrap_err().to_string(), text);
    }
}

#[test]
fn every_flipped_bit_of_a_deflated_tiff_is_damage() {
    let body = file("rgb8_deflate.tif");
    let at = body.windows(2).position(|pair| pair == [0x78, 0x9c]).unwrap();
    let length = body[at..].len().min(240);
    for (bit, index) in (at * 8..(at + length) * 8).enumerate() {
        let mut damaged = body.clone();
        damaged[index / 8] ^= 1 << (index % 8);
        // The compression level in the second byte has a check of its own, and means nothing else.
        let error = decode("x.tif", &damaged).map(drop).expect_err(&format!("bit {bit}"));
        assert_eq!(error.fault(), DecodeFault::Malformed, "{error}");
    }
}

#[test]
fn damaged_bitmap_or_anymap_says_how() {
    let bitmap = |at: usize, bytes: &[u8]| {
        let mut body = file("palette4.bmp");
        body[at..at + bytes.len()].copy_from_slice(bytes);
        decode("x.bmp", &body).unwrap_err().to_string()
    };
    for (at, bytes, text) in [
        (14, &[41, 0, 0, 0][..], "bmp is damaged, its header has an unknown length"),
        (10, &[20, 0, 0, 0], "bmp is damaged, its pixels begin inside its header"),
        (10, &[60, 0, 0, 0], "bmp is damaged, its palette reaches into its pixels"),
        (10, &[0, 0, 1, 0], "bmp is truncated, its last rows are missing"),
        (18, &[0, 0, 0, 0], "image is 0x38, at least 1x1 is needed"),
        (28, &[2, 0], "bmp uses 2 bits a pixel, which is not supported"),
        (30, &[1, 0, 0, 0], "bmp uses compression 1 of 4 bits a pixel, which is not supported"),
        (46, &[2, 0, 0, 0], "bmp is damaged, a colour is not in its palette"),
    ] {
        assert_eq!(bitmap(at, bytes), text);
    }
    for (body, text) in [
        (&b"P5 2 2 255 abc"[..], "pnm is truncated, its last rows are missing"),
        (b"P5 2 2 0 abcd", "pnm is damaged, its maxval is not in 1 to 65535"),
        (b"P5 2 2 65536 abcdabcd", "pnm is damaged, its maxval is not in 1 to 65535"),
        (b"P5 2 x 255 abcd", "pnm is damaged, a number is missing"),
        (
            b"P5 2 99999999999999999999 255 abcd",
            "pnm is damaged, a number is longer than 10 digits",
        ),
        (b"P5 2 2 96 abc`", "pnm is damaged, a sample is above its maxval"),
        (b"P2 2 2 9 1 2 3 10\n", "pnm is damaged, a sample is above its maxval"),
        (b"P2 2 2 9 1   2 3 ", "pnm is truncated, its text ends before its last number does"),
        (b"P2 2 2 9 1 2 3 -1", "pnm is damaged, a number is missing"),
        (b"P2 2 2 9 1 2 3", "pnm is truncated, its last rows are missing"),
        (b"P5 #", "pnm is truncated, its text ends before its last number does"),
        (b"P4 8 1 a", "pnm uses one bit a pixel (PBM), which is not supported"),
        (b"P7\nWIDTH 2\n", "pnm uses a PAM header (P7), which is not supported"),
        (b"P9 2 2", "pnm is damaged, its magic number is not one of P2, P3, P5 and P6"),
    ] {
        let error = decode("x.pgm", body).unwrap_err();
        assert_eq!(error.to_string(), text, "{:?}", String::from_utf8_lossy(body));
    }
}

#[test]
fn sample_that_looks_like_white_space_is_a_sample() {
    let spec = crate::Spec { size: [1, 2], ..SMALL };
    let body = b"P5\n2 1\n255\n\n\n";
    let image = Picture::decode(body, MediaType::Pnm, &spec, JsonRange::default()).unwrap();
    assert_eq!(image.pixels(), [10; 6]);
}

proptest! {
    #[test]
    fn damaged_files_never_panic(
        name in prop::sample::select(all()),
        flips in prop::collection::vec((any::<Index>(), any::<bool>(), 0_u8..8), 1..8),
    ) {
        let mut body = file(&name);
        for (at, in_header, bit) in flips {
            let end = if in_header { body.len().min(300) } else { body.len() };
            body[at.index(end)] ^= 1 << bit;
        }
        let _ = decode(&name, &body);
        let _ = MediaType::sniff(&body, &SMALL);
    }

    #[test]
    fn damaged_directory_of_a_tiff_never_panics(
        name in prop::sample::select(names_in("formats", ".tif")),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        let mut body = file(&name);
        let big = body.starts_with(b"MM");
        let start: [u8; 4] = body[4..8].try_into().unwrap();
        let start = if big { u32::from_be_bytes(start) } else { u32::from_le_bytes(start) } as usize;
        let end = body.len().min(start + 240);
        for (at, value) in changes {
            let at = start.min(end - 1) + at.index(end - start.min(end - 1));
            body[at] = value;
        }
        let _ = decode(&name, &body);
    }

    #[test]
    fn anything_behind_a_header_never_panics(
        kind in prop::sample::select(vec![
            (MediaType::Bmp, &b"BM"[..]),
            (MediaType::Tiff, b"II*\0\x08\0\0\0\x03\0"),
            (MediaType::Tiff, b"MM\0*\0\0\0\x08\0\x03"),
            (MediaType::Pnm, b"P5 "),
            (MediaType::Pnm, b"P3 2 2 9 "),
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let body = [kind.1, &rest].concat();
        let _ = Picture::decode(&body, kind.0, &SMALL, JsonRange::default());
    }
}
