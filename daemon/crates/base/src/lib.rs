//! What every room of Picket may use: the budget of memory, the clocks, moments as text, files and
//! disks, values that a reload replaces, errors in words and text that a terminal may show. It knows
//! nothing of pictures, models, records or requests. With the daemon's `os`
//! it is the only place that names nix and rustix.

#![deny(unsafe_code)]

pub mod budget;
pub mod clock;
pub mod dir;
pub mod disk;
mod error;
mod live;
mod printable;
pub mod priority;
pub mod private;
pub mod rfc3339;
pub mod room;

pub use error::chain;
pub use live::Live;
pub use printable::{is_obeyed, printable, printable_json};
