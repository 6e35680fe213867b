//! One listener on a thread and a runtime of its own: sockets, connections, deadlines, drain. It serves
//! any warp routes and knows none of them.

mod connection;
mod fixed;
mod listen;
mod pace;
mod permits;
mod server;
mod tls;

pub use listen::{BindError, Listener};
pub use server::{Opened, Server, Stop, TURNED_AWAY_MAX};
pub use tls::{Tls, TlsError};
