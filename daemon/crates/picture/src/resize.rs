//! Rows of RGB8 pixels to a 32×32 picture: an exact area average, and the EXIF turns and flips.
//!
//! It keeps 32 sums a row and no copy of the picture. It must not know where rows come from.

use crate::limits::{CHANNELS, IMAGE_BYTES, SIDE};
use crate::picture::Picture;

/// Averages a picture down (or up) to 32×32, row by row.
///
/// Each of the 32×32 cells is the mean of the source area under it, fractions of pixels counted by
/// their area, rounded half up. The whole picture is squashed: nothing is cropped and the aspect
/// ratio is not kept. The same rule enlarges a picture below 32 pixels (a pixel is repeated, and
/// mixed by area where a cell crosses a border), and leaves one of 32×32 bit-exact.
pub struct Average {
    width: usize,
    height: usize,
    row: usize,
    /// Sums of channel value × area; the area unit is 1/32 × 1/32 pixel.
    sums: Box<[u64; IMAGE_BYTES]>,
}

impl Average {
    /// Starts a picture of `width` × `height` pixels, both from 1 to the side limit (16,384), with which
    /// a row's sums stay below 2^23 and a cell's below 2^37.
    pub fn new(width: u32, height: u32) -> Average {
        Average {
            width: width as usize,
            height: height as usize,
            row: 0,
            sums: Box::new([0; IMAGE_BYTES]),
        }
    }

    /// Takes the next row from the top, `width` RGB8 pixels.
    pub fn push_row(&mut self, row: &[u8]) {
        debug_assert_eq!(row.len(), self.width * CHANNELS);
        let across = self.average_across(row);
        let (top, bottom) = (self.row * SIDE, (self.row + 1) * SIDE);
        self.row += 1;
        for y in top / self.height..=(bottom - 1) / self.height {
            let share = bottom.min((y + 1) * self.height) - top.max(y * self.height);
            let start = y * SIDE * CHANNELS;
            let Some(cells) = self.sums.get_mut(start..start + SIDE * CHANNELS) else { return };
            for (cell, value) in cells.iter_mut().zip(across) {
                *cell += u64::from(value) * share as u64;
            }
        }
    }

    /// Returns the sums of one row in 32 columns of `width` area units each.
    fn average_across(&self, row: &[u8]) -> [u32; SIDE * CHANNELS] {
        let mut across = [0_u32; SIDE * CHANNELS];
        for (x, cell) in across.chunks_exact_mut(CHANNELS).enumerate() {
            let (left, right) = (x * self.width, (x + 1) * self.width);
            let (first, last) = (left / SIDE, (right - 1) / SIDE);
            let pixels = &row[first * CHANNELS..(last + 1) * CHANNELS];
            let mut whole = [0_u32; CHANNELS];
            for pixel in pixels.chunks_exact(CHANNELS) {
                for (sum, &value) in whole.iter_mut().zip(pixel) {
                    *sum += u32::from(value);
                }
            }
            // The first and the last pixel lie in the cell with a part of their width only.
            let before = (left - first * SIDE) as u32;
            let after = ((last + 1) * SIDE - right) as u32;
            let (from, to) = (&pixels[..CHANNELS], &pixels[pixels.len() - CHANNELS..]);
            for channel in 0..CHANNELS {
                cell[channel] = whole[channel] * SIDE as u32
                    - u32::from(from[channel]) * before
                    - u32::from(to[channel]) * after;
            }
        }
        across
    }

    /// Returns the picture, once every row was pushed.
    pub fn finish(self) -> Picture {
        debug_assert_eq!(self.row, self.height);
        let area = (self.width * self.height) as u64;
        let mut pixels = Box::new([0; IMAGE_BYTES]);
        for (pixel, sum) in pixels.iter_mut().zip(self.sums.iter()) {
            *pixel = ((sum + area / 2) / area) as u8;
        }
        Picture(pixels)
    }
}

/// What to do with a stored picture to see it upright: TIFF 6.0 tag 274, values 1 to 8.
///
/// A square average commutes with turns and flips, so they are applied to the 32×32 result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    /// Swap rows and columns first.
    pub transpose: bool,
    /// Then mirror left and right.
    pub mirror: bool,
    /// Then turn upside down.
    pub flip: bool,
}

