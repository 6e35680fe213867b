//! The whole daemon, as its users run it: the production binary, a real store on a real file
//! system, real sockets and signals. Start reading at `support`.

#![allow(clippy::unwrap_used)]

mod activation;
mod api;
mod bad_input;
mod batch_memory;
mod batches;
mod cli;
mod connections;
mod crash;
mod damage;
mod doctor;
mod doors;
mod hostile;
mod keep_alive;
mod lifecycle;
mod liveness;
mod log_output;
mod memory;
mod model_card;
mod model_forms;
mod models;
mod packaging;
mod pictures;
mod private;
mod probes;
mod reload;
mod shares;
mod shutdown;
mod sockets;
mod stalled_reader;
mod support;
mod systemd;
#[cfg(feature = "tls")]
mod tls;
mod versions;
