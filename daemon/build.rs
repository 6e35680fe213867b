//! Tells the crate which commit and target it is built from, for `picket version` and build_info.

use std::process::Command;

fn main() {
    // Whoever builds from an archive, which has no history to ask, may state it.
    let commit = std::env::var("PICKET_COMMIT").ok().or_else(head);
    let commit = commit.unwrap_or_else(|| "unknown".to_string());
    let target = std::env::var("TARGET").expect("cargo sets TARGET for build scripts");
    println!("cargo::rustc-env=PICKET_COMMIT={commit}");
    println!("cargo::rustc-env=PICKET_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PICKET_COMMIT");
    for head in ["../.git/HEAD", "../.git/refs/heads", "../.git/packed-refs"] {
        if std::path::Path::new(head).exists() {
            println!("cargo::rerun-if-changed={head}");
        }
    }
}

fn head() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(commit.trim().to_string())
}
