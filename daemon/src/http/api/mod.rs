//! The HTTP surface: which path leads where, and what is answered there. Hands requests to the rooms
//! behind it; decides nothing about images or the log itself.

mod admin;
mod auth;
mod body;
mod content;
mod doors;
mod form;
mod gzip;
mod json;
mod log;
mod models;
mod page;
mod pattern;
mod predict;
mod query;
mod rejected;
mod reload;
mod request;
mod router;
mod state;

pub use admin::Admin;
pub use auth::{Token, TokenError};
pub use body::Bodies;
pub use doors::Doors;
pub use log::{LogApi, LogSetup, LogThreads};
pub use models::ModelsApi;
pub use predict::PredictApi;
pub use reload::{Lowering, ReloadApi, ReloadWish};
pub use request::Request;
pub use router::{api_routes, control_routes, probe_routes};
pub use state::Api;
