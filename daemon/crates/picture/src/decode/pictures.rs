//! PNG and JPEG files of other encoders against the pixels that tests/data/make.py computed.

use proptest::prelude::*;
use proptest::sample::Index;

use crate::error::{DecodeError, DecodeFault};
use crate::fixtures::{SMALL, difference, expected, names, read};
use crate::outline::check_size;
use crate::{JsonRange, MediaType, Picture};

/// What a JPEG's channels may be off by after averaging, against the source picture: quality 97
/// costs up to 5 (measured with Pillow's libjpeg-turbo), another IDCT and rounding 1.
const JPEG_TOLERANCE: u8 = 6;
/// The same against Pillow's decoded pixels: only the IDCT and the chroma upsampling differ.
const DECODER_TOLERANCE: u8 = 2;

fn decode(name: &str, body: &[u8]) -> Result<Picture, DecodeError> {
    let media = if name.ends_with(".png") { MediaType::Png } else { MediaType::Jpeg };
    Picture::decode(body, media, &SMALL, JsonRange::default())
}

fn assert_decodes(name: &str, to: &str, tolerance: u8) {
    let image = decode(name, &read(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let difference = difference(&image, &expected(to));
    assert!(difference <= tolerance, "{name} differs from {to} by {difference}");
}

#[test]
fn png_of_every_colour_type_is_averaged_exactly() {
    for (name, to) in [
        ("rgb8.png", "colours.rgb"),
        ("rgb16.png", "colours.rgb"),
        ("palette.png", "colours.rgb"),
        ("grey8.png", "grey.grey"),
        ("grey16.png", "grey.grey"),
        ("grey4.png", "grey4.grey"),
        ("grey2.png", "grey2.grey"),
        ("grey1.png", "grey1.grey"),
    ] {
        assert_decodes(name, to, 0);
    }
}

#[test]
fn transparent_png_is_blended_over_the_training_sets_mean() {
    for (name, to) in [
        ("rgba8.png", "alpha.rgb"),
        ("rgba16.png", "alpha.rgb"),
        ("palette_alpha.png", "alpha.rgb"),
        ("grey_alpha8.png", "grey_alpha.grey"),
        ("grey_alpha16.png", "grey_alpha.grey"),
    ] {
        assert_decodes(name, to, 0);
    }
}

#[test]
fn palette_of_two_bits_keeps_its_colours() {
    let image = decode("palette2.png", &read("palette2.png")).unwrap();
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
fn interlaced_png_is_the_same_picture() {
    assert_decodes("interlaced.png", "colours.rgb", 0);
    assert_decodes("interlaced_grey4.png", "grey4.grey", 0);
}

#[test]
fn animated_png_shows_its_default_image() {
    assert_decodes("animated.png", "colours.rgb", 0);
}

#[test]
fn exif_orientation_of_a_png_is_applied() {
    assert_decodes("oriented.png", "colours.rgb", 0);
}

#[test]
fn jpeg_of_every_kind_shows_the_picture() {
    for (name, to, tolerance) in [
        ("444.jpg", "colours.rgb", JPEG_TOLERANCE),
        ("progressive.jpg", "colours.rgb", JPEG_TOLERANCE),
        ("scans.jpg", "colours.rgb", JPEG_TOLERANCE),
        ("rgb.jpg", "colours.rgb", JPEG_TOLERANCE),
        ("grey.jpg", "grey.grey", JPEG_TOLERANCE),
        ("420.jpg", "jpeg_420.rgb", DECODER_TOLERANCE),
        ("restart.jpg", "jpeg_420.rgb", DECODER_TOLERANCE),
    ] {
        assert_decodes(name, to, tolerance);
    }
}

#[test]
fn cmyk_jpeg_of_adobe_keeps_its_colours() {
    assert_decodes("cmyk.jpg", "colours.rgb", JPEG_TOLERANCE);
}

#[test]
fn ycck_jpeg_of_adobe_keeps_its_colours() {
    assert_decodes("ycck.jpg", "colours.rgb", JPEG_TOLERANCE);
}

#[test]
fn every_exif_orientation_of_a_jpeg_is_turned_upright() {
    for value in 1..=8 {
        assert_decodes(&format!("orientation{value}.jpg"), "colours.rgb", JPEG_TOLERANCE);
    }
}

#[test]
fn body_of_the_other_format_is_refused_by_name() {
    for (name, media, text) in [
        ("444.jpg", MediaType::Png, "body is declared as png but starts like jpeg"),
        ("rgb8.png", MediaType::Jpeg, "body is declared as jpeg but starts like png"),
    ] {
        let error = Picture::decode(&read(name), media, &SMALL, JsonRange::default()).unwrap_err();
        assert_eq!(error.fault(), DecodeFault::Malformed);
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn body_without_a_signature_is_malformed() {
    for (name, text) in [
        ("x.png", "png is damaged, its signature is missing"),
        ("x.jpg", "jpeg is damaged, its signature is missing"),
    ] {
        let error = decode(name, b"JFIF89").unwrap_err();
        assert_eq!(error.fault(), DecodeFault::Malformed);
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn size_is_accepted_up_to_the_side_and_the_pixels() {
    for (width, height) in [(1, 1), (5_712, 4_284), (16_384, 1_536), (1_536, 16_384), (16_384, 1)] {
        check_size(width, height).unwrap();
    }
    for (width, height) in
        [(6_000, 4_195), (16_384, 1_537), (16_385, 1), (1, 16_385), (u32::MAX, u32::MAX)]
    {
        let error = check_size(width, height).unwrap_err();
        assert_eq!(error.fault(), DecodeFault::TooLarge, "{width}x{height}");
        assert_eq!(
            error.to_string(),
            format!(
                "image is {width}x{height}, at most 16384 pixels a side and 25165824 pixels in \
                 all are accepted"
            )
        );
    }
}

#[test]
fn size_of_zero_is_malformed() {
    for (width, height) in [(0, 1), (1, 0), (0, u32::MAX)] {
        let error = check_size(width, height).unwrap_err();
        assert_eq!(error.fault(), DecodeFault::Malformed);
        assert_eq!(error.to_string(), format!("image is {width}x{height}, at least 1x1 is needed"));
    }
}

proptest! {
    #[test]
    fn damaged_jpeg_never_panics(
        name in prop::sample::select(names(".jpg")),
        flips in prop::collection::vec((any::<Index>(), 0_u8..8), 1..6),
    ) {
        let mut body = read(&name);
        for (at, bit) in flips {
            let at = at.index(body.len());
            body[at] ^= 1 << bit;
        }
        let _ = decode(&name, &body);
    }
}
