//! What decoders paint on: rows of any picture in, a picture of the model's size and colours out. It
//! must not know where rows come from.

use super::area::Average;
use super::geometry::{Axis, Plan};
use super::kernel::Curve;
use super::orientation::Orientation;
use super::sampler::{Order, Sampler};
use super::taps::Taps;
use crate::picture::Picture;
use crate::rows::{Header, Pixel};
use crate::spec::{Colour, Filter, Spec};

/// The bytes of the area average's sums for one value of a row: 16 bits and 32.
const AVERAGE_BYTES: u64 = 6;

/// Takes the rows of one picture, from the top.
pub struct Canvas {
    colour: Colour,
    pixel: Pixel,
    orientation: Orientation,
    plan: Plan,
    pad: [u8; 3],
    resampler: Resampler,
    /// A row in the result's channels, where the source has others.
    row: Vec<u8>,
}

/// How the picture is resized.
enum Resampler {
    Average(Average),
    Grey(Sampler<1>),
    Colour(Sampler<3>),
}

impl Canvas {
    /// Starts the picture that `header` announces, whose decoder makes one pixel of `reduction` ×
    /// `reduction`: its rows and columns are as many as the picture's, divided and rounded up.
    pub fn new(spec: &Spec, header: &Header, reduction: u32) -> Canvas {
        let plan = Plan::new(spec, header, reduction);
        let (colour, pixel) = (spec.colour, header.pixel);
        let width = plan.columns.pixels();
        let row = if pixel.bytes() == colour.channels() { 0 } else { width * colour.channels() };
        Canvas {
            colour,
            pixel,
            orientation: Orientation::from_exif(header.orientation),
            plan,
            pad: spec.resize.pad,
            resampler: Resampler::new(spec, &plan),
            row: vec![0; row],
        }
    }

    /// Returns how many bytes a picture takes at most while its rows come, the result's own included.
    pub fn memory(spec: &Spec, header: &Header) -> u64 {
        let plan = Plan::new(spec, header, 1);
        let channels = spec.colour.channels() as u64;
        let row = plan.columns.source as u64 * channels;
        // The result, its padded copy, and the copy that is turned.
        let results = 3 * spec.values() as u64;
        let curve = curve(spec);
        let working = match curve {
            None if spec.resize.filter == Filter::Area => AVERAGE_BYTES * row,
            _ => {
                let columns = match order(spec, &plan) {
                    Order::AcrossFirst => plan.columns.length as u64 * channels,
                    Order::DownFirst => row,
                };
                let sums = Sampler::<1>::open_rows(&plan.rows, curve) * columns * 4;
                sums + columns + plan.columns.length as u64 * channels * 4
            }
        };
        let tables = Taps::memory(&plan.columns, curve) + Taps::memory(&plan.rows, curve);
        row + results + working + tables
    }

    /// Takes the next row, in the pixels that the header announced.
    pub fn push(&mut self, row: &[u8]) {
        debug_assert_eq!(row.len(), self.plan.columns.pixels() * self.pixel.bytes());
        match (self.pixel, self.colour) {
            (Pixel::Grey, Colour::Grey) | (Pixel::Rgb, Colour::Rgb | Colour::Bgr) => {
                return self.resampler.push_row(row);
            }
            (Pixel::Grey, Colour::Rgb | Colour::Bgr) => {
                for (to, &grey) in self.row.as_chunks_mut::<3>().0.iter_mut().zip(row) {
                    *to = [grey; 3];
                }
            }
            (Pixel::Rgb, Colour::Grey) => {
                for (to, rgb) in self.row.iter_mut().zip(row.as_chunks::<3>().0) {
                    *to = luma(*rgb);
                }
            }
        }
        self.resampler.push_row(&self.row);
    }

    /// Returns the picture, once every row was pushed.
    pub fn finish(self) -> Picture {
        let channels = self.colour.channels();
        let mut pixels = self.resampler.finish();
        let shown = self.plan.rows.visible().len() * self.plan.columns.visible().len();
        debug_assert_eq!(pixels.len(), shown * channels, "not every row was pushed");
        if self.colour == Colour::Bgr {
            pixels.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2));
        }
        let Plan { columns, rows, .. } = self.plan;
        let size = [rows.length, columns.length];
        if rows.visible().len() < rows.length || columns.visible().len() < columns.length {
            pixels = padded(&pixels, &columns, &rows, &self.pad[..channels]);
        }
        self.orientation.apply(Picture { size, channels, pixels, reduced: false })
    }
}

