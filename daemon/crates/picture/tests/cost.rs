//! What decoding holds against what `cost` says before it: every picture of tests/data, pictures built
//! here for the largest cases of each format, and damaged ones, under an allocator that counts.

#![allow(clippy::unwrap_used)]

mod build;
mod counted;

use std::path::{Path, PathBuf};

use picket_picture::{
    Colour, Cost, DecodeError, Element, Filter, JsonRange, Layout, MediaType, Mode, Picture,
    RawForm, RawFormat, Resize, Scale, Spec, Tensor, cost,
};
use proptest::prelude::*;
use proptest::sample::Index;

use counted::peak_of;

/// What computing the cost itself may hold, in bytes: the scans of a JPEG.
const COSTING_BYTES_MAX: usize = 96 << 10;

/// What decoding may hold of a body without a cost until it refuses it, beside a copy of it, in bytes.
const REFUSING_BYTES_MAX: usize = 1 << 20;

/// The embedded model's kind of input, a detector's, and a grey one that mixes its columns first.
fn specs() -> [Spec; 3] {
    let small = Spec::raw(Element::U8, Layout::Nchw, [32, 32], Colour::Rgb);
    let resize = Resize {
        mode: Mode::Letterbox,
        to: 640,
        filter: Filter::Bicubic,
        antialias: true,
        pad: [114; 3],
        exact: false,
    };
    let detector = Spec {
        element: Element::F32,
        size: [640, 640],
        colour: Colour::Bgr,
        scale: Scale::ZeroTo1,
        resize,
        ..small
    };
    let resize = Resize { mode: Mode::ShorterSide, to: 256, filter: Filter::Bilinear, ..resize };
    let grey = Spec { size: [224, 224], colour: Colour::Grey, resize, ..small };
    [small, detector, grey]
}

/// Decodes as a worker does, a JPEG a second time at its full size while the first picture is there.
fn decode(body: &[u8], media: Option<MediaType>, spec: &Spec) -> Result<(), DecodeError> {
    let media = media.map_or_else(|| MediaType::sniff(body, spec), Ok)?;
    let picture = Picture::decode(body, media, spec, JsonRange::default())?;
    drop(Tensor::new(&picture, spec));
    if picture.is_reduced() {
        let exact = Spec { resize: Resize { exact: true, ..spec.resize }, ..*spec };
        let picture = Picture::decode(body, media, &exact, JsonRange::default())?;
        drop(Tensor::new(&picture, spec));
    }
    Ok(())
}

/// Holds one body against its cost, and returns it where the body is a picture.
#[track_caller]
fn check(name: &str, body: &[u8], media: Option<MediaType>, spec: &Spec) -> Option<Cost> {
    let (stated, costing) = peak_of(|| cost(body, media, spec));
    assert!(costing <= COSTING_BYTES_MAX, "{name}: its cost alone takes {costing} bytes");
    let (decoded, held) = peak_of(|| decode(body, media, spec));
    match (stated, decoded) {
        (Ok(cost), decoded) => {
            let size = spec.size;
            assert!(held <= cost.bytes, "{name} at {size:?}: {held} held of {cost:?}, {decoded:?}");
            decoded.is_ok().then_some(cost)
        }
        // Who asks for the cost first decodes nothing then; who does not takes no picture's memory.
        (Err(error), Err(_)) => {
            assert!(held <= body.len() + REFUSING_BYTES_MAX, "{name}: {held} held, {error}");
            None
        }
        (Err(error), Ok(())) => panic!("{name} is decoded, but has no cost: {error}"),
    }
}

