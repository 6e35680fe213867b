//! The modules of one crate: which file each lies in, what it defines and what it imports. Finds out which
//! files belong to tests alone. Knows no rule and no graph.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use syn::visit::{self, Visit};
use syn::{Item, UseTree, Visibility};

use crate::sources::{Source, attributes, for_tests, read};

/// A crate's files and the modules in them.
pub struct Crate {
    /// The folder of its sources below the repository's root, as in `daemon/src`.
    pub folder: String,
    pub sources: Vec<Source>,
    pub modules: Vec<Module>,
}

/// A module that production code has: a file, or an inline block in one.
pub struct Module {
    /// Index of its file in [`Crate::sources`].
    pub file: usize,
    pub parent: Option<usize>,
    pub children: BTreeMap<String, usize>,
    /// What is defined in it, by name: types, functions, constants, traits and macros.
    pub items: BTreeSet<String>,
    pub imports: Vec<Import>,
}

/// One name that a `use` brings, wherever in the module it stands.
pub struct Import {
    /// None for a glob.
    pub name: Option<String>,
    pub path: Vec<String>,
    /// A `pub use` offers the name to others and says nothing of its own file.
    pub reexport: bool,
    pub line: usize,
}

impl Crate {
    /// Reads the crate whose sources lie in `folder` below `root`.
    pub fn read(root: &Path, folder: &str) -> Result<Crate> {
        Self::of(folder, read(root, folder)?)
    }

    /// The crate of these files; `lib.rs` and `main.rs` are its roots.
    pub fn of(folder: &str, sources: Vec<Source>) -> Result<Crate> {
        let mut builder = Builder {
            krate: Crate { folder: folder.to_string(), sources, modules: Vec::new() },
            reached: BTreeSet::new(),
        };
        for root in ["lib.rs", "main.rs"] {
            let path = format!("{folder}/{root}");
            if let Some(file) = builder.file(&path) {
                builder.module(file, folder.to_string(), None, false)?;
            }
        }
        for (file, source) in builder.krate.sources.iter().enumerate() {
            if !builder.reached.contains(&file) {
                bail!("{} belongs to no module", source.path);
            }
        }
        Ok(builder.krate)
    }

    /// The files that production code has.
    pub fn production(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| !source.test)
    }

    /// The root of the module's own tree: `lib.rs` or `main.rs`.
    pub fn root(&self, module: usize) -> usize {
        self.modules[module].parent.map_or(module, |parent| self.root(parent))
    }

    /// The module that a file opens.
    pub fn module_of(&self, file: usize) -> Option<usize> {
        self.modules.iter().position(|module| module.file == file)
    }
}

/// Every crate that makes up the product: the daemon, and those under daemon/crates that have sources.
pub fn product(root: &Path) -> Result<Vec<Crate>> {
    let mut folders = vec!["daemon/src".to_string()];
    for entry in std::fs::read_dir(root.join("daemon/crates")).context("daemon/crates")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        folders.push(format!("daemon/crates/{name}/src"));
    }
    folders.sort();
    folders.retain(|folder| root.join(folder).is_dir());
    folders.iter().map(|folder| Crate::read(root, folder)).collect()
}

struct Builder {
    krate: Crate,
    reached: BTreeSet<usize>,
}

impl Builder {
    fn file(&self, path: &str) -> Option<usize> {
        self.krate.sources.iter().position(|source| source.path == path)
    }

    /// Takes in the file and all that its `mod` lines lead to. `folder` holds its children's files.
    fn module(
        &mut self,
        file: usize,
        folder: String,
        parent: Option<usize>,
        test: bool,
    ) -> Result<usize> {
        self.reached.insert(file);
        self.krate.sources[file].test = test;
        let items = std::mem::take(&mut self.krate.sources[file].file.items);
        let module = self.block(file, &folder, parent, test, &items);
        self.krate.sources[file].file.items = items;
        module
    }

    /// Takes in the items of a file or of an inline module in it. For tests only the files are noted.
    fn block(
        &mut self,
        file: usize,
        folder: &str,
        parent: Option<usize>,
        test: bool,
        items: &[Item],
    ) -> Result<usize> {
        let module = self.krate.modules.len();
        if !test {
            self.krate.modules.push(Module {
                file,
                parent,
                children: BTreeMap::new(),
                items: BTreeSet::new(),
                imports: Vec::new(),
            });
        }
        for item in items {
            let test = test || for_tests(attributes(item));
            if let Item::Mod(child) = item {
                let name = child.ident.to_string();
                let folder = format!("{folder}/{name}");
                let parent = (!test).then_some(module);
                let index = match &child.content {
                    Some((_, items)) => self.block(file, &folder, parent, test, items)?,
                    None => self.declared(file, &folder, parent, test)?,
                };
                if !test {
                    self.krate.modules[module].children.insert(name, index);
                }
            } else if !test {
                self.krate.modules[module].items.extend(name_of(item));
                Imports(&mut self.krate.modules[module].imports).visit_item(item);
            }
        }
        Ok(module)
    }

