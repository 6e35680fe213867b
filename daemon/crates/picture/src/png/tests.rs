//! PNG files: damaged, cut, and with chunks that nobody needs.

use proptest::prelude::*;
use proptest::sample::Index;

use super::walk::{CHUNK_CRC_BYTES, CHUNK_HEAD_BYTES, IHDR_BYTES, essence, next_chunk, outline};
use crate::error::DecodeError;
use crate::fixtures::{SMALL, difference, expected, names, read};
use crate::media::PNG_SIGNATURE;
use crate::{DecodeFault, JsonRange, MediaType, Picture};

fn decode(body: &[u8]) -> Result<Picture, DecodeError> {
    Picture::decode(body, MediaType::Png, &SMALL, JsonRange::default())
}

#[track_caller]
fn assert_refused(body: &[u8], fault: DecodeFault, text: &str) {
    let error = decode(body).unwrap_err();
    assert_eq!(error.to_string(), text);
    assert_eq!(error.fault(), fault);
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let covered = [kind, data].concat();
    let length = (data.len() as u32).to_be_bytes();
    [&length[..], &covered, &crc32fast::hash(&covered).to_be_bytes()].concat()
}

/// An IHDR chunk of this size, 8 bits, not interlaced.
fn header(width: u32, height: u32, colour_type: u8) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&size[..], &[8, colour_type, 0, 0, 0]].concat())
}

fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
    [PNG_SIGNATURE, &chunks.concat(), &chunk(b"IEND", b"")].concat()
}

/// The chunks of a file without their checksums, IEND excepted.
fn chunks(body: &[u8]) -> Vec<([u8; 4], Vec<u8>)> {
    let (mut rest, mut found) = (&body[PNG_SIGNATURE.len()..], Vec::new());
    loop {
        let chunk = next_chunk(&mut rest).unwrap();
        if &chunk.kind == b"IEND" {
            return found;
        }
        found.push((chunk.kind, chunk.data.to_vec()));
    }
}

/// The file with these chunks between its IHDR and the rest.
fn inserted(name: &str, extra: &[Vec<u8>]) -> Vec<u8> {
    let mut all: Vec<_> =
        chunks(&read(name)).iter().map(|(kind, data)| chunk(kind, data)).collect();
    all.splice(1..1, extra.iter().cloned());
    file(&all)
}

/// The file with its first IDAT chunk's data changed and every checksum right.
fn with_image_data(name: &str, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut all = chunks(&read(name));
    change(&mut all.iter_mut().find(|(kind, _)| kind == b"IDAT").unwrap().1);
    file(&all.iter().map(|(kind, data)| chunk(kind, data)).collect::<Vec<_>>())
}

