//! What is known of the models of a box, and how it changes. It touches no disk: its owner writes it down
//! before the step that it describes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::limits::{CRASHES_MAX, CUTS_MAX, REASON_BYTES_MAX, REFUSED_MAX, TEXT_BYTES_MAX};

/// Which model is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The one that the daemon always has: in its binary, or named by the configuration.
    #[default]
    Base,
    /// An installed one, by its digest.
    Installed(String),
}

/// An installed version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub name: String,
    pub version: String,
    /// SHA-256 of its files, lower-case hex: what it is known by.
    pub digest: String,
    /// The number that only grows, if it states one.
    pub counter: Option<u64>,
    /// The ONNX file among its files.
    pub file: String,
    /// What the registry calls it: name, version, creation time and source. None if a person brought it.
    pub identity: Option<String>,
    /// Bytes of its files.
    pub bytes: u64,
    /// When it came, seconds since 1970 by this box's clock.
    pub installed: u64,
}

/// The time in which a version has yet to show that it is no worse than the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probation {
    /// Seconds that it has served in it.
    pub served: u64,
    /// Ends of the process that nobody planned.
    pub crashes: u32,
    /// Starts of the machine that nobody planned.
    pub cuts: u32,
}

/// Why a version does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    Files,
    Signature,
    Counter,
    Model,
    Golden,
    Rules,
    Time,
    Memory,
    Room,
    Crash,
    Errors,
    Slow,
    Classes,
    Confidence,
    Operator,
}

impl Why {
    pub const ALL: [Why; 15] = [
        Why::Files,
        Why::Signature,
        Why::Counter,
        Why::Model,
        Why::Golden,
        Why::Rules,
        Why::Time,
        Why::Memory,
        Why::Room,
        Why::Crash,
        Why::Errors,
        Why::Slow,
        Why::Classes,
        Why::Confidence,
        Why::Operator,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Why::Files => "files",
            Why::Signature => "signature",
            Why::Counter => "counter",
            Why::Model => "model",
            Why::Golden => "golden",
            Why::Rules => "rules",
            Why::Time => "time",
            Why::Memory => "memory",
            Why::Room => "room",
            Why::Crash => "crash",
            Why::Errors => "errors",
            Why::Slow => "slow",
            Why::Classes => "classes",
            Why::Confidence => "confidence",
            Why::Operator => "operator",
        }
    }
}

/// A version that failed its gate or its probation, or that somebody has taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub name: String,
    pub version: String,
    /// None where its files could not be read.
    pub digest: Option<String>,
    pub identity: Option<String>,
    pub since: u64,
    pub why: Why,
    pub reason: String,
}

/// What a version is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Serving,
    Probation,
    Previous,
    Kept,
    Refused,
}

/// A line of the list of models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub name: String,
    pub version: String,
    pub digest: String,
    pub state: Standing,
    /// Seconds since 1970 by this box's clock.
    pub since: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// All that is known of the models of a box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The base model as the last start found it.
    pub(crate) base: Option<Version>,
    pub(crate) serving: Choice,
    /// Since when it serves.
    pub(crate) since: u64,
    /// The one that a rollback goes to, and until when it served.
    pub(crate) previous: Option<(Choice, u64)>,
    pub(crate) probation: Option<Probation>,
    /// Whether only an operator may change what serves.
    pub(crate) pinned: bool,
    /// The boot in which the daemon last ran.
    pub(crate) running: Option<String>,
    /// How often it has begun.
    pub(crate) runs: u64,
    pub(crate) versions: Vec<Version>,
    pub(crate) refused: Vec<Refused>,
    /// The highest counter that served, by the model's name.
    pub(crate) counters: BTreeMap<String, u64>,
    /// A version that is being tried, and how often that was begun without an end.
    pub(crate) trying: Option<(Refused, u32)>,
    /// What an inbox held when it was last looked through, as its owner tells entries apart.
    pub(crate) looked_through: BTreeSet<String>,
}

impl State {
    pub fn serving(&self) -> &Choice {
        &self.serving
    }

    pub fn previous(&self) -> Option<&Choice> {
        self.previous.as_ref().map(|(choice, _)| choice)
    }

    pub fn probation(&self) -> Option<Probation> {
        self.probation
    }

    pub fn is_pinned(&self) -> bool {
        self.pinned
    }

