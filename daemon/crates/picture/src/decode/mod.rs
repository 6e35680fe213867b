//! Bodies of every type: `body` gives each to its decoder and paints the rows.

mod body;
#[cfg(test)]
mod field;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod pictures;
#[cfg(test)]
mod tests;
