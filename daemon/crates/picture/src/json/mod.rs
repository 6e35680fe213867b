//! JSON bodies: `body` decodes one. `plain` takes the usual ones, with the numbers of `number`; for the
//! others `visitors` take what the parser finds and `draft` is what was read so far and why it stopped.
//! `tally` makes pixels of numbers.

mod body;
mod draft;
mod number;
mod plain;
mod tally;
#[cfg(test)]
mod tests;
mod visitors;

pub use body::{decode, held_bytes};