    pub fn looked_through(&self) -> &BTreeSet<String> {
        &self.looked_through
    }

    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Returns what is known of a model; none if it is not there.
    pub fn version(&self, choice: &Choice) -> Option<&Version> {
        match choice {
            Choice::Base => self.base.as_ref(),
            Choice::Installed(digest) => self.installed(digest),
        }
    }

    /// Returns the installed versions, as they came.
    pub fn versions(&self) -> impl Iterator<Item = &Version> {
        self.versions.iter()
    }

    pub fn installed(&self, digest: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.digest == digest)
    }

    /// Returns why a version that a registry or a directory offers is not looked at again.
    pub fn refusal(&self, digest: Option<&str>, identity: Option<&str>) -> Option<&Refused> {
        let same = |mine: Option<&str>, theirs: Option<&str>| mine.is_some() && mine == theirs;
        self.refused.iter().find(|refused| {
            same(digest, refused.digest.as_deref()) || same(identity, refused.identity.as_deref())
        })
    }

    /// Returns the highest counter that a model of this name has had.
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.counters.get(name).copied()
    }

    /// Says why a version's counter keeps it out where only what goes forward is taken: one that is not above
    /// the highest that served, and is not that very version.
    pub fn counter_fault(&self, version: &Version) -> Option<String> {
        let highest = self.counter(&version.name)?;
        let serves_already =
            |known: &Version| known.digest == version.digest && known.counter == Some(highest);
        match version.counter {
            None => Some(format!("it has no counter, and {highest} has served")),
            Some(counter) if counter > highest => None,
            Some(_) if self.versions.iter().any(serves_already) => None,
            Some(counter) => Some(format!(
                "its counter is {counter}, more than {highest} is needed, which has served"
            )),
        }
    }

    /// Whether somebody means this version: by its version or the beginning of its digest.
    pub fn is_named(&self, version: &Version, asked: &str) -> bool {
        let is_digest = asked.len() >= DIGEST_DIGITS_MIN && version.digest.starts_with(asked);
        version.version == asked || is_digest
    }

    /// Finds an installed version, or the base, by its version or the beginning of its digest.
    ///
    /// # Errors
    /// None or several of that name.
    pub fn find(&self, asked: &str) -> Result<Choice, StoreError> {
        let all = || self.base.iter().chain(&self.versions);
        let listed = |versions: Vec<&Version>| {
            let name =
                |version: &&Version| format!("{} ({})", version.version, short(&version.digest));
            let names: Vec<String> = versions.iter().map(name).collect();
            if names.is_empty() { "none".to_string() } else { names.join(", ") }
        };
        let matching: Vec<&Version> = all().filter(|it| self.is_named(it, asked)).collect();
        match matching[..] {
            [] => Err(StoreError::Unknown {
                asked: asked.to_string(),
                known: listed(all().collect()),
            }),
            [one] if self.base.as_ref() == Some(one) => Ok(Choice::Base),
            [one] => Ok(Choice::Installed(one.digest.clone())),
            _ => {
                Err(StoreError::Ambiguous { asked: asked.to_string(), matching: listed(matching) })
            }
        }
    }

    /// Returns every model with its standing: what serves first, then as they came, newest first.
    pub fn list(&self) -> Vec<Listed> {
        let standing = |choice: &Choice| match choice {
            choice if *choice == self.serving && self.probation.is_some() => Standing::Probation,
            choice if *choice == self.serving => Standing::Serving,
            choice if Some(choice) == self.previous() => Standing::Previous,
            _ => Standing::Kept,
        };
        let line = |choice: Choice, version: &Version| {
            let state = standing(&choice);
            let since = match state {
                Standing::Serving | Standing::Probation => self.since,
                Standing::Previous => self.previous.as_ref().map_or(0, |(_, until)| *until),
                Standing::Kept | Standing::Refused => version.installed,
            };
            Listed {
                name: version.name.clone(),
                version: version.version.clone(),
                digest: version.digest.clone(),
                state,
                since,
                reason: None,
            }
        };
        let installed = self.versions.iter().rev();
        let mut lines: Vec<Listed> = installed
            .map(|version| line(Choice::Installed(version.digest.clone()), version))
            .chain(self.base.iter().map(|version| line(Choice::Base, version)))
            .collect();
        lines.sort_by_key(|line| line.state as u8);
        let refused = self.refused.iter().rev().filter(|refused| {
            !lines.iter().any(|line| Some(&line.digest) == refused.digest.as_ref())
        });
        let refused: Vec<Listed> = refused.map(Refused::listed).collect();
        for line in &mut lines {
            let refusal = self.refusal(Some(&line.digest), None);
            if let (Standing::Kept | Standing::Previous, Some(refusal)) = (line.state, refusal) {
                line.state = Standing::Refused;
                line.since = refusal.since;
                line.reason = Some(refusal.told());
            }
        }
        lines.extend(refused);
        lines
    }

    /// Notes the base model that this start has. Another one than before that the configuration names is an
    /// operator's word: it serves.
    pub(crate) fn take_base(&mut self, base: Version, now: u64) {
        if self.base.is_none() && self.since == 0 {
            self.since = now;
        }
        let is_another = self.base.as_ref().is_some_and(|known| known.digest != base.digest);
        // One in the binary comes with an update of the program, which is about no model.
        let changed = is_another && base.identity.is_some();
        self.base = Some(base);
        if changed && !self.pinned {
            self.serve(Choice::Base, None, now);
        }
    }

    pub(crate) fn install(&mut self, mut version: Version) {
        cut(&mut version.name, TEXT_BYTES_MAX);
        cut(&mut version.version, TEXT_BYTES_MAX);
        self.refused.retain(|refused| refused.digest.as_deref() != Some(&version.digest));
        self.versions.retain(|known| known.digest != version.digest);
        self.versions.push(version);
    }

    /// Has a model serve from now on.
    pub(crate) fn serve(&mut self, choice: Choice, probation: Option<Probation>, now: u64) {
        if choice != self.serving {
            self.previous = Some((std::mem::replace(&mut self.serving, choice), now));
            self.since = now;
        }
        self.probation = probation;
        let serving = self.version(&self.serving);
        if let Some((name, counter)) =
            serving.and_then(|version| Some((version.name.clone(), version.counter?)))
        {
            let highest = self.counters.entry(name).or_default();
            *highest = counter.max(*highest);
        }
    }

    /// Notes a version that is not to serve.
    pub(crate) fn refuse(&mut self, mut refused: Refused) {
        cut(&mut refused.reason, REASON_BYTES_MAX);
        cut(&mut refused.name, TEXT_BYTES_MAX);
        cut(&mut refused.version, TEXT_BYTES_MAX);
        // What has neither digest nor identity is known by its name.
        let key = |it: &Refused| match (&it.digest, &it.identity) {
            (None, None) => (Some(it.name.clone()), None),
            (digest, identity) => (digest.clone(), identity.clone()),
        };
        let new = key(&refused);
        self.refused.retain(|known| key(known) != new);
        self.refused.push(refused);
        let over = self.refused.len().saturating_sub(REFUSED_MAX);
        self.refused.drain(..over);
    }

    /// Notes that a version is tried: what it is refused as if the daemon does not come through that.
    pub(crate) fn begin_trial(&mut self, refused: Refused) {
        let times = match &self.trying {
            Some((known, times)) if known.identity == refused.identity => times + 1,
            _ => 1,
        };
        self.trying = Some((refused, times));
    }

    /// Goes back to the version before, and notes why. The one that is left is not served again unless
    /// somebody asks for it by name.
    ///
    /// # Errors
    /// `NothingBefore`.
    pub(crate) fn roll_back(&mut self, why: Why, reason: &str, now: u64) -> Result<(), StoreError> {
        let (to, _) = self.previous.take().ok_or(StoreError::NothingBefore)?;
        let from = std::mem::replace(&mut self.serving, to);
        self.since = now;
        self.probation = None;
        let left = self.version(&from).cloned();
        if let (Choice::Installed(digest), Some(left)) = (&from, left) {
            self.refuse(Refused {
                name: left.name,
                version: left.version,
                digest: Some(digest.clone()),
                identity: left.identity,
                since: now,
                why,
                reason: reason.to_string(),
            });
        }
        if from == Choice::Base || why == Why::Operator {
            self.previous = Some((from, now));
        }
        Ok(())
    }

    /// Notes that the daemon starts, in this boot, and whether its last run was asked to end. Returns what a
    /// rollback is for, if the last run and those before it leave no other way.
    pub(crate) fn begin(&mut self, boot: &str, was_stopped: bool) -> Option<String> {
        let last = self.running.replace(boot.to_string());
        self.runs += 1;
        if let Some((refused, times)) = self.trying.take_if(|(_, times)| *times >= CRASHES_MAX) {
            let reason = format!("the daemon ended {times} times while it was tried");
            self.refuse(Refused { reason, ..refused });
        }
        let probation = self.probation.as_mut()?;
        match last {
            _ if was_stopped => {}
            None => {}
            Some(last) if last == boot => probation.crashes += 1,
            Some(_) => probation.cuts += 1,
        }
        let Probation { crashes, cuts, .. } = *probation;
        if crashes >= CRASHES_MAX {
            return Some(format!("the daemon crashed {crashes} times in its probation"));
        }
        (cuts >= CUTS_MAX).then(|| {
            format!("the box started again {cuts} times without a planned stop in its probation")
        })
    }

    /// Returns the bytes of the versions that stay in any case.
    pub(crate) fn needed_bytes(&self) -> u64 {
        let needed = self.versions.iter().filter(|version| self.is_needed(version));
        needed.map(|version| version.bytes).sum()
    }

    fn is_needed(&self, version: &Version) -> bool {
        let choice = Choice::Installed(version.digest.clone());
        choice == self.serving || Some(&choice) == self.previous()
    }

    /// Returns the versions that have to go so that the rest fit, oldest first.
    pub(crate) fn surplus(&self, keep: usize, max_bytes: u64) -> Vec<Version> {
        let spare = self.versions.iter().filter(|version| !self.is_needed(version));
        let mut left = max_bytes.saturating_sub(self.needed_bytes());
        let mut kept = 0;
        let mut surplus = Vec::new();
        for version in spare.rev() {
            if kept < keep && version.bytes <= left {
                kept += 1;
                left -= version.bytes;
            } else {
                surplus.push(version.clone());
            }
        }
        surplus.reverse();
        surplus
    }
}

