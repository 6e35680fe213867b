//! JSON bodies as clients write them, right and wrong.

mod agreement;
mod bodies;
mod nesting;
mod texts;
