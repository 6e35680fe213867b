//! Times the decoding of one picture, for `./dev bench decode`.
//!
//! `decode FILE REDUCTION [REPEAT [PIXELS]]` prints the median of REPEAT runs in microseconds. REDUCTION is
//! 1, 2, 4 or 8 for the rows of a JPEG, which are written to the file PIXELS, or `to=SIDE` for the whole way
//! of a body of any type to the square picture that a model is given.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use picket_picture::{Colour, Element, Jpeg, JsonRange, Layout, MediaType, Picture, Spec};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, reduction, rest @ ..] = arguments.as_slice() else {
        return Err("usage: decode FILE REDUCTION|to=SIDE [REPEAT [PIXELS]]".into());
    };
    let body = std::fs::read(file)?;
    let repeat = rest.first().map_or(Ok(1), |repeat| repeat.parse())?;
    if let Some(side) = reduction.strip_prefix("to=") {
        let side = side.parse()?;
        let spec = Spec::raw(Element::U8, Layout::Nchw, [side, side], Colour::Rgb);
        let media = MediaType::sniff(&body, &spec)?;
        return median(repeat, || {
            black_box(Picture::decode(&body, media, &spec, JsonRange::default())?);
            Ok(())
        });
    }
    let reduction = reduction.parse()?;
    median(repeat, || {
        let row = &mut |row: &[u8]| {
            black_box(row);
        };
        Ok(Jpeg::open(&body)?.read(reduction, row)?)
    })?;
    if let Some(path) = rest.get(1) {
        let mut pixels = Vec::new();
        Jpeg::open(&body)?.read(reduction, &mut |row| pixels.extend_from_slice(row))?;
        std::fs::write(path, pixels)?;
    }
    Ok(())
}

fn median(
    repeat: usize,
    mut run: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::with_capacity(repeat);
    for _ in 0..repeat.max(1) {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    times.sort();
    let median: Duration = times[times.len() / 2];
    println!("{:.1}", median.as_secs_f64() * 1e6);
    Ok(())
}
