//! Sockets → requests: listening, limits, deadlines, TLS. Knows no route.

mod accept;
mod arriving;
mod connection;
mod fixed;
mod keep_alive;
mod limits;
mod listen;
mod pace;
mod permits;
mod routes;
mod secret;
mod tcp;
mod tls;
mod turns;
mod unread;

use crate::peer;

pub use accept::{Opened, Server, Stop};
pub use limits::{LEAVING_MAX, TURNED_AWAY_MAX};
pub use listen::{BindError, Listener, bind_advice};
pub use pace::Patience;
pub use routes::{BodyStream, Head, Routes};
pub use tls::{Look, Tls, TlsError};
pub use unread::leave_memory;

pub(in crate::http) use fixed::error_response;
pub(in crate::http) use secret::warn_if_exposed;
