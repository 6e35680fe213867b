//! How large files and functions are, and what a face holds.

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Item, Signature};

use super::Violation;
use crate::modules::Crate;
use crate::sources::{Source, attributes, for_tests};

/// Lines of code that a production file may have.
pub const FILE_LINES_MAX: usize = 450;
/// Lines of code that a function may have, its signature and last brace among them.
pub const FUNCTION_LINES_MAX: usize = 70;

pub fn long_files(krate: &Crate) -> Vec<Violation> {
    let long = krate.production().filter_map(|source| {
        let lines = source.code_lines().len();
        let what = format!("{lines} lines of code, at most {FILE_LINES_MAX}");
        (lines > FILE_LINES_MAX).then(|| Violation::new("long_files", &source.path, what))
    });
    long.collect()
}

pub fn long_functions(krate: &Crate) -> Vec<Violation> {
    krate.production().flat_map(long_functions_of).collect()
}

fn long_functions_of(source: &Source) -> Vec<Violation> {
    let code = source.code_lines();
    let mut functions = Functions::default();
    functions.visit_file(&source.file);
    let long = functions.0.into_iter().filter_map(|(name, first, last)| {
        let lines = code.iter().filter(|&line| (first..=last).contains(line)).count();
        let what = format!("{name} has {lines} lines, at most {FUNCTION_LINES_MAX}");
        (lines > FUNCTION_LINES_MAX).then(|| Violation::new("long_functions", &source.path, what))
    });
    long.collect()
}

/// Names, first and last lines of functions. What tests alone compile has no lines of code.
#[derive(Default)]
struct Functions(Vec<(String, usize, usize)>);

impl Functions {
    fn add(&mut self, signature: &Signature, block: &syn::Block) {
        let (first, last) = (signature.span().start().line, block.span().end().line);
        self.0.push((signature.ident.to_string(), first, last));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

/// `mod.rs` and `lib.rs` declare, offer and dispatch; types and what they do live in files of their own. A
/// crate of one file has no face.
pub fn faces(krate: &Crate) -> Vec<Violation> {
    if krate.production().count() == 1 {
        return Vec::new();
    }
    let face =
        |source: &&Source| source.path.ends_with("/mod.rs") || source.path.ends_with("/lib.rs");
    krate.production().filter(face).flat_map(definitions).collect()
}

fn definitions(source: &Source) -> Vec<Violation> {
    let items = source.file.items.iter().filter(|item| !for_tests(attributes(item)));
    let kinds = items.filter_map(|item| match item {
        Item::Struct(item) => Some(format!("struct {}", item.ident)),
        Item::Enum(item) => Some(format!("enum {}", item.ident)),
        Item::Union(item) => Some(format!("union {}", item.ident)),
        Item::Trait(item) => Some(format!("trait {}", item.ident)),
        Item::Impl(item) => {
            let line = item.impl_token.span.start().line;
            Some(format!("impl in line {line}"))
        }
        _ => None,
    });
    kinds
        .map(|kind| Violation::new("faces", &source.path, format!("a face holds {kind}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planted;

    fn lines(count: usize) -> String {
        "    let _ = 1;\n".repeat(count)
    }

    #[test]
    fn a_long_file_is_found_where_its_length_is_behind_the_tests() {
        let tests = "#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n";
        let most = format!("{tests}{}", "const _: u8 = 1;\n// Not counted.\n\n".repeat(450));
        let more = format!("{most}const _: u8 = 1;\n");
        assert!(planted(&[("lib.rs", &most)], long_files).is_empty());
        assert_eq!(planted(&[("lib.rs", &more)], long_files), ["src/lib.rs"]);
    }

    #[test]
    fn a_long_function_is_found_wherever_it_is() {
        let long = lines(69);
        let short = lines(68);
        let files = [
            ("lib.rs", "mod a; mod b; mod c;".to_string()),
            ("a.rs", format!("impl A {{\nfn long() {{\n{long}}}\n}}")),
            ("b.rs", format!("fn short() {{\n{short}}}")),
            (
                "c.rs",
                format!("fn short() {{}}\n#[cfg(test)]\nmod t {{\nfn long() {{\n{long}}}\n}}"),
            ),
        ];
        let files = files.each_ref().map(|(path, text)| (*path, &**text));
        assert_eq!(planted(&files, long_functions), ["src/a.rs"]);
    }

    #[test]
    fn a_type_in_a_face_is_found() {
        let files = [
            ("lib.rs", "pub mod a;\n#[cfg(test)] struct Fixture;"),
            ("a/mod.rs", "mod b;\npub struct Thing;\nimpl Thing {}\npub fn open() { b::open() }"),
            ("a/b.rs", "pub struct B;\npub fn open() {}"),
        ];
        assert_eq!(planted(&files, faces), ["src/a/mod.rs", "src/a/mod.rs"]);
    }
}
