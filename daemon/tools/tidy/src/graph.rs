//! Which files of a crate use which. A name counts for the file that defines it, through whatever
//! re-exports it comes: a face is used only for what it defines itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::components::components;
use crate::methods::calls;
use crate::modules::Crate;
use crate::paths::{Reference, references};

/// An import of a foreign `a::a` as `a` seems to lead to itself: longer paths are not followed.
const SEGMENTS_MAX: usize = 16;

/// The files of a crate and the edges between them.
pub struct Graph<'a> {
    krate: &'a Crate,
    /// From file, to file; the first line and the path that make the edge.
    edges: BTreeMap<(usize, usize), (usize, String)>,
}

impl<'a> Graph<'a> {
    pub fn of(krate: &'a Crate) -> Graph<'a> {
        let mut edges = BTreeMap::new();
        for reference in references(krate) {
            let from = krate.modules[reference.module].file;
            for to in definitions(krate, &reference) {
                if to != from {
                    let why = (reference.line, reference.path.join("::"));
                    edges.entry((from, to)).or_insert(why);
                }
            }
        }
        for call in calls(krate) {
            let why = (call.line, format!("its method {}", call.name));
            edges.entry((call.from, call.to)).or_insert(why);
        }
        Graph { krate, edges }
    }

    pub fn files(&self) -> usize {
        self.krate.production().count()
    }

    pub fn edges(&self) -> usize {
        self.edges.len()
    }

    /// The sets of files that use each other in a circle, each as the files' indexes.
    pub fn circles(&self) -> Vec<Vec<usize>> {
        let mut adjacency = vec![BTreeSet::new(); self.krate.sources.len()];
        for &(from, to) in self.edges.keys() {
            adjacency[from].insert(to);
        }
        components(&adjacency).into_iter().filter(|component| component.len() > 1).collect()
    }

    /// A circle as text: its files, and below them each edge with the line that makes it.
    pub fn describe(&self, circle: &[usize]) -> String {
        let name = |file: usize| &*self.krate.sources[file].path;
        let mut text = format!("{} files use each other in a circle\n", circle.len());
        for (&(from, to), (line, path)) in &self.edges {
            if circle.contains(&from) && circle.contains(&to) {
                text += &format!("    {}:{line} uses {} by {path}\n", name(from), name(to));
            }
        }
        text
    }
}

impl fmt::Display for Graph<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let circles = self.circles();
        writeln!(
            f,
            "{}: {} files, {} edges, {} components larger than one",
            self.krate.folder,
            self.files(),
            self.edges(),
            circles.len()
        )?;
        circles.iter().try_for_each(|circle| write!(f, "  {}", self.describe(circle)))
    }
}

/// The files that define what a path names; none where it leaves the crate.
pub fn definitions(krate: &Crate, reference: &Reference) -> BTreeSet<usize> {
    let mut search = Search { krate, seen: BTreeSet::new(), found: BTreeSet::new() };
    search.resolve(reference.module, &reference.path);
    search.found
}

struct Search<'a> {
    krate: &'a Crate,
    /// What has been asked: imports may lead in circles.
    seen: BTreeSet<(usize, Vec<String>)>,
    found: BTreeSet<usize>,
}

