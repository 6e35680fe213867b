//! JPEG files to rows of pixels, with nothing of their data left unread or made up.
//!
//! - `refusal`, `tables`, `frame` and `space` are leaves: words, tables, headers.
//! - `walk` reads the segments in order, `scan` a scan's header, `progress` whether scans fit together.
//! - `bits`, `huffman`, `block`, `band` and `units` read entropy-coded data.
//! - `idct` and `reduced` turn coefficients into samples, `upsample` and `colour` samples into pixels.
//! - `stream` decodes a single scan strip by strip into `plane`s, `store` keeps the coefficients of several
//!   scans, `read` puts it all together.

mod band;
mod bits;
mod block;
mod colour;
mod frame;
mod huffman;
mod idct;
mod plane;
mod progress;
mod read;
mod reduced;
mod refusal;
mod scan;
mod space;
mod store;
mod stream;
mod tables;
#[cfg(test)]
mod tests;
mod units;
mod upsample;
mod walk;

pub use read::Jpeg;
