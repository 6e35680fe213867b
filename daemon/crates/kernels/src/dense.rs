//! A convolution in which each output channel sees all input channels, packed for one kernel, and the
//! way of its tiles through that kernel. It knows nothing of instruction sets.

use std::ops::Range;

use super::convolution::Convolution;
use super::form::{Form, Order};
use super::geometry::Windows;
use super::kernel::Kernel;
use super::last::Finish;
use super::quantised;
use super::tile::{Output, Shape, Tile};
use super::tiling::store;
use super::view::View;

/// Bytes of a cache line, and of the widest load of weights: one that lies across two lines costs two,
/// 15 % of the whole with AVX-512.
const CACHE_LINE: usize = 64;

/// Bytes of weights that leave place in the first cache, of 32 KiB and more, for what is read and written.
const WEIGHTS_AT_ONCE: usize = 16 << 10;
/// Bytes that are written before the next pixels' turn.
const WRITTEN_AT_ONCE: usize = 8 << 10;

/// Rows of a window that reach the picture, `first..last`.
type Rows = (usize, usize);

/// A convolution's weights and biases in the form of one kernel.
#[derive(Debug)]
pub struct Dense {
    windows: Windows,
    channels: usize,
    pub form: Form,
    /// Runs in a row of a window, and elements in a run.
    runs: usize,
    run_len: usize,
    /// `[block][kernel height][runs]`, then as the form's order says.
    weights: Vec<i8>,
    /// Where the weights start, at an address that is a multiple of `CACHE_LINE`.
    weights_start: usize,
    /// What the windows of a row of the output leave out: their rows, and the biases without them of
    /// the first pixel, of those between and of the last one.
    parts: Vec<(Rows, [Vec<i32>; 3])>,
    /// Columns that the first window of a row and the last one leave out.
    cut: [usize; 2],
    scales: Vec<f32>,
    range: quantised::Range,
    /// Whether no weight is −128, so that two products fit in 16 bits.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    pub pairs_fit: bool,
}

/// Where the bytes of a tile belong.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    /// The first channel, row and first column.
    pub place: [usize; 3],
    /// How many channels of the block and pixels of the tile there are.
    pub lanes: usize,
    pub pixels: usize,
}

/// Bytes that are read and bytes that are written.
pub struct Pass<'a> {
    pub input: &'a [u8],
    pub from: View,
    pub output: &'a mut [u8],
    pub to: View,
    pub finish: Finish<'a>,
}

impl Dense {
    /// Packs a convolution of one group that `Convolution::check` takes, with weights less their zero
    /// points, for a view with `pixel` bytes from pixel to pixel.
    pub fn pack(convolution: &Convolution, pixel: usize, kernel: Kernel) -> Dense {
        let geometry = &convolution.geometry;
        let form = Form::of(kernel, geometry);
        let channels = geometry.out_channels.next_multiple_of(form.lanes);
        let runs = Runs::of(convolution, pixel, form.step);
        let mut scales = convolution.scales.clone();
        scales.resize(channels, 1.0);
        let cut = cut_columns(&geometry.windows, pixel, form, &runs);
        let weights = pack_weights(convolution, form, &runs);
        Dense {
            weights_start: line_start(&weights),
            weights,
            parts: parts(convolution, channels, cut, kernel),
            cut,
            scales,
            range: quantised::Range::of(convolution.output.kept_by(kernel)),
            windows: geometry.windows.clone(),
            channels: geometry.out_channels,
            form,
            runs: runs.count,
            run_len: runs.len,
            pairs_fit: !convolution.weights.contains(&i8::MIN),
        }
    }

    /// Runs `tile` over the whole convolution and puts its bytes where they belong.
    ///
    /// # Panics
    /// As `each_tile`.
    pub fn drive<const LANES: usize, const PIXELS: usize>(
        &self,
        pass: &mut Pass,
        tile: impl Fn(&Tile<LANES, PIXELS>, &mut Output<LANES, PIXELS>),
    ) {
        // Made once: a tile overwrites all of it.
        let mut result = [[0; LANES]; PIXELS];
        self.each_tile(
            pass,
            #[inline(always)]
            |work, pass, spot| deliver(work, pass, (spot, &mut result), &tile),
        );
    }