    /// A `mod name;`: its file is `name.rs`, or `mod.rs` in the folder of that name.
    fn declared(
        &mut self,
        declaring: usize,
        folder: &str,
        parent: Option<usize>,
        test: bool,
    ) -> Result<usize> {
        let file = self
            .file(&format!("{folder}.rs"))
            .or_else(|| self.file(&format!("{folder}/mod.rs")))
            .with_context(|| {
                format!(
                    "{} declares {folder}, which has no file",
                    self.krate.sources[declaring].path
                )
            })?;
        self.module(file, folder.to_string(), parent, test)
    }
}

fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// Collects the imports of an item, those within functions as well.
struct Imports<'a>(&'a mut Vec<Import>);

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let reexport = !matches!(item.vis, Visibility::Inherited);
        flatten(&item.tree, &mut Vec::new(), reexport, self.0);
    }

    fn visit_item(&mut self, item: &'ast Item) {
        if !for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }
}

fn flatten(tree: &UseTree, before: &mut Vec<String>, reexport: bool, into: &mut Vec<Import>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, reexport, into);
            before.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, before, reexport, into);
            }
        }
        UseTree::Glob(star) => {
            let line = star.star_token.span.start().line;
            into.push(Import { name: None, path: before.clone(), reexport, line });
        }
        UseTree::Name(name) => {
            into.push(import(before, &name.ident, &name.ident, reexport));
        }
        UseTree::Rename(rename) => {
            into.push(import(before, &rename.ident, &rename.rename, reexport));
        }
    }
}

/// `use before::what as name`; `{self}` is the module before it.
fn import(before: &[String], what: &syn::Ident, name: &syn::Ident, reexport: bool) -> Import {
    let line = what.span().start().line;
    let mut path = before.to_vec();
    let mut called = name.to_string();
    if what == "self" {
        if name == "self" {
            called = path.last().cloned().unwrap_or_default();
        }
    } else {
        path.push(what.to_string());
    }
    Import { name: Some(called), path, reexport, line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Vec<Source> {
        files
            .iter()
            .map(|(path, text)| Source::parse(&format!("src/{path}"), text).unwrap())
            .collect()
    }

    #[test]
    fn a_file_behind_a_cfg_test_declaration_is_of_tests_with_all_below_it() {
        let files = [
            ("lib.rs", "pub mod a;\n#[cfg(test)]\nmod fixtures;"),
            ("a/mod.rs", "#[cfg(test)] mod tests;\nfn behind() {}"),
            ("a/tests.rs", "mod deeper;"),
            ("a/tests/deeper.rs", ""),
            ("fixtures.rs", ""),
        ];
        let krate = Crate::of("src", sources(&files)).unwrap();
        let production: Vec<&str> = krate.production().map(|source| &*source.path).collect();
        assert_eq!(production, ["src/lib.rs", "src/a/mod.rs"]);
    }

    #[test]
    fn a_file_that_no_module_declares_is_reported() {
        let error = Crate::of("src", sources(&[("lib.rs", ""), ("lost.rs", "")])).err().unwrap();
        assert_eq!(error.to_string(), "src/lost.rs belongs to no module");
    }

    #[test]
    fn nested_imports_are_taken_apart() {
        let text = "use crate::a::{self, b::{C, D as E}, f::*};\npub use crate::g::H;";
        let krate = Crate::of("src", sources(&[("lib.rs", text)])).unwrap();
        let imports: Vec<(Option<&str>, String, bool)> = krate.modules[0]
            .imports
            .iter()
            .map(|import| (import.name.as_deref(), import.path.join("::"), import.reexport))
            .collect();
        let expected = [
            (Some("a"), "crate::a", false),
            (Some("C"), "crate::a::b::C", false),
            (Some("E"), "crate::a::b::D", false),
            (None, "crate::a::f", false),
            (Some("H"), "crate::g::H", true),
        ];
        assert_eq!(imports, expected.map(|(name, path, public)| (name, path.to_string(), public)));
    }
}
