//! The log's own files: a journal, sealed files and a witness, which are the truth.
//!
//! - `medium` is what is asked of a file system, `position` where the two streams stand, `frame` what the
//!   files consist of, `item` what is in a frame, `known` who made the records, `sizes` the limits.
//! - `journal` keeps what was committed since the last checkpoint, `segment` and `summary` are sealed files
//!   and their footers, `sealed` those of one stream for whoever appends to them, `witness` how far the log
//!   had got.
//! - `survey` is what all of them hold together, `counting` what their records come to; `reader` and `pieces`
//!   read them, `proof` proves that nothing is missing, `reading` does both for a log without an owner.
//! - `backup` copies a log, `cursor` is a reader's position, `takeover` goes on from a store of 0.1, of which
//!   `inherited` makes sealed files.
//! - `store` is the open log, to which `directory` leads; `staged` is a commit on its way, `retention` and
//!   `age` remove the oldest, `repair` and `healing` mend what can't be read.
//! - `view` is the same once more in sled, fed by `feeding`; `index` are its keys, `terms` what a record can
//!   be asked for, `lookup` finds chunks, `audit` checks them, `pages` are what queries get.

mod age;
mod audit;
mod backup;
mod counting;
// A reader with a position has no room of the daemon yet; the uplink will be the first.
#[allow(dead_code)]
mod cursor;
mod directory;
mod feeding;
mod findings;
mod frame;
mod healing;
mod index;
mod inherited;
mod item;
mod journal;
mod known;
mod lookup;
mod medium;
mod owned;
#[cfg(test)]
mod owned_tests;
#[cfg(test)]
mod page_tests;
mod pages;
mod pieces;
mod position;
mod proof;
mod reader;
mod reading;
#[cfg(test)]
mod reading_tests;
mod removal;
mod repair;
mod retention;
mod sealed;
mod segment;
mod shelf;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod simulation;
mod sizes;
mod snapshot;
mod staged;
mod store;
mod summary;
mod survey;
mod takeover;
#[cfg(test)]
mod takeover_tests;
mod terms;
#[cfg(test)]
mod tests;
mod trouble;
mod upkeep;
mod view;
mod view_state;
mod viewing;
mod witness;

pub use backup::{Backup, back_up};
pub(crate) use findings::Findings;
pub use owned::{Found, PredictionLog};
pub use position::Stream;
pub use proof::{Testimony, Witness};
pub use reading::StoppedLog;
pub use shelf::{LogReader, Standing};
pub use sizes::{Limits, Retention};
pub use staged::Group;
pub use takeover::Inheritance;
