//! What is in a store that no daemon runs on, as `picket log` tells it.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::Rig;
use crate::batch::image_id;
use crate::load::{Ack, OUTAGE_TAG};
use crate::outcome::Outcome;

/// Reading a store ends by itself within this time, whatever state it is in.
pub const READ_DEADLINE: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Retention may remove this share of its limit at once, so that it need not run at every commit.
const RETIRED_AHEAD_SHARE: f64 = 0.25;

/// Where in the report numbers of missing or damaged records may stand.
const LOSS_KEYS: [&str; 5] = ["gaps", "corrupt", "lost", "lost_tail", "missing"];

/// `picket log verify --json`.
pub struct Report {
    pub sound: bool,
    pub first: u64,
    pub last: u64,
    /// Inclusive ranges of numbers that the report says are gone or damaged.
    pub losses: Vec<(u64, u64)>,
    /// Those of them that a daemon's start will bring back.
    pub salvageable: Vec<(u64, u64)>,
    pub text: String,
}

/// How verify ended.
pub enum Verdict {
    Report(Report),
    /// An error, told as one.
    Refused(String),
    /// A signal, a panic or no end at all.
    Died(String),
}

/// `picket log export`: readable records and the image ids of those that have one.
pub type Export = BTreeMap<u64, String>;

pub fn verify(rig: &Rig, store: &Path) -> anyhow::Result<Verdict> {
    let mut command = Command::new(&rig.picket);
    command.args(["log", "verify", "--json", "--store"]).arg(store);
    verdict(command)
}

/// Runs a command that prints such a report.
pub fn verdict(command: Command) -> anyhow::Result<Verdict> {
    let Some(ended) = run(command)? else {
        return Ok(Verdict::Died(format!("verify: no end after {READ_DEADLINE:?}")));
    };
    if let Some(signal) = ended.status.signal() {
        return Ok(Verdict::Died(format!("verify: signal {signal}: {}", ended.stderr)));
    }
    let Ok(json) = serde_json::from_str::<Value>(&ended.stdout) else {
        let text = format!("verify: {}: {}", ended.status, ended.stderr.trim());
        // 101 is a panic that nobody caught.
        let died = ended.status.code() == Some(101) || ended.status.success();
        return Ok(if died { Verdict::Died(text) } else { Verdict::Refused(text) });
    };
    let number = |key: &str| json[key].as_u64().with_context(|| format!("no {key} in {json}"));
    Ok(Verdict::Report(Report {
        sound: ended.status.success(),
        first: number("first")?,
        last: number("last")?,
        losses: LOSS_KEYS.iter().flat_map(|key| ranges(&json[*key])).collect(),
        salvageable: ranges(&json["salvageable"]),
        text: ended.stdout.trim().to_string(),
    }))
}

/// What can be read of the store, damaged or not.
pub fn export(rig: &Rig, store: &Path) -> anyhow::Result<Export> {
    let mut command = Command::new(&rig.picket);
    command.args(["log", "export", "--format", "jsonl", "--store"]).arg(store);
    let ended = run(command)?.with_context(|| format!("export: no end after {READ_DEADLINE:?}"))?;
    if let Some(signal) = ended.status.signal() {
        bail!("export: signal {signal}: {}", ended.stderr);
    }
    let mut records = Export::new();
    for line in ended.stdout.lines() {
        let json: Value = serde_json::from_str(line).with_context(|| format!("export: {line}"))?;
        // Its end mark has none.
        if json["records"].is_u64() {
            continue;
        }
        let id = json["id"].as_u64().with_context(|| format!("export without id: {line}"))?;
        records.insert(id, json["image_id"].as_str().unwrap_or_default().to_string());
    }
    Ok(records)
}

impl Report {
    pub fn has(&self, id: u64) -> bool {
        let salvageable =
            self.salvageable.iter().any(|(first, last)| (*first..=*last).contains(&id));
        salvageable || ((self.first..=self.last).contains(&id) && !self.tells(id))
    }

    /// The report says that this record is gone or damaged.
    pub fn tells(&self, id: u64) -> bool {
        self.losses.iter().any(|(first, last)| (*first..=*last).contains(&id))
    }

    /// Acknowledged records that the store no longer has, though retention could not remove them.
    pub fn missing(&self, acks: &[Ack], max_records: u64) -> u64 {
        let kept_from = kept_from(self.last.max(highest(acks)), max_records);
        acks.iter()
            .filter(|ack| ack.last >= kept_from)
            .flat_map(|ack| ack.first.max(kept_from)..=ack.last)
            .filter(|id| !self.has(*id))
            .count() as u64
    }
}

/// The store holds every acknowledged record that retention had to keep, and calls itself sound.
/// Failures go to `outcome`; the report comes back where there is one.
pub fn judge(
    rig: &Rig,
    store: &Path,
    acks: &[Ack],
    max_records: u64,
    what: &str,
    outcome: &mut Outcome,
) -> anyhow::Result<Option<Report>> {
    outcome.add("lost", 0);
    outcome.add("unsound", 0);
    outcome.add("unreadable", 0);
    match verify(rig, store)? {
        Verdict::Report(report) => {
            let missing = report.missing(acks, max_records);
            let highest = highest(acks);
            let text = format!("{what}: acknowledged up to {highest}: {}", report.text);
            outcome.fail_many("lost", missing, &text);
            if !report.sound {
                outcome.fail("unsound", &text);
            }
            Ok(Some(report))
        }
        // The cut came before there was a store.
        Verdict::Refused(text) if acks.is_empty() && text.contains("No such file") => Ok(None),
        Verdict::Refused(text) | Verdict::Died(text) => {
            let highest = highest(acks);
            let files = listing(store);
            let text = format!("{what}: acknowledged up to {highest}: {text}; there are {files}");
            outcome.fail("unreadable", text);
            Ok(None)
        }
    }
}

