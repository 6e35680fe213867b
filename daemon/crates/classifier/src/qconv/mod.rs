//! Quantised convolutions: our own kernels in place of tract's, as nodes of tract's graph. `pattern`
//! finds them and puts them in, `op` is the node, and `sum` a node for the mean behind them.
//! docs/kernels.md says which path runs where and what stays with tract.

mod op;
mod pattern;
mod sum;

pub use op::QConv;
pub use pattern::replace;
pub use sum::{QSum, replace_sums};
