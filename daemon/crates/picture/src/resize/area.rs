//! The exact area average: rows of pixels to a picture of another size.
//!
//! It keeps the sums of one row of the result and no copy of the picture. It must not know where rows
//! come from.

use std::ops::Range;

use super::geometry::Axis;

/// The most rows whose sum fits 16 bits: 257 × 255 = 65,535.
const WHOLE_ROWS_MAX: usize = 257;

/// Averages a picture down (or up), row by row.
///
/// Each pixel of the result is the mean of the source area under it, fractions of pixels counted by
/// their area, rounded half up. The same rule enlarges a smaller picture (a pixel is repeated, and mixed
/// by area where a cell crosses a border), and leaves one of the same size bit-exact.
///
/// A cell is what one pixel of the result shows. Rows are summed as they are, and a row of cells is summed
/// across only once its last row has come.
pub struct Average {
    columns: Vec<Cell>,
    down: Axis,
    channels: usize,
    /// The values of a row that the cells show.
    seen: Range<usize>,
    /// How many rows were pushed.
    row: usize,
    /// The row of cells that is summed.
    cell: usize,
    /// The sums of the last rows that lie within these cells, and how many they are.
    whole: Vec<u16>,
    whole_rows: usize,
    /// The sums of all the others by their shares, in area units; one is a `scaled`th of a row.
    sums: Vec<u32>,
    division: Division,
    pixels: Vec<u8>,
}

impl Average {
    /// Starts a picture of 1 or 3 channels whose sides are within the side limit (16,384): a column's sum
    /// stays within 32 bits.
    pub fn new(across: Axis, down: Axis, channels: usize) -> Average {
        let mut columns: Vec<Cell> = across.cells().map(|at| Cell::new(&across, at)).collect();
        let start = columns.first().map_or(0, |cell| cell.first);
        let end = columns.last().map_or(0, |cell| cell.last + 1);
        for cell in &mut columns {
            cell.first -= start;
            cell.last -= start;
        }
        let values = (end - start) * channels;
        Average {
            seen: start * channels..end * channels,
            down,
            channels,
            row: 0,
            cell: down.cells().start,
            whole: vec![0; values],
            whole_rows: 0,
            sums: vec![0; values],
            division: Division::by(across.source as u64 * down.source as u64),
            pixels: Vec::with_capacity(columns.len() * down.cells().len() * channels),
            columns,
        }
    }

    /// Takes the next row from the top.
    pub fn push_row(&mut self, row: &[u8]) {
        let (height, row) = (self.down.source as u64, &row[self.seen.clone()]);
        let unit = (self.down.reduction * self.down.scaled) as u64;
        let top = self.row as u64 * unit;
        let bottom = (top + unit).min(height * self.down.scaled as u64);
        self.row += 1;
        let mut fills_a_cell = false;
        while self.cell < self.down.cells().end {
            let upper = self.cell as u64 * height;
            let lower = upper + height;
            if bottom <= upper {
                return;
            }
            let share = bottom.min(lower) - top.max(upper);
            if share == height && fills_a_cell {
                self.repeat();
                self.cell += 1;
                continue;
            }
            if share == unit {
                if self.whole_rows == WHOLE_ROWS_MAX {
                    self.spill(unit);
                }
                self.whole_rows += 1;
                add(&mut self.whole, row);
            } else {
                add_share(&mut self.sums, row, share as u32);
            }
            if bottom < lower {
                return;
            }
            fills_a_cell = share == height;
            self.emit(unit);
            self.cell += 1;
        }
    }

    /// Returns the pixels, row-major HWC, once every row was pushed.
    pub fn finish(self) -> Vec<u8> {
        self.pixels
    }

    /// Moves the sums of whole rows to the others.
    fn spill(&mut self, unit: u64) {
        if self.whole_rows == 0 {
            return;
        }
        for (sum, whole) in self.sums.iter_mut().zip(&mut self.whole) {
            *sum += u32::from(*whole) * unit as u32;
            *whole = 0;
        }
        self.whole_rows = 0;
    }

    /// Ends a row of cells: sums it across and divides.
    fn emit(&mut self, unit: u64) {
        self.spill(unit);
        match self.channels {
            1 => across::<1>(&self.sums, &self.columns, self.division, &mut self.pixels),
            _ => across::<3>(&self.sums, &self.columns, self.division, &mut self.pixels),
        }
        self.sums.fill(0);
    }