/// The names in a store and beside it.
fn listing(store: &Path) -> String {
    let beside = store.parent().into_iter();
    let names = beside.chain([store]).filter_map(|dir| std::fs::read_dir(dir).ok());
    let names = names.flatten().filter_map(|entry| Some(entry.ok()?.file_name()));
    names.map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Acknowledged batches whose records are kept under another number, or with other content.
pub fn misplaced(export: &Export, acks: &[Ack]) -> u64 {
    let mut misplaced = 0;
    for ack in acks {
        let Some(tag) = &ack.tag else { continue };
        for (id, index) in (ack.first..=ack.last).zip(0..) {
            if export.get(&id).is_some_and(|stored| *stored != image_id(tag, index)) {
                misplaced += 1;
            }
        }
    }
    misplaced
}

/// Batches of outages that are there in part or more than once. Retention may have taken the beginning of
/// one.
pub fn torn_outages(export: &Export) -> Vec<String> {
    let mut indexes: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for image_id in export.values().filter(|image_id| image_id.starts_with(OUTAGE_TAG)) {
        let Some((tag, index)) = image_id.rsplit_once('.') else { continue };
        indexes.entry(tag).or_default().extend(index.parse::<u64>());
    }
    let torn = indexes.into_iter().filter(|(tag, indexes)| {
        let records: Option<u64> = tag.rsplit_once('-').and_then(|(_, count)| count.parse().ok());
        let (first, next) = (indexes[0], indexes[0] + indexes.len() as u64);
        records != Some(next) || !indexes.iter().copied().eq(first..next)
    });
    torn.map(|(tag, indexes)| format!("{tag}: {} records", indexes.len())).collect()
}

pub fn highest(acks: &[Ack]) -> u64 {
    acks.iter().map(|ack| ack.last).max().unwrap_or(0)
}

/// The oldest record that retention must have left in a store whose newest is `last`.
fn kept_from(last: u64, max_records: u64) -> u64 {
    let kept = (max_records as f64 * (1.0 - RETIRED_AHEAD_SHARE)) as u64;
    (last + 1).saturating_sub(kept)
}

/// Numbers, pairs of them, or a list of either.
fn ranges(value: &Value) -> Vec<(u64, u64)> {
    let Some(items) = value.as_array() else {
        return value.as_u64().map(|id| (id, id)).into_iter().collect();
    };
    items
        .iter()
        .filter_map(|item| match item.as_array().map(Vec::as_slice) {
            Some([first, last]) => first.as_u64().zip(last.as_u64()),
            _ => item.as_u64().map(|id| (id, id)),
        })
        .collect()
}

struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

/// Runs a command of the CLI; none when it does not end in time.
fn run(mut command: Command) -> anyhow::Result<Option<Ended>> {
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("picket can't be run")?;
    let mut stdout = child.stdout.take().context("stdout is piped")?;
    let mut stderr = child.stderr.take().context("stderr is piped")?;
    let (stdout, stderr) = std::thread::scope(|scope| {
        let errors = scope.spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).map(|_| text)
        });
        let output = scope.spawn(move || {
            let mut text = Vec::new();
            stdout.read_to_end(&mut text).map(|_| text)
        });
        let deadline = Instant::now() + READ_DEADLINE;
        let ended = loop {
            match child.try_wait() {
                Ok(None) if Instant::now() < deadline => std::thread::sleep(POLL_INTERVAL),
                Ok(Some(_)) => break true,
                _ => break false,
            }
        };
        if !ended {
            // Also closes the pipes that the readers wait for.
            let _ = child.kill();
        }
        let lossy = |text: std::thread::Result<std::io::Result<Vec<u8>>>| {
            let text = text.ok().and_then(Result::ok).unwrap_or_default();
            String::from_utf8_lossy(&text).into_owned()
        };
        let texts = (lossy(output.join()), lossy(errors.join()));
        ended.then_some(texts)
    })
    .unzip();
    let status = child.wait()?;
    Ok(stdout.zip(stderr).map(|(stdout, stderr)| Ended { status, stdout, stderr }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(ids: &[(&str, std::ops::Range<u64>)]) -> Export {
        let image_ids =
            ids.iter().flat_map(|(tag, indexes)| indexes.clone().map(|index| image_id(tag, index)));
        (1..).zip(image_ids).collect()
    }

    #[test]
    fn a_batch_in_part_or_twice_is_torn_and_one_that_retention_has_begun_with_is_not() {
        let whole = [("b7", 0..2), ("outage1-5", 3..5), ("outage2-3", 0..3)];
        assert_eq!(torn_outages(&export(&whole)), Vec::<String>::new());
        let torn = [("outage1-5", 0..4), ("outage2-3", 0..3), ("outage2-3", 0..3)];
        assert_eq!(torn_outages(&export(&torn)), ["outage1-5: 4 records", "outage2-3: 6 records"]);
    }
}
