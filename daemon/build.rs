//! Tells the crate which commit and target it is built from, for `picket version` and build_info.

use std::process::Command;

fn main() {
    let commit = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        // A source archive has no history to ask.
        .map_or_else(|| "unknown".to_string(), |commit| commit.trim().to_string());
    let target = std::env::var("TARGET").expect("cargo sets TARGET for build scripts");
    println!("cargo::rustc-env=PICKET_COMMIT={commit}");
    println!("cargo::rustc-env=PICKET_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
    for head in ["../.git/HEAD", "../.git/refs/heads", "../.git/packed-refs"] {
        if std::path::Path::new(head).exists() {
            println!("cargo::rerun-if-changed={head}");
        }
    }
}
