//! What version 0.1 left: a store of sled, a journal, and stores that it had set aside. It is read as bytes:
//! nothing is opened that sled knows, and nothing is written. It knows nothing of the log that came behind it.
//!
//! - `bytes` finds the values in files; `journal` and `high_water` say where the store stood, as a `position`.
//! - `heritage` is what the store leaves to the log of today.
//! - `set_aside` names the damaged stores beside it.

mod bytes;
mod heritage;
mod high_water;
mod journal;
mod position;
mod set_aside;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use heritage::Heritage;
pub(crate) use set_aside::set_aside;
