//! How files are called and how they begin.

use super::Violation;
use crate::modules::Crate;
use crate::sources::Source;

/// Names that say nothing of what a file owns.
const EMPTY_NAMES: [&str; 5] = ["utils", "helpers", "common", "misc", "manager"];

/// What marks work that was left for later.
const MARKS: [&str; 4] = ["TODO", "FIXME", "todo!(", "unimplemented!("];

fn each(krate: &Crate, check: impl Fn(&Source) -> Option<Violation>) -> Vec<Violation> {
    krate.sources.iter().filter_map(check).collect()
}

/// Every file, of tests as well, opens with what it owns.
pub fn purpose(krate: &Crate) -> Vec<Violation> {
    each(krate, |source| {
        let missing = !source.text.starts_with("//!");
        missing.then(|| Violation::new("purpose", &source.path, "does not open with its purpose"))
    })
}

/// No production file holds a mark of unfinished work, in comments either.
pub fn unfinished(krate: &Crate) -> Vec<Violation> {
    let held = |source: &&Source| MARKS.iter().find(|mark| source.text.contains(**mark));
    krate
        .production()
        .filter_map(|source| held(&source).map(|mark| (source, mark)))
        .map(|(source, mark)| Violation::new("unfinished", &source.path, format!("holds {mark}")))
        .collect()
}

/// A file is called for what it owns.
pub fn names(krate: &Crate) -> Vec<Violation> {
    each(krate, |source| {
        let mut parts = source.path.trim_end_matches(".rs").split('/');
        let name = parts.find(|part| EMPTY_NAMES.contains(part))?;
        Some(Violation::new("names", &source.path, format!("{name} names nothing")))
    })
}

/// A module with children is `name/mod.rs`, nowhere `name.rs` beside `name/`.
pub fn styles(krate: &Crate) -> Vec<Violation> {
    each(krate, |source| {
        let folder = format!("{}/", source.path.strip_suffix(".rs")?);
        let beside = krate.sources.iter().any(|other| other.path.starts_with(&folder));
        beside.then(|| Violation::new("styles", &source.path, format!("stands beside {folder}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planted;

    #[test]
    fn a_file_without_a_purpose_is_found() {
        let files = [("lib.rs", "mod a;"), ("a.rs", "//! What it owns.")];
        assert_eq!(planted(&files, purpose), ["src/lib.rs"]);
    }

    #[test]
    fn a_mark_behind_the_tests_is_found_and_one_of_tests_is_not() {
        let files = [
            ("lib.rs", "mod a;\n#[cfg(test)] mod tests;"),
            ("a.rs", "#[cfg(test)]\nmod tests {}\n// FIXME: later\nfn f() {}"),
            ("tests.rs", "// FIXME: a test may say so"),
        ];
        assert_eq!(planted(&files, unfinished), ["src/a.rs"]);
    }

    #[test]
    fn empty_names_are_found_in_folders_too() {
        let files = [
            ("lib.rs", "mod misc; mod a; mod manager;"),
            ("misc/mod.rs", ""),
            ("manager.rs", ""),
            ("a.rs", ""),
        ];
        assert_eq!(planted(&files, names), ["src/misc/mod.rs", "src/manager.rs"]);
    }

    #[test]
    fn a_file_beside_its_folder_is_found() {
        let files = [("lib.rs", "mod a;"), ("a.rs", "mod b;"), ("a/b.rs", "")];
        assert_eq!(planted(&files, styles), ["src/a.rs"]);
    }
}
