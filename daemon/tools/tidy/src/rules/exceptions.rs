//! Violations that are meant. An exception that excuses nothing any more is a violation itself.

use super::Violation;

/// Lets one file break one rule.
pub struct Exception {
    pub rule: &'static str,
    pub path: &'static str,
    pub reason: &'static str,
}

/// The violations that no exception covers, and the exceptions that cover none.
pub fn unexcused(found: Vec<Violation>, exceptions: &[Exception]) -> Vec<Violation> {
    let covers = |exception: &Exception, violation: &Violation| {
        exception.rule == violation.rule && exception.path == violation.path
    };
    let outdated = exceptions
        .iter()
        .filter(|exception| !found.iter().any(|violation| covers(exception, violation)))
        .map(|exception| {
            let what = format!("the exception from {} is needed no more", exception.rule);
            Violation::new("exceptions", exception.path, what)
        })
        .collect::<Vec<_>>();
    let meant = |violation: &Violation| exceptions.iter().any(|each| covers(each, violation));
    found.into_iter().filter(|violation| !meant(violation)).chain(outdated).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXCEPTION: Exception =
        Exception { rule: "faces", path: "src/a/mod.rs", reason: "a trial" };

    #[test]
    fn an_exception_covers_its_file_and_rule_alone() {
        let found = ["src/a/mod.rs", "src/b/mod.rs"].map(|path| Violation::new("faces", path, ""));
        let left = unexcused(found.to_vec(), &[EXCEPTION]);
        assert_eq!(left, [Violation::new("faces", "src/b/mod.rs", "")]);
    }

    #[test]
    fn an_outdated_exception_is_a_violation() {
        let left = unexcused(Vec::new(), &[EXCEPTION]);
        assert_eq!(left.len(), 1);
        assert!(left[0].what.contains("needed no more"));
    }
}