/// A zlib stream of one block with fixed Huffman codes (RFC 1951, 3.2.6): a zero, then copies
/// of 258 bytes until `length` is passed, then a length code that does not exist.
fn endless_zeros(length: usize) -> Vec<u8> {
    let mut bits = vec![1, 1, 0];
    bits.extend([0, 0, 1, 1, 0, 0, 0, 0]);
    for _ in 0..length.div_ceil(258) {
        bits.extend([1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
    }
    bits.extend([1, 1, 0, 0, 0, 1, 1, 0]);
    let byte = |bits: &[u8]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit);
    [0x78, 0x01].into_iter().chain(bits.chunks(8).map(byte)).collect()
}

#[test]
fn every_truncation_is_malformed() {
    for name in names(".png") {
        let body = read(&name);
        for length in 0..body.len() {
            let error = decode(&body[..length]).unwrap_err();
            assert_eq!(error.fault(), DecodeFault::Malformed, "{name} cut to {length}: {error}");
        }
    }
}

#[test]
fn bytes_after_the_end_chunk_are_ignored() {
    let body = read("rgb8.png");
    let plain = decode(&body).unwrap();
    assert_eq!(decode(&[&body[..], b"garbage"].concat()).unwrap(), plain);
}

#[test]
fn image_data_that_ends_early_is_malformed() {
    for name in ["rgb8.png", "interlaced.png", "grey16.png", "palette.png"] {
        for keep in [0, 1, 2, 10, 50] {
            let error = decode(&with_image_data(name, |data| data.truncate(keep))).unwrap_err();
            assert_eq!(error.fault(), DecodeFault::Malformed, "{name} {keep}: {error}");
        }
    }
}

#[test]
fn file_without_image_data_or_palette_is_malformed() {
    let error = decode(&file(&[header(4, 4, 2)])).unwrap_err();
    assert_eq!(error.fault(), DecodeFault::Malformed, "{error}");
    let all = chunks(&read("palette.png"));
    let all = all.iter().filter(|(kind, _)| kind != b"PLTE");
    let all: Vec<_> = all.map(|(kind, data)| chunk(kind, data)).collect();
    let error = decode(&file(&all)).unwrap_err();
    assert_eq!(error.fault(), DecodeFault::Malformed, "{error}");
}

#[test]
fn wrong_checksum_of_a_critical_chunk_is_damage() {
    let body = read("palette.png");
    let mut at = PNG_SIGNATURE.len();
    for kind in [b"IHDR", b"PLTE", b"IDAT"] {
        let mut rest = &body[at..];
        let chunk = next_chunk(&mut rest).unwrap();
        assert_eq!(&chunk.kind, kind);
        at += chunk.whole.len();
        let mut damaged = body.clone();
        damaged[at - 1] ^= 1;
        let error = decode(&damaged).unwrap_err();
        assert!(matches!(error, DecodeError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("CRC"), "{error}");
    }
}

#[test]
fn wrong_checksum_of_the_exif_data_leaves_the_picture_as_stored() {
    let mut body = read("oriented.png");
    let upright = decode(&body).unwrap();
    let (_, exif) = chunks(&body).into_iter().find(|(kind, _)| kind == b"eXIf").unwrap();
    let data = body.windows(exif.len()).position(|window| window == exif).unwrap();
    body[data + exif.len()] ^= 1;
    assert!(difference(&decode(&body).unwrap(), &upright) > 100);
}

#[test]
fn exif_data_with_the_marker_of_jpeg_is_read() {
    let exif = chunks(&read("oriented.png")).into_iter().find(|(kind, _)| kind == b"eXIf");
    let (_, exif) = exif.unwrap();
    let marked = [b"Exif\0\0", &exif[..]].concat();
    let turned = decode(&inserted("rgb8.png", &[chunk(b"eXIf", &exif)])).unwrap();
    assert!(difference(&turned, &expected("colours.rgb")) > 100);
    assert_eq!(decode(&inserted("rgb8.png", &[chunk(b"eXIf", &marked)])).unwrap(), turned);
}

#[test]
fn colour_key_is_transparent() {
    // The top left pixel of the picture, 16 bits a channel; nothing else there has its colour.
    let key = chunk(b"tRNS", &[0, 230, 0, 40, 0, 30]);
    let image = decode(&inserted("rgb8.png", &[key])).unwrap();
    assert_eq!(image.pixels()[..3], [121; 3]);
    assert_eq!(image.pixels()[3072 - 3..], expected("colours.rgb").pixels()[3072 - 3..]);
}

#[test]
fn only_what_makes_pixels_reaches_the_decoder() {
    let extra = [
        chunk(b"iCCP", b"x\0\0 not a profile"),
        chunk(b"zTXt", b"x\0\0 not a text"),
        chunk(b"gAMA", &[0, 0, 0, 1]),
        chunk(b"tRNS", &[0, 0, 0, 0, 0, 0]),
    ];
    let body = inserted("rgb8.png", &extra);
    let kinds = chunks(&essence(&body, outline(&body).unwrap().essence_bytes).unwrap());
    let kinds: Vec<_> = kinds.iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [b"IHDR", b"tRNS", b"IDAT"]);
    assert_eq!(decode(&body).unwrap(), expected("colours.rgb"));
}

#[test]
fn stated_size_beyond_the_limits_is_refused_from_the_header_alone() {
    let body = [PNG_SIGNATURE, &header(50_000, 50_000, 6)].concat();
    assert_eq!(body.len(), 33);
    let text = "image is 50000x50000, at most 16384 pixels a side and 25165824 pixels in all \
                are accepted";
    assert_refused(&body, DecodeFault::TooLarge, text);
    let body = [PNG_SIGNATURE, &header(0, 5, 2)].concat();
    assert_refused(&body, DecodeFault::Malformed, "image is 0x5, at least 1x1 is needed");
}

#[test]
fn interlaced_pixels_beyond_the_memory_limit_are_refused() {
    let size = [6_000_u32.to_be_bytes(), 4_000_u32.to_be_bytes()].concat();
    let header = |interlaced: u8| chunk(b"IHDR", &[&size[..], &[8, 6, 0, 0, interlaced]].concat());
    let body = file(&[header(1), chunk(b"IDAT", &endless_zeros(1))]);
    let text = "decoding needs 96000000 bytes of memory, at most 75497472 are accepted";
    assert_refused(&body, DecodeFault::TooLarge, text);
    // Without interlacing only some rows are held.
    let body = file(&[header(0), chunk(b"IDAT", &endless_zeros(6_000 * 4_000 * 4 + 4_000))]);
    assert_eq!(decode(&body).unwrap().pixels(), [121; 3072]);
}

#[test]
fn surplus_behind_the_last_pixel_is_never_inflated() {
    // The impossible code at the end would be an error, were it reached. The second file needs
    // more than its code gives.
    let bomb = file(&[header(32, 32, 2), chunk(b"IDAT", &endless_zeros(300 << 20))]);
    assert!(decode(&bomb).unwrap().pixels().iter().all(|&value| value == 0));
    let short = file(&[header(32, 32, 2), chunk(b"IDAT", &endless_zeros(1_000))]);
    let error = decode(&short).unwrap_err();
    assert_eq!(error.fault(), DecodeFault::Malformed, "{error}");
}

#[test]
fn file_that_does_not_start_with_its_header_is_damaged() {
    let text = "png is damaged, it does not start with an IHDR chunk";
    assert_refused(&file(&[chunk(b"IDAT", &[0; 13])]), DecodeFault::Malformed, text);
    assert_refused(&file(&[chunk(b"IHDR", &[1; 12])]), DecodeFault::Malformed, text);
    assert_refused(&file(&[chunk(b"IHDR", &[1; 14])]), DecodeFault::Malformed, text);
    assert_refused(&file(&[]), DecodeFault::Malformed, text);
}

#[test]
fn second_header_is_damage() {
    let error = decode(&inserted("rgb8.png", &[header(16_384, 16_384, 2)])).unwrap_err();
    assert_eq!(error.fault(), DecodeFault::Malformed, "{error}");
}

#[test]
fn chunk_longer_than_the_body_is_truncated() {
    let text = "png is truncated, its IEND chunk is missing";
    for length in [14_u32, 1 << 31, u32::MAX] {
        let mut body = read("rgb8.png");
        let second = PNG_SIGNATURE.len() + IHDR_BYTES + CHUNK_HEAD_BYTES + CHUNK_CRC_BYTES;
        let length = length.max(body.len() as u32);
        body[second..][..4].copy_from_slice(&length.to_be_bytes());
        assert_refused(&body, DecodeFault::Malformed, text);
    }
}

/// A grey picture of two 16-bit samples behind one more chunk.
fn two_samples(samples: [u16; 2], extra: &[u8]) -> Vec<u8> {
    let header = chunk(b"IHDR", &[0, 0, 0, 2, 0, 0, 0, 1, 16, 0, 0, 0, 0]);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut zlib, &[0]).unwrap();
    std::io::Write::write_all(&mut zlib, &samples.map(u16::to_be_bytes).concat()).unwrap();
    file(&[header, extra.to_vec(), chunk(b"IDAT", &zlib.finish().unwrap())])
}

