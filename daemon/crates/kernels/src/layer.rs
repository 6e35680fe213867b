//! A convolution packed for one kernel, and its run on one image.

use super::tile::{Range, drive};
use super::{Convolution, Form, Geometry, Kernel, Quantised, Refusal, scalar};

/// Bytes of a cache line, and of the widest load of weights: one that lies across two lines costs two,
/// 15 % of the whole with AVX-512.
const CACHE_LINE: usize = 64;

/// How the bytes of an input are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `[channels][height][width]`
    Planar,
    /// `[height][width][channels]`
    ChannelLast,
}

/// Rows or columns of a window, `first..last`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Extent {
    pub first: usize,
    pub last: usize,
}

impl Extent {
    /// Of a window that starts at `start` of the padded image: the part that reaches the image.
    fn inside(geometry: &Geometry, axis: usize, start: usize) -> Extent {
        let (before, kernel) = (geometry.pad_before[axis], geometry.kernel[axis]);
        Extent {
            first: before.saturating_sub(start).min(kernel),
            last: (before + geometry.input[axis]).saturating_sub(start).min(kernel),
        }
    }

    fn both(self, other: Extent) -> Extent {
        match (self.first < self.last, other.first < other.last) {
            (false, _) => other,
            (_, false) => self,
            _ => Extent { first: self.first.min(other.first), last: self.last.max(other.last) },
        }
    }
}

/// A part of a window: rows and columns.
type Part = (Extent, Extent);

/// What a tile computes of its pixels' windows. Padding adds nothing but its zero point, which the
/// bias can leave out with it: of a 3 × 3 window on 4 × 4 pixels that is every sixth row, and every
/// sixth column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Those that reach the image for one of the pixels.
    pub rows: Extent,
    /// Columns that lie left of the image for the first pixel.
    pub head: usize,
    /// Columns that lie right of the image for the last pixel.
    pub tail: usize,
    /// Which of the layer's biases belong to the first pixel, to those between and to the last one.
    biases: [usize; 3],
}

impl Span {
    fn parts(&self, columns: usize) -> [Part; 3] {
        let all = Extent { first: 0, last: columns };
        let first = Extent { first: self.head, ..all };
        let last = Extent { last: columns - self.tail, ..all };
        [first, all, last].map(|columns| (self.rows, columns))
    }
}

/// A convolution packed for one kernel. Shared between threads: a run keeps its state to itself.
#[derive(Debug)]
pub struct Layer {
    kernel: Kernel,
    form: Form,
    geometry: Geometry,
    /// Input channels, filled up to a multiple of the form's step.
    depth: usize,
    /// `[block][kernel height][kernel width · depth / adjacent][lane][adjacent]`
    weights: Vec<i8>,
    /// Where they start, at an address that is a multiple of `CACHE_LINE`.
    weights_start: usize,
    /// With the input's zero point multiplied out, for each part of a window that a span has; filled up
    /// to whole blocks.
    biases: Vec<Vec<i32>>,
    scales: Vec<f32>,
    /// Where the window of each output pixel starts in the padded input, with its span's first row.
    windows: Vec<usize>,
    /// One for each tile's pixels.
    spans: Vec<Span>,
    input: Quantised,
    range: Range,
}

impl Layer {
    /// # Errors
    /// Shapes, scales or zero points that the kernels don't take.
    ///
    /// # Panics
    /// When the CPU doesn't have `kernel`.
    pub fn pack(convolution: &Convolution, kernel: Kernel) -> Result<Layer, Refusal> {
        assert!(kernel.is_available(), "this CPU has no {}", kernel.name());
        Layer::pack_for(convolution, kernel)
    }

