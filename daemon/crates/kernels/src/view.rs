//! Where a tensor lies in a buffer of bytes. It knows nothing of what computes it.

/// Bytes that a kernel may read behind the last byte of a view, without using them. A buffer ends
/// at least this far behind every view into it.
pub const SLACK: usize = 64;

/// A tensor of `[rows][columns][channels]` bytes within a buffer. Between its pixels and its rows other
/// things may lie: channels of other tensors, or borders of zero points that a window reaches into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Where channel 0 of the first pixel of the first row lies.
    pub offset: usize,
    pub rows: usize,
    pub columns: usize,
    pub channels: usize,
    /// Bytes from a pixel to the next of its row.
    pub pixel: usize,
    /// Bytes from a row to the next.
    pub row: usize,
}

impl View {
    /// Returns the view of a tensor that lies by itself at `offset`, without gaps.
    pub fn dense(offset: usize, [rows, columns]: [usize; 2], channels: usize) -> View {
        View { offset, rows, columns, channels, pixel: channels, row: columns * channels }
    }

    /// Returns where a pixel starts.
    #[inline(always)]
    pub fn at(&self, row: usize, column: usize) -> usize {
        self.offset + row * self.row + column * self.pixel
    }

    /// Returns the bytes from `offset` to behind the last one of the tensor.
    pub fn extent(&self) -> usize {
        (self.rows - 1) * self.row + (self.columns - 1) * self.pixel + self.channels
    }

    /// Returns the channels `first..first + count` alone.
    pub fn part(&self, first: usize, count: usize) -> View {
        View { offset: self.offset + first, channels: count, ..*self }
    }

    /// Returns the view without its rows' ends where they follow each other: one row of all pixels.
    pub fn flat(&self) -> Option<View> {
        (self.rows == 1 || self.row == self.columns * self.pixel).then(|| View {
            rows: 1,
            columns: self.rows * self.columns,
            row: self.rows * self.columns * self.pixel,
            ..*self
        })
    }

    /// Fills a border of `[above, below, left, right]` pixels with `byte`.
    ///
    /// # Panics
    /// When the border is not inside the buffer.
    pub fn fill_border(&self, buffer: &mut [u8], border: [usize; 4], byte: u8) {
        let [above, below, left, right] = border;
        let start = self.offset - above * self.row - left * self.pixel;
        let width = left + self.columns + right;
        for row in 0..above + self.rows + below {
            let inside = (above..above + self.rows).contains(&row);
            for column in 0..width {
                if !(inside && (left..left + self.columns).contains(&column)) {
                    let at = start + row * self.row + column * self.pixel;
                    buffer[at..at + self.channels].fill(byte);
                }
            }
        }
    }

    /// Checks that the tensor lies in a buffer of `len` bytes, with a border of `[above, below, left,
    /// right]` pixels and `SLACK` behind it where it is read.
    ///
    /// # Panics
    /// When it does not: the plan that made the view is wrong.
    pub(crate) fn assert_read(&self, len: usize, border: [usize; 4]) {
        let [above, below, left, right] = border;
        let before = above * self.row + left * self.pixel;
        let behind = below * self.row + right * self.pixel + SLACK;
        let inside = before <= self.offset && self.offset + self.extent() + behind <= len;
        assert!(inside, "{self:?} with a border of {border:?} lies in a buffer of {len} bytes");
    }

    /// Whether it has `[rows, columns]` pixels of `channels`.
    pub(crate) fn has_shape(&self, pixels: [usize; 2], channels: usize) -> bool {
        [self.rows, self.columns] == pixels && self.channels == channels
    }
}

/// A tensor that is read.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub bytes: &'a [u8],
    pub view: View,
}

/// Calls `work` with the bytes at the same places of both inputs and of the output, for runs of them as
/// long as the views allow: the whole tensor, a row or a pixel.
///
/// # Panics
/// When the shapes differ or a view does not lie in its buffer.
#[inline(always)]
pub(crate) fn each_run<const INPUTS: usize>(
    inputs: [Source; INPUTS],
    output: &mut [u8],
    to: View,
    mut work: impl FnMut([&[u8]; INPUTS], &mut [u8]),
) {
    for Source { view, .. } in &inputs {
        assert!(view.has_shape([to.rows, to.columns], to.channels), "{view:?} and {to:?}");
    }
    let views = inputs.map(|input| input.view);
    let all = |one: &dyn Fn(&View) -> bool| one(&to) && views.iter().all(one);
    let (mut rows, mut columns, mut len) = (to.rows, to.columns, to.channels);
    if all(&|view| view.pixel == len || columns == 1) {
        (columns, len) = (1, columns * len);
        if all(&|view| view.row == len || rows == 1) {
            (rows, len) = (1, rows * len);
        }
    }
    for row in 0..rows {
        for column in 0..columns {
            let inputs = inputs.map(|input| &input.bytes[input.view.at(row, column)..][..len]);
            work(inputs, &mut output[to.at(row, column)..][..len]);
        }
    }
}