impl Refused {
    fn told(&self) -> String {
        format!("{}: {}", self.why.name(), self.reason)
    }

    fn listed(&self) -> Listed {
        Listed {
            name: self.name.clone(),
            version: self.version.clone(),
            digest: self.digest.clone().unwrap_or_default(),
            state: Standing::Refused,
            since: self.since,
            reason: Some(self.told()),
        }
    }
}

/// Digits of a digest that are enough to name a version by.
const DIGEST_DIGITS_MIN: usize = 6;

pub(crate) fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn a_version_that_twice_ends_the_daemon_while_it_is_tried_is_refused() {
        let mut state = State::default();
        state.begin("a", false);
        let refused = Refused {
            name: "m".into(),
            version: "7".into(),
            digest: None,
            identity: Some("m 7".into()),
            since: 1,
            why: Why::Crash,
            reason: String::new(),
        };
        for _ in 0..2 {
            assert!(state.refusal(None, Some("m 7")).is_none());
            state.begin_trial(refused.clone());
            state.begin("a", false);
        }
        assert!(state.refusal(None, Some("m 7")).unwrap().reason.contains("ended 2 times"));
        assert_eq!(state.trying, None);
    }

    pub(crate) fn version(number: u64) -> Version {
        Version {
            name: "m".into(),
            version: format!("{number}"),
            digest: format!("{number:064x}"),
            counter: Some(number),
            file: "model.onnx".into(),
            identity: None,
            bytes: 100,
            installed: number,
        }
    }

    fn installed(number: u64) -> Choice {
        Choice::Installed(format!("{number:064x}"))
    }

    fn base() -> Version {
        Version { name: "embedded".into(), version: "0".into(), ..version(99) }
    }

    fn begun() -> State {
        let mut state = State::default();
        state.take_base(base(), 1);
        for number in 1..=3 {
            state.install(version(number));
        }
        state
    }

    #[test]
    fn two_crashes_or_three_cuts_in_probation_are_told_and_planned_stops_are_not() {
        let mut state = begun();
        state.serve(installed(1), Some(Probation::default()), 5);
        assert_eq!(state.begin("a", false), None, "the first start of it");
        for _ in 0..10 {
            assert_eq!(state.begin("a", true), None, "a planned stop");
        }
        assert_eq!(state.begin("a", false), None, "one crash");
        assert_eq!(state.begin("b", false), None, "a cut");
        assert_eq!(state.begin("c", false), None, "another");
        let mut third = state.clone();
        assert!(third.begin("d", false).unwrap().contains("3 times"));
        assert!(state.begin("c", false).unwrap().contains("crashed 2 times"));
        let mut good = begun();
        good.serve(installed(1), None, 5);
        for _ in 0..9 {
            assert_eq!(good.begin("a", false), None, "out of probation nothing is counted");
        }
    }

    #[test]
    fn a_rollback_goes_to_the_version_before_and_is_remembered() {
        let mut state = begun();
        state.serve(installed(1), None, 5);
        state.serve(installed(2), Some(Probation::default()), 6);
        state.roll_back(Why::Crash, "it crashed", 7).unwrap();
        assert_eq!((state.serving(), state.probation()), (&installed(1), None));
        assert_eq!(state.previous(), None, "nobody goes forward to what has failed");
        let refused = state.refusal(Some(&version(2).digest), None).unwrap();
        assert_eq!((refused.why, refused.since), (Why::Crash, 7));
        let states: Vec<(String, Standing)> =
            state.list().into_iter().map(|line| (line.version, line.state)).collect();
        let line = |version: &str, state| (version.to_string(), state);
        assert_eq!(
            states,
            [
                line("1", Standing::Serving),
                line("3", Standing::Kept),
                line("2", Standing::Refused),
                line("0", Standing::Kept),
            ]
        );
        assert!(matches!(state.roll_back(Why::Operator, "", 8), Err(StoreError::NothingBefore)));
        // An operator may go back and forth.
        state.serve(installed(3), None, 9);
        state.roll_back(Why::Operator, "by the operator", 10).unwrap();
        assert_eq!((state.serving(), state.previous()), (&installed(1), Some(&installed(3))));
        assert_eq!(state.counter("m"), Some(3), "the highest that served");
    }

    #[test]
    fn another_base_serves_unless_a_version_is_pinned() {
        let mut state = begun();
        state.serve(installed(1), None, 5);
        state.take_base(base(), 6);
        assert_eq!(state.serving(), &installed(1), "the same base as before");
        let updated = Version { digest: "e".repeat(64), ..base() };
        state.take_base(updated, 6);
        assert_eq!(state.serving(), &installed(1), "an update of the program changes no model");
        let identity = Some("/etc/picket/model.onnx".to_string());
        let other = Version { digest: "f".repeat(64), identity, ..base() };
        let mut pinned = State { pinned: true, ..state.clone() };
        state.take_base(other.clone(), 7);
        assert_eq!((state.serving(), state.previous()), (&Choice::Base, Some(&installed(1))));
        pinned.take_base(other, 7);
        assert_eq!(pinned.serving(), &installed(1));
    }

    #[test]
    fn what_serves_and_the_one_before_never_go() {
        let mut state = begun();
        state.serve(installed(1), None, 5);
        state.serve(installed(2), None, 6);
        let gone = |keep, bytes| {
            let surplus = state.surplus(keep, bytes);
            surplus.into_iter().map(|version| version.version).collect::<Vec<_>>()
        };
        assert_eq!(gone(3, 1_000), [] as [&str; 0]);
        assert_eq!(gone(0, 1_000), ["3"]);
        assert_eq!(gone(3, 299), ["3"]);
        assert_eq!(gone(3, 0), ["3"]);
    }

    #[test]
    fn versions_are_found_by_name_and_digest() {
        let mut state = begun();
        assert_eq!(state.find("2").unwrap(), installed(2));
        assert_eq!(state.find("0").unwrap(), Choice::Base);
        assert_eq!(state.find(&version(3).digest).unwrap(), installed(3));
        let error = state.find("9").unwrap_err().to_string();
        assert!(
            error.contains("no version \"9\"") && error.contains("1 (000000000000)"),
            "{error}"
        );
        state.install(Version { digest: "e".repeat(64), ..version(2) });
        let error = state.find("2").unwrap_err().to_string();
        assert!(error.contains("several versions") && error.contains("eeeeeeeeeeee"), "{error}");
        assert_eq!(state.find("eeeeee").unwrap(), Choice::Installed("e".repeat(64)));
    }

    #[test]
    fn refusals_are_bounded_in_number_and_text() {
        let mut state = State::default();
        for number in 0..100 {
            state.refuse(Refused {
                name: "ü".repeat(400),
                version: "1".into(),
                digest: None,
                identity: Some(format!("{number}")),
                since: number,
                why: Why::Model,
                reason: "ü".repeat(1_000),
            });
        }
        assert_eq!(state.refused.len(), REFUSED_MAX);
        assert!(state.refusal(None, Some("99")).is_some());
        assert!(state.refusal(None, Some("35")).is_none(), "the oldest are forgotten");
        let last = state.refused.last().unwrap();
        assert_eq!((last.name.len(), last.reason.len()), (TEXT_BYTES_MAX, REASON_BYTES_MAX));
    }
}
