//! `picket-tidy [ROOT]`: prints, for each crate of the product, its files, the edges between them and the
//! circles that they form; then each violation of a house rule. Ends with 1 if there is any of either.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use picket_tidy::graph::Graph;
use picket_tidy::house::violations;
use picket_tidy::modules::product;

fn main() -> Result<ExitCode> {
    let root = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let crates = product(&root)?;
    let mut circles = 0;
    for krate in &crates {
        let graph = Graph::of(krate);
        print!("{graph}");
        circles += graph.circles().len();
    }
    let violations = violations(&crates);
    println!("{} violations of the house rules", violations.len());
    for violation in &violations {
        println!("  {violation}");
    }
    let clean = circles == 0 && violations.is_empty();
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
