//! A tile: what one call of a kernel computes. It knows nothing of the convolution that it is cut
//! from.

use super::quantised::Range;

/// What a kernel computes at once: the windows of PIXELS outputs times one block of LANES channels.
pub struct Tile<'a, const LANES: usize, const PIXELS: usize> {
    /// The buffer in which the input lies.
    pub input: &'a [u8],
    /// Where the window of each pixel starts in it.
    pub windows: [usize; PIXELS],
    pub shape: Shape,
    /// Rows of a window.
    pub rows: usize,
    /// Elements at the start of a run that the first pixel leaves out, whole steps of them.
    pub head: usize,
    /// Elements at the end of a run that the last pixel leaves out, whole steps of them.
    pub tail: usize,
    /// There are `rows · runs · run_len · LANES` weights of a form's bytes, in the order in which they are used.
    pub weights: &'a [i8],
    /// Biases of the first pixel, of those between and of the last one.
    pub biases: [&'a [i32; LANES]; 3],
    pub scales: &'a [f32; LANES],
    pub range: Range,
}

/// How the elements of a window lie in memory: rows, each of some runs of elements that follow each
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Elements from a window's row to its next.
    pub row_step: usize,
    /// Runs in a row: one, or one for each column where other things lie between them.
    pub runs: usize,
    /// Elements from a run to the next of its row.
    pub run_step: usize,
    /// Elements in a run, a multiple of the form's step.
    pub run_len: usize,
}

impl<const LANES: usize, const PIXELS: usize> Tile<'_, LANES, PIXELS> {
    /// Whether every window and every weight that a kernel will read is there, in whole groups of
    /// `step` elements and weights of so many bytes. The kernels' unsafe reads rest on this.
    #[inline(always)]
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
    pub fn is_sound(&self, step: usize, weight: usize) -> bool {
        let Shape { row_step, runs, run_step, run_len } = self.shape;
        let last = self.windows.iter().fold(0, |last, start| last.max(*start));
        let last_row = last + self.rows.saturating_sub(1) * row_step;
        let last_run = last_row + runs.saturating_sub(1) * run_step;
        [run_len, self.head, self.tail].iter().all(|len| len.is_multiple_of(step))
            && self.head + self.tail <= run_len
            && last_run + run_len <= self.input.len()
            && self.rows * runs * run_len * LANES * weight == self.weights.len()
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

    /// Returns how many elements of a run all pixels but the first use, then all pixels, then all but
    /// the last.
    #[inline(always)]
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
    pub fn columns(&self) -> [usize; 3] {
        [self.head, self.shape.run_len - self.head - self.tail, self.tail]
    }
}

/// The bytes of a tile's result, a row for each pixel.
pub type Output<const LANES: usize, const PIXELS: usize> = [[u8; LANES]; PIXELS];
