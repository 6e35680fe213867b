//! Windows that pass over a picture: their sizes and where they lie. It knows nothing of what is
//! computed in them.

use super::refusal::{CHANNELS_MAX, ELEMENTS_MAX, EXTENT_MAX, Refusal};

/// Windows over a picture. Sizes along height and width come as `[height, width]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    pub input: [usize; 2],
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    pub pad_before: [usize; 2],
    pub pad_after: [usize; 2],
}

impl Windows {
    /// Returns one window of one pixel, at each pixel of a picture.
    pub fn points(input: [usize; 2]) -> Windows {
        Windows {
            input,
            kernel: [1; 2],
            stride: [1; 2],
            dilation: [1; 2],
            pad_before: [0; 2],
            pad_after: [0; 2],
        }
    }

    /// Returns height and width with the padding around.
    pub fn padded(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.pad_before[axis] + self.input[axis] + self.pad_after[axis])
    }

    /// Returns height and width of what a window covers, gaps of the dilation included.
    pub fn reach(&self) -> [usize; 2] {
        [0, 1].map(|axis| (self.kernel[axis] - 1) * self.dilation[axis] + 1)
    }

    /// Returns height and width of the output.
    pub fn output(&self) -> [usize; 2] {
        let (padded, reach) = (self.padded(), self.reach());
        [0, 1].map(|axis| (padded[axis] - reach[axis]) / self.stride[axis] + 1)
    }

    /// Returns the border that the windows reach into: pixels `[above, below, left, right]`.
    pub fn border(&self) -> [usize; 4] {
        let (output, reach) = (self.output(), self.reach());
        let behind = [0, 1].map(|axis| {
            let last = (output[axis] - 1) * self.stride[axis] + reach[axis];
            last.saturating_sub(self.pad_before[axis] + self.input[axis])
        });
        [self.pad_before[0], behind[0], self.pad_before[1], behind[1]]
    }

    /// Returns which taps of window `at` along an axis lie on the picture, as `first..last`; 0..0 where
    /// none does.
    #[inline(always)]
    pub fn inside(&self, axis: usize, at: usize) -> (usize, usize) {
        let (start, before) = (at * self.stride[axis], self.pad_before[axis]);
        let step = self.dilation[axis];
        let first = before.saturating_sub(start).div_ceil(step);
        let last = (before + self.input[axis]).saturating_sub(start).div_ceil(step);
        let last = last.min(self.kernel[axis]);
        if first < last { (first, last) } else { (0, 0) }
    }

    /// Checks the sizes, those of `channels` included.
    pub fn check(&self, channels: usize) -> Result<(), Refusal> {
        let sizes = [self.input, self.kernel, self.stride, self.dilation];
        let mut sizes = sizes.iter().flatten();
        let mut pads = self.pad_before.iter().chain(&self.pad_after);
        let channels_max = if self.input == [1, 1] { CHANNELS_MAX } else { EXTENT_MAX };
        let sized = sizes.all(|size| (1..=EXTENT_MAX).contains(size))
            && (1..=channels_max).contains(&channels)
            && pads.all(|pad| *pad <= EXTENT_MAX)
            && (0..2).all(|axis| self.reach()[axis] <= self.padded()[axis]);
        if !sized {
            return Err(Refusal::Geometry);
        }
        let elements = self.padded().map(|side| side as u64).iter().product::<u64>();
        let elements = elements * channels as u64;
        if elements > ELEMENTS_MAX { Err(Refusal::TooLarge { elements }) } else { Ok(()) }
    }
}
