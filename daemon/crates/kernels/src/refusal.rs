//! Why an operator can't be packed, and the limits behind it. It knows no operator.

use std::fmt;

/// Most products in one sum: an i32 holds as many of 255 · −128.
pub const PRODUCTS_MAX: usize = i32::MAX as usize / (255 * 128);

/// Largest side of an image and largest number of channels that an operator takes: ten times what
/// models for these boxes have, and no product of them overflows.
pub const EXTENT_MAX: usize = 1 << 13;

/// Most channels of a fully connected layer's input, whose picture is one pixel.
pub const CHANNELS_MAX: usize = 1 << 16;

/// Most elements of a padded input or of an output, 500 times those of the embedded model.
pub const ELEMENTS_MAX: u64 = 1 << 24;

/// Why an operator can't be packed.
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

/// Refuses a scale that is no positive number.
pub fn positive(scale: f32) -> Result<f32, Refusal> {
    if scale.is_finite() && scale > 0.0 { Ok(scale) } else { Err(Refusal::Scale) }
}
