//! Rows of a decoded picture to a picture of the model's size and colours: `canvas` takes them, `geometry`
//! plans the resize, `area` averages, `sampler` mixes by the weights of `taps`, which `kernel` computes as
//! Pillow and OpenCV do, `orientation` turns the result upright.

mod area;
mod canvas;
mod geometry;
mod kernel;
mod orientation;
mod sampler;
mod taps;
#[cfg(test)]
mod tests;

pub use canvas::Canvas;
pub use geometry::reduction;
