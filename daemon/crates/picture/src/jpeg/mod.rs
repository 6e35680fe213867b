//! The segments of a JPEG file: `walk` reads them in order, `frame` is what its header states, and
//! `refusal` the words for what is wrong.

mod frame;
mod refusal;
#[cfg(test)]
mod tests;
mod walk;

pub use walk::outline;
