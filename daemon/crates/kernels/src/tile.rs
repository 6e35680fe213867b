//! The work that kernels share: a layer cut into tiles, one call of a kernel for each.

use super::Layer;
use super::layer::Extent;

/// Where a sum ends up: `saturate(round(sum · scale) + zero)`, rounded half to even in f32, which is
/// ONNX's rule and ONNX Runtime's order. Saturated first, to whole numbers, the result is the same
/// and every float has its integer.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Least and greatest value of the output's type, minus `zero`.
    pub low: f32,
    pub high: f32,
    pub zero: i32,
}

impl Range {
    /// Whether the output's type is i8, and not u8.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub fn is_signed(self) -> bool {
        (self.low as i32 + self.zero) < 0
    }
}

/// What a kernel computes at once: the windows of PIXELS outputs times one block of LANES channels.
pub struct Tile<'a, E, const LANES: usize, const PIXELS: usize> {
    /// The padded input, channel-last.
    pub input: &'a [E],
    /// Where the window of each pixel starts in it.
    pub windows: [usize; PIXELS],
    /// Rows of a window.
    pub rows: usize,
    /// Elements from a window's row to its next.
    pub row_step: usize,
    /// Elements in a row, a multiple of the form's step.
    pub row_len: usize,
    /// Elements at the start of a row that the first pixel leaves out, whole steps of them.
    pub head: usize,
    /// Elements at the end of a row that the last pixel leaves out, whole steps of them.
    pub tail: usize,
    /// `rows · row_len · LANES` of them, in the order in which they are used.
    pub weights: &'a [i8],
    /// Of the first pixel, of those between and of the last one.
    pub biases: [&'a [i32; LANES]; 3],
    pub scales: &'a [f32; LANES],
    pub range: Range,
}

impl<E, const LANES: usize, const PIXELS: usize> Tile<'_, E, LANES, PIXELS> {
    /// Whether every window and every weight that a kernel will read is there, and whole groups of
    /// `step` elements at that. What kernels rest their unsafe reads on.
    #[inline(always)]
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
    pub fn is_sound(&self, step: usize) -> bool {
        let last = self.windows.iter().fold(0, |last, start| last.max(*start));
        let last_row = last + self.rows.saturating_sub(1) * self.row_step;
        [self.row_len, self.head, self.tail].iter().all(|len| len.is_multiple_of(step))
            && self.head + self.tail <= self.row_len
            && last_row + self.row_len <= self.input.len()
            && self.rows * self.row_len * LANES == self.weights.len()
    }

    /// Of one of its pixels.
    #[inline(always)]
    pub fn bias(&self, pixel: usize) -> &[i32; LANES] {
        let [first, between, last] = self.biases;
        match pixel {
            0 => first,
            _ if pixel + 1 == PIXELS => last,
            _ => between,
        }
    }

    /// How many elements of a row are used by all pixels but the first, by all, by all but the last.
    #[inline(always)]
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
    pub fn columns(&self) -> [usize; 3] {
        [self.head, self.row_len - self.head - self.tail, self.tail]
    }
}

/// Bytes of a tile's result, a row for each pixel.
pub type Output<const LANES: usize, const PIXELS: usize> = [[u8; LANES]; PIXELS];

/// Runs `tile` over a whole layer. A block's weights stay in the cache for all of its pixels.
pub fn drive<E, const LANES: usize, const PIXELS: usize>(
    layer: &Layer,
    input: &[E],
    output: &mut [u8],
    tile: impl Fn(&Tile<E, LANES, PIXELS>, &mut Output<LANES, PIXELS>),
) {
    let channels = layer.geometry().out_channels;
    let windows = layer.windows();
    assert_eq!(
        output.len(),
        layer.geometry().output_len(),
        "the output is as long as its shape says"
    );
    assert_eq!((LANES, PIXELS), (layer.form().lanes, layer.form().pixels), "it is packed for them");
    let (scales, _) = layer.scales().as_chunks::<LANES>();
    let blocks = layer.weights().chunks_exact(layer.block_len());
    let row_weights = layer.row_len() * LANES;
    let mut result = [[0; LANES]; PIXELS];
    for (block, (weights, scales)) in blocks.zip(scales).enumerate() {
        let first_channel = block * LANES;
        let pixels = output.chunks_mut(PIXELS * channels).zip(windows.chunks(PIXELS));
        for ((pixels, starts), span) in pixels.zip(layer.spans()) {
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
                row_step: layer.row_step(),
                row_len: layer.row_len(),
                head: span.head * layer.depth(),
                tail: span.tail * layer.depth(),
                weights: &weights[first * row_weights..last * row_weights],
                biases: layer.biases(span).map(|biases| &biases.as_chunks().0[block]),
                scales,
                range: layer.range(),
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