impl Search<'_> {
    /// Follows a path that stands in `module`. Returns whether it leads anywhere in this crate.
    fn resolve(&mut self, module: usize, path: &[String]) -> bool {
        let Some((first, rest)) = path.split_first() else { return true };
        if path.len() > SEGMENTS_MAX || !self.seen.insert((module, path.to_vec())) {
            return false;
        }
        let krate = self.krate;
        let here = &krate.modules[module];
        match &**first {
            "crate" => return self.resolve(krate.root(module), rest),
            "self" => return self.resolve(module, rest),
            "super" => return here.parent.is_some_and(|parent| self.resolve(parent, rest)),
            _ => {}
        }
        let mut known = false;
        if let Some(&child) = here.children.get(first) {
            known |= self.resolve(child, rest);
        }
        if here.items.contains(first) {
            self.found.insert(here.file);
            known = true;
        }
        let named = |import: &&crate::modules::Import| import.name.as_ref() == Some(first);
        for import in here.imports.iter().filter(named) {
            known |= self.resolve(module, &[&import.path, rest].concat());
        }
        if known {
            return true;
        }
        for glob in here.imports.iter().filter(|import| import.name.is_none()) {
            if self.starts_here(module, &glob.path) {
                known |= self.resolve(module, &[&glob.path, path].concat());
            }
        }
        known
    }

    /// Whether a path begins with something of this crate that no glob brings.
    fn starts_here(&self, module: usize, path: &[String]) -> bool {
        let Some(first) = path.first() else { return false };
        let here = &self.krate.modules[module];
        matches!(&**first, "crate" | "self" | "super")
            || here.children.contains_key(first)
            || here.items.contains(first)
            || here.imports.iter().any(|import| import.name.as_ref() == Some(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Source;

    fn krate(files: &[(&str, &str)]) -> Crate {
        let parsed = files.iter().map(|(path, text)| Source::parse(path, text).unwrap());
        Crate::of("src", parsed.collect()).unwrap()
    }

    fn edges(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let krate = krate(files);
        let name = |file: usize| krate.sources[file].path["src/".len()..].to_string();
        let graph = Graph::of(&krate);
        let mut edges: Vec<(String, String)> =
            graph.edges.keys().map(|&(from, to)| (name(from), name(to))).collect();
        edges.sort();
        edges
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(from, to)| (from.to_string(), to.to_string())).collect()
    }

    #[test]
    fn a_planted_circle_is_found_and_named() {
        let krate = krate(&[
            ("src/lib.rs", "pub mod a; pub mod b; pub mod c;"),
            ("src/a.rs", "use crate::b::B;\npub struct A(B);"),
            ("src/b.rs", "pub struct B;\nfn f() { println!(\"{}\", crate::c::LIMIT) }"),
            ("src/c.rs", "pub const LIMIT: u8 = 1;\nfn g(_: &super::a::A) {}"),
        ]);
        let graph = Graph::of(&krate);
        let circles = graph.circles();
        assert_eq!(circles, [vec![1, 2, 3]]);
        let text = graph.describe(&circles[0]);
        assert!(text.contains("src/a.rs:1 uses src/b.rs by crate::b::B"), "{text}");
        assert!(text.contains("src/b.rs:2 uses src/c.rs by crate::c::LIMIT"), "{text}");
        assert!(text.contains("src/c.rs:2 uses src/a.rs by super::a::A"), "{text}");
    }

    #[test]
    fn a_reexport_counts_for_the_file_that_defines_the_item() {
        let files = [
            ("src/lib.rs", "pub mod room; pub mod user;"),
            (
                "src/room/mod.rs",
                "mod door; mod wall;\npub use door::*;\npub use self::wall::Wall as W;",
            ),
            ("src/room/door.rs", "use super::W;\npub struct Door(W);"),
            ("src/room/wall.rs", "pub struct Wall;"),
            ("src/user.rs", "use crate::room::{self, Door};\nfn f(_: Door) -> room::W { todo!() }"),
        ];
        let expected = [
            ("room/door.rs", "room/wall.rs"),
            ("user.rs", "room/door.rs"),
            ("user.rs", "room/wall.rs"),
        ];
        assert_eq!(edges(&files), pairs(&expected));
    }

    #[test]
    fn what_a_face_defines_is_used_in_the_face() {
        let files = [
            ("src/lib.rs", "pub mod room;"),
            ("src/room/mod.rs", "mod door;\npub struct Limit;\npub fn open() { door::open() }"),
            ("src/room/door.rs", "use super::Limit;\npub fn open() { let _ = Limit; }"),
        ];
        let expected = [("room/door.rs", "room/mod.rs"), ("room/mod.rs", "room/door.rs")];
        assert_eq!(edges(&files), pairs(&expected));
    }

    #[test]
    fn a_method_in_another_file_is_used_by_who_calls_it_on_itself() {
        let files = [
            ("src/lib.rs", "mod a; mod b; mod c;"),
            ("src/a.rs", "pub struct A;\nimpl A { fn one(&self) { self.two() } }"),
            ("src/b.rs", "use crate::a::A;\nimpl A { pub fn two(&self) {} }"),
            ("src/c.rs", "struct C;\nimpl C { fn one(&self) { self.two() } fn two(&self) {} }"),
        ];
        assert_eq!(edges(&files), pairs(&[("a.rs", "b.rs"), ("b.rs", "a.rs")]));
    }

    #[test]
    fn tests_make_no_edges() {
        let files = [
            ("src/lib.rs", "mod a; mod b;"),
            (
                "src/a.rs",
                "pub fn a() {}\n#[cfg(test)]\nmod tests { use crate::b::b; }\nfn behind() {}",
            ),
            ("src/b.rs", "pub fn b() { crate::a::a() }"),
        ];
        assert_eq!(edges(&files), pairs(&[("b.rs", "a.rs")]));
    }
}
