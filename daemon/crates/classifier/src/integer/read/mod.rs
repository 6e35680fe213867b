//! From a parsed ONNX graph to a graph of bytes, before the stock engine sees it: what each tensor is, in the
//! order of the nodes. What it does not know stays with the stock engine, and it says why.
//!
//! - `reader` holds what is known so far and makes nodes; `value` says what a tensor can be, `constant` reads
//!   arrays.
//! - `quantise`, `layers`, `elementwise`, `pools` and `moves` read the operators, `dispatch` tells which.

mod constant;
mod dispatch;
mod elementwise;
mod layers;
mod moves;
mod pools;
mod quantise;
mod reader;
mod value;

pub use dispatch::{Known, read};
pub use reader::{Reading, UNKNOWN};
pub use value::{Value, Work};
