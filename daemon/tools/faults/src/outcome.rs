//! What a check counted, and whether it held.

use std::fmt::Display;
use std::time::Duration;

use picket_testkit::Seen;

/// Failures printed in full for each check; all are counted.
const PRINTED_MAX: u64 = 30;

/// What else runs on the machine may hold up one answer of a hundred for this many limits.
const BUSY_FACTOR: u32 = 5;

pub struct Outcome {
    name: String,
    counts: Vec<(String, u64)>,
    notes: Vec<(String, String)>,
    failures: u64,
}

impl Outcome {
    /// `name` is the check's command, with its variant if it has any.
    pub fn new(name: impl Into<String>) -> Outcome {
        Outcome { name: name.into(), counts: Vec::new(), notes: Vec::new(), failures: 0 }
    }

    /// Adds to a count; adding 0 makes it appear in the summary.
    pub fn add(&mut self, count: &str, by: u64) {
        match self.counts.iter_mut().find(|(name, _)| name == count) {
            Some((_, value)) => *value += by,
            None => self.counts.push((count.to_string(), by)),
        }
    }

    pub fn count(&self, count: &str) -> u64 {
        self.counts.iter().find(|(name, _)| name == count).map_or(0, |(_, value)| *value)
    }

    /// A value for the summary that is no count.
    pub fn note(&mut self, name: &str, value: impl Display) {
        self.notes.push((name.to_string(), value.to_string()));
    }

    /// Something that must not happen, counted under `count` and told at once.
    pub fn fail(&mut self, count: &str, what: impl Display) {
        self.fail_many(count, 1, what);
    }

    /// The same for several of a kind, such as records; none is no failure.
    pub fn fail_many(&mut self, count: &str, by: u64, what: impl Display) {
        self.add(count, by);
        if by == 0 {
            return;
        }
        self.failures += 1;
        if self.failures <= PRINTED_MAX {
            println!("FAILED {} {count}: {what}", self.name);
        }
    }

    /// Every answer of a probe was 200, or 503 of `/ready`; 99 of 100 answers came within `limit`, and
    /// none took longer than a busy machine explains.
    pub fn judge_probes(&mut self, seen: &Seen, limit: Duration) {
        let failed = seen.failures.len() as u64;
        let example = seen.failures.first().map_or("", String::as_str);
        self.fail_many("probe_failures", failed, format!("{failed} probes, first: {example}"));
        self.add("slow_probes", 0);
        let latencies = seen.all_latencies();
        let (p99, max) = (latencies.quantile(0.99), latencies.max());
        if p99 > limit || max > limit * BUSY_FACTOR {
            let text = format!("p99 {} ms, max {} ms, limit {} ms", ms(p99), ms(max), ms(limit));
            self.fail("slow_probes", text);
        }
    }

    pub fn progress(&self, what: impl Display) {
        println!("{}: {what}", self.name);
    }

    pub fn absorb(&mut self, other: Outcome) {
        for (name, value) in other.counts {
            self.add(&name, value);
        }
        self.notes.extend(other.notes);
        self.failures += other.failures;
    }

    pub fn held(&self) -> bool {
        self.failures == 0
    }

    /// The summary: one line that a script can take apart.
    pub fn line(&self) -> String {
        let verdict = if self.held() { "held" } else { "FAILED" };
        let mut line = format!("RESULT {} {verdict}", self.name);
        for (name, value) in &self.counts {
            line.push_str(&format!(" {name}={value}"));
        }
        for (name, value) in &self.notes {
            line.push_str(&format!(" {name}={value}"));
        }
        line
    }
}

/// Milliseconds with one decimal.
pub fn ms(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}
