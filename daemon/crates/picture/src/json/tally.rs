//! The numbers of a body, as pixels, and what has to be known of them to refuse them. It knows no JSON.

use crate::error::{At, DecodeError};
use crate::picture::Picture;
use crate::range::JsonRange;
use crate::spec::Spec;

/// The largest magnitude that normalised data reaches; the daemon's contract. With a training
/// set's mean and deviation, 0 to 255 maps into about -2.5 to 2.5.
const NORMALISED_MAX: f64 = 3.0;
/// How far outside its range a value is taken for the range's end, as a share of the range: a division in
/// 32 bits is wrong by up to 6e-8 of it.
const ROUNDING: f64 = 1e-6;
/// 1.5 × 2^52: a sum with it has no bits behind the point, and is rounded half to even to lose them.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// The numbers of a body so far, and the range that they are taken to be in.
pub struct Tally {
    range: JsonRange,
    /// CHW, as the numbers come; those that were not read yet are 0.
    pixels: Vec<u8>,
    low: f64,
    high: f64,
    whole: bool,
    /// The first value outside the range, and which one it is.
    outside: Option<(usize, f64)>,
}

/// A range, as the rounding of its values needs it.
#[derive(Clone, Copy)]
pub struct Rounding {
    scale: f64,
    low: f64,
    high: f64,
}

impl Rounding {
    pub fn new(range: JsonRange) -> Rounding {
        let max = range.max();
        let (low, high) = (-ROUNDING * max, max + ROUNDING * max);
        Rounding { scale: 255.0 / max, low, high }
    }

    /// Returns whether a value is in the range, or a rounding step outside.
    #[inline(always)]
    pub fn accepts(self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Returns the pixel, 0 to 255, of a value that is in the range: rounded half to even.
    #[inline(always)]
    pub fn pixel(self, value: f64) -> u8 {
        // A step outside the range rounds to its end. The last byte of the sum is the whole number;
        // `round_ties_even` is a call on processors that lack the instruction.
        (value * self.scale + ROUNDER).to_bits() as u8
    }
}

impl Tally {
    /// Starts a body of `values` numbers in `range`.
    pub fn new(values: usize, range: JsonRange) -> Tally {
        let (low, high) = (f64::INFINITY, f64::NEG_INFINITY);
        Tally { range, pixels: vec![0; values], low, high, whole: true, outside: None }
    }

    /// Takes the value of one index.
    pub fn set(&mut self, index: usize, value: f64) {
        let rounding = Rounding::new(self.range);
        self.low = self.low.min(value);
        self.high = self.high.max(value);
        self.whole &= value.trunc() == value;
        if rounding.accepts(value) {
            self.pixels[index] = rounding.pixel(value);
        } else if self.outside.is_none() {
            self.outside = Some((index, value));
        }
    }

    /// Returns the picture of a body whose every number was set. `stated` says that the body itself names
    /// the range; `nesting` is the depth of its arrays.
    ///
    /// # Errors
    /// [`DecodeError::LooksScaled`], [`DecodeError::LooksNormalised`] and [`DecodeError::OutOfRange`].
    pub fn finish(self, spec: &Spec, stated: bool, nesting: usize) -> Result<Picture, DecodeError> {
        if self.range == JsonRange::ZeroTo255 && !stated {
            self.check_pixel_values()?;
        }
        if let Some((index, value)) = self.outside {
            let (range, max) = (self.range.name(), self.range.max());
            let at = At::of_index(index, spec, nesting);
            return Err(DecodeError::OutOfRange { at, value, range, max });
        }
        Ok(interleaved(self.pixels, spec))
    }

    /// Refuses fractions that are too small to be pixel values of 0 to 255; whole numbers pass.
    fn check_pixel_values(&self) -> Result<(), DecodeError> {
        let Tally { low, high, whole, .. } = *self;
        if whole || !may_be_scaled(low, high) {
            return Ok(());
        }
        if Rounding::new(JsonRange::ZeroTo1).accepts(low)
            && Rounding::new(JsonRange::ZeroTo1).accepts(high)
        {
            return Err(DecodeError::LooksScaled { low, high });
        }
        Err(DecodeError::LooksNormalised { low, high })
    }
}

/// Returns whether fractions from `low` to `high` are too small to be pixel values.
pub fn may_be_scaled(low: f64, high: f64) -> bool {
    low >= -NORMALISED_MAX && high <= NORMALISED_MAX
}

/// Turns CHW into the HWC of a picture.
pub fn interleaved(planes: Vec<u8>, spec: &Spec) -> Picture {
    let channels = spec.colour.channels();
    if channels == 1 {
        return Picture { size: spec.size, channels, pixels: planes, reduced: false };
    }
    let mut pixels = vec![0; planes.len()];
    let (first, rest) = planes.split_at(planes.len() / 3);
    let (second, third) = rest.split_at(first.len());
    let values = first.iter().zip(second).zip(third);
    for (pixel, ((&first, &second), &third)) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(values)
    {
        *pixel = [first, second, third];
    }
    Picture { size: spec.size, channels, pixels, reduced: false }
}
