//! The log's own files: a journal, sealed files and a witness, which are the truth.
//!
//! - `medium` is what is asked of a file system, `position` where the two streams stand, `frame` what the
//!   files consist of.
//! - `journal` keeps what was committed since the last checkpoint, `witness` how far the log had got.

mod frame;
mod journal;
mod medium;
mod position;
#[cfg(test)]
mod sim;
mod witness;
