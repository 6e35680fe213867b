//! A quantised convolution in ONNX's terms, and the limits of what the kernels take.

use std::fmt;

/// Most products in one sum: an i32 holds as many of 255 · −128.
const PRODUCTS_MAX: usize = i32::MAX as usize / (255 * 128);

/// Largest side of an image and largest number of channels that a layer takes: ten times what models
/// for these boxes have, and no product of them overflows.
const EXTENT_MAX: usize = 1 << 13;

/// Most elements of a padded input or of an output, 500 times those of the embedded model.
const ELEMENTS_MAX: u64 = 1 << 24;

/// The sizes of a convolution. Those along height and width come as `[height, width]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub in_channels: usize,
    pub out_channels: usize,
    pub input: [usize; 2],
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub pad_before: [usize; 2],
    pub pad_after: [usize; 2],
}

impl Geometry {
    /// Returns height and width with the padding around.
    pub fn padded(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.pad_before[axis] + self.input[axis] + self.pad_after[axis])
    }

    /// Returns height and width of the output.
    pub fn output(&self) -> [usize; 2] {
        let padded = self.padded();
        [0, 1].map(|axis| (padded[axis] - self.kernel[axis]) / self.stride[axis] + 1)
    }

    /// Returns the bytes of one image.
    pub fn input_len(&self) -> usize {
        self.in_channels * self.input[0] * self.input[1]
    }

    /// Returns the bytes of its output.
    pub fn output_len(&self) -> usize {
        let [height, width] = self.output();
        self.out_channels * height * width
    }

    /// Returns the multiply-accumulates for one image, those with the padding included.
    pub fn products(&self) -> u64 {
        let window = self.in_channels * self.kernel[0] * self.kernel[1];
        self.output_len() as u64 * window as u64
    }

    fn check(&self) -> Result<(), Refusal> {
        let sizes = [self.input, self.kernel, self.stride];
        let sizes = sizes.iter().flatten().chain([&self.in_channels, &self.out_channels]);
        let pads = self.pad_before.iter().chain(&self.pad_after);
        let sized = sizes.into_iter().all(|size| (1..=EXTENT_MAX).contains(size))
            && pads.into_iter().all(|pad| *pad <= EXTENT_MAX)
            && (0..2).all(|axis| self.kernel[axis] <= self.padded()[axis]);
        if !sized {
            return Err(Refusal::Geometry);
        }
        let elements = |channels: usize, [height, width]: [usize; 2]| {
            channels as u64 * height as u64 * width as u64
        };
        let products = elements(self.in_channels, self.kernel);
        if products > PRODUCTS_MAX as u64 {
            return Err(Refusal::TooManyProducts { products });
        }
        let input = elements(self.in_channels, self.padded());
        let elements = input.max(elements(self.out_channels, self.output()));
        if elements > ELEMENTS_MAX {
            return Err(Refusal::TooLarge { elements });
        }
        Ok(())
    }
}

/// The type of a tensor of bytes, and which of its values means zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantised {
    pub signed: bool,
    pub zero: i32,
}

impl Quantised {
    /// Returns the least and the greatest value.
    pub fn range(self) -> (i32, i32) {
        if self.signed { (-128, 127) } else { (0, 255) }
    }

    fn is_sound(self) -> bool {
        let (low, high) = self.range();
        (low..=high).contains(&self.zero)
    }
}

/// A quantised convolution in ONNX's terms (QLinearConv).
#[derive(Clone, Debug)]
pub struct Convolution {
    pub geometry: Geometry,
    /// `[out_channels][in_channels][kernel height][kernel width]`, zero point 0.
    pub weights: Vec<i8>,
    /// One for each output channel.
    pub bias: Vec<i32>,
    /// x_scale · w_scale / y_scale, one for each output channel.
    pub scales: Vec<f32>,
    pub input: Quantised,
    pub output: Quantised,
}

impl Convolution {
    /// Checks that the kernels take it.
    ///
    /// # Errors
    /// What the kernels don't take.
    pub fn check(&self) -> Result<(), Refusal> {
        let geometry = &self.geometry;
        geometry.check()?;
        let channels = geometry.out_channels;
        let products = geometry.in_channels * geometry.kernel[0] * geometry.kernel[1];
        if self.weights.len() != channels * products
            || self.bias.len() != channels
            || self.scales.len() != channels
        {
            return Err(Refusal::Lengths);
        }
        if self.scales.iter().any(|scale| !scale.is_finite() || *scale <= 0.0) {
            return Err(Refusal::Scale);
        }
        if !self.input.is_sound() || !self.output.is_sound() {
            return Err(Refusal::ZeroPoint);
        }
        Ok(())
    }
}

/// Why a convolution can't be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A size is 0 or above `EXTENT_MAX`, or the kernel is larger than its padded input.
    Geometry,
    TooManyProducts {
        products: u64,
    },
    TooLarge {
        elements: u64,
    },
    /// Weights, biases or scales don't have the number that the shapes ask for.
    Lengths,
    /// A scale is no positive number.
    Scale,
    /// A zero point is no value of its type.
    ZeroPoint,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Geometry => write!(
                f,
                "a size is 0 or above {EXTENT_MAX}, or the kernel is larger than its padded input"
            ),
            Refusal::TooManyProducts { products } => {
                write!(f, "it sums {products} products, at most {PRODUCTS_MAX} fit")
            }
            Refusal::TooLarge { elements } => write!(
                f,
                "its padded input or its output has {elements} elements, at most {ELEMENTS_MAX} are \
                 taken"
            ),
            Refusal::Lengths => f.write_str(
                "weights, biases or scales don't have the number that the shapes ask for",
            ),
            Refusal::Scale => f.write_str("a scale is no positive number"),
            Refusal::ZeroPoint => f.write_str("a zero point is no value of its type"),
        }
    }
}

impl std::error::Error for Refusal {}
