//! What decoders paint on: rows of any picture in, a picture of the model's size and colours out. It
//! must not know where rows come from.

use super::area::Average;
use super::orientation::Orientation;
use crate::picture::Picture;
use crate::rows::{Header, Pixel};
use crate::spec::{Colour, Spec};

/// Takes the rows of one picture, from the top.
pub struct Canvas {
    colour: Colour,
    pixel: Pixel,
    orientation: Orientation,
    /// Height and width of the result before it is turned upright.
    size: [usize; 2],
    average: Average,
    /// A row in the result's channels, where the source has others.
    row: Vec<u8>,
}

impl Canvas {
    /// Starts the picture that `header` announces, for a model of this input.
    pub fn new(spec: &Spec, header: &Header) -> Canvas {
        let orientation = Orientation::from_exif(header.orientation);
        let size = orientation.stored(spec.size);
        let (width, height) = (header.size.0 as usize, header.size.1 as usize);
        let channels = spec.colour.channels();
        let average = Average::new(width, height, channels, size);
        let row = if header.pixel.bytes() == channels { 0 } else { width * channels };
        let (colour, pixel) = (spec.colour, header.pixel);
        Canvas { colour, pixel, orientation, size, average, row: vec![0; row] }
    }

    /// Takes the next row, in the pixels that the header announced.
    pub fn push(&mut self, row: &[u8]) {
        match (self.pixel, self.colour) {
            (Pixel::Grey, Colour::Grey) | (Pixel::Rgb, Colour::Rgb | Colour::Bgr) => {
                return self.average.push_row(row);
            }
            (Pixel::Grey, Colour::Rgb | Colour::Bgr) => {
                for (to, &grey) in self.row.chunks_exact_mut(3).zip(row) {
                    to.fill(grey);
                }
            }
            (Pixel::Rgb, Colour::Grey) => {
                for (to, rgb) in self.row.iter_mut().zip(row.as_chunks::<3>().0) {
                    *to = luma(*rgb);
                }
            }
        }
        self.average.push_row(&self.row);
    }

    /// Returns the picture, once every row was pushed.
    pub fn finish(self) -> Picture {
        let channels = self.colour.channels();
        let mut pixels = self.average.finish();
        if self.colour == Colour::Bgr {
            pixels.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2));
        }
        self.orientation.apply(Picture { size: self.size, channels, pixels })
    }
}

/// Returns ITU-R 601 luma as Pillow's convert("L") rounds it.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
    ((sum + 0x8000) >> 16) as u8
}
