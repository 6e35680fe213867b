//! The walls between the crates, as cargo itself resolves them.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What no crate under daemon/crates depends on, through others either.
const OF_THE_DAEMON: [&str; 7] =
    ["tokio", "warp", "hyper", "prometheus", "sd-notify", "systemd", "tracing-subscriber"];

/// Engines, and the only packages that depend on them directly. Tools and benches are free.
const DIRECT: [(&str, &[&str]); 3] = [
    ("tract-onnx", &["picket-classifier"]),
    ("sled", &["picket-records"]),
    ("nix", &["picket", "picket-base", "picket-testkit"]),
];

/// The workspace's packages and how all packages depend on each other, development dependencies aside.
struct Workspace {
    /// By name: the path of the package's manifest.
    members: BTreeMap<String, String>,
    /// By package id: the ids of its normal dependencies.
    dependencies: BTreeMap<String, Vec<String>>,
    names: BTreeMap<String, String>,
}

impl Workspace {
    fn ask() -> Workspace {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string());
        let output = Command::new(cargo)
            .args(["metadata", "--locked", "--all-features", "--format-version", "1"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let of = |value: &Value| value.as_str().unwrap().to_string();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let ids: BTreeSet<String> = list(&metadata["workspace_members"]).iter().map(of).collect();
        let packages = list(&metadata["packages"]);
        let nodes = list(&metadata["resolve"]["nodes"]);
        let normal = |dependency: &Value| {
            list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null())
        };
        let dependencies_of = |node: &Value| {
            let dependencies = list(&node["deps"]);
            dependencies.iter().filter(|each| normal(each)).map(|each| of(&each["pkg"])).collect()
        };
        Workspace {
            members: packages
                .iter()
                .filter(|package| ids.contains(&of(&package["id"])))
                .map(|package| (of(&package["name"]), of(&package["manifest_path"])))
                .collect(),
            dependencies: nodes
                .iter()
                .map(|node| (of(&node["id"]), dependencies_of(node)))
                .collect(),
            names: packages.iter().map(|each| (of(&each["id"]), of(&each["name"]))).collect(),
        }
    }

    fn members_in(&self, folder: &str) -> Vec<&str> {
        let inside = self.members.iter().filter(|(_, manifest)| manifest.contains(folder));
        inside.map(|(name, _)| &**name).collect()
    }

    fn ids(&self, name: &str) -> Vec<&str> {
        self.names.iter().filter(|(_, each)| *each == name).map(|(id, _)| &**id).collect()
    }

    fn direct(&self, name: &str) -> BTreeSet<&str> {
        let ids = self.ids(name).into_iter();
        let all = ids.flat_map(|id| &self.dependencies[id]);
        all.map(|id| &*self.names[id]).collect()
    }

    /// All that a package is linked with.
    fn through_all(&self, name: &str) -> BTreeSet<&str> {
        let mut open = self.ids(name);
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            for next in &self.dependencies[id] {
                if seen.insert(&**next) {
                    open.push(next);
                }
            }
        }
        seen.into_iter().map(|id| &*self.names[id]).collect()
    }
}

#[test]
fn no_crate_of_the_product_depends_on_the_daemons_libraries() {
    let workspace = Workspace::ask();
    let crates = workspace.members_in("/daemon/crates/");
    for name in ["base", "kernels", "picture", "classifier", "records", "testkit"] {
        assert!(
            crates.contains(&&*format!("picket-{name}")),
            "picket-{name} is not among {crates:?}"
        );
    }
    for name in crates {
        let all = workspace.through_all(name);
        let found: Vec<&&str> = all.iter().filter(|each| OF_THE_DAEMON.contains(each)).collect();
        assert!(found.is_empty(), "{name} depends on {found:?}");
    }
}

#[test]
fn the_kernels_depend_on_nothing() {
    let workspace = Workspace::ask();
    assert!(workspace.members.contains_key("picket-kernels"));
    assert_eq!(workspace.direct("picket-kernels"), BTreeSet::new());
}

#[test]
fn each_engine_belongs_to_its_crate() {
    let workspace = Workspace::ask();
    let tools: BTreeSet<&str> = workspace.members_in("/daemon/tools/").into_iter().collect();
    for (engine, owners) in DIRECT {
        let users: BTreeSet<&str> = workspace
            .members
            .keys()
            .map(|name| &**name)
            .filter(|name| !tools.contains(name) && workspace.direct(name).contains(engine))
            .collect();
        let allowed: BTreeSet<&str> = owners.iter().copied().collect();
        assert!(
            users.is_subset(&allowed),
            "{engine} is a dependency of {users:?}, not of {owners:?} alone"
        );
        assert!(users.contains(owners[0]), "{} does not depend on {engine}", owners[0]);
    }
}

#[test]
fn every_package_takes_the_workspaces_lints() {
    for (name, manifest) in Workspace::ask().members {
        let text = std::fs::read_to_string(manifest).unwrap();
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{name} goes without the workspace's lints"
        );
    }
}
