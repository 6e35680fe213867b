//! JSON bodies: `body` decodes one, `visitors` take what the parser finds, `draft` is what was read so
//! far and why it stopped.

mod body;
mod draft;
#[cfg(test)]
mod tests;
mod visitors;

pub use body::decode;
