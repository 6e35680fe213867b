//! Maxima and means over windows, on bytes. A window leaves out what lies outside the picture, so that
//! a border may hold anything.

use super::elementwise::Scaled;
use super::geometry::Windows;
use super::kernel::Kernel;
use super::quantised::{Range, number};
use super::refusal::{PRODUCTS_MAX, Refusal, positive};
use super::tiling::store;
use super::view::View;
use super::widest::widest;

/// Channels whose sums or maxima are kept in registers while a window is read: at most SLACK.
const LANES: usize = 64;

/// Most bytes of a row that are kept while maxima are taken.
const LINE: usize = 16 << 10;

/// MaxPool: the greatest byte of each window.
#[derive(Clone, Debug)]
pub struct MaxPool {
    windows: Windows,
    channels: usize,
    kernel: Kernel,
}

impl MaxPool {
    /// Packs for `kernel`.
    ///
    /// # Errors
    /// Sizes that no operator takes, and a window that may lie in the padding as a whole.
    ///
    /// # Panics
    /// When the CPU doesn't have `kernel`.
    pub fn pack(windows: &Windows, channels: usize, kernel: Kernel) -> Result<MaxPool, Refusal> {
        kernel.assert_available();
        check(windows, channels)?;
        Ok(MaxPool { windows: windows.clone(), channels, kernel })
    }

    /// # Panics
    /// When the shapes don't fit or a view does not lie in its buffer.
    pub fn run(&self, input: &[u8], from: View, output: &mut [u8], to: View) {
        from.assert_read(input.len(), [0; 4]);
        let pooling = Pooling::new(&self.windows, self.channels, [from, to]);
        if self.kernel.keeps_signed() {
            widest(
                self.kernel,
                #[inline(always)]
                || pooling.maxima::<true>(input, output),
            );
        } else {
            widest(
                self.kernel,
                #[inline(always)]
                || pooling.maxima::<false>(input, output),
            );
        }
    }
}

/// AveragePool, and with a window as large as the picture GlobalAveragePool and a mean over height and
/// width: `saturate(round(f32(Σ (x − x₀)) · (x_scale / (y_scale · n))) + y₀)`, in f32.
#[derive(Clone, Debug)]
pub struct AveragePool {
    windows: Windows,
    channels: usize,
    kernel: Kernel,
    /// Whether n counts the padding too.
    whole: bool,
    zero: i32,
    scales: [f32; 2],
    range: Range,
}

/// Which pixels a mean is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Those of the window that lie on the picture.
    Picture,
    /// All of the window (`count_include_pad`).
    Window,
}

impl AveragePool {
    /// Packs for `kernel`.
    ///
    /// # Errors
    /// Sizes, scales or zero points that no operator takes, and a window that may lie in the padding as
    /// a whole.
    ///
    /// # Panics
    /// When the CPU doesn't have `kernel`.
    pub fn pack(
        windows: (&Windows, usize),
        counted: Counted,
        tensors: [Scaled; 2],
        kernel: Kernel,
    ) -> Result<AveragePool, Refusal> {
        kernel.assert_available();
        let (windows, channels) = windows;
        check(windows, channels)?;
        let [input, output] = tensors;
        input.check()?;
        output.check()?;
        let n = windows.kernel.iter().product::<usize>();
        positive(input.scale / (output.scale * n as f32))?;
        positive(input.scale / output.scale)?;
        Ok(AveragePool {
            windows: windows.clone(),
            channels,
            kernel,
            whole: counted == Counted::Window,
            zero: input.quantised.kept_by(kernel).zero,
            scales: [input.scale, output.scale],
            range: Range::of(output.quantised.kept_by(kernel)),
        })
    }

    /// # Panics
    /// When the shapes don't fit or a view does not lie in its buffer.
    pub fn run(&self, input: &[u8], from: View, output: &mut [u8], to: View) {
        from.assert_read(input.len(), [0; 4]);
        let pooling = Pooling::new(&self.windows, self.channels, [from, to]);
        if self.kernel.keeps_signed() {
            widest(
                self.kernel,
                #[inline(always)]
                || pooling.means::<true>(self, input, output),
            );
        } else {
            widest(
                self.kernel,
                #[inline(always)]
                || pooling.means::<false>(self, input, output),
            );
        }
    }

    /// Returns what the sum of `count` pixels is multiplied by.
    #[inline(always)]
    fn ratio(&self, count: usize) -> f32 {
        let n = if self.whole { self.windows.kernel.iter().product() } else { count };
        self.scales[0] / (self.scales[1] * n as f32)
    }
}

fn check(windows: &Windows, channels: usize) -> Result<(), Refusal> {
    windows.check(channels)?;
    let products = windows.kernel.iter().product::<usize>() as u64;
    if products > PRODUCTS_MAX as u64 {
        return Err(Refusal::TooManyProducts { products });
    }
    let empty = |axis: usize| {
        (0..windows.output()[axis]).any(|at| {
            let (first, last) = windows.inside(axis, at);
            first >= last
        })
    };
    if empty(0) || empty(1) { Err(Refusal::Geometry) } else { Ok(()) }
}

/// Windows over views.
struct Pooling<'a> {
    windows: &'a Windows,
    from: View,
    to: View,
}