#[test]
fn significant_bits_say_how_bright_a_picture_is() {
    let spec = crate::Spec { size: [1, 2], ..SMALL };
    let decode = |body: &[u8]| Picture::decode(body, MediaType::Png, &spec, JsonRange::default());
    for (bits, grey) in [(12, 62), (11, 125), (10, 250), (16, 4), (14, 16)] {
        let image = decode(&two_samples([0, 1_003], &chunk(b"sBIT", &[bits]))).unwrap();
        assert_eq!(image.pixels(), [0, 0, 0, grey, grey, grey], "{bits}");
    }
    // Without it, or with one that is damaged or of no depth, nobody knows.
    let mut damaged = chunk(b"sBIT", &[12]);
    damaged[8] = 13;
    for extra in [&b""[..], &damaged, &chunk(b"sBIT", &[0]), &chunk(b"sBIT", &[17])] {
        let error = decode(&two_samples([0, 1_003], extra)).unwrap_err();
        assert_eq!(error.fault(), DecodeFault::Unprocessable, "{error}");
    }
}

proptest! {
    #[test]
    fn damaged_chunks_with_right_checksums_never_panic(
        name in prop::sample::select(names(".png")),
        flips in prop::collection::vec((any::<[Index; 2]>(), 0_u8..8), 1..6),
    ) {
        let mut all = chunks(&read(&name));
        for ([which, at], bit) in flips {
            let (_, data) = which.get_mut(&mut all);
            let at = at.index(data.len());
            data[at] ^= 1 << bit;
        }
        let all: Vec<_> = all.iter().map(|(kind, data)| chunk(kind, data)).collect();
        let _ = decode(&file(&all));
    }
}
