//! Every path that production code writes down, with the module and the line in which it stands. Knows
//! nothing of what the paths lead to.

use proc_macro2::{TokenStream, TokenTree};
use syn::Item;
use syn::visit::{self, Visit};

use crate::modules::Crate;
use crate::sources::{attributes, for_tests};

/// A path as it is written, for example `crate::health::Health::new`.
pub struct Reference {
    /// Index into [`Crate::modules`].
    pub module: usize,
    pub path: Vec<String>,
    pub line: usize,
}

/// The references of a crate's production code, those of macros' arguments as well, imports first. A
/// `pub use` is none.
pub fn references(krate: &Crate) -> Vec<Reference> {
    let mut found = Vec::new();
    for (index, module) in krate.modules.iter().enumerate() {
        let own = module.imports.iter().filter(|import| !import.reexport);
        found.extend(own.map(|import| Reference {
            module: index,
            path: import.path.clone(),
            line: import.line,
        }));
    }
    for (file, source) in krate.sources.iter().enumerate() {
        if source.test {
            continue;
        }
        let Some(module) = krate.module_of(file) else { continue };
        let mut collector = Collector { krate, module, found: &mut found };
        collector.visit_file(&source.file);
    }
    found
}

struct Collector<'a> {
    krate: &'a Crate,
    module: usize,
    found: &'a mut Vec<Reference>,
}

impl Collector<'_> {
    fn add(&mut self, path: Vec<String>, line: usize) {
        self.found.push(Reference { module: self.module, path, line });
    }

    /// Takes `a::b::c` out of a macro's arguments, which syn leaves as tokens.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons, mut field) = (0, 0, false);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 && !path.is_empty() {
                        self.add(std::mem::take(&mut path), line);
                    }
                    if !field {
                        line = ident.span().start().line;
                        path.push(ident.to_string());
                    }
                    (colons, field) = (0, false);
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    (colons, field) = (colons + 1, false);
                }
                other => {
                    if !path.is_empty() {
                        self.add(std::mem::take(&mut path), line);
                    }
                    field = matches!(&other, TokenTree::Punct(punct) if punct.as_char() == '.');
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        if !path.is_empty() {
            self.add(path, line);
        }
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let child = self.krate.modules[self.module].children.get(&item.ident.to_string());
        let (Some(&child), true) = (child, item.content.is_some()) else { return };
        let outer = std::mem::replace(&mut self.module, child);
        visit::visit_item_mod(self, item);
        self.module = outer;
    }

    /// Imports are known to the module already.
    fn visit_item_use(&mut self, _: &'ast syn::ItemUse) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let line = path.segments.first().map_or(0, |first| first.ident.span().start().line);
        self.add(names, line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        visit::visit_macro(self, call);
        self.tokens(call.tokens.clone());
    }

    /// Paths in the strings of attributes, as serde takes them.
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let syn::Meta::List(list) = &attribute.meta else { return };
        for token in list.tokens.clone() {
            let TokenTree::Literal(literal) = token else { continue };
            let text = literal.to_string();
            if let Ok(path) = syn::parse_str::<syn::Path>(text.trim_matches('"'))
                && path.segments.len() > 1
            {
                let names = path.segments.iter().map(|segment| segment.ident.to_string());
                self.add(names.collect(), literal.span().start().line);
            }
        }
    }
}
