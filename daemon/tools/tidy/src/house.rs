//! What this project's own sources come to: the rules' findings, less what is meant.

use crate::modules::Crate;
use crate::rules::{Exception, Violation, all, unexcused};

/// What breaks a rule and may. One that is needed no more is a finding itself.
const EXCEPTIONS: [Exception; 1] = [Exception {
    rule: "engines",
    path: "daemon/src/cli/source.rs",
    reason: "the command line is a client of its own daemon, over the control socket",
}];

/// The violations in these crates that nothing excuses.
pub fn violations(crates: &[Crate]) -> Vec<Violation> {
    unexcused(crates.iter().flat_map(all).collect(), &EXCEPTIONS)
}
