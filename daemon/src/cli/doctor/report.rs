//! All checks, and what they found as a table or as JSON.

use picket_base::printable;
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::finding::{Finding, Status};
use super::unit::Unit;
use super::{access, certificate, disk, limits, machine, permissions, ports, store};
use crate::cli::error::CliError;
use crate::cli::global::{Global, load};
use crate::cli::stdout::{print, print_data};
use crate::config::Settings;

#[derive(Args)]
pub struct DoctorArgs {
    /// The report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
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
    let unit = Unit::ask();
    let daemon = unit.main_pid();
    let mut checks = vec![machine::clock()];
    checks.extend(disk::check(&config, root));
    checks.extend(permissions::check(&config, global.config.as_deref()));
    checks.extend(store::check(&config));
    checks.extend(access::check(&config, daemon));
    checks.extend(ports::check(&config, root));
    checks.extend(certificate::check(&config));
    checks.extend(unit.check());
    checks.extend(limits::check(root, daemon, &config));
    checks.extend(machine::check(root));
    let failed = checks.iter().filter(|finding| finding.status == Status::Fail).count();
    let report = Report { checks, failed };
    if args.json { print_data(&json(&report)) } else { print(&text(&report)) }?;
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
        let fact = printable(fact);
        text.push_str(&format!("{status:<8} {check:<16} {fact}\n"));
        if let Some(advice) = advice {
            text.push_str(&format!("{:<25} → {}\n", "", printable(advice)));
        }
    }
    text
}
