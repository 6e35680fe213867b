//! Which pixels of a picture each pixel of the result shows, one axis at a time. It knows no filter and no
//! pixel.
//!
//! Every mode is the same three numbers: the side of the whole picture once it is resized, where in it
//! the result begins, and the side of the result. A result that begins before the resized picture, or
//! ends behind it, is padded there. They are found on the upright picture, as the trainer's code sees
//! it, and then hold for the stored one.

use std::ops::Range;

use super::orientation::Orientation;
use crate::rows::Header;
use crate::spec::{Filter, Mode, Resize, Spec};

/// The most by which a JPEG decoder may shrink a picture before the resize.
const REDUCTION_MAX: u32 = 8;

/// The longest side of a small net, in pixels. Each of its pixels counts: the resize gets two pixels or more
/// of a reduced picture for one of its own, and is off by less than one step of 255 in the mean.
const SMALL: usize = 112;
const MARGIN_SMALL: f64 = 2.0;
/// Larger nets get a little more than one, with which 480 rows are still halved for 224; the mean is off by
/// one or two steps of 255 where there is fine detail.
const MARGIN: f64 = 17.0 / 16.0;

/// One axis of a resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// The side of the stored picture, in pixels.
    pub source: usize,
    /// How many of them the decoder made one of.
    pub reduction: usize,
    /// The side of the whole picture once it is resized, in pixels.
    pub scaled: usize,
    /// Which pixel of the resized upright picture the result begins with.
    pub offset: isize,
    /// The side of the result, in pixels.
    pub length: usize,
    /// Whether the stored picture runs the other way than the upright one.
    pub mirrored: bool,
}

impl Axis {
    /// Returns the side of the picture that the decoder gives.
    pub fn pixels(&self) -> usize {
        self.source.div_ceil(self.reduction)
    }

    /// Returns the pixels of the result that show the picture; the others are padding. Counted as stored.
    pub fn visible(&self) -> Range<usize> {
        let first = self.stored_offset();
        let low = first.min(0).unsigned_abs().min(self.length);
        let end = self.scaled as isize - first;
        low..(end.max(0) as usize).clamp(low, self.length)
    }

    /// Returns which pixel of the resized stored picture the result begins with.
    pub fn stored_offset(&self) -> isize {
        if self.mirrored {
            return self.scaled as isize - self.offset - self.length as isize;
        }
        self.offset
    }

    /// Returns the pixels of the resized stored picture that the result shows.
    pub fn cells(&self) -> Range<usize> {
        let visible = self.visible();
        let first = (visible.start as isize + self.stored_offset()) as usize;
        first..first + visible.len()
    }

    /// Returns the pixels of the resized upright picture that the result shows.
    pub fn upright_cells(&self) -> Range<usize> {
        let cells = self.cells();
        if self.mirrored {
            return self.scaled - cells.end..self.scaled - cells.start;
        }
        cells
    }

    /// Returns where the upright picture begins in the decoder's pixels: a part of the first one lies outside
    /// of it where the stored picture ends with such a part.
    pub fn lead(&self) -> f64 {
        if !self.mirrored {
            return 0.0;
        }
        self.pixels() as f64 - self.source as f64 / self.reduction as f64
    }

    /// Returns how many pixels of the decoder's picture one pixel of the resized one stands for.
    pub fn scale(&self) -> f64 {
        self.source as f64 / self.reduction as f64 / self.scaled as f64
    }
}

/// The stored picture's two axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub columns: Axis,
    pub rows: Axis,
    /// Whether the stored rows are the upright picture's columns.
    pub transposed: bool,
}

impl Plan {
    /// Plans the resize of the picture that `header` announces, whose decoder gives one pixel for
    /// `reduction` × `reduction`.
    pub fn new(spec: &Spec, header: &Header, reduction: u32) -> Plan {
        let turn = Orientation::from_exif(header.orientation);
        let stored = [header.size.1 as usize, header.size.0 as usize];
        let upright = turn.stored(stored);
        let scaled = scaled(&spec.resize, spec.size, upright);
        let axis = |at: usize, mirrored: bool| Axis {
            source: upright[at],
            reduction: reduction as usize,
            scaled: scaled[at],
            offset: offset(spec.resize.mode, scaled[at], spec.size[at]),
            length: spec.size[at],
            mirrored,
        };
        let (down, across) = (axis(0, turn.flip), axis(1, turn.mirror));
        let transposed = turn.transpose;
        let (columns, rows) = if transposed { (down, across) } else { (across, down) };
        Plan { columns, rows, transposed }
    }
}

/// Returns by how much a JPEG decoder may shrink the picture before it is resized: 1, 2, 4 or 8.
///
/// Only where the resize looks at every pixel anyway, and only as far as twice the pixels of the resized
/// picture are left each way.
pub fn reduction(spec: &Spec, header: &Header) -> u32 {
    let Resize { mode, filter, antialias, exact, .. } = spec.resize;
    let averages = match filter {
        Filter::Area => true,
        Filter::Nearest => false,
        Filter::Bilinear | Filter::Bicubic => antialias,
    };
    if exact || mode == Mode::CropOnly || !averages {
        return 1;
    }
    let Plan { columns, rows, .. } = Plan::new(spec, header, 1);
    let margin = if columns.scaled.max(rows.scaled) > SMALL { MARGIN } else { MARGIN_SMALL };
    let fits = |by: u32| {
        let enough =
            |axis: &Axis| (axis.source / by as usize) as f64 >= margin * axis.scaled as f64;
        enough(&columns) && enough(&rows)
    };
    let mut by = REDUCTION_MAX;
    while by > 1 && !fits(by) {
        by /= 2;
    }
    by
}

/// Returns height and width of the whole upright picture once it is resized.
fn scaled(resize: &Resize, size: [usize; 2], upright: [usize; 2]) -> [usize; 2] {
    match resize.mode {
        Mode::Stretch => size,
        Mode::CropOnly => upright,
        // torchvision's Resize: the longer side is cut to a whole number.
        Mode::ShorterSide => {
            let short = upright[0].min(upright[1]) as u64;
            let to = resize.to as u64;
            upright.map(|side| (to * side as u64 / short).max(1) as usize)
        }
        // Ultralytics' LetterBox, in its own arithmetic: f64, rounded half to even.
        Mode::Letterbox => {
            let ratio = |at: usize| size[at] as f64 / upright[at] as f64;
            let ratio = ratio(0).min(ratio(1));
            let side = |at: usize| (upright[at] as f64 * ratio).round_ties_even() as usize;
            [0, 1].map(|at| side(at).clamp(1, size[at]))
        }
    }
}

/// Returns which pixel of a resized side the result begins with.
fn offset(mode: Mode, scaled: usize, length: usize) -> isize {
    let spare = scaled as isize - length as isize;
    match mode {
        Mode::Stretch => 0,
        // LetterBox rounds half the rest after taking a tenth off: the smaller half comes first.
        Mode::Letterbox => -(-spare / 2),
        // torchvision's CenterCrop rounds half to even, and pads with the smaller half first.
        Mode::ShorterSide | Mode::CropOnly if spare < 0 => -(-spare / 2),
        Mode::ShorterSide | Mode::CropOnly => spare / 2 + (spare % 4 == 3) as isize,
    }
}
