//! Every setting of the daemon, from flags, environment and file to a validated Config.

mod settings;

pub use settings::*;