    /// Calls `compute` for each tile of the convolution, and where its bytes belong. A block's weights
    /// stay in the cache for all of its pixels. Where all weights do, all blocks of some pixels come one
    /// after the other, so that what is written stays there too until it is whole.
    ///
    /// # Panics
    /// When a view does not lie in its buffer, or when it is packed for another tile.
    #[inline(always)]
    pub fn each_tile<const LANES: usize, const PIXELS: usize>(
        &self,
        pass: &mut Pass,
        mut compute: impl FnMut(&Tile<LANES, PIXELS>, &mut Pass, Spot),
    ) {
        assert_eq!((LANES, PIXELS), (self.form.lanes, self.form.pixels), "it is packed for them");
        self.flatten(pass);
        let (rows, tiles) = (pass.to.rows, pass.to.columns.div_ceil(PIXELS));
        let (height, width) = if self.weights.len() <= WEIGHTS_AT_ONCE {
            (1, (WRITTEN_AT_ONCE / (self.channels * PIXELS)).clamp(1, tiles))
        } else {
            (rows, tiles)
        };
        let blocks = self.channels.div_ceil(LANES);
        for top in (0..rows).step_by(height) {
            for first in (0..tiles).step_by(width) {
                let until = tiles.min(first + width);
                for block in 0..blocks {
                    for y in top..top + height {
                        self.row(pass, (block, y, first..until), &mut compute);
                    }
                }
            }
        }
    }

    /// Calls `compute` for some tiles of a row of the output, in one block of channels.
    #[inline(always)]
    fn row<const LANES: usize, const PIXELS: usize>(
        &self,
        pass: &mut Pass,
        (block, y, tiles): (usize, usize, Range<usize>),
        compute: &mut impl FnMut(&Tile<LANES, PIXELS>, &mut Pass, Spot),
    ) {
        let Windows { stride, dilation, pad_before, .. } = self.windows;
        let (from, columns) = (pass.from, pass.to.columns);
        let shape = Shape {
            row_step: dilation[0] * from.row,
            runs: self.runs,
            run_step: dilation[1] * from.pixel,
            run_len: self.run_len,
        };
        let row_weights = self.runs * self.run_len * LANES * self.form.weight_bytes();
        let block_start = self.weights_start + block * self.windows.kernel[0] * row_weights;
        let (rows, biases) = self.part(y);
        let start = from.offset + (y * stride[0] + rows.0 * dilation[0]) * from.row
            - pad_before[0] * from.row
            - pad_before[1] * from.pixel;
        let mut work = Tile {
            input: pass.input,
            windows: [0; PIXELS],
            shape,
            rows: rows.1 - rows.0,
            head: 0,
            tail: 0,
            weights: &self.weights[block_start..][rows.0 * row_weights..rows.1 * row_weights],
            biases: biases.each_ref().map(|part| &part.as_chunks().0[block]),
            scales: &self.scales.as_chunks().0[block],
            range: self.range,
        };
        let biases = work.biases;
        let lanes = LANES.min(self.channels - block * LANES);
        let pixels = PIXELS.min(columns);
        for tile in tiles {
            // The last tile lies over the one before it where it doesn't fit behind.
            let x = (tile * PIXELS).min(columns - pixels);
            work.windows = std::array::from_fn(|pixel| {
                start + (x + pixel).min(columns - 1) * stride[1] * from.pixel
            });
            let (head, tail) = (tile == 0, x + PIXELS >= columns);
            work.head = if head { self.cut[0] } else { 0 };
            work.tail = if tail { self.cut[1] } else { 0 };
            let part = |edge: bool, at: usize| if edge { biases[at] } else { biases[1] };
            work.biases = [part(head, 0), biases[1], part(tail, 2)];
            compute(&work, pass, Spot { place: [block * LANES, y, x], lanes, pixels });
        }
    }

    /// Makes one row of a picture whose windows are single pixels that follow each other.
    fn flatten(&self, pass: &mut Pass) {
        let windows = &self.windows;
        let points = *windows == Windows::points(windows.input);
        if let (true, Some(from), Some(to), Some(finish)) =
            (points, pass.from.flat(), pass.to.flat(), pass.finish.flat())
        {
            (pass.from, pass.to, pass.finish) = (from, to, finish);
        }
    }

    fn part(&self, y: usize) -> &(Rows, [Vec<i32>; 3]) {
        let rows = self.windows.inside(0, y);
        let part = self.parts.iter().find(|part| part.0 == rows);
        part.expect("every row's part was packed")
    }
}

