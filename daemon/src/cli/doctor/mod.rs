//! `picket doctor`: whether this machine is fit for the daemon, what is not, and what to do about it.
//! Changes nothing, except that a damaged log is repaired by being opened, as always.

mod access;
mod certificate;
mod disk;
mod finding;
mod kernel;
mod limits;
mod machine;
mod permissions;
mod ports;
mod report;
mod store;
mod unit;

pub use report::{DoctorArgs, run};
