//! PNG files: `walk` reads the chunks, `decode` gives the rows of what is left.

mod decode;
#[cfg(test)]
mod tests;
mod walk;

pub use decode::Png;
