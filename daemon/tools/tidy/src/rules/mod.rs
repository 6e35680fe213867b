//! What the house asks of each file. A rule takes a crate and gives a violation for each thing that breaks
//! it; what may stay all the same is an exception with a reason.

mod engines;
mod exceptions;
mod files;
mod shape;
mod soundness;
mod violation;

pub use exceptions::{Exception, unexcused};
pub use violation::Violation;

use engines::engines;
use files::{names, purpose, styles, unfinished};
use shape::{faces, long_files, long_functions};
use soundness::{unsound, unwraps};

use crate::modules::Crate;

/// All that the rules find in a crate.
pub fn all(krate: &Crate) -> Vec<Violation> {
    let rules = [
        engines,
        faces,
        long_files,
        long_functions,
        names,
        purpose,
        styles,
        unfinished,
        unsound,
        unwraps,
    ];
    rules.iter().flat_map(|rule| rule(krate)).collect()
}