#[track_caller]
fn check_all(name: &str, body: &[u8]) {
    for spec in specs() {
        assert!(check(name, body, None, &spec).is_some(), "{name} is not decoded: {spec:?}");
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let (dirs, mut files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files.extend(dirs.iter().flat_map(|dir| self::files(dir)));
    files.sort();
    files
}

/// All files of tests/data that may be pictures.
fn pictures() -> Vec<PathBuf> {
    let mut all = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data"));
    let ends = ["png", "jpg", "bmp", "tif", "pgm", "ppm", "json", "bin", "rgb", "webp", "heic"];
    all.retain(|path| path.extension().is_some_and(|end| ends.iter().any(|known| end == *known)));
    assert!(all.len() > 100, "{all:?}");
    all
}

#[test]
fn every_picture_of_the_corpus_stays_within_its_cost() {
    let mut decoded = 0;
    for path in pictures() {
        let body = std::fs::read(&path).unwrap();
        for spec in specs() {
            let cost = check(&path.display().to_string(), &body, None, &spec);
            decoded += usize::from(cost.is_some());
        }
    }
    assert!(decoded > 200, "only {decoded} were decoded");
}

#[test]
fn the_largest_jpegs_stay_within_their_cost() {
    let (width, height) = (6000, 4000);
    for (name, body) in [
        ("baseline", build::jpeg(width, height, build::Scans::One)),
        ("three scans", build::jpeg(width, height, build::Scans::Three)),
        ("progressive", build::jpeg(width, height, build::Scans::Progressive)),
        ("wide", build::jpeg(16_384, 1_500, build::Scans::Progressive)),
        ("tall", build::jpeg(1_500, 16_384, build::Scans::One)),
    ] {
        check_all(name, &body);
    }
    let small = &specs()[0];
    let [one, progressive] =
        [(build::Scans::One, 1), (build::Scans::Progressive, 4)].map(|(kind, scans)| {
            let body = build::jpeg(width, height, kind);
            let cost = cost(&body, None, small).unwrap();
            assert_eq!(cost.work, 24_000_000 * scans + body.len() as u64);
            cost
        });
    // Coefficients of two bytes, for half as many samples again as pixels.
    assert!(progressive.bytes - one.bytes >= 72_000_000, "{one:?} {progressive:?}");
    assert!(one.bytes < 4 << 20, "{one:?}");
}

#[test]
fn the_largest_pngs_stay_within_their_cost() {
    use png::{BitDepth::Eight, BitDepth::One, BitDepth::Sixteen, ColorType as Type};
    for (name, body) in [
        ("rgb8", build::png(6000, 4000, Type::Rgb, Eight, false)),
        ("interlaced", build::png(6000, 4000, Type::Rgb, Eight, true)),
        ("interlaced bits", build::png(6000, 4000, Type::Grayscale, One, true)),
        ("rgba16", build::png(2000, 1500, Type::Rgba, Sixteen, false)),
        ("wide", build::png(16_384, 300, Type::Rgba, Sixteen, false)),
        ("grey", build::png(300, 16_384, Type::Grayscale, Eight, false)),
    ] {
        check_all(name, &body);
        // A colour key makes alpha of it; what else is in the file is never unpacked.
        let keyed =
            build::with_chunks(&body, &[(b"tRNS", 2), (b"iCCP", 200_000), (b"zTXt", 90_000)]);
        for spec in specs() {
            check(name, &keyed, None, &spec);
        }
        for kind in [b"PLTE", b"tRNS", b"ABCD"] {
            check(name, &build::with_chunks(&body, &[(kind, 2 << 20)]), None, &specs()[0]);
        }
    }
}

#[test]
fn the_largest_tiffs_stay_within_their_cost() {
    for (name, body) in [
        ("one strip", build::tiff(4000, 3000, 3, 8, build::Pieces::Strips(3000))),
        ("a strip a row", build::tiff(100, 16_000, 3, 8, build::Pieces::Strips(1))),
        ("planes", build::tiff(40, 16_000, 3, 8, build::Pieces::Planes(1))),
        ("wide samples", build::tiff(3000, 2000, 3, 16, build::Pieces::Strips(500))),
        ("tiles", build::tiff(3000, 2000, 3, 8, build::Pieces::Tiles(256, 512))),
        ("small tiles", build::tiff(1600, 1600, 1, 16, build::Pieces::Tiles(16, 16))),
    ] {
        check_all(name, &body);
    }
}

#[test]
fn plain_pixels_stay_within_their_cost() {
    let form = RawForm { width: 4000, height: 2000, format: RawFormat::Bgr8 };
    let wide = RawForm { width: 16_000, height: 100, format: RawFormat::Wide(16) };
    for spec in specs() {
        for form in [form, wide] {
            let body = build::raw(form);
            assert!(check("raw", &body, Some(MediaType::RawForm(form)), &spec).is_some());
        }
        let body = vec![7; spec.values()];
        assert!(check("the model's size", &body, Some(MediaType::Raw), &spec).is_some());
    }
    check_all("ppm", &build::anymap(b"P6", 3000, 2000, 255));
    check_all("16-bit ppm", &build::anymap(b"P6", 16_000, 50, 65_534));
    check_all("bmp", &build::bitmap(3000, 2000, 24));
    check_all("wide bmp", &build::bitmap(16_000, 20, 32));
}

#[test]
fn json_stays_within_its_cost_whatever_is_in_it() {
    for spec in specs() {
        let numbers = vec!["17"; spec.values()].join(",");
        let flat = format!("{{\"data\":[{numbers}]}}");
        let behind = format!("{{\"x\":1,\"data\":[{numbers}],\"range\":\"0..255\"}}");
        let other =
            format!("{{\"x\":1,\"data\":[{}],\"range\":\"0..1\"}}", numbers.replace("17", "1"));
        for body in [&flat, &behind, &other] {
            assert!(check("numbers", body.as_bytes(), Some(MediaType::Json), &spec).is_some());
        }
        let escaped = format!("\\u0041{}", "a".repeat(2 << 20));
        for body in [
            format!("{{\"{escaped}\":1,{}", &flat[1..]),
            format!("{{\"x\":\"{escaped}\",{}", &flat[1..]),
            format!("{{\"range\":\"{escaped}\",{}", &flat[1..]),
            format!("{{\"data\":[\"{escaped}\"]}}"),
            format!("{{\"data\":\"{}\"}}", "a".repeat(2 << 20)),
            format!("\"{}\"", "a".repeat(2 << 20)),
            format!("{{\"range\":\"{}\"}}", "a".repeat(2 << 20)),
            format!("{{\"{}\":0}}", "a".repeat(2 << 20)),
            format!("{{\"{}", "a".repeat(2 << 20)),
            format!("{{\"x\":{},{}", "[".repeat(1 << 20), &flat[1..]),
            format!("{{\"data\":[{}]}}", "0,".repeat(1 << 20)),
            format!("{{\"data\":[{}]}}", "[0],".repeat(1 << 18)),
            format!("{{\"data\":{}", "[".repeat(1 << 20)),
            format!("{{\"data\":[0.{}]}}", "1".repeat(1 << 20)),
            format!("{{\"data\":[1e{}]}}", "1".repeat(1 << 20)),
            format!("{{\"instances\":[{}0],\"predictions\":[0]}}", "0,".repeat(1 << 20)),
        ] {
            check(&body[..60], body.as_bytes(), Some(MediaType::Json), &spec);
        }
    }
}

proptest! {
    #[test]
    fn damaged_pictures_stay_within_their_cost(
        path in prop::sample::select(pictures()),
        flips in prop::collection::vec((any::<Index>(), any::<bool>(), any::<u8>()), 1..8),
        which in 0_usize..3,
    ) {
        let mut body = std::fs::read(&path).unwrap();
        for (at, in_header, value) in flips {
            let end = if in_header { body.len().min(300) } else { body.len() };
            body[at.index(end)] = value;
        }
        check(&path.display().to_string(), &body, None, &specs()[which]);
    }
}
