//! A depthwise convolution, packed for one kernel, and the way of its strips through that kernel: some
//! neighbouring pixels of a row times a block of channels. It knows nothing of instruction sets.

use super::convolution::Convolution;
use super::dense::Pass;
use super::geometry::Windows;
use super::kernel::Kernel;
use super::quantised::Range;
use super::tiling::{store, tiles};

/// Weights and biases, in blocks of as many channels as a kernel computes at once.
#[derive(Debug)]
pub struct Depthwise {
    pub windows: Windows,
    pub form: Form,
    channels: usize,
    /// `[block][taps][lane]`, as the form orders them.
    weights: Vec<i8>,
    /// With the input's zero point multiplied out, in the order of the lanes.
    biases: Vec<i32>,
    scales: Vec<f32>,
    range: Range,
    /// Whether no weight is −128, so that two products fit in 16 bits.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
    pub pairs_fit: bool,
}

/// How a kernel wants the channels of a block and the taps of a kernel's row.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Channels in a block.
    pub lanes: usize,
    /// Returns which channel of a block has the place `lane` among its sums.
    pub channel: fn(usize) -> usize,
    /// The row and column of the kernel whose weight is at each place; beyond the kernel weights are 0.
    pub taps: fn(&Windows) -> Vec<[isize; 2]>,
    /// Weights of one channel that lie side by side.
    pub adjacent: usize,
    /// Bytes of a weight: one, or two with the sign in the second.
    pub bytes: usize,
}

/// Returns the taps of all rows of a kernel, whose columns come in an order.
pub fn each_row(
    windows: &Windows,
    columns: impl Iterator<Item = isize> + Clone,
) -> Vec<[isize; 2]> {
    let rows = 0..windows.kernel[0] as isize;
    rows.flat_map(|row| columns.clone().map(move |column| [row, column])).collect()
}

/// Some channels that are computed together.
pub struct Block<'a, const LANES: usize> {
    pub channel: usize,
    /// How many of them there are.
    pub lanes: usize,
    pub weights: &'a [i8],
    pub biases: &'a [i32; LANES],
    pub scales: &'a [f32; LANES],
}

/// What a kernel computes at once.
pub struct Strip<'a, const LANES: usize, const PIXELS: usize> {
    pub input: &'a [u8],
    /// Where the window of the first pixel starts in it.
    pub start: usize,
    /// Elements from a row of the kernel to the next, from a tap to the next and from a pixel's window
    /// to the next one's.
    pub row_step: usize,
    pub tap_step: usize,
    pub pixel_step: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    pub weights: &'a [i8],
    pub biases: &'a [i32; LANES],
    pub scales: &'a [f32; LANES],
    pub range: Range,
}

impl<const LANES: usize, const PIXELS: usize> Strip<'_, LANES, PIXELS> {
    /// Whether every element that a kernel reads is there: LANES of each tap of each pixel.
    #[inline(always)]
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
    pub fn is_sound(&self, weights: usize) -> bool {
        let [height, width] = self.kernel;
        let last = self.start
            + (height - 1) * self.row_step
            + (width - 1) * self.tap_step
            + (PIXELS - 1) * self.pixel_step;
        last + LANES <= self.input.len() && self.weights.len() == height * weights * LANES
    }
}

