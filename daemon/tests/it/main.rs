//! The whole daemon, as its users run it: the production binary, a real store on a real file
//! system, real sockets and signals. Start reading at `support`.

#![allow(clippy::unwrap_used)]

mod activation;
mod api;
mod bad_input;
mod cli;
mod crash;
mod damage;
mod doctor;
mod doors;
mod hostile;
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
mod shutdown;
mod support;
mod systemd;
#[cfg(feature = "tls")]
mod tls;
mod versions;
