//! The production code of a crate, file by file. Knows no rule.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use proc_macro2::LineColumn;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta};

/// One parsed file, whether production code or tests.
pub struct Source {
    /// Path below the repository's root, with `/` between folders.
    pub path: String,
    pub text: String,
    pub file: syn::File,
    /// True for a file that only tests compile. [`crate::modules`] finds that out.
    pub test: bool,
}

impl Source {
    /// Parses `text` as the file at `path`.
    pub fn parse(path: &str, text: &str) -> Result<Source> {
        let file = syn::parse_file(text).with_context(|| format!("{path} is no Rust"))?;
        Ok(Source { path: path.to_string(), text: text.to_string(), file, test: false })
    }

    /// The numbers of the lines that hold production code, counted from 1: neither blank nor a comment,
    /// and outside every item for tests alone.
    pub fn code_lines(&self) -> Vec<usize> {
        if self.test {
            return Vec::new();
        }
        let mut tests = TestRanges::default();
        tests.visit_file(&self.file);
        let of_tests = |line| tests.0.iter().any(|&(first, last)| (first..=last).contains(&line));
        let numbered = self.text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        numbered
            .filter(|&(number, line)| {
                !line.is_empty() && !line.starts_with("//") && !of_tests(number)
            })
            .map(|(number, _)| number)
            .collect()
    }
}

/// Every Rust file below `folder`, which lies in `root`, in the order of their paths.
pub fn read(root: &Path, folder: &str) -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    collect(&root.join(folder), &mut paths)?;
    paths.sort();
    paths.into_iter().map(|path| read_one(root, &path)).collect()
}

fn read_one(root: &Path, path: &Path) -> Result<Source> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let relative = path.strip_prefix(root).context("a file of the repository")?;
    Source::parse(&relative.to_string_lossy(), &text)
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}

/// Whether these attributes leave the item to tests: `#[test]`, `#[cfg(test)]` or `#[cfg(all(test, …))]`.
pub fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string().replace(' ', "");
            let all = condition.strip_prefix("all(").and_then(|rest| rest.strip_suffix(')'));
            condition == "test" || all.is_some_and(|all| all.split(',').any(|each| each == "test"))
        }
        Meta::List(_) | Meta::NameValue(_) => false,
    })
}

/// The attributes of an item, of whatever kind.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// First and last lines of what only tests compile.
#[derive(Default)]
struct TestRanges(Vec<(usize, usize)>);

impl TestRanges {
    fn add(&mut self, start: LineColumn, end: LineColumn) {
        self.0.push((start.line, end.line));
    }
}

impl<'ast> Visit<'ast> for TestRanges {
    fn visit_item(&mut self, item: &'ast Item) {
        if for_tests(attributes(item)) {
            self.add(item.span().start(), item.span().end());
        } else {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if for_tests(&item.attrs) {
            self.add(item.span().start(), item.span().end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_behind_a_block_of_tests_is_seen() {
        let text = "//! A file.\n\nfn before() {}\n#[cfg(test)]\nmod tests {\n    fn of_tests() {}\n}\n\
                    // A comment.\nfn behind() {}\n";
        let source = Source::parse("a.rs", text).unwrap();
        assert_eq!(source.code_lines(), [3, 9]);
    }

    #[test]
    fn conditions_for_tests_are_told_from_others() {
        let told = |condition: &str| {
            let file = syn::parse_file(&format!("#[cfg({condition})] mod x {{}}")).unwrap();
            for_tests(attributes(&file.items[0]))
        };
        assert!(told("test"));
        assert!(told("all(test, target_arch = \"x86_64\")"));
        assert!(!told("any(test, feature = \"journald\")"));
        assert!(!told("not(test)"));
        assert!(!told("feature = \"test\""));
    }
}
