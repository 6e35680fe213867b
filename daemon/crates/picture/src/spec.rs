//! The form in which a model wants its input. It knows nothing of pixels, nor of any engine.

use crate::limits::{CHANNELS, SIDE};

/// The element type of a model's input. Pixels stay raw: normalisation is part of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// The pixel itself, 0..=255.
    U8,
    /// The pixel minus 128, -128..=127.
    I8,
    /// The pixel as a float, 0.0..=255.0.
    F32,
}

/// The axis order of a model's input, for a batch of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// [1, 3, 32, 32]
    Nchw,
    /// [1, 32, 32, 3]
    Nhwc,
}

impl Layout {
    /// Returns the length of each axis.
    pub fn shape(self) -> [usize; 4] {
        match self {
            Layout::Nchw => [1, CHANNELS, SIDE, SIDE],
            Layout::Nhwc => [1, SIDE, SIDE, CHANNELS],
        }
    }
}

/// What a model wants a picture to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    pub element: Element,
    pub layout: Layout,
}
