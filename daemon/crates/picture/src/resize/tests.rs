//! The whole resize against what Pillow and OpenCV made (tests/data/resize), and against pictures that
//! are turned first.

use proptest::prelude::*;

use super::canvas::Canvas;
use super::geometry::{Plan, reduction};
use super::orientation::Orientation;
use crate::fixtures::read;
use crate::picture::Picture;
use crate::rows::{Header, Pixel};
use crate::spec::{Colour, Element, Filter, Layout, Mode, Resize, Spec};

/// The size of source.rgb.
const WIDTH: usize = 37;
const HEIGHT: usize = 29;
const MODES: [Mode; 4] = [Mode::Stretch, Mode::ShorterSide, Mode::Letterbox, Mode::CropOnly];
/// Every filter, as (filter, antialias).
const FILTERS: [(Filter, bool); 7] = [
    (Filter::Area, true),
    (Filter::Nearest, true),
    (Filter::Nearest, false),
    (Filter::Bilinear, true),
    (Filter::Bilinear, false),
    (Filter::Bicubic, true),
    (Filter::Bicubic, false),
];

fn spec(size: [usize; 2], mode: Mode, to: usize, (filter, antialias): (Filter, bool)) -> Spec {
    let spec = Spec::raw(Element::U8, Layout::Nhwc, size, Colour::Rgb);
    let pad = [10, 20, 30];
    Spec { resize: Resize { mode, to, filter, antialias, pad, exact: false }, ..spec }
}

fn header(width: usize, height: usize, orientation: u8) -> Header {
    let size = (width as u32, height as u32);
    Header { format: "test", size, pixel: Pixel::Rgb, orientation, working_bytes: 0 }
}

/// Resizes a stored picture of three channels.
fn paint(spec: &Spec, header: &Header, pixels: &[u8]) -> Picture {
    let mut canvas = Canvas::new(spec, header, 1);
    pixels.chunks_exact(header.size.0 as usize * 3).for_each(|row| canvas.push(row));
    canvas.finish()
}

fn worst(left: &[u8], right: &[u8]) -> u8 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| left.abs_diff(*right)).max().unwrap()
}

#[test]
fn pixels_are_those_of_pillow_and_opencv() {
    let (source, goldens) = (read("resize/source.rgb"), read("resize/goldens.bin"));
    let lines = String::from_utf8(read("resize/goldens.txt")).unwrap();
    let mut rest = &goldens[..];
    for line in lines.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let size = [words[0].parse().unwrap(), words[1].parse().unwrap()];
        let mode = match words[2] {
            "stretch" => Mode::Stretch,
            "shorter-side" => Mode::ShorterSide,
            "letterbox" => Mode::Letterbox,
            _ => Mode::CropOnly,
        };
        let filter = match words[4] {
            "area" => Filter::Area,
            "nearest" => Filter::Nearest,
            "bilinear" => Filter::Bilinear,
            _ => Filter::Bicubic,
        };
        let antialias = words[5] == "true";
        let mut spec = spec(size, mode, words[3].parse().unwrap(), (filter, antialias));
        spec.resize.pad = [words[6].parse().unwrap(); 3];
        let found = paint(&spec, &header(WIDTH, HEIGHT, 1), &source);
        let expected = rest.split_off(..found.pixels().len()).unwrap();
        // Pillow's integers are repeated exactly; OpenCV takes shortcuts of its own.
        let pillow = filter == Filter::Nearest || (antialias && filter != Filter::Area);
        assert!(worst(found.pixels(), expected) <= u8::from(!pillow), "{line}");
    }
    assert!(rest.is_empty() && lines.lines().count() > 60);
}

#[test]
fn turned_picture_is_resized_as_if_it_were_turned_first() {
    let source = read("resize/source.rgb");
    for orientation in 1..=8 {
        let stored =
            Picture { size: [HEIGHT, WIDTH], channels: 3, pixels: source.clone(), reduced: false };
        let upright = Orientation::from_exif(orientation).apply(stored);
        let [height, width] = upright.size;
        for mode in MODES {
            for filter in FILTERS {
                // An odd rest, an even one, one axis padded, enlarged.
                for size in [[10, 13], [17, 16], [12, 40], [50, 45]] {
                    let spec = spec(size, mode, 18, filter);
                    let found = paint(&spec, &header(WIDTH, HEIGHT, orientation), &source);
                    let expected = paint(&spec, &header(width, height, 1), upright.pixels());
                    assert_eq!(found.size, size);
                    let name = format!("{orientation} {mode:?} {filter:?} {size:?}");
                    assert_eq!(worst(found.pixels(), expected.pixels()), 0, "{name}");
                }
            }
        }
    }
}

