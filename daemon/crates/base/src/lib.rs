//! What every room of Picket may use: the clocks, moments as text, files and disks, values that a
//! reload replaces, and errors in words. It knows nothing of pictures, models, records or requests. With the daemon's `os`
//! it is the only place that names nix and rustix.

#![deny(unsafe_code)]

pub mod clock;
pub mod dir;
pub mod disk;
mod error;
mod live;
pub mod rfc3339;

pub use error::chain;
pub use live::Live;
