//! The house rules that a machine can check and that neither the compiler nor clippy holds: which files
//! use each other, which file may name which engine, how large a file and a function may be. Reads the
//! sources with syn. Knows no part of the product.

pub mod components;
pub mod graph;
pub mod house;
pub mod methods;
pub mod modules;
pub mod paths;
pub mod rules;
pub mod sources;

/// The paths of what a rule finds in planted files, which lie in `src`.
#[cfg(test)]
fn planted(
    files: &[(&str, &str)],
    rule: fn(&modules::Crate) -> Vec<rules::Violation>,
) -> Vec<String> {
    planted_in("src", files, rule)
}

/// The same, for a crate in this folder.
#[cfg(test)]
fn planted_in(
    folder: &str,
    files: &[(&str, &str)],
    rule: fn(&modules::Crate) -> Vec<rules::Violation>,
) -> Vec<String> {
    let parse = |(path, text): &(&str, &str)| {
        sources::Source::parse(&format!("{folder}/{path}"), text).unwrap()
    };
    let krate = modules::Crate::of(folder, files.iter().map(parse).collect()).unwrap();
    rule(&krate).into_iter().map(|violation| violation.path).collect()
}
