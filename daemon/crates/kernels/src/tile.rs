//! A tile: what one call of a kernel computes. It knows nothing of the layer that it is cut from.

use super::quantised::Range;

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
    /// There are `rows · row_len · LANES` weights, in the order in which they are used.
    pub weights: &'a [i8],
    /// Biases of the first pixel, of those between and of the last one.
    pub biases: [&'a [i32; LANES]; 3],
    pub scales: &'a [f32; LANES],
    pub range: Range,
}

impl<E, const LANES: usize, const PIXELS: usize> Tile<'_, E, LANES, PIXELS> {
    /// Whether every window and every weight that a kernel will read is there, in whole groups of
    /// `step` elements. The kernels' unsafe reads rest on this.
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

    /// Returns the biases of one of its pixels.
    #[inline(always)]
    pub fn bias(&self, pixel: usize) -> &[i32; LANES] {
        let [first, between, last] = self.biases;
        match pixel {
            0 => first,
            _ if pixel + 1 == PIXELS => last,
            _ => between,
        }
    }

    /// Returns how many elements of a row all pixels but the first use, then all pixels, then all but
    /// the last.
    #[inline(always)]
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
    pub fn columns(&self) -> [usize; 3] {
        [self.head, self.row_len - self.head - self.tail, self.tail]
    }
}

/// The bytes of a tile's result, a row for each pixel.
pub type Output<const LANES: usize, const PIXELS: usize> = [[u8; LANES]; PIXELS];