#[test]
fn grey_and_bgr_are_the_same_pixels_in_other_channels() {
    let source = read("resize/source.rgb");
    let header = header(WIDTH, HEIGHT, 1);
    for filter in FILTERS {
        let rgb = spec([11, 14], Mode::Letterbox, 0, filter);
        let bgr = Spec { colour: Colour::Bgr, ..rgb };
        let [blue, green, red] = rgb.resize.pad;
        let mirrored = Spec { resize: Resize { pad: [red, green, blue], ..rgb.resize }, ..bgr };
        let mut swapped = paint(&rgb, &header, &source).pixels;
        swapped.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
        assert_eq!(paint(&mirrored, &header, &source).pixels, swapped);

        let grey = Spec { colour: Colour::Grey, ..rgb };
        let same: Vec<u8> = source.chunks_exact(3).flat_map(|rgb| [rgb[1]; 3]).collect();
        let expected = paint(&rgb, &header, &same);
        let inner = |pixels: &[u8], step: usize| {
            let row = pixels[5 * 14 * step..6 * 14 * step].iter();
            row.step_by(step).copied().collect::<Vec<u8>>()
        };
        assert_eq!(inner(&paint(&grey, &header, &same).pixels, 1), inner(&expected.pixels, 3));
    }
}

#[test]
fn pad_is_in_the_models_channel_order() {
    let flat = vec![200; WIDTH * HEIGHT * 3];
    for colour in [Colour::Rgb, Colour::Bgr] {
        let spec = spec([40, 40], Mode::Letterbox, 0, (Filter::Bilinear, false));
        let picture = paint(&Spec { colour, ..spec }, &header(WIDTH, HEIGHT, 1), &flat);
        assert_eq!(picture.pixels()[..3], [10, 20, 30]);
        assert_eq!(picture.pixels()[20 * 40 * 3..][..3], [200; 3]);
    }
}

#[test]
fn reduced_picture_is_resized_by_the_size_of_the_whole_one() {
    // A ramp, so that a shift of a tenth of a pixel would be seen; no side is a multiple of 8.
    let (width, height) = (803_usize, 605_usize);
    let value = |x: f64, y: f64| [x / 4.0, y / 3.0, (x + y) / 8.0].map(|value| value as u8);
    for orientation in 1..=8 {
        for by in [2, 4, 8] {
            for (mode, size) in [(Mode::Stretch, [20, 25]), (Mode::ShorterSide, [24, 24])] {
                for filter in FILTERS {
                    if filter.0 == Filter::Nearest || !filter.1 {
                        continue;
                    }
                    let spec = spec(size, mode, 26, filter);
                    let header = header(width, height, orientation);
                    let mut whole = Canvas::new(&spec, &header, 1);
                    for y in 0..height {
                        let row = (0..width).flat_map(|x| value(x as f64, y as f64));
                        whole.push(&row.collect::<Vec<u8>>());
                    }
                    let mut reduced = Canvas::new(&spec, &header, by);
                    let middle = |at: usize| (at * by as usize) as f64 + (by - 1) as f64 / 2.0;
                    for y in 0..height.div_ceil(by as usize) {
                        let columns = 0..width.div_ceil(by as usize);
                        let row = columns.flat_map(|x| value(middle(x), middle(y)));
                        reduced.push(&row.collect::<Vec<u8>>());
                    }
                    let (whole, reduced) = (whole.finish(), reduced.finish());
                    let worst = worst(whole.pixels(), reduced.pixels());
                    assert!(worst <= 1, "{orientation} {by} {mode:?} {filter:?}: {worst}");
                }
            }
        }
    }
}

