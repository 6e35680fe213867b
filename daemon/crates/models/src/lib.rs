//! The models that a box has: installed versions in directories of their own, and a state file that says
//! which of them serves. It knows no engine, no network and no daemon.
//!
//! - `state` is what is known of the versions and how it changes, `ledger` keeps it through power cuts,
//!   `versions` are the directories, `stop` says that the daemon was asked to end, `store` is all of it for one
//!   owner.
//! - `signature` says whether a version comes from somebody who is trusted; `error` is what can go wrong,
//!   `limits` how much is taken.

#![deny(unsafe_code)]

mod error;
mod ledger;
mod limits;
mod signature;
mod state;
mod stop;
mod store;
mod versions;

pub use error::StoreError;
pub use limits::{Limits, REFUSED_MAX, VERSION_FILES_MAX};
pub use signature::{SIGNATURE, SignatureError, TrustedKeys};
pub use state::{Choice, Listed, Probation, Refused, Standing, State, Version, Why};
pub use stop::StopNote;
pub use store::{Begun, Store};
pub use versions::{GIVEN, SourceFile, Staged};
