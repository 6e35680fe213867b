//! What people send: the files of tests/data/field against the same scene as plain PNG files.

use crate::error::{DecodeError, DecodeFault};
use crate::fixtures::{SMALL, difference, read};
use crate::spec::{Colour, Element, Layout, Spec};
use crate::{JsonRange, MediaType, Picture, RawForm, RawFormat};

/// What 12 bits lose when they are made from 8, and back.
const TWELVE_BITS_TOLERANCE: u8 = 1;
const GREY: Spec = Spec::raw(Element::U8, Layout::Nchw, [48, 64], Colour::Grey);

fn field(name: &str) -> Vec<u8> {
    read(&format!("field/{name}"))
}

fn sniffed(body: &[u8], spec: &Spec) -> Result<Picture, DecodeError> {
    let media = MediaType::sniff(body, spec)?;
    Picture::decode(body, media, spec, JsonRange::default())
}

#[test]
fn files_of_cameras_show_the_scene() {
    for (name, scene, tolerance) in [
        ("f01_bgr24.bmp", "ref_64x64.png", 0),
        ("f02_mono8.bmp", "ref_grey_96x64.png", 0),
        ("f03_mono8.tif", "ref_grey_96x64.png", 0),
        ("f04_mono16.tif", "ref_grey_96x64.png", TWELVE_BITS_TOLERANCE),
        ("f05_mono8.pgm", "ref_grey_96x64.png", 0),
        ("p01_mono12_in_16.png", "ref_grey_96x64.png", TWELVE_BITS_TOLERANCE),
        ("p02_mono12_in_16_sbit.png", "ref_grey_96x64.png", TWELVE_BITS_TOLERANCE),
    ] {
        for spec in [SMALL, GREY] {
            let scene = sniffed(&field(scene), &spec).unwrap();
            let image = sniffed(&field(name), &spec).unwrap_or_else(|e| panic!("{name}: {e}"));
            let difference = difference(&image, &scene);
            assert!(difference <= tolerance, "{name} differs by {difference}");
            assert!(image.pixels().iter().max() > Some(&200), "{name} is dark");
        }
    }
}

#[test]
fn formats_that_are_not_read_are_named_whatever_they_are_declared_as() {
    for (name, format) in [("f07_lossy.webp", "WebP"), ("f09_phone.heic", "HEIC")] {
        let body = field(name);
        let text = format!(
            "body is {format}, which is not read, accepted are application/json, image/png, image/jpeg, \
             image/bmp, image/tiff, image/x-portable-anymap, application/octet-stream"
        );
        for media in [MediaType::Jpeg, MediaType::Png, MediaType::Raw, MediaType::Tiff] {
            let error = Picture::decode(&body, media, &SMALL, JsonRange::default()).unwrap_err();
            assert_eq!(error.to_string(), text);
            assert_eq!(error.fault(), DecodeFault::UnknownType);
        }
        assert_eq!(sniffed(&body, &SMALL).unwrap_err().to_string(), text);
    }
}

#[test]
fn raw_pixels_of_a_stated_form_are_a_picture() {
    let body = field("r02_mono8_1024.bin");
    let form = RawForm { width: 32, height: 32, format: RawFormat::Mono8 };
    let decode = |body: &[u8], form, spec: &Spec| {
        Picture::decode(body, MediaType::RawForm(form), spec, JsonRange::default())
    };
    let grey = Spec::raw(Element::U8, Layout::Nchw, [32, 32], Colour::Grey);
    assert_eq!(decode(&body, form, &grey).unwrap().pixels(), body);
    let rgb = decode(&body, form, &SMALL).unwrap();
    assert!(rgb.pixels().chunks(3).zip(&body).all(|(rgb, grey)| rgb == [*grey; 3]));

    // The same as other formats: each 8-bit value in the top or in all of the bits in use.
    let shifted = |left: u32| -> Vec<u8> {
        body.iter().flat_map(|&value| (u16::from(value) << left).to_le_bytes()).collect()
    };
    for (format, left) in [("mono10le", 2), ("mono12le", 4), ("mono16le", 4), ("mono16le", 8)] {
        let form = RawForm { format: format.parse().unwrap(), ..form };
        let image = decode(&shifted(left), form, &grey).unwrap();
        let off = image.pixels().iter().zip(&body).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(off <= Some(1), "{format} {left}: {off:?}");
    }
    let bgr: Vec<u8> = (0..12).collect();
    let (width, height) = (2, 2);
    let spec = Spec::raw(Element::U8, Layout::Nchw, [2, 2], Colour::Rgb);
    let image = decode(&bgr, RawForm { width, height, format: RawFormat::Bgr8 }, &spec).unwrap();
    assert_eq!(image.pixels(), [2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9]);
    let image = decode(&bgr, RawForm { width, height, format: RawFormat::Rgb8 }, &spec).unwrap();
    assert_eq!(image.pixels(), bgr);
}