    pub(super) fn pack_for(convolution: &Convolution, kernel: Kernel) -> Result<Layer, Refusal> {
        convolution.check()?;
        let geometry = convolution.geometry.clone();
        let form = kernel.form(&geometry);
        let depth = geometry.in_channels.next_multiple_of(form.step);
        let channels = geometry.out_channels.next_multiple_of(form.lanes);
        let (low, high) = convolution.output.range();
        let zero = convolution.output.zero;
        let mut scales = convolution.scales.clone();
        scales.resize(channels, 1.0);
        let weights = pack_weights(convolution, form, depth);
        let mut spans = spans(&geometry, form);
        let columns = geometry.kernel[1];
        let mut parts: Vec<Part> = spans.iter().flat_map(|span| span.parts(columns)).collect();
        parts.sort_unstable();
        parts.dedup();
        for span in &mut spans {
            span.biases = span
                .parts(columns)
                .map(|part| parts.binary_search(&part).expect("every span's parts are among them"));
        }
        let sums = tap_sums(convolution);
        let biases = parts.iter().map(|part| fold_bias(convolution, &sums, form, channels, *part));
        Ok(Layer {
            kernel,
            form,
            depth,
            weights_start: line_start(&weights),
            weights,
            biases: biases.collect(),
            scales,
            windows: windows(&geometry, depth, &spans, form.pixels),
            spans,
            input: convolution.input,
            range: Range { low: (low - zero) as f32, high: (high - zero) as f32, zero },
            geometry,
        })
    }

    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// One image. Output: `[height][width][channels]`, whatever the order of the input.
    ///
    /// # Panics
    /// When `input` or `output` is not as long as the geometry says.
    pub fn run(&self, input: &[u8], order: Order, output: &mut [u8]) {
        match self.kernel {
            Kernel::Scalar => drive(self, &self.widened(input, order), output, scalar::tile),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => drive(self, &self.widened(input, order), output, super::avx2::tile),
            #[cfg(target_arch = "x86_64")]
            Kernel::AvxVnni => {
                drive(self, &self.offset(input, order), output, super::avx_vnni::tile);
            }
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => {
                super::avx512_vnni::drive(self, &self.offset(input, order), output);
            }
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => drive(self, &self.widened(input, order), output, super::neon::tile),
            #[cfg(target_arch = "aarch64")]
            Kernel::Dotprod => {
                drive(self, &self.offset(input, order), output, super::dotprod::tile)
            }
            #[cfg(target_arch = "aarch64")]
            Kernel::I8mm => drive(self, &self.offset(input, order), output, super::i8mm::tile),
            #[allow(unreachable_patterns, reason = "the rest belongs to another architecture")]
            _ => unreachable!("a layer is packed for a kernel that this CPU has"),
        }
    }

    fn widened(&self, input: &[u8], order: Order) -> Vec<i16> {
        if self.input.signed {
            self.arrange(input, order, |byte| i16::from(byte as i8))
        } else {
            self.arrange(input, order, i16::from)
        }
    }

    /// For kernels of 8 bits. Adding or subtracting 128 is a flip of the top bit.
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
    pub(super) fn offset(&self, input: &[u8], order: Order) -> Vec<u8> {
        let flip = if self.form.activation.offset(self.input.signed) == 0 { 0 } else { 0x80 };
        self.arrange(input, order, |byte| byte ^ flip)
    }

    /// The input, channel-last, within a border of its zero point, `depth` channels deep. Weights of
    /// the channels that are only filled up are 0.
    fn arrange<E: Copy>(&self, input: &[u8], order: Order, store: impl Fn(u8) -> E) -> Vec<E> {
        let Geometry { in_channels: channels, input: [height, width], .. } = self.geometry;
        assert_eq!(
            input.len(),
            channels * height * width,
            "the input is as long as its shape says"
        );
        let [padded_height, padded_width] = self.geometry.padded();
        let (depth, zero) = (self.depth, store(self.input.zero as u8));
        let [top, left] = self.geometry.pad_before;
        let mut padded = Vec::with_capacity(padded_height * padded_width * depth);
        for y in 0..height {
            // Up to the row's first pixel: what is left of the row before, and the border.
            padded.resize(((y + top) * padded_width + left) * depth, zero);
            match order {
                Order::ChannelLast => {
                    let bytes = &input[y * width * channels..][..width * channels];
                    if depth == channels {
                        padded.extend(bytes.iter().map(|byte| store(*byte)));
                    } else {
                        for pixel in bytes.chunks_exact(channels) {
                            padded.extend(pixel.iter().map(|byte| store(*byte)));
                            padded.resize(padded.len() + depth - channels, zero);
                        }
                    }
                }
                Order::Planar if channels == 3 && depth == 4 => {
                    // As every picture comes; one write for each pixel.
                    let plane = |channel| &input[(channel * height + y) * width..][..width];
                    let pixels = plane(0).iter().zip(plane(1)).zip(plane(2));
                    padded.extend(pixels.flat_map(|((red, green), blue)| {
                        [store(*red), store(*green), store(*blue), zero]
                    }));
                }
                Order::Planar => {
                    let start = padded.len();
                    padded.resize(start + width * depth, zero);
                    for channel in 0..channels {
                        let bytes = &input[(channel * height + y) * width..][..width];
                        let pixels = padded[start..].chunks_exact_mut(depth).zip(bytes);
                        pixels.for_each(|(pixel, from)| pixel[channel] = store(*from));
                    }
                }
            }
        }
        padded.resize(padded_height * padded_width * depth, zero);
        padded
    }

    /// Elements between two rows of the padded input.
    pub(super) fn row_step(&self) -> usize {
        self.geometry.padded()[1] * self.depth
    }

    /// Elements in one row of a window.
    pub(super) fn row_len(&self) -> usize {
        self.geometry.kernel[1] * self.depth
    }

    /// Bytes of packed weights for one block of channels.
    pub(super) fn block_len(&self) -> usize {
        self.geometry.kernel[0] * self.row_len() * self.form.lanes
    }

    pub(super) fn weights(&self) -> &[i8] {
        &self.weights[self.weights_start..]
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// Of a span's first pixel, of those between and of its last one.
    pub(super) fn biases(&self, span: &Span) -> [&[i32]; 3] {
        span.biases.map(|part| &*self.biases[part])
    }

    /// Input channels, filled up.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn scales(&self) -> &[f32] {
        &self.scales
    }

