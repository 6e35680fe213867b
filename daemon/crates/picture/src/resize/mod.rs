//! Rows of a decoded picture to a picture of the model's size and colours: `canvas` takes them, `area`
//! averages, `orientation` turns the result upright.

mod area;
mod canvas;
mod orientation;

pub use canvas::Canvas;
