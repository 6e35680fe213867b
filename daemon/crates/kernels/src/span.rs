//! Which part of their windows the pixels of a tile use, and which part is padding. It knows nothing
//! of weights.

use super::convolution::Geometry;
use super::form::Form;

/// Rows or columns of a window, `first..last`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    pub first: usize,
    pub last: usize,
}

impl Extent {
    /// Returns the part that reaches the image of a window that starts at `start` of the padded image.
    fn inside(geometry: &Geometry, axis: usize, start: usize) -> Extent {
        let (before, kernel) = (geometry.windows.pad_before[axis], geometry.windows.kernel[axis]);
        Extent {
            first: before.saturating_sub(start).min(kernel),
            last: (before + geometry.windows.input[axis]).saturating_sub(start).min(kernel),
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

/// A part of a window: its rows and its columns.
pub type Part = (Extent, Extent);

/// What a tile computes of its pixels' windows. Padding adds nothing but its zero point, which the
/// bias can leave out with it: of a 3 × 3 window on 4 × 4 pixels that is every sixth row, and every
/// sixth column.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Rows that reach the image for one of the pixels.
    pub rows: Extent,
    /// Columns that lie left of the image for the first pixel.
    pub head: usize,
    /// Columns that lie right of the image for the last pixel.
    pub tail: usize,
    /// Numbers of the packed biases of the first pixel, of those between and of the last one.
    pub biases: [usize; 3],
}

impl Span {
    /// Cuts the output into tiles, in order: one span for as many pixels as a tile has.
    pub fn all(geometry: &Geometry, form: Form) -> Vec<Span> {
        let [height, width] = geometry.output();
        let [down, across] = geometry.windows.stride;
        let part = |y: usize, x: usize| {
            (Extent::inside(geometry, 0, y * down), Extent::inside(geometry, 1, x * across))
        };
        let parts: Vec<Part> =
            (0..height).flat_map(|y| (0..width).map(move |x| part(y, x))).collect();
        let span = |parts: &[Part]| {
            let rows = parts.iter().map(|(rows, _)| *rows).reduce(Extent::both).unwrap_or_default();
            let mut span = Span { rows, head: 0, tail: 0, biases: [0; 3] };
            if form.cuts_columns
                && let [(_, first), .., (_, last)] = parts
            {
                let (head, tail) = (first.first, geometry.windows.kernel[1] - last.last);
                if head + tail <= geometry.windows.kernel[1] {
                    (span.head, span.tail) = (head, tail);
                }
            }
            span
        };
        parts.chunks(form.pixels).map(span).collect()
    }

    /// Returns what the first pixel, those between and the last one use of a window of `columns`.
    pub fn parts(&self, columns: usize) -> [Part; 3] {
        let all = Extent { first: 0, last: columns };
        let first = Extent { first: self.head, ..all };
        let last = Extent { last: columns - self.tail, ..all };
        [first, all, last].map(|columns| (self.rows, columns))
    }
}
