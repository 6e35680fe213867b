//! `picket-tidy [ROOT]`: prints, for each crate of the product, its files, the edges between them and the
//! circles that they form.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use picket_tidy::graph::Graph;
use picket_tidy::modules::product;

fn main() -> Result<ExitCode> {
    let root = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let mut circles = 0;
    for krate in product(&root)? {
        let graph = Graph::of(&krate);
        print!("{graph}");
        circles += graph.circles().len();
    }
    Ok(if circles == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