#[test]
fn picture_is_reduced_only_where_the_resize_looks_at_every_pixel() {
    let area = (Filter::Area, true);
    let by = |mode, filter, width, height| {
        reduction(&spec([224, 224], mode, 256, filter), &header(width, height, 1))
    };
    assert_eq!(by(Mode::Stretch, area, 5712, 4284), 8);
    assert_eq!(by(Mode::Stretch, area, 1920, 1080), 4);
    assert_eq!(by(Mode::Stretch, area, 640, 480), 2);
    assert_eq!(by(Mode::Stretch, area, 448, 475), 1);
    assert_eq!(by(Mode::Stretch, area, 100, 100), 1);
    assert_eq!(by(Mode::CropOnly, area, 5712, 4284), 1);
    for filter in FILTERS {
        let averages = filter.1 && filter.0 != Filter::Nearest;
        assert_eq!(by(Mode::ShorterSide, filter, 5712, 4284) > 1, averages, "{filter:?}");
    }
    let mut exact = spec([224, 224], Mode::Stretch, 0, area);
    exact.resize.exact = true;
    assert_eq!(reduction(&exact, &header(5712, 4284, 1)), 1);
    // A wide model's sides are swapped for a picture that is stored on its side.
    let wide = spec([32, 512], Mode::Stretch, 0, area);
    assert!(reduction(&wide, &header(8192, 512, 1)) > reduction(&wide, &header(8192, 512, 6)));
}

#[test]
fn picture_of_any_shape_has_a_plan_within_its_limits() {
    for (width, height) in [(1, 1), (1, 16_384), (16_384, 1), (2, 16_383), (3, 5000), (16_384, 8)] {
        for orientation in [1, 3, 6] {
            for mode in MODES {
                for filter in FILTERS {
                    let spec = spec([24, 16], mode, 1024, filter);
                    let header = header(width, height, orientation);
                    let Plan { columns, rows, .. } = Plan::new(&spec, &header, 1);
                    for axis in [columns, rows] {
                        assert!(!axis.cells().is_empty() && axis.cells().end <= axis.scaled);
                    }
                    let picture = paint(&spec, &header, &vec![77; width * height * 3]);
                    assert_eq!(picture.size, [24, 16]);
                    let allowed = [77, 10, 20, 30];
                    assert!(picture.pixels().iter().all(|pixel| allowed.contains(pixel)));
                }
            }
        }
    }
}

#[test]
fn memory_is_a_bound_and_a_close_one() {
    for (width, height) in [(640, 480), (480, 640), (37, 29), (3000, 200), (8, 900)] {
        for orientation in [1, 6] {
            for mode in MODES {
                for filter in FILTERS {
                    for size in [[24, 32], [224, 224]] {
                        let spec = spec(size, mode, 100, filter);
                        let header = header(width, height, orientation);
                        let bound = Canvas::memory(&spec, &header);
                        let mut canvas = Canvas::new(&spec, &header, 1);
                        let row = vec![9; width * 3];
                        let mut most = 0;
                        for _ in 0..height {
                            canvas.push(&row);
                            most = most.max(canvas.held());
                        }
                        // The result is copied when it is padded, and when it is turned.
                        most += 2 * spec.values() as u64;
                        let name = format!("{width}x{height} {orientation} {mode:?} {filter:?}");
                        assert!(most <= bound, "{name}: {most} of {bound}");
                        assert!(bound < 4 * most + 200_000, "{name}: {most} of {bound}");
                    }
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn flat_picture_stays_flat_whatever_is_asked(
        (width, height) in (1..300_usize, 1..300_usize),
        orientation in 0..10_u8,
        by in prop::sample::select(vec![1, 2, 4, 8]),
        mode in prop::sample::select(MODES.to_vec()),
        filter in prop::sample::select(FILTERS.to_vec()),
        size in prop::array::uniform2(8..80_usize),
        to in 1..90_usize,
    ) {
        let spec = spec(size, mode, to, filter);
        let mut canvas = Canvas::new(&spec, &header(width, height, orientation), by as u32);
        for _ in 0..height.div_ceil(by) {
            canvas.push(&vec![77; width.div_ceil(by) * 3]);
        }
        let picture = canvas.finish();
        prop_assert_eq!(picture.size, size);
        for pixel in picture.pixels().as_chunks::<3>().0 {
            prop_assert!(*pixel == [77; 3] || *pixel == spec.resize.pad, "{:?}", pixel);
        }
    }
}
