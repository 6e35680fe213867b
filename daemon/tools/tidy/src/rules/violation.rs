//! What a rule says when it is broken.

use std::fmt;

/// A rule, the file that breaks it, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub rule: &'static str,
    pub path: String,
    pub what: String,
}

impl Violation {
    pub fn new(rule: &'static str, path: &str, what: impl Into<String>) -> Violation {
        Violation { rule, path: path.to_string(), what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.path, self.what, self.rule)
    }
}
