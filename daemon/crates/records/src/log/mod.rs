//! The log's own files: a journal, sealed files and a witness, which are the truth.
//!
//! - `medium` is what is asked of a file system, `position` where the two streams stand, `frame` what the
//!   files consist of.
//! - `journal` keeps what was committed since the last checkpoint, `witness` how far the log had got.

mod age;
mod counting;
mod directory;
mod feeding;
mod frame;
mod healing;
mod index;
mod item;
mod journal;
mod known;
mod lookup;
mod medium;
#[cfg(test)]
mod page_tests;
mod pages;
mod pieces;
mod position;
mod proof;
mod reader;
mod repair;
mod retention;
mod sealed;
mod segment;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod simulation;
mod sizes;
mod staged;
mod store;
mod summary;
mod survey;
mod terms;
#[cfg(test)]
mod tests;
mod view;
mod witness;
