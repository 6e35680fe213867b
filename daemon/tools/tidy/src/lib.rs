//! The house rules that a machine can check and that neither the compiler nor clippy holds: which files
//! use each other, which file may name which engine, how large a file and a function may be. Reads the
//! sources with syn. Knows no part of the product.

pub mod components;
pub mod graph;
pub mod modules;
pub mod paths;
pub mod rules;
pub mod sources;
