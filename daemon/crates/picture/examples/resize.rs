//! Resizes PNG files as lines on standard input state, for tests/data/resize/compare.py.
//!
//! A line is `FILE HEIGHT WIDTH MODE TO FILTER ANTIALIAS PAD`; the pixels go to FILE.out, row-major HWC.

use std::error::Error;
use std::io::{BufRead, stdin};

use picket_picture::{
    Colour, Element, Filter, JsonRange, Layout, MediaType, Mode, Picture, Resize, Spec,
};

fn main() -> Result<(), Box<dyn Error>> {
    for line in stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[file, height, width, mode, to, filter, antialias, pad] = &words[..] else {
            return Err(format!("{line:?} does not have 8 words").into());
        };
        let mode = match mode {
            "stretch" => Mode::Stretch,
            "shorter-side" => Mode::ShorterSide,
            "letterbox" => Mode::Letterbox,
            "crop-only" => Mode::CropOnly,
            _ => return Err(format!("mode {mode:?}").into()),
        };
        let filter = match filter {
            "area" => Filter::Area,
            "nearest" => Filter::Nearest,
            "bilinear" => Filter::Bilinear,
            "bicubic" => Filter::Bicubic,
            _ => return Err(format!("filter {filter:?}").into()),
        };
        let size = [height.parse()?, width.parse()?];
        let spec = Spec::raw(Element::U8, Layout::Nhwc, size, Colour::Rgb);
        let (to, antialias, pad) = (to.parse()?, antialias.parse()?, [pad.parse()?; 3]);
        let resize = Resize { mode, to, filter, antialias, pad, exact: true };
        let spec = Spec { resize, ..spec };
        let body = std::fs::read(file)?;
        let picture = Picture::decode(&body, MediaType::Png, &spec, JsonRange::default())?;
        std::fs::write(format!("{file}.out"), picture.pixels())?;
    }
    Ok(())
}