impl Orientation {
    /// Reads the tag's value; one outside 1 to 8 means upright, as viewers do.
    pub fn from_exif(value: u8) -> Orientation {
        let (transpose, mirror, flip) = match value {
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, true, false),
            7 => (true, true, true),
            8 => (true, false, true),
            _ => (false, false, false),
        };
        Orientation { transpose, mirror, flip }
    }

    /// Turns and flips a picture.
    pub fn apply(self, picture: Picture) -> Picture {
        if self == Orientation::default() {
            return picture;
        }
        let mut pixels = Box::new([0; IMAGE_BYTES]);
        for (index, pixel) in pixels.chunks_exact_mut(CHANNELS).enumerate() {
            let (mut y, mut x) = (index / SIDE, index % SIDE);
            if self.flip {
                y = SIDE - 1 - y;
            }
            if self.mirror {
                x = SIDE - 1 - x;
            }
            if self.transpose {
                (x, y) = (y, x);
            }
            let from = (y * SIDE + x) * CHANNELS;
            pixel.copy_from_slice(&picture.0[from..from + CHANNELS]);
        }
        Picture(pixels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn average(width: u32, height: u32, pixel: impl Fn(usize, usize) -> [u8; 3]) -> Picture {
        let mut average = Average::new(width, height);
        for y in 0..height as usize {
            let row: Vec<u8> = (0..width as usize).flat_map(|x| pixel(x, y)).collect();
            average.push_row(&row);
        }
        average.finish()
    }

    fn at(picture: &Picture, x: usize, y: usize) -> [u8; 3] {
        let start = (y * SIDE + x) * CHANNELS;
        picture.pixels()[start..start + CHANNELS].try_into().unwrap()
    }

    fn noise(x: usize, y: usize) -> [u8; 3] {
        let hash = (x * 7919 + y * 104_729) ^ (x * y);
        [hash as u8, (hash >> 3) as u8, (hash >> 5) as u8]
    }

    #[test]
    fn side_of_32_is_kept_bit_exact() {
        let picture = average(32, 32, noise);
        for y in 0..SIDE {
            for x in 0..SIDE {
                assert_eq!(at(&picture, x, y), noise(x, y));
            }
        }
    }

    #[test]
    fn flat_picture_of_any_size_stays_flat() {
        for (width, height) in [(1, 1), (1, 500), (500, 1), (31, 33), (16_384, 2), (1000, 777)] {
            for value in [0, 1, 127, 254, 255] {
                let picture = average(width, height, |_, _| [value; 3]);
                assert!(picture.pixels().iter().all(|&p| p == value), "{width}x{height} {value}");
            }
        }
    }

    #[test]
    fn every_cell_is_the_mean_of_its_area() {
        // The twin: the same mean in floating point, cell by cell, from the definition.
        for (width, height) in [(64, 48), (100, 37), (33, 31), (7, 95), (20, 20), (2, 2)] {
            let picture = average(width, height, noise);
            for cell in 0..SIDE * SIDE {
                let (cx, cy) = (cell % SIDE, cell / SIDE);
                let mut sum = [0.0_f64; 3];
                for y in 0..height as usize {
                    for x in 0..width as usize {
                        let share = |cell: usize, side: u32, at: usize| {
                            let step = f64::from(side) / SIDE as f64;
                            let (low, high) = (cell as f64 * step, (cell + 1) as f64 * step);
                            ((high.min(at as f64 + 1.0) - low.max(at as f64)) / step).max(0.0)
                        };
                        let area = share(cx, width, x) * share(cy, height, y);
                        for (sum, value) in sum.iter_mut().zip(noise(x, y)) {
                            *sum += area * f64::from(value);
                        }
                    }
                }
                for (sum, value) in sum.into_iter().zip(at(&picture, cx, cy)) {
                    assert!((sum - f64::from(value)).abs() <= 0.5 + 1e-6, "{width}x{height}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_cropped_and_the_aspect_ratio_is_not_kept() {
        let wide = average(320, 10, |x, _| if x < 160 { [255, 0, 0] } else { [0, 0, 255] });
        for y in 0..SIDE {
            assert_eq!(at(&wide, 0, y), [255, 0, 0]);
            assert_eq!(at(&wide, 15, y), [255, 0, 0]);
            assert_eq!(at(&wide, 16, y), [0, 0, 255]);
            assert_eq!(at(&wide, 31, y), [0, 0, 255]);
        }
    }

    #[test]
    fn orientation_puts_the_top_left_corner_where_tiff_says() {
        // TIFF 6.0 tag 274: where the stored row 0 and column 0 are on the upright picture. The
        // stored corners are 1 2 over 3 4; the upright ones are listed in the same order.
        for (value, upright) in [
            (0, [1, 2, 3, 4]),
            (1, [1, 2, 3, 4]),
            (2, [2, 1, 4, 3]),
            (3, [4, 3, 2, 1]),
            (4, [3, 4, 1, 2]),
            (5, [1, 3, 2, 4]),
            (6, [3, 1, 4, 2]),
            (7, [4, 2, 3, 1]),
            (8, [2, 4, 1, 3]),
            (9, [1, 2, 3, 4]),
        ] {
            let stored = average(2, 2, |x, y| [(y * 2 + x + 1) as u8; 3]);
            let picture = Orientation::from_exif(value).apply(stored);
            let corners = [(0, 0), (31, 0), (0, 31), (31, 31)].map(|(x, y)| at(&picture, x, y)[0]);
            assert_eq!(corners, upright, "orientation {value}");
        }
    }
}