    /// Ends a row of cells that shows the same row of the source as the one before, and nothing else.
    fn repeat(&mut self) {
        let row = self.columns.len() * self.channels;
        self.pixels.extend_from_within(self.pixels.len() - row..);
    }
}

#[cfg(test)]
impl Average {
    pub fn held(&self) -> usize {
        let sums = self.whole.capacity() * 2 + self.sums.capacity() * 4;
        sums + self.pixels.capacity() + self.columns.capacity() * size_of::<Cell>()
    }
}

/// The columns of the source under one cell.
struct Cell {
    first: usize,
    last: usize,
    /// The width of a column, in area units; one is a `scaled`th of a column.
    unit: u64,
    /// How much of the first column lies in the cell, and how much of the last where that is another.
    head: u64,
    tail: u64,
}

impl Cell {
    fn new(axis: &Axis, at: usize) -> Cell {
        let unit = (axis.reduction * axis.scaled) as u64;
        let left = at as u64 * axis.source as u64;
        let right = left + axis.source as u64;
        let (first, last) = (left / unit, (right - 1) / unit);
        let (head, tail) = if first == last {
            (right - left, 0)
        } else {
            ((first + 1) * unit - left, right - last * unit)
        };
        Cell { first: first as usize, last: last as usize, unit, head, tail }
    }
}

fn add(sums: &mut [u16], row: &[u8]) {
    for (sum, &value) in sums.iter_mut().zip(row) {
        *sum += u16::from(value);
    }
}

fn add_share(sums: &mut [u32], row: &[u8], share: u32) {
    for (sum, &value) in sums.iter_mut().zip(row) {
        *sum += u32::from(value) * share;
    }
}

/// Sums a row of cells across and appends their means.
fn across<const CHANNELS: usize>(
    sums: &[u32],
    columns: &[Cell],
    division: Division,
    pixels: &mut Vec<u8>,
) {
    let sums = sums.as_chunks::<CHANNELS>().0;
    let start = pixels.len();
    pixels.resize(start + columns.len() * CHANNELS, 0);
    let row = pixels[start..].as_chunks_mut::<CHANNELS>().0;
    for (cell, pixel) in columns.iter().zip(row) {
        let under = &sums[cell.first..=cell.last];
        let (from, to) = (&under[0], &under[under.len() - 1]);
        let mut sum: [u64; CHANNELS] = std::array::from_fn(|at| {
            u64::from(from[at]) * cell.head + u64::from(to[at]) * cell.tail
        });
        // Between the two every column counts whole.
        if let [_, between @ .., _] = under {
            let mut whole = [0_u64; CHANNELS];
            for column in between {
                for (sum, &value) in whole.iter_mut().zip(column) {
                    *sum += u64::from(value);
                }
            }
            for (sum, whole) in sum.iter_mut().zip(whole) {
                *sum += whole * cell.unit;
            }
        }
        *pixel = sum.map(|sum| division.mean(sum));
    }
}

/// A division by one area, as a multiplication: a picture has up to three million of them.
#[derive(Clone, Copy)]
struct Division {
    area: u64,
    /// 2^55 / area, rounded up: with a sum of up to 256 areas the product stays within 64 bits.
    inverse: u64,
    /// Whether the product needs no correction.
    is_exact: bool,
}

impl Division {
    const BITS: u32 = 55;

    fn by(area: u64) -> Division {
        // Up to so large an area 256 of them times the inverse's error stay below one part of it.
        let is_exact = area <= 1 << 23;
        Division { area, inverse: (1 << Division::BITS) / area + 1, is_exact }
    }

    /// Returns sum / area, rounded half up, of a sum of up to 255 areas.
    fn mean(self, sum: u64) -> u8 {
        let sum = sum + self.area / 2;
        let quotient = (sum * self.inverse) >> Division::BITS;
        if self.is_exact {
            return quotient as u8;
        }
        // The inverse is too large by less than 1, and the quotient by at most that much.
        (quotient - u64::from(quotient * self.area > sum)) as u8
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
        let axis = |source, length| Axis {
            source,
            reduction: 1,
            scaled: length,
            offset: 0,
            length,
            mirrored: false,
        };
        let mut average = Average::new(axis(width, size[1]), axis(height, size[0]), 3);
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
        for (width, height) in
            [(1, 1), (1, 500), (500, 1), (31, 33), (16_384, 2), (2, 16_384), (1000, 777)]
        {
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