/// Computes a tile and writes it where it belongs.
#[inline(always)]
fn deliver<const LANES: usize, const PIXELS: usize>(
    work: &Tile<LANES, PIXELS>,
    pass: &mut Pass,
    (spot, result): (Spot, &mut Output<LANES, PIXELS>),
    tile: &impl Fn(&Tile<LANES, PIXELS>, &mut Output<LANES, PIXELS>),
) {
    let to = pass.to;
    let Spot { place: [channel, y, x], lanes, pixels } = spot;
    let at = to.at(y, x) + channel;
    // One block and no pixel left over: the bytes are in their place.
    if to.pixel == LANES
        && lanes == LANES
        && matches!(pass.finish, Finish::Nothing)
        && let Some(bytes) = pass.output[at..].as_chunks_mut().0.first_chunk_mut::<PIXELS>()
        && pixels == PIXELS
    {
        tile(work, bytes);
        return;
    }
    tile(work, result);
    let bytes = &mut result[..pixels];
    pass.finish.change(bytes, lanes, [channel, y, x]);
    for (pixel, values) in bytes.iter().enumerate() {
        store(&mut pass.output[at + pixel * to.pixel..][..lanes], values);
    }
}

/// The runs of elements in a row of a window.
struct Runs {
    count: usize,
    len: usize,
    /// Elements from a column to the next of its run.
    pixel: usize,
}

impl Runs {
    /// A row is one run, unless too much of it would be something else: then each column is one.
    fn of(convolution: &Convolution, pixel: usize, step: usize) -> Runs {
        let (windows, channels) = (&convolution.geometry.windows, convolution.geometry.in_channels);
        let columns = windows.kernel[1];
        let column = channels.next_multiple_of(step);
        let whole = ((columns - 1) * pixel + channels).next_multiple_of(step);
        if columns == 1 || (windows.dilation[1] == 1 && whole * 4 <= columns * column * 5) {
            Runs { count: 1, len: whole, pixel }
        } else {
            Runs { count: columns, len: column, pixel }
        }
    }
}

/// Returns the elements of a run that the first window of a row and the last one leave out, because
/// they are padding.
fn cut_columns(windows: &Windows, pixel: usize, form: Form, runs: &Runs) -> [usize; 2] {
    let steps = pixel.is_multiple_of(form.cut_step()) && runs.len == windows.kernel[1] * pixel;
    if !form.cuts_columns || runs.count != 1 || !steps || windows.dilation[1] != 1 {
        return [0, 0];
    }
    let last = windows.output()[1] - 1;
    let (head, tail) = (windows.inside(1, 0).0, windows.kernel[1] - windows.inside(1, last).1);
    if head + tail > windows.kernel[1] { [0, 0] } else { [head * pixel, tail * pixel] }
}

/// Returns the first index on a cache line. The vector must not grow any more, so that its memory stays
/// where it is.
fn line_start(weights: &[i8]) -> usize {
    weights.as_ptr().align_offset(CACHE_LINE)
}

fn pack_weights(convolution: &Convolution, form: Form, runs: &Runs) -> Vec<i8> {
    let lanes = form.lanes;
    let grouped =
        |at: usize, lane: usize, group: usize| (at / group * lanes + lane) * group + at % group;
    // Each with numbers that the compiler knows: millions of weights are packed while a model loads.
    match form.order {
        Order::Groups(1) => scatter::<1>(convolution, form, runs, |lane, at| grouped(at, lane, 1)),
        Order::Groups(4) => scatter::<1>(convolution, form, runs, |lane, at| grouped(at, lane, 4)),
        Order::Groups(8) => scatter::<1>(convolution, form, runs, |lane, at| grouped(at, lane, 8)),
        Order::Groups(group) => {
            scatter::<1>(convolution, form, runs, |lane, at| grouped(at, lane, group))
        }
        Order::EvenOddWide => scatter::<2>(convolution, form, runs, |lane, at| {
            let (group, within) = (at / 4 * 4, at % 4);
            group * lanes + (within % 2 * lanes + lane) * 2 + within / 2
        }),
        Order::Sixteens => {
            let sixteens = runs.len / 16 * 16;
            scatter::<1>(convolution, form, runs, |lane, at| match at.checked_sub(sixteens) {
                None => grouped(at, lane, 16),
                Some(behind) => sixteens * lanes + grouped(behind, lane, 8),
            })
        }
    }
}

