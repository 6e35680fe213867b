//! A daemon's life: what is started in which order, what a reload changes, what the service manager is
//! told, and how it all ends.

mod reload;
pub mod supervisor;
pub mod systemd;
mod watchdog;