impl Depthwise {
    /// Packs a convolution that `Convolution::check` takes, whose weights have no zero points.
    pub fn pack(convolution: &Convolution, kernel: Kernel, form: Form) -> Depthwise {
        let weights = &convolution.weights;
        let windows = convolution.geometry.windows.clone();
        let channels = convolution.geometry.in_channels;
        let blocks = channels.div_ceil(form.lanes);
        let [height, width] = windows.kernel;
        let taps = (form.taps)(&windows);
        let zero = convolution.input.kept_by(kernel).zero;
        let lanes = blocks * form.lanes;
        let mut packed = vec![0; lanes * taps.len() * form.bytes];
        let (mut biases, mut scales) = (vec![0; lanes], vec![1.0; lanes]);
        for place in 0..lanes {
            let (block, lane) = (place / form.lanes, place % form.lanes);
            let channel = block * form.lanes + (form.channel)(lane);
            let Some(own) = weights.get(channel * height * width..(channel + 1) * height * width)
            else {
                continue;
            };
            let sum: i32 = own.iter().map(|weight| i32::from(*weight)).sum();
            biases[place] = convolution.bias[channel].wrapping_sub(zero.wrapping_mul(sum));
            scales[place] = convolution.scales[channel];
            for (at, [row, column]) in taps.iter().enumerate() {
                let size =
                    |at: &isize, size: usize| usize::try_from(*at).ok().filter(|at| *at < size);
                let tap = size(row, height).zip(size(column, width));
                let weight = tap.map_or(0, |(row, column)| own[row * width + column]);
                let group = block * taps.len() / form.adjacent + at / form.adjacent;
                let place = (group * form.lanes + lane) * form.adjacent + at % form.adjacent;
                packed[place * form.bytes] = weight;
                if form.bytes == 2 {
                    packed[place * form.bytes + 1] = weight >> 7;
                }
            }
        }
        let range = Range::of(convolution.output.kept_by(kernel));
        let pairs_fit = !weights.contains(&i8::MIN);
        Depthwise { windows, form, channels, weights: packed, biases, scales, range, pairs_fit }
    }

    /// Returns the blocks of channels: the first of each and how many, its weights, biases and scales.
    #[inline(always)]
    pub fn blocks<const LANES: usize>(&self) -> impl Iterator<Item = Block<'_, LANES>> {
        assert_eq!(self.form.lanes, LANES, "it is packed for them");
        let (biases, _) = self.biases.as_chunks::<LANES>();
        let (scales, _) = self.scales.as_chunks::<LANES>();
        let weights = self.weights.chunks_exact(self.weights.len() / biases.len());
        let blocks = weights.zip(biases.iter().zip(scales)).enumerate();
        blocks.map(|(block, (weights, (biases, scales)))| {
            let channel = block * LANES;
            let lanes = LANES.min(self.channels - channel);
            Block { channel, lanes, weights, biases, scales }
        })
    }

    /// Returns where a sum ends up.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub fn range(&self) -> Range {
        self.range
    }

    /// Runs `strip` over the whole convolution.
    ///
    /// # Panics
    /// When a view does not lie in its buffer, or when it is packed for other lanes.
    #[inline(always)]
    pub fn drive<const LANES: usize, const PIXELS: usize>(
        &self,
        pass: &mut Pass,
        strip: impl Fn(&Strip<LANES, PIXELS>, &mut [[u8; LANES]; PIXELS]),
    ) {
        let (from, to) = (pass.from, pass.to);
        let Windows { kernel, stride, dilation, pad_before, .. } = self.windows;
        // Made once: a strip overwrites all of it.
        let mut result = [[0; LANES]; PIXELS];
        for Block { channel, lanes, weights, biases, scales } in self.blocks::<LANES>() {
            for y in 0..to.rows {
                let start = from.offset + y * stride[0] * from.row + channel
                    - pad_before[0] * from.row
                    - pad_before[1] * from.pixel;
                for x in tiles(to.columns, PIXELS) {
                    let work = Strip {
                        input: pass.input,
                        start: start + x * stride[1] * from.pixel,
                        row_step: dilation[0] * from.row,
                        tap_step: dilation[1] * from.pixel,
                        pixel_step: stride[1] * from.pixel,
                        kernel,
                        weights,
                        biases,
                        scales,
                        range: self.range,
                    };
                    strip(&work, &mut result);
                    pass.finish.change(&mut result, lanes, [channel, y, x]);
                    let at = to.at(y, x) + channel;
                    for (pixel, values) in result.iter().enumerate() {
                        store(&mut pass.output[at + pixel * to.pixel..][..lanes], values);
                    }
                }
            }
        }
    }
}
