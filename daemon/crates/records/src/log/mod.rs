//! The log's own files: a journal, sealed files and a witness, which are the truth.
//!
//! - `medium` is what is asked of a file system, `position` where the two streams stand, `frame` what the
//!   files consist of.
//! - `journal` keeps what was committed since the last checkpoint, `witness` how far the log had got.

mod frame;
mod item;
mod journal;
mod known;
mod medium;
mod position;
mod proof;
mod reader;
mod sealed;
mod segment;
#[cfg(test)]
mod sim;
mod staged;
mod store;
mod summary;
mod survey;
#[cfg(test)]
mod tests;
mod witness;