#[test]
fn raw_pixels_of_another_length_say_what_is_needed() {
    for (width, height, format, fault, text) in [
        (
            32,
            31,
            "mono8",
            DecodeFault::Unprocessable,
            "body holds 1024 bytes, exactly 992 (32x31 mono8) are needed",
        ),
        (
            32,
            32,
            "rgb8",
            DecodeFault::Unprocessable,
            "body holds 1024 bytes, exactly 3072 (32x32 rgb8) are needed",
        ),
        (0, 32, "bgr8", DecodeFault::Malformed, "image is 0x32, at least 1x1 is needed"),
        (
            u32::MAX,
            u32::MAX,
            "mono16le",
            DecodeFault::TooLarge,
            "image is 4294967295x4294967295, at most 16384 pixels a side and 25165824 pixels in all are accepted",
        ),
    ] {
        let form = RawForm { width, height, format: format.parse().unwrap() };
        let media = MediaType::RawForm(form);
        let body = field("r02_mono8_1024.bin");
        let error = Picture::decode(&body, media, &SMALL, JsonRange::default()).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.fault()), (text, fault));
    }
}

#[test]
fn picture_is_never_taken_for_raw_pixels() {
    let body = field("ref_64x64.png");
    let form = RawForm { width: body.len() as u32, height: 1, format: RawFormat::Mono8 };
    let media = MediaType::RawForm(form);
    let error = Picture::decode(&body, media, &SMALL, JsonRange::default()).unwrap_err();
    assert_eq!(error.to_string(), "body is declared as raw pixels but starts like png");
    // Of exactly the model's length, too.
    let mut bitmap = field("f01_bgr24.bmp");
    bitmap.resize(3072, 0);
    let error = sniffed(&bitmap, &SMALL).unwrap_err();
    assert_eq!(error.to_string(), "bmp is truncated, its last rows are missing");
}

#[test]
fn largest_sample_that_a_tiff_states_is_white_where_it_is_all_ones() {
    let brightest = |max_sample: u16| {
        let mut body = field("f04_mono16.tif");
        let start = u32::from_le_bytes(body[4..8].try_into().unwrap()) as usize;
        let count = usize::from(u16::from_le_bytes([body[start], body[start + 1]]));
        let mut entries = (0..count).map(|index| start + 2 + index * 12);
        // PlanarConfiguration, which says nothing of one channel, becomes MaxSampleValue.
        let at = entries.find(|&at| body[at..at + 2] == 284_u16.to_le_bytes()).unwrap();
        body[at..at + 2].copy_from_slice(&281_u16.to_le_bytes());
        body[at + 8..at + 10].copy_from_slice(&max_sample.to_le_bytes());
        sniffed(&body, &GREY).unwrap().pixels().iter().copied().max().unwrap()
    };
    // The largest sample is 3950; the resize averages it with its neighbours.
    let twelve = brightest(4_095);
    assert!(twelve > 230, "{twelve}");
    assert_eq!(brightest(3_950), twelve, "a statistic");
    assert!(brightest(8_191).abs_diff(twelve / 2) <= 1);
    assert!(brightest(u16::MAX).abs_diff(twelve / 16) <= 1);
}
