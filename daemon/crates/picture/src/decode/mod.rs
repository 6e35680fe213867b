//! Bodies of every type: `body` gives each to its decoder and paints the rows; `cost` says before that what
//! it will take.

mod body;
mod cost;
#[cfg(test)]
mod field;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod pictures;
#[cfg(test)]
mod tests;

pub use cost::{Cost, cost};
