//! Which part of the daemon may name which library. That no crate under daemon/crates names them is held
//! by their Cargo.toml.

use std::collections::BTreeSet;

use super::Violation;
use crate::modules::{Crate, Import, Module};
use crate::paths::references;

/// A library and the files of the daemon that may name it.
pub struct Engine {
    pub name: &'static str,
    /// Beginnings of paths below the crate's sources.
    pub rooms: &'static [&'static str],
}

/// The libraries that one part of the daemon keeps from the others.
pub const ENGINES: [Engine; 8] = [
    Engine { name: "warp", rooms: &["http/"] },
    Engine { name: "hyper", rooms: &["http/", "client"] },
    Engine { name: "tokio_rustls", rooms: &["http/"] },
    Engine { name: "prometheus", rooms: &["metrics/"] },
    Engine { name: "sd_notify", rooms: &["life/systemd.rs"] },
    Engine { name: "systemd", rooms: &["diagnostics/"] },
    Engine { name: "tracing_subscriber", rooms: &["diagnostics/"] },
    Engine { name: "nix", rooms: &["os/"] },
];

/// Files of the daemon that name an engine of another room.
pub fn engines(krate: &Crate) -> Vec<Violation> {
    if krate.folder != "daemon/src" {
        return Vec::new();
    }
    let mut found = BTreeSet::new();
    for (index, first) in first_names(krate) {
        let Some(engine) = ENGINES.iter().find(|engine| engine.name == first) else { continue };
        let module = &krate.modules[index];
        let path = &krate.sources[module.file].path;
        let below = path.strip_prefix("daemon/src/").expect("the crate's own files");
        let allowed = engine.rooms.iter().any(|room| below.starts_with(room));
        if !allowed && !is_ours(module, &first) {
            found.insert((path.clone(), engine.name));
        }
    }
    let named = found.into_iter();
    named.map(|(path, name)| Violation::new("engines", &path, format!("names {name}"))).collect()
}

/// The first name of every path and every import, with the module in which it stands. A name that stands
/// alone is a variable or an import's.
fn first_names(krate: &Crate) -> Vec<(usize, String)> {
    let paths = references(krate).into_iter().filter(|reference| reference.path.len() > 1);
    let paths = paths.map(|reference| (reference.module, reference.path));
    let modules = krate.modules.iter().enumerate();
    let imports = modules.flat_map(|(index, module)| {
        module.imports.iter().map(move |import| (index, import.path.clone()))
    });
    let all = paths.chain(imports);
    all.filter_map(|(module, path)| Some((module, path.into_iter().next()?))).collect()
}

/// Whether a module of the daemon has this name here, or an item.
fn is_ours(module: &Module, name: &str) -> bool {
    let imported = |import: &Import| {
        import.name.as_deref() == Some(name)
            && import.path.first().is_some_and(|first| first != name)
    };
    module.children.contains_key(name)
        || module.items.contains(name)
        || module.imports.iter().any(imported)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planted_in;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        planted_in("daemon/src", files, engines)
    }

    #[test]
    fn an_engine_outside_its_room_is_found_however_it_is_named() {
        for text in [
            "use warp::Filter;",
            "pub use warp;",
            "fn f(_: ::warp::Rejection) {}",
            "#[cfg(test)]\nmod tests {}\nfn f() { warp::serve() }",
            "fn f() { println!(\"{}\", warp::reply()) }",
        ] {
            let files = [("lib.rs", "mod a; mod http;"), ("a.rs", text), ("http/mod.rs", text)];
            assert_eq!(found(&files), ["daemon/src/a.rs"], "{text}");
        }
    }

    #[test]
    fn a_module_of_ours_may_have_an_engines_name() {
        let files = [
            ("lib.rs", "mod life;"),
            ("life/mod.rs", "mod systemd;\npub fn f() { systemd::g() }"),
            ("life/systemd.rs", "pub fn g() { let nix = 1; nix; }"),
        ];
        assert!(found(&files).is_empty());
    }

    #[test]
    fn tests_may_name_any_engine() {
        let text = "#[cfg(test)]\nmod tests { use nix::sys::signal; }";
        assert!(found(&[("lib.rs", text)]).is_empty());
    }
}
