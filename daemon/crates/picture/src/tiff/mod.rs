//! TIFF files: `plan` reads the directory and holds the limits, `chunk` decodes a strip or tile, `decode`
//! gives the rows.

mod chunk;
mod decode;
mod plan;

pub use decode::Tiff;
