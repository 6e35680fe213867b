//! A convolution packed for one kernel, and the way of its tiles through that kernel. It knows
//! nothing of instruction sets, nor of the image's order.

use super::convolution::{Convolution, Geometry};
use super::form::Form;
use super::quantised::Range;
use super::span::{Extent, Part, Span};
use super::tile::{Output, Tile};

/// Bytes of a cache line, and of the widest load of weights: one that lies across two lines costs two,
/// 15 % of the whole with AVX-512.
const CACHE_LINE: usize = 64;

/// A convolution's weights, biases and windows in the form of one kernel.
#[derive(Debug)]
pub struct Packed {
    pub geometry: Geometry,
    pub form: Form,
    /// Input channels, filled up to a multiple of the form's step.
    pub depth: usize,
    /// `[block][kernel height][kernel width · depth / adjacent][lane][adjacent]`
    weights: Vec<i8>,
    /// Where the weights start, at an address that is a multiple of `CACHE_LINE`.
    weights_start: usize,
    /// Biases with the input's zero point multiplied out, for each part of a window that a span has;
    /// filled up to whole blocks.
    biases: Vec<Vec<i32>>,
    scales: Vec<f32>,
    /// Where the window of each output pixel starts in the padded input, with its span's first row.
    windows: Vec<usize>,
    /// One for each tile's pixels.
    spans: Vec<Span>,
    range: Range,
}

impl Packed {
    /// Packs a convolution that `Convolution::check` takes.
    pub fn new(convolution: &Convolution, form: Form) -> Packed {
        let geometry = convolution.geometry.clone();
        let depth = geometry.in_channels.next_multiple_of(form.step);
        let channels = geometry.out_channels.next_multiple_of(form.lanes);
        let (low, high) = convolution.output.range();
        let zero = convolution.output.zero;
        let mut scales = convolution.scales.clone();
        scales.resize(channels, 1.0);
        let weights = pack_weights(convolution, form, depth);
        let mut spans = Span::all(&geometry, form);
        let columns = geometry.windows.kernel[1];
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
        Packed {
            form,
            depth,
            weights_start: line_start(&weights),
            weights,
            biases: biases.collect(),
            scales,
            windows: windows(&geometry, depth, &spans, form.pixels),
            spans,
            range: Range { low: (low - zero) as f32, high: (high - zero) as f32, zero },
            geometry,
        }
    }

    /// Runs `tile` over the whole convolution. A block's weights stay in the cache for all of its
    /// pixels.
    ///
    /// # Panics
    /// When `output` is not as long as the geometry says, or when it is packed for another tile.
    pub fn drive<E, const LANES: usize, const PIXELS: usize>(
        &self,
        input: &[E],
        output: &mut [u8],
        tile: impl Fn(&Tile<E, LANES, PIXELS>, &mut Output<LANES, PIXELS>),
    ) {
        let channels = self.geometry.out_channels;
        let row_step = self.geometry.windows.padded()[1] * self.depth;
        let row_len = self.geometry.windows.kernel[1] * self.depth;
        assert_eq!(
            output.len(),
            self.geometry.output_len(),
            "the output is as long as its shape says"
        );
        assert_eq!((LANES, PIXELS), (self.form.lanes, self.form.pixels), "it is packed for them");
        let (scales, _) = self.scales.as_chunks::<LANES>();
        let row_weights = row_len * LANES;
        let block_len = self.geometry.windows.kernel[0] * row_weights;
        let blocks = self.weights[self.weights_start..].chunks_exact(block_len);
        let mut result = [[0; LANES]; PIXELS];
        for (block, (weights, scales)) in blocks.zip(scales).enumerate() {
            let first_channel = block * LANES;
            let pixels = output.chunks_mut(PIXELS * channels).zip(self.windows.chunks(PIXELS));
            for ((pixels, starts), span) in pixels.zip(&self.spans) {
                let Extent { first, last } = span.rows;
                let windows = starts.first_chunk().copied().unwrap_or_else(|| {
                    // What is left over at the end computes its last pixel several times.
                    let last = starts.len() - 1;
                    std::array::from_fn(|pixel| starts[pixel.min(last)])
                });
                let work = Tile {
                    input,
                    windows,
                    rows: last - first,
                    row_step,
                    row_len,
                    head: span.head * self.depth,
                    tail: span.tail * self.depth,
                    weights: &weights[first * row_weights..last * row_weights],
                    biases: span.biases.map(|part| &self.biases[part].as_chunks().0[block]),
                    scales,
                    range: self.range,
                };
                // One block and no pixel left over: the bytes are in their place.
                if channels == LANES
                    && let Some(result) = pixels.as_chunks_mut().0.first_chunk_mut()
                {
                    tile(&work, result);
                    continue;
                }
                tile(&work, &mut result);
                for (pixel, values) in pixels.chunks_exact_mut(channels).zip(&result) {
                    let pixel = &mut pixel[first_channel..];
                    // A length that the compiler knows is one store rather than a call.
                    match pixel.first_chunk_mut::<LANES>() {
                        Some(whole) => *whole = *values,
                        None => pixel.copy_from_slice(&values[..pixel.len()]),
                    }
                }
            }
        }
    }
}

/// Returns the first index on a cache line. The vector must not grow any more, so that its memory stays
/// where it is.
fn line_start(weights: &[i8]) -> usize {
    weights.as_ptr().align_offset(CACHE_LINE)
}

fn pack_weights(convolution: &Convolution, form: Form, depth: usize) -> Vec<i8> {
    let Geometry { in_channels, out_channels, .. } = convolution.geometry;
    let [rows, columns] = convolution.geometry.windows.kernel;
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

/// Adds up the weights of all input channels: `[output channel][kernel height][kernel width]`.
fn tap_sums(convolution: &Convolution) -> Vec<i32> {
    let in_channels = convolution.geometry.in_channels;
    let [height, width] = convolution.geometry.windows.kernel;
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

/// Folds the input's zero point into the bias. Σ (x − x₀) w = Σ x w − x₀ Σ w: the second sum is
/// known when the layer is packed. Only weights in this part of the window count: in the rest every
/// x is x₀.
fn fold_bias(
    convolution: &Convolution,
    tap_sums: &[i32],
    form: Form,
    channels: usize,
    (rows, columns): Part,
) -> Vec<i32> {
    let [height, width] = convolution.geometry.windows.kernel;
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

/// Returns where the window of each output pixel starts in the padded input.
fn windows(geometry: &Geometry, depth: usize, spans: &[Span], pixels: usize) -> Vec<usize> {
    let [height, width] = geometry.output();
    let row_step = geometry.windows.padded()[1] * depth;
    let start = |y: usize, x: usize| {
        y * geometry.windows.stride[0] * row_step + x * geometry.windows.stride[1] * depth
    };
    let starts = (0..height).flat_map(|y| (0..width).map(move |x| start(y, x)));
    let firsts = spans.iter().flat_map(|span| std::iter::repeat_n(span.rows.first, pixels));
    starts.zip(firsts).map(|(start, first)| start + first * row_step).collect()
}
