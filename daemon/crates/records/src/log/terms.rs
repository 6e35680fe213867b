//! By what a record can be asked for: its terms, as the view's index keeps them. It knows no store.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::record::{Body, LogRecord};

/// Longest name in a term; a longer one shares the term of those that begin like it.
const NAME_BYTES_MAX: usize = crate::record::NAME_BYTES_MAX;

/// One thing that a record can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Term {
    Defect,
    Device(String),
    Label(String),
}

impl Term {
    /// Returns the term's part of an index key.
    pub(crate) fn to_key(&self) -> Vec<u8> {
        let named = |kind: u8, name: &str| {
            let name = &name.as_bytes()[..name.len().min(NAME_BYTES_MAX)];
            // No name holds a 0xff: none is the beginning of another.
            [&[kind][..], name, &[0xff]].concat()
        };
        match self {
            Term::Defect => vec![b'f'],
            Term::Device(name) => named(b'd', name),
            Term::Label(name) => named(b'l', name),
        }
    }
}

/// Returns the terms of a record.
pub(crate) fn terms(record: &LogRecord) -> BTreeSet<Term> {
    let mut terms = BTreeSet::new();
    let entry = &record.entry;
    if entry.defect {
        terms.insert(Term::Defect);
    }
    terms.extend(entry.origin.device_id.clone().map(Term::Device));
    match &entry.body {
        Body::Predicted(predicted) => {
            terms.insert(Term::Label(predicted.label.clone()));
        }
        Body::Reported(reported) => {
            terms.extend(reported.detections.iter().map(|made| Term::Label(made.class.clone())));
        }
    }
    terms
}

/// The times of some records, epoch seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) earliest: f64,
    pub(crate) latest: f64,
    /// Nobody knows yet when some of them were made.
    pub(crate) unknown: bool,
}

impl Default for Times {
    fn default() -> Times {
        Times { earliest: f64::INFINITY, latest: f64::NEG_INFINITY, unknown: false }
    }
}

impl Times {
    /// Counts in a record.
    pub(crate) fn add(&mut self, record: &LogRecord) {
        let entry = &record.entry;
        let predicted = matches!(entry.body, Body::Predicted(_));
        if predicted && !entry.at.synchronised && record.boot_offset_us.is_none() {
            // Once its boot learns the time, it is shown under another.
            self.unknown = true;
            return;
        }
        let timestamp = record.timestamp();
        self.earliest = self.earliest.min(timestamp);
        self.latest = self.latest.max(timestamp);
    }

    /// Whether these include the others.
    pub(crate) fn covers(&self, others: &Times) -> bool {
        self.unknown || self.earliest <= others.earliest && self.latest >= others.latest
    }

    /// Whether one of them may have been made in this time.
    pub(crate) fn overlap(&self, since: Option<f64>, until: Option<f64>) -> bool {
        let within = since.is_none_or(|since| self.latest >= since)
            && until.is_none_or(|until| self.earliest < until);
        self.unknown || within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_begins_another_and_no_kind_is_taken_for_another() {
        let [short, long] = ["edge", "edge-01"].map(|name| Term::Device(name.to_string()).to_key());
        assert!(!long.starts_with(&short));
        assert_ne!(Term::Label("edge".into()).to_key(), short);
    }

    #[test]
    fn times_that_nobody_knows_yet_are_candidates_for_all() {
        let mut times = Times { earliest: 10.0, latest: 20.0, unknown: false };
        let overlap = |times: &Times, since, until| times.overlap(since, until);
        assert!(overlap(&times, None, None) && overlap(&times, Some(20.0), None));
        assert!(!overlap(&times, Some(20.5), None) && !overlap(&times, None, Some(10.0)));
        times.unknown = true;
        assert!(overlap(&times, Some(20.5), None));
        assert!(!overlap(&Times::default(), Some(0.0), Some(1.0)));
    }
}