impl<'a> Pooling<'a> {
    fn new(windows: &'a Windows, channels: usize, [from, to]: [View; 2]) -> Pooling<'a> {
        assert!(from.has_shape(windows.input, channels), "{from:?} is read by {windows:?}");
        assert!(to.has_shape(windows.output(), channels), "{to:?} is written by {windows:?}");
        Pooling { windows, from, to }
    }

    /// Takes the maxima of columns, then those of rows, of whole rows of the picture: loops without gaps.
    #[inline(always)]
    fn maxima<const SIGNED: bool>(&self, input: &[u8], output: &mut [u8]) {
        let Some((left, len, needed)) = self.lines() else {
            return self.each_maximum::<SIGNED>(input, output);
        };
        let flip = if SIGNED { 0x80 } else { 0 };
        let (from, to) = (self.from, self.to);
        // Outside the picture both stay 0, which is no more than anything.
        let (mut tall, mut greatest) = ([0; LINE + LANES], [0; LINE + LANES]);
        for y in 0..to.rows {
            let (first, until) = self.windows.inside(0, y);
            let tall_line = &mut tall[left..left + len];
            tall_line.fill(0);
            for tap in first..until {
                let row = y * self.windows.stride[0] + tap * self.windows.dilation[0];
                let line = &input[from.at(row - self.windows.pad_before[0], 0)..][..len];
                for (tall, byte) in tall_line.iter_mut().zip(line) {
                    *tall = (*tall).max(*byte ^ flip);
                }
            }
            greatest[..needed].copy_from_slice(&tall[..needed]);
            for tap in 1..self.windows.kernel[1] {
                let line = &tall[tap * from.pixel..][..needed];
                for (greatest, byte) in greatest[..needed].iter_mut().zip(line) {
                    *greatest = (*greatest).max(*byte);
                }
            }
            for x in 0..to.columns {
                let start = x * self.windows.stride[1] * from.pixel;
                let pixel = &mut output[to.at(y, x)..][..to.channels];
                for (block, bytes) in pixel.chunks_mut(LANES).enumerate() {
                    let found = lanes(&greatest, start + block * LANES);
                    store(bytes, &found.map(|byte| byte ^ flip));
                }
            }
        }
    }

    /// Returns where in a line with its padding a row of the picture starts, how long that is, and how much of
    /// the line windows start in; none where that takes more than what is kept of a line.
    fn lines(&self) -> Option<(usize, usize, usize)> {
        let (windows, from) = (self.windows, self.from);
        let [_, _, before, behind] = windows.border();
        // Many channels fill a register by themselves.
        let few = from.channels < LANES && from.pixel <= 2 * from.channels;
        let near = windows.dilation[1] == 1 && few;
        let line = (before + from.columns + behind) * from.pixel;
        let len = (from.columns - 1) * from.pixel + from.channels;
        let needed = (self.to.columns - 1) * windows.stride[1] * from.pixel + from.channels;
        (near && line <= LINE).then_some((before * from.pixel, len, needed))
    }

    #[inline(always)]
    fn each_maximum<const SIGNED: bool>(&self, input: &[u8], output: &mut [u8]) {
        let flip = if SIGNED { 0x80 } else { 0 };
        self.each(
            output,
            #[inline(always)]
            |taps, first| {
                let mut greatest = [0; LANES];
                taps.each(
                    #[inline(always)]
                    |at| {
                        for (greatest, byte) in greatest.iter_mut().zip(lanes(input, at + first)) {
                            *greatest = (*byte ^ flip).max(*greatest);
                        }
                    },
                );
                greatest.map(|byte| byte ^ flip)
            },
        );
    }

    #[inline(always)]
    fn means<const SIGNED: bool>(&self, pool: &AveragePool, input: &[u8], output: &mut [u8]) {
        self.each(
            output,
            #[inline(always)]
            |taps, first| {
                let mut sums = [0; LANES];
                taps.each(
                    #[inline(always)]
                    |at| {
                        for (sum, byte) in sums.iter_mut().zip(lanes(input, at + first)) {
                            *sum += number::<SIGNED>(*byte);
                        }
                    },
                );
                let (zeros, ratio) = (pool.zero * taps.count() as i32, pool.ratio(taps.count()));
                sums.map(|sum| pool.range.byte((sum - zeros) as f32 * ratio))
            },
        );
    }

    /// Calls `work` for each output pixel and each block of LANES of its channels.
    #[inline(always)]
    fn each(&self, output: &mut [u8], mut work: impl FnMut(Taps, usize) -> [u8; LANES]) {
        let [down, across] = self.windows.stride;
        for y in 0..self.to.rows {
            let rows = self.windows.inside(0, y);
            for x in 0..self.to.columns {
                let columns = self.windows.inside(1, x);
                let [top, left] = self.windows.pad_before;
                let [step_down, step_across] = self.windows.dilation;
                let taps = Taps {
                    start: self.from.at(
                        y * down + rows.0 * step_down - top,
                        x * across + columns.0 * step_across - left,
                    ),
                    rows: rows.1 - rows.0,
                    columns: columns.1 - columns.0,
                    row: step_down * self.from.row,
                    pixel: step_across * self.from.pixel,
                };
                let pixel = &mut output[self.to.at(y, x)..][..self.to.channels];
                for (block, bytes) in pixel.chunks_mut(LANES).enumerate() {
                    store(bytes, &work(taps, block * LANES));
                }
            }
        }
    }
}

/// Returns a block of channels; behind the last one lies what is not used.
#[inline(always)]
fn lanes(input: &[u8], at: usize) -> &[u8; LANES] {
    input[at..].first_chunk().expect("there is SLACK behind a view that is read")
}

/// The taps of a window that lie on the picture.
#[derive(Clone, Copy)]
struct Taps {
    start: usize,
    rows: usize,
    columns: usize,
    row: usize,
    pixel: usize,
}

impl Taps {
    #[inline(always)]
    fn each(&self, mut tap: impl FnMut(usize)) {
        for row in 0..self.rows {
            for column in 0..self.columns {
                tap(self.start + row * self.row + column * self.pixel);
            }
        }
    }

    #[inline(always)]
    fn count(&self) -> usize {
        self.rows * self.columns
    }
}