/// Puts each weight, of BYTES, where `place` says that its channel's for an element of a run lies among the
/// run's.
fn scatter<const BYTES: usize>(
    convolution: &Convolution,
    form: Form,
    runs: &Runs,
    place: impl Fn(usize, usize) -> usize,
) -> Vec<i8> {
    let geometry = &convolution.geometry;
    let [rows, columns] = geometry.windows.kernel;
    let taps = rows * columns;
    let run = runs.len * form.lanes;
    let blocks = geometry.out_channels.div_ceil(form.lanes);
    let len = blocks * rows * runs.count * run * BYTES;
    let mut padded = vec![0; len + CACHE_LINE];
    let start = line_start(&padded);
    padded.truncate(start + len);
    let (packed, _) = padded[start..].as_chunks_mut::<BYTES>();
    let channels = convolution.weights.chunks_exact(geometry.in_channels * taps);
    for (out_channel, weights) in channels.enumerate() {
        let (block, lane) = (out_channel / form.lanes, out_channel % form.lanes);
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |x| (row, x))) {
            let (number, first) = match runs.count {
                1 => (row, column * runs.pixel),
                count => (row * count + column, 0),
            };
            let packed = &mut packed[(block * rows * runs.count + number) * run..][..run];
            let weights = weights[row * columns + column..].iter().step_by(taps);
            for (in_channel, weight) in weights.enumerate() {
                // The sign, where there is a second byte.
                let mut bytes = [*weight >> 7; BYTES];
                bytes[0] = *weight;
                packed[place(lane, first + in_channel)] = bytes;
            }
        }
    }
    padded
}

/// Returns the biases for each part of a window that rows of the output have.
fn parts(
    convolution: &Convolution,
    channels: usize,
    cut: [usize; 2],
    kernel: Kernel,
) -> Vec<(Rows, [Vec<i32>; 3])> {
    let windows = &convolution.geometry.windows;
    let columns = windows.kernel[1];
    let last = windows.output()[1] - 1;
    let first = if cut[0] > 0 { windows.inside(1, 0).0 } else { 0 };
    let behind = if cut[1] > 0 { windows.inside(1, last).1 } else { columns };
    let sums = tap_sums(convolution);
    let mut rows: Vec<Rows> = (0..windows.output()[0]).map(|y| windows.inside(0, y)).collect();
    rows.sort_unstable();
    rows.dedup();
    let zero = convolution.input.kept_by(kernel).zero;
    let fold = |rows: Rows, columns: Rows| {
        let mut biases = fold_biases(convolution, &sums, zero, (rows, columns));
        biases.resize(channels, 0);
        biases
    };
    rows.into_iter()
        .map(|rows| {
            (rows, [(first, columns), (0, columns), (0, behind)].map(|part| fold(rows, part)))
        })
        .collect()
}

/// Adds up the weights of all input channels: `[output channel][kernel height][kernel width]`.
fn tap_sums(convolution: &Convolution) -> Vec<i32> {
    let in_channels = convolution.geometry.in_channels;
    let [height, width] = convolution.geometry.windows.kernel;
    let mut sums = Vec::with_capacity(convolution.weights.len() / in_channels);
    for weights in convolution.weights.chunks_exact(in_channels * height * width) {
        let start = sums.len();
        if height * width == 1 {
            sums.push(weights.iter().map(|weight| i32::from(*weight)).sum());
            continue;
        }
        sums.resize(start + height * width, 0);
        for window in weights.chunks_exact(height * width) {
            let taps = sums[start..].iter_mut().zip(window);
            taps.for_each(|(sum, weight)| *sum += i32::from(*weight));
        }
    }
    sums
}

/// Folds the input's zero point into the biases. Σ (x − x₀) w = Σ x w − x₀ Σ w: the second sum is
/// known when the layer is packed. Only weights in this part of the window count: in the rest every
/// x is x₀.
fn fold_biases(
    convolution: &Convolution,
    tap_sums: &[i32],
    zero: i32,
    (rows, columns): (Rows, Rows),
) -> Vec<i32> {
    let [height, width] = convolution.geometry.windows.kernel;
    let windows = tap_sums.chunks_exact(height * width).zip(&convolution.bias);
    windows
        .map(|(window, bias)| {
            let rows = window[rows.0 * width..rows.1 * width].chunks_exact(width);
            let sum: i32 = rows.flat_map(|row| &row[columns.0..columns.1]).sum();
            bias.wrapping_sub(zero.wrapping_mul(sum))
        })
        .collect()
}
