//! Where unsafe code may be and what it says, and that production code does not unwrap.

use proc_macro2::TokenTree;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, Stmt};

use super::Violation;
use crate::modules::Crate;
use crate::sources::{Source, attributes, for_tests};

/// Beginnings of the paths of files that may hold unsafe code: arithmetic and system calls.
pub const UNSAFE_ROOMS: [&str; 3] =
    ["daemon/crates/kernels/", "daemon/crates/base/", "daemon/src/os/"];

/// Unsafe code outside its rooms, blocks without `SAFETY:` above them, functions without `# Safety`.
pub fn unsound(krate: &Crate) -> Vec<Violation> {
    krate.production().flat_map(unsound_in).collect()
}

fn unsound_in(source: &Source) -> Vec<Violation> {
    let mut unsafes = Unsafe { source, statement: 0, places: 0, silent: Vec::new() };
    unsafes.visit_file(&source.file);
    let mut found: Vec<Violation> = unsafes
        .silent
        .iter()
        .map(|(line, what)| Violation::new("unsound", &source.path, format!("line {line}: {what}")))
        .collect();
    if unsafes.places > 0 && !UNSAFE_ROOMS.iter().any(|room| source.path.starts_with(room)) {
        found.push(Violation::new("unsafe_rooms", &source.path, "holds unsafe code"));
    }
    found
}

struct Unsafe<'a> {
    source: &'a Source,
    /// The line in which the statement or item around begins.
    statement: usize,
    places: usize,
    silent: Vec<(usize, &'static str)>,
}

impl Unsafe<'_> {
    /// Whether the comment right above one of these lines says `SAFETY:`.
    fn reasoned(&self, lines: [usize; 2]) -> bool {
        let text: Vec<&str> = self.source.text.lines().map(str::trim).collect();
        lines.iter().any(|&line| {
            let above = text[..line.saturating_sub(1)].iter().rev();
            let mut comment =
                above.take_while(|line| line.starts_with("//") || line.starts_with("#["));
            comment.any(|line| line.contains("SAFETY:"))
        })
    }

    fn block(&mut self, line: usize) {
        self.places += 1;
        if !self.reasoned([line, self.statement]) {
            self.silent.push((line, "an unsafe block without SAFETY:"));
        }
    }

    fn function(&mut self, signature: &syn::Signature, attributes: &[Attribute]) {
        let Some(token) = &signature.unsafety else { return };
        self.places += 1;
        if !documented(attributes, "# Safety") {
            self.silent.push((token.span.start().line, "an unsafe function without # Safety"));
        }
    }
}

fn documented(attributes: &[Attribute], text: &str) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => {
            let value = &doc.value;
            matches!(value, syn::Expr::Lit(literal)
                if matches!(&literal.lit, syn::Lit::Str(line) if line.value().contains(text)))
        }
        _ => false,
    })
}

impl<'ast> Visit<'ast> for Unsafe<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if for_tests(attributes(item)) {
            return;
        }
        let outer = std::mem::replace(&mut self.statement, item.span().start().line);
        visit::visit_item(self, item);
        self.statement = outer;
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        let outer = std::mem::replace(&mut self.statement, statement.span().start().line);
        visit::visit_stmt(self, statement);
        self.statement = outer;
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.block(block.unsafe_token.span.start().line);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(token) = &item.unsafety {
            self.block(token.span.start().line);
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, &function.attrs);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if for_tests(&function.attrs) {
            return;
        }
        self.function(&function.sig, &function.attrs);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.function(&function.sig, &function.attrs);
        visit::visit_trait_item_fn(self, function);
    }

    /// In a macro, a block is `unsafe` and braces behind it.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let mut lines = Vec::new();
        unsafe_blocks(call.tokens.clone(), &mut lines);
        for line in lines {
            self.block(line);
        }
    }
}

fn unsafe_blocks(tokens: proc_macro2::TokenStream, lines: &mut Vec<usize>) {
    let mut before = None;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) if ident == "unsafe" => {
                before = Some(ident.span().start().line);
            }
            TokenTree::Group(group) => {
                if group.delimiter() == proc_macro2::Delimiter::Brace {
                    lines.extend(before);
                }
                before = None;
                unsafe_blocks(group.stream(), lines);
            }
            _ => before = None,
        }
    }
}

/// Production code that calls `unwrap`, in macros' arguments as well.
pub fn unwraps(krate: &Crate) -> Vec<Violation> {
    let calls = |source: &Source| {
        let mut unwraps = Unwraps(Vec::new());
        unwraps.visit_file(&source.file);
        unwraps.0
    };
    krate
        .production()
        .flat_map(|source| calls(source).into_iter().map(move |line| (source, line)))
        .map(|(source, line)| {
            Violation::new("unwraps", &source.path, format!("unwraps in line {line}"))
        })
        .collect()
}

struct Unwraps(Vec<usize>);

impl Unwraps {
    fn tokens(&mut self, tokens: proc_macro2::TokenStream) {
        let mut dot = false;
        for token in tokens {
            match &token {
                TokenTree::Ident(ident) if dot && ident == "unwrap" => {
                    self.0.push(ident.span().start().line);
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => {}
            }
            dot = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '.');
        }
    }
}

impl<'ast> Visit<'ast> for Unwraps {
    fn visit_item(&mut self, item: &'ast Item) {
        if !for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "unwrap" {
            self.0.push(call.method.span().start().line);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{planted, planted_in};

    #[test]
    fn unsafe_code_outside_its_rooms_is_found() {
        let text = "/// Reads.\n///\n/// # Safety\n/// Always.\npub unsafe fn f() {}\n\
                    fn g() {\n    // SAFETY: a trial.\n    let _ =\n        unsafe { f() };\n}\n";
        assert_eq!(planted(&[("lib.rs", text)], unsound), ["src/lib.rs"]);
        let folder = "daemon/crates/base/src";
        assert!(planted_in(folder, &[("lib.rs", text)], unsound).is_empty());
    }

    #[test]
    fn unsafe_code_without_its_reason_is_found() {
        let folder = "daemon/src";
        let silent =
            |text: &str| planted_in(folder, &[("lib.rs", "mod os;"), ("os/mod.rs", text)], unsound);
        let found = ["daemon/src/os/mod.rs"];
        assert_eq!(silent("fn g() { unsafe { f() } }"), found);
        assert_eq!(silent("unsafe fn g() {}"), found);
        assert_eq!(silent("unsafe impl Send for X {}"), found);
        assert_eq!(silent("fn g() { print(format!(\"{}\", unsafe { f() })) }"), found);
        let behind = "#[cfg(test)]\nmod tests {\n    fn t() { unsafe { f() } }\n}\nfn g() { unsafe { f() } }";
        assert_eq!(silent(behind), found);
        assert!(silent("#[cfg(test)]\nmod tests {\n    fn t() { unsafe { f() } }\n}").is_empty());
        assert!(silent("fn g() {\n    // SAFETY: a trial.\n    unsafe { f() }\n}").is_empty());
    }

    #[test]
    fn an_unwrap_behind_the_tests_or_in_a_macro_is_found() {
        let text = "#[cfg(test)]\nmod tests {\n    fn t() { x.unwrap(); }\n}\nfn f() { x.unwrap(); }\n\
                    fn g() { println!(\"{}\", x.unwrap()); }\nfn h() { x.unwrap_or(1); }";
        assert_eq!(planted(&[("lib.rs", text)], unwraps), ["src/lib.rs", "src/lib.rs"]);
    }
}
