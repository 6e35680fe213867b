//! A daemon's life: what is started in which order, what a reload changes, what the service manager is
//! told, and how it all ends.

mod announce;
mod certificate;
mod control;
mod error;
pub mod file_modes;
mod model;
mod models;
mod part;
mod planned_stop;
mod reload;
mod request;
mod room;
mod secrets;
mod signals;
mod start;
mod supervisor;
mod systemd;
pub mod token_memory;
mod watchdog;

pub use error::RunError;
pub use model::load_pipeline;
pub use models::{Workshop, WorkshopError};
pub use supervisor::run;
pub use systemd::Sockets;
