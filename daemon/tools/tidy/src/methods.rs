//! Methods of a type that lie in other files than the type: who calls one on `self` uses the file that
//! has it. Calls on other values are not followed, as that would need their types.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};
use syn::{Expr, Item};

use crate::graph::definitions;
use crate::modules::Crate;
use crate::paths::Reference;
use crate::sources::{attributes, for_tests};

/// A type: the file that defines it, and its name.
type Owner = (usize, String);

/// A call of `self.name()` or `Self::name()` that another file answers.
pub struct Call {
    pub from: usize,
    pub to: usize,
    pub line: usize,
    pub name: String,
}

/// The calls of a crate's production code that lead to a block of methods in another file.
pub fn calls(krate: &Crate) -> Vec<Call> {
    let mut found =
        Blocks { krate, module: 0, owner: None, methods: BTreeMap::new(), calls: Vec::new() };
    for (file, source) in krate.sources.iter().enumerate() {
        if let (false, Some(module)) = (source.test, krate.module_of(file)) {
            found.module = module;
            found.visit_file(&source.file);
        }
    }
    let Blocks { methods, calls, .. } = found;
    let answered = calls.into_iter().filter_map(|(owner, from, line, name)| {
        let &to = methods.get(&(owner, name.clone()))?;
        (to != from).then_some(Call { from, to, line, name })
    });
    answered.collect()
}

struct Blocks<'a> {
    krate: &'a Crate,
    module: usize,
    /// The type whose methods are looked at.
    owner: Option<Owner>,
    methods: BTreeMap<(Owner, String), usize>,
    calls: Vec<(Owner, usize, usize, String)>,
}

impl Blocks<'_> {
    fn call(&mut self, name: &syn::Ident) {
        if let Some(owner) = self.owner.clone() {
            let from = self.krate.modules[self.module].file;
            self.calls.push((owner, from, name.span().start().line, name.to_string()));
        }
    }

    fn owner_of(&self, item: &syn::ItemImpl) -> Option<Owner> {
        let syn::Type::Path(path) = &*item.self_ty else { return None };
        let path = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let reference = Reference { module: self.module, path, line: 0 };
        let file = definitions(self.krate, &reference).into_iter().next()?;
        Some((file, reference.path.last()?.clone()))
    }
}

impl<'ast> Visit<'ast> for Blocks<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, _: &'ast syn::ItemMod) {}

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.owner = self.owner_of(item);
        if let (None, Some(owner)) = (&item.trait_, &self.owner) {
            let file = self.krate.modules[self.module].file;
            for method in &item.items {
                if let syn::ImplItem::Fn(method) = method {
                    self.methods.insert((owner.clone(), method.sig.ident.to_string()), file);
                }
            }
        }
        visit::visit_item_impl(self, item);
        self.owner = None;
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if matches!(&*call.receiver, Expr::Path(path) if path.path.is_ident("self")) {
            self.call(&call.method);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments = path.segments.iter();
        if let (Some(first), Some(second)) = (segments.next(), segments.next())
            && first.ident == "Self"
        {
            self.call(&second.ident);
        }
        visit::visit_path(self, path);
    }
}
