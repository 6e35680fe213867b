//! `picket doctor`: whether this machine is fit for the daemon, what is not, and what to do about it.
//! Changes nothing, except that a damaged log is repaired by being opened, as always.

mod disk;
mod limits;
mod machine;
mod permissions;
mod ports;
mod store;
mod unit;

use std::path::Path;

use crate::config::Settings;
use clap::Args;
use serde::Serialize;

use super::{CliError, Global, load, print};

#[derive(Args)]
pub struct DoctorArgs {
    /// The report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warn,
    Fail,
    /// Nobody tells; the fact says why.
    Unknown,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Finding {
    check: &'static str,
    status: Status,
    fact: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'static str>,
}

impl Finding {
    fn ok(check: &'static str, fact: impl Into<String>) -> Finding {
        Finding { check, status: Status::Ok, fact: fact.into(), advice: None }
    }

    fn unknown(check: &'static str, why: impl Into<String>) -> Finding {
        Finding { check, status: Status::Unknown, fact: why.into(), advice: None }
    }

    fn warn(check: &'static str, fact: impl Into<String>, advice: &'static str) -> Finding {
        Finding { check, status: Status::Warn, fact: fact.into(), advice: Some(advice) }
    }

    fn fail(check: &'static str, fact: impl Into<String>, advice: &'static str) -> Finding {
        Finding { check, status: Status::Fail, fact: fact.into(), advice: Some(advice) }
    }
}

#[derive(Serialize)]
struct Report {
    checks: Vec<Finding>,
    failed: usize,
}

/// Exit code 0 when nothing fails, 1 when something does; 78 for a configuration that is refused,
/// as everywhere.
pub fn run(args: DoctorArgs, global: &Global) -> Result<(), CliError> {
    let config = load(args.settings, global)?;
    let root = Path::new("/");
    let unit = unit::Unit::ask();
    let daemon = unit.main_pid();
    let mut checks = vec![machine::clock()];
    checks.extend(disk::check(&config, root));
    checks.extend(permissions::check(&config, global.config.as_deref()));
    checks.extend(store::check(&config));
    checks.extend(ports::check(&config, root));
    checks.extend(unit.check());
    checks.extend(limits::check(root, daemon));
    checks.extend(machine::check(root));
    let failed = checks.iter().filter(|finding| finding.status == Status::Fail).count();
    let report = Report { checks, failed };
    print(&if args.json { json(&report) } else { text(&report) })?;
    match (failed, report.checks.len()) {
        (0, _) => Ok(()),
        (failed, all) => Err(CliError::Unsound(format!("{failed} of {all} checks fail"))),
    }
}

fn json(report: &Report) -> String {
    let text = serde_json::to_string(report).expect("a report has no value that JSON lacks");
    format!("{text}\n")
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for Finding { check, status, fact, advice } in &report.checks {
        let status = match status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
            Status::Unknown => "unknown",
        };
        text.push_str(&format!("{status:<8} {check:<16} {fact}\n"));
        if let Some(advice) = advice {
            text.push_str(&format!("{:<25} → {advice}\n", ""));
        }
    }
    text
}

/// A small file of /proc or /sys, trimmed; None where the kernel has no such thing or keeps it to
/// itself.
fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_string())
}

/// For a person: `37.2 MiB`.
fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).to_string()
}

/// A file tree as the kernel might show it.
#[cfg(test)]
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}