#[cfg(test)]
impl Canvas {
    /// Returns how many bytes its vectors take now.
    pub fn held(&self) -> u64 {
        let resampler = match &self.resampler {
            Resampler::Average(average) => average.held(),
            Resampler::Grey(sampler) => sampler.held(),
            Resampler::Colour(sampler) => sampler.held(),
        };
        (self.row.capacity() + resampler) as u64
    }
}

impl Resampler {
    fn new(spec: &Spec, plan: &Plan) -> Resampler {
        let Plan { columns, rows, .. } = plan;
        let (curve, pillow) = (curve(spec), spec.resize.antialias);
        if spec.resize.filter == Filter::Area {
            return Resampler::Average(Average::new(*columns, *rows, spec.colour.channels()));
        }
        let across = Taps::new(columns, curve, pillow);
        let down = Taps::new(rows, curve, pillow);
        let order = order(spec, plan);
        match spec.colour {
            Colour::Grey => Resampler::Grey(Sampler::new(across, down, order, columns.pixels())),
            Colour::Rgb | Colour::Bgr => {
                Resampler::Colour(Sampler::new(across, down, order, columns.pixels()))
            }
        }
    }

    fn push_row(&mut self, row: &[u8]) {
        match self {
            Resampler::Average(average) => average.push_row(row),
            Resampler::Grey(sampler) => sampler.push_row(row),
            Resampler::Colour(sampler) => sampler.push_row(row),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Resampler::Average(average) => average.finish(),
            Resampler::Grey(sampler) => sampler.finish(),
            Resampler::Colour(sampler) => sampler.finish(),
        }
    }
}

/// Returns the curve of a filter that mixes by weights.
fn curve(spec: &Spec) -> Option<Curve> {
    match spec.resize.filter {
        Filter::Area | Filter::Nearest => None,
        Filter::Bilinear => Some(Curve::Linear),
        Filter::Bicubic => Some(Curve::Cubic),
    }
}

/// Returns which of the stored axes comes first. Only Pillow's filters, which round between the two, tell
/// the difference.
///
/// Pillow 13 begins with the upright picture's rows, and with its columns where the height shrinks by more
/// than twice what the width shrinks by. Pillow up to 12 always begins with the rows: where a bicubic
/// filter overshoots 0 or 255, the two differ.
fn order(spec: &Spec, plan: &Plan) -> Order {
    if !spec.resize.antialias || curve(spec).is_none() {
        return Order::AcrossFirst;
    }
    let Plan { columns, rows, transposed } = *plan;
    let (width, height) = if transposed { (rows, columns) } else { (columns, rows) };
    let shrinks_by = |axis: Axis| axis.source as i64 - axis.scaled as i64;
    let height_first = shrinks_by(height) > 0 && shrinks_by(height) > 2 * shrinks_by(width);
    if height_first == transposed { Order::AcrossFirst } else { Order::DownFirst }
}

/// Puts the part of the result that shows the picture into the padding.
fn padded(pixels: &[u8], columns: &Axis, rows: &Axis, pad: &[u8]) -> Vec<u8> {
    let channels = pad.len();
    let width = columns.length * channels;
    let mut whole = pad.repeat(rows.length * columns.length);
    let (across, down) = (columns.visible(), rows.visible());
    let shown = across.start * channels..across.end * channels;
    if shown.is_empty() {
        return whole;
    }
    let lines = whole.chunks_exact_mut(width).skip(down.start).take(down.len());
    for (line, from) in lines.zip(pixels.chunks_exact(shown.len())) {
        line[shown.clone()].copy_from_slice(from);
    }
    whole
}

/// Returns ITU-R 601 luma as Pillow's convert("L") rounds it.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
    ((sum + 0x8000) >> 16) as u8
}