    pub(super) fn windows(&self) -> &[usize] {
        &self.windows
    }

    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    pub(super) fn range(&self) -> Range {
        self.range
    }
}

/// Of a vector that doesn't grow any more: its memory stays where it is.
fn line_start(weights: &[i8]) -> usize {
    weights.as_ptr().align_offset(CACHE_LINE)
}

fn pack_weights(convolution: &Convolution, form: Form, depth: usize) -> Vec<i8> {
    let Geometry { in_channels, out_channels, kernel: [rows, columns], .. } = convolution.geometry;
    let Form { lanes, adjacent, .. } = form;
    let row_len = columns * depth;
    let len = out_channels.div_ceil(lanes) * lanes * rows * row_len;
    let mut padded = vec![0; len + CACHE_LINE];
    let start = line_start(&padded);
    padded.truncate(start + len);
    let packed = &mut padded[start..];
    let mut weights = convolution.weights.iter();
    for out_channel in 0..out_channels {
        let (block, lane) = (out_channel / lanes, out_channel % lanes);
        for in_channel in 0..in_channels {
            for row in 0..rows {
                for column in 0..columns {
                    let at = column * depth + in_channel;
                    let group = (block * rows + row) * (row_len / adjacent) + at / adjacent;
                    let weight = weights.next().expect("check() counted the weights");
                    packed[(group * lanes + lane) * adjacent + at % adjacent] = *weight;
                }
            }
        }
    }
    padded
}

/// The weights of all input channels, added up: `[output channel][kernel height][kernel width]`.
fn tap_sums(convolution: &Convolution) -> Vec<i32> {
    let Geometry { in_channels, kernel: [height, width], .. } = convolution.geometry;
    let mut sums = Vec::with_capacity(convolution.weights.len() / in_channels);
    for weights in convolution.weights.chunks_exact(in_channels * height * width) {
        let start = sums.len();
        sums.resize(start + height * width, 0);
        for window in weights.chunks_exact(height * width) {
            let taps = sums[start..].iter_mut().zip(window);
            taps.for_each(|(sum, weight)| *sum += i32::from(*weight));
        }
    }
    sums
}

/// Σ (x − x₀) w = Σ x w − x₀ Σ w: the second sum is known when the layer is packed. Of the weights in
/// this part of the window alone: in the rest every x is x₀.
fn fold_bias(
    convolution: &Convolution,
    tap_sums: &[i32],
    form: Form,
    channels: usize,
    (rows, columns): Part,
) -> Vec<i32> {
    let [height, width] = convolution.geometry.kernel;
    let offset = form.activation.offset(convolution.input.signed);
    let stored_zero = convolution.input.zero + offset;
    let mut bias: Vec<i32> = tap_sums
        .chunks_exact(height * width)
        .zip(&convolution.bias)
        .map(|(window, bias)| {
            let rows = window[rows.first * width..rows.last * width].chunks_exact(width);
            let sum: i32 = rows.flat_map(|row| &row[columns.first..columns.last]).sum();
            bias.wrapping_sub(stored_zero.wrapping_mul(sum))
        })
        .collect();
    bias.resize(channels, 0);
    bias
}

fn windows(geometry: &Geometry, depth: usize, spans: &[Span], pixels: usize) -> Vec<usize> {
    let [height, width] = geometry.output();
    let row_step = geometry.padded()[1] * depth;
    let start =
        |y: usize, x: usize| y * geometry.stride[0] * row_step + x * geometry.stride[1] * depth;
    let starts = (0..height).flat_map(|y| (0..width).map(move |x| start(y, x)));
    let firsts = spans.iter().flat_map(|span| std::iter::repeat_n(span.rows.first, pixels));
    starts.zip(firsts).map(|(start, first)| start + first * row_step).collect()
}

/// As many pixels at once as a tile has, in the order of the output, and what it computes of them.
fn spans(geometry: &Geometry, form: Form) -> Vec<Span> {
    let [height, width] = geometry.output();
    let [down, across] = geometry.stride;
    let part = |y: usize, x: usize| {
        (Extent::inside(geometry, 0, y * down), Extent::inside(geometry, 1, x * across))
    };
    let parts: Vec<Part> = (0..height).flat_map(|y| (0..width).map(move |x| part(y, x))).collect();
    let span = |parts: &[Part]| {
        let rows = parts.iter().map(|(rows, _)| *rows).reduce(Extent::both).unwrap_or_default();
        let mut span = Span { rows, head: 0, tail: 0, biases: [0; 3] };
        if form.cuts_columns
            && let [(_, first), .., (_, last)] = parts
        {
            let (head, tail) = (first.first, geometry.kernel[1] - last.last);
            if head + tail <= geometry.kernel[1] {
                (span.head, span.tail) = (head, tail);
            }
        }
        span
    };
    parts.chunks(form.pixels).map(span).collect()
}
