//! The project itself, held against the house rules.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use picket_tidy::graph::Graph;
use picket_tidy::house::violations;
use picket_tidy::modules::{Crate, product};

fn crates() -> Vec<Crate> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).unwrap();
    let crates = product(root).unwrap();
    let files: usize = crates.iter().map(|krate| krate.production().count()).sum();
    assert!(
        files > 100,
        "only {files} production files: the sources are not where this test looks"
    );
    crates
}

#[test]
fn every_file_keeps_the_rules() {
    let left: Vec<String> = violations(&crates()).iter().map(ToString::to_string).collect();
    assert!(left.is_empty(), "{} violations\n{}", left.len(), left.join("\n"));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    for krate in crates() {
        let graph = Graph::of(&krate);
        assert!(graph.circles().is_empty(), "{graph}");
    }
}
