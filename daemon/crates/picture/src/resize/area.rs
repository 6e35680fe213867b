//! The exact area average: rows of pixels to a picture of another size.
//!
//! It keeps one sum for each value of the result and no copy of the picture. It must not know where rows
//! come from.

/// Averages a picture down (or up), row by row.
///
/// Each pixel of the result is the mean of the source area under it, fractions of pixels counted by
/// their area, rounded half up. The whole picture is squashed: nothing is cropped and the aspect
/// ratio is not kept. The same rule enlarges a smaller picture (a pixel is repeated, and mixed by area
/// where a cell crosses a border), and leaves one of the same size bit-exact.
pub struct Average {
    width: usize,
    height: usize,
    channels: usize,
    /// Height and width of the result.
    size: [usize; 2],
    row: usize,
    /// The sums of one row, in the result's columns.
    across: Vec<u32>,
    /// Sums of channel value × area; the area unit is one `size`th of a pixel each way.
    sums: Vec<u64>,
}

impl Average {
    /// Starts a picture of `width` × `height` pixels of 1 or 3 channels, both sides from 1 to the side
    /// limit (16,384), that becomes one of `size`, height and width up to 1,024: a row's sums stay
    /// within 32 bits.
    pub fn new(width: usize, height: usize, channels: usize, size: [usize; 2]) -> Average {
        let across = vec![0; size[1] * channels];
        let sums = vec![0; size[0] * size[1] * channels];
        Average { width, height, channels, size, row: 0, across, sums }
    }

    /// Takes the next row from the top.
    pub fn push_row(&mut self, row: &[u8]) {
        debug_assert_eq!(row.len(), self.width * self.channels);
        match self.channels {
            1 => across::<1>(row, self.width, self.size[1], &mut self.across),
            _ => across::<3>(row, self.width, self.size[1], &mut self.across),
        }
        let rows = self.size[0];
        let (top, bottom) = (self.row * rows, (self.row + 1) * rows);
        self.row += 1;
        for y in top / self.height..=(bottom - 1) / self.height {
            let share = bottom.min((y + 1) * self.height) - top.max(y * self.height);
            let start = y * self.across.len();
            let Some(cells) = self.sums.get_mut(start..start + self.across.len()) else { return };
            for (cell, &value) in cells.iter_mut().zip(&self.across) {
                *cell += u64::from(value) * share as u64;
            }
        }
    }

    /// Returns the pixels, row-major HWC, once every row was pushed.
    pub fn finish(self) -> Vec<u8> {
        debug_assert_eq!(self.row, self.height);
        let area = (self.width * self.height) as u64;
        self.sums.iter().map(|sum| ((sum + area / 2) / area) as u8).collect()
    }
}

/// Writes the sums of one row in `columns` columns of `width` area units each.
fn across<const CHANNELS: usize>(row: &[u8], width: usize, columns: usize, sums: &mut [u32]) {
    for (x, cell) in sums.chunks_exact_mut(CHANNELS).enumerate() {
        let (left, right) = (x * width, (x + 1) * width);
        let (first, last) = (left / columns, (right - 1) / columns);
        let pixels = &row[first * CHANNELS..(last + 1) * CHANNELS];
        let mut whole = [0_u32; CHANNELS];
        for pixel in pixels.chunks_exact(CHANNELS) {
            for (sum, &value) in whole.iter_mut().zip(pixel) {
                *sum += u32::from(value);
            }
        }
        // The first and the last pixel lie in the cell with a part of their width only.
        let before = (left - first * columns) as u32;
        let after = ((last + 1) * columns - right) as u32;
        let (from, to) = (&pixels[..CHANNELS], &pixels[pixels.len() - CHANNELS..]);
        for channel in 0..CHANNELS {
            cell[channel] = whole[channel] * columns as u32
                - u32::from(from[channel]) * before
                - u32::from(to[channel]) * after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 32;

    fn average(width: usize, height: usize, pixel: impl Fn(usize, usize) -> [u8; 3]) -> Vec<u8> {
        average_to([SIDE, SIDE], width, height, pixel)
    }

    fn average_to(
        size: [usize; 2],
        width: usize,
        height: usize,
        pixel: impl Fn(usize, usize) -> [u8; 3],
    ) -> Vec<u8> {
        let mut average = Average::new(width, height, 3, size);
        for y in 0..height {
            let row: Vec<u8> = (0..width).flat_map(|x| pixel(x, y)).collect();
            average.push_row(&row);
        }
        average.finish()
    }

    fn at(pixels: &[u8], x: usize, y: usize) -> [u8; 3] {
        pixels[(y * SIDE + x) * 3..][..3].try_into().unwrap()
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
                assert!(picture.iter().all(|&p| p == value), "{width}x{height} {value}");
            }
        }
    }

    #[test]
    fn every_cell_is_the_mean_of_its_area() {
        // The twin: the same mean in floating point, cell by cell, from the definition.
        for (width, height) in [(64, 48), (100, 37), (33, 31), (7, 95), (20, 20), (2, 2)] {
            let size @ [rows, columns] = [24, 40];
            let picture = average_to(size, width, height, noise);
            for cell in 0..rows * columns {
                let (cx, cy) = (cell % columns, cell / columns);
                let mut sum = [0.0_f64; 3];
                for y in 0..height {
                    for x in 0..width {
                        let share = |cell: usize, cells: usize, side: usize, at: usize| {
                            let step = side as f64 / cells as f64;
                            let (low, high) = (cell as f64 * step, (cell + 1) as f64 * step);
                            ((high.min(at as f64 + 1.0) - low.max(at as f64)) / step).max(0.0)
                        };
                        let area = share(cx, columns, width, x) * share(cy, rows, height, y);
                        for (sum, value) in sum.iter_mut().zip(noise(x, y)) {
                            *sum += area * f64::from(value);
                        }
                    }
                }
                for (sum, value) in sum.into_iter().zip(picture[cell * 3..].iter().copied()) {
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
}
