//! Damage to the files of a store, a quarter of it to each part: nothing is lost where the same records are
//! in another file, whatever else is lost is reported by number, and nothing dies.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use picket_testkit::{Client, PATIENCE, StorePart};

use crate::Rig;
use crate::batch::batch;
use crate::outcome::Outcome;
use crate::store::{self, Export, Report, Verdict};

const PAGE_BYTES: u64 = 4096;
const SECTOR_BYTES: u64 = 512;

/// Lost at the end of a file by a truncation of its tail.
const TAIL_BYTES_MAX: u64 = 64 << 10;

const BATCH_RECORDS: u64 = 500;

/// Each in a commit of its own, after the batches.
const STRICT_RECORDS: u64 = 300;

#[derive(clap::Args)]
pub struct Args {
    /// Damaged stores
    #[arg(long, default_value_t = 1_000)]
    pub rounds: u64,
    /// Records in the store, at least
    #[arg(long, default_value_t = 3_000)]
    pub records: u64,
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    BitFlip,
    ZeroedPage,
    Garbage,
    Truncated,
    TailCut,
    Deleted,
}

const DAMAGES: [Damage; 6] = [
    Damage::BitFlip,
    Damage::ZeroedPage,
    Damage::Garbage,
    Damage::Truncated,
    Damage::TailCut,
    Damage::Deleted,
];

/// A state directory that nothing has damaged, and what can be read in it.
struct Pristine {
    state_dir: PathBuf,
    records: Export,
}

pub fn run(rig: &Rig, args: &Args) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::new("corrupt");
    for count in ["rounds", "intact", "repaired", "reported_loss", "lost", "silent_loss", "died"] {
        outcome.add(count, 0);
    }
    let dir = rig.scratch.join("corrupt");
    std::fs::create_dir_all(&dir)?;
    let pristine = [make(rig, args, &dir, "stopped")?, make(rig, args, &dir, "killed")?];
    let mut random = fastrand::Rng::with_seed(rig.seed);
    let copy = dir.join("copy");
    for round in 0..args.rounds {
        let original = &pristine[(round % 2) as usize];
        copy_tree(&original.state_dir, &copy)?;
        let damage = DAMAGES[random.usize(..DAMAGES.len())];
        // Stopped and killed stores alternate, so every second round goes on to the next part.
        let part = StorePart::ALL[(round / 2) as usize % StorePart::ALL.len()];
        let files = part.files(&copy.join("log"))?;
        let file = random.choice(&files).with_context(|| format!("a store without {part:?}"))?;
        inflict(damage, file, &mut random)?;
        let name = file.strip_prefix(&copy)?.display();
        let stopped = round % 2 == 0;
        let state = if stopped { "stopped" } else { "killed" };
        let what = format!("round {round}, {damage:?} of {name}, store {state}");
        judge_verify(rig, &copy, original, &what, &mut outcome)?;
        let whole = judge_daemon(rig, &copy, original, &what, &mut outcome)?;
        // A daemon that stops leaves each record in two files.
        if stopped && whole == Some(false) {
            outcome.fail("lost", format!("{what}: what one file lost no other had"));
        }
        std::fs::remove_dir_all(&copy)?;
        outcome.add("rounds", 1);
        if (round + 1) % 50 == 0 {
            outcome.progress(format!("{} of {} damaged stores", round + 1, args.rounds));
        }
    }
    Ok(outcome)
}

/// Some starts, so that there are snapshots, and a mixture of records.
fn make(rig: &Rig, args: &Args, dir: &Path, end: &str) -> anyhow::Result<Pristine> {
    let state_dir = dir.join(end);
    let client = Client::new(PATIENCE);
    let batches = args.records.div_ceil(BATCH_RECORDS).max(2);
    for number in 0..batches {
        let (daemon, _) = rig.launch(&state_dir).ready()?;
        let records = batch(&format!("c{number}"), BATCH_RECORDS, |index| index as f64);
        let answer = client.log(daemon.api, "", &records)?;
        anyhow::ensure!(answer.status == 200, "{}", answer.body);
        for _ in 0..STRICT_RECORDS / batches {
            client.strict_id(daemon.api)?;
        }
        if number + 1 == batches && end == "killed" {
            daemon.kill_9()?;
        } else {
            daemon.stop()?;
        }
    }
    // Reading may tidy up: what is damaged later are the files as the daemon left them.
    let read = dir.join("read");
    copy_tree(&state_dir, &read)?;
    let records = store::export(rig, &read.join("log"))?;
    std::fs::remove_dir_all(&read)?;
    Ok(Pristine { state_dir, records })
}

/// The command line on the damaged store, as it is.
fn judge_verify(
    rig: &Rig,
    copy: &Path,
    original: &Pristine,
    what: &str,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let store = copy.join("log");
    match store::verify(rig, &store)? {
        // Nothing was judged: reading needs no file to be whole.
        Verdict::Died(text) | Verdict::Refused(text) => {
            outcome.fail("died", format!("{what}: {text}"));
        }
        Verdict::Report(report) => match store::export(rig, &store) {
            Err(error) => outcome.fail("died", format!("{what}: {error:#}")),
            Ok(export) => {
                judge_losses(&report, &export, original, &format!("{what}, verified"), outcome);
            }
        },
    }
    Ok(())
}

/// A daemon on the damaged store, and whether all is left after it.
fn judge_daemon(
    rig: &Rig,
    copy: &Path,
    original: &Pristine,
    what: &str,
    outcome: &mut Outcome,
) -> anyhow::Result<Option<bool>> {
    let result = rig.launch(copy).ready().and_then(|(daemon, _)| {
        let id = Client::new(PATIENCE).strict_id(daemon.api);
        let id = id.with_context(|| daemon.last_lines())?;
        daemon.stop()?;
        Ok(id)
    });
    let id = match result {
        Ok(id) => id,
        Err(error) => {
            outcome.fail("died", format!("{what}: {error:#}"));
            return Ok(None);
        }
    };
    let store = copy.join("log");
    match store::verify(rig, &store)? {
        Verdict::Report(report) => {
            let export = store::export(rig, &store)?;
            if !export.contains_key(&id) {
                outcome.fail("silent_loss", format!("{what}: the new record {id} is not there"));
            }
            let what = format!("{what}, repaired by the daemon");
            let whole = judge_losses(&report, &export, original, &what, outcome);
            outcome.add("intact", u64::from(whole && report.sound));
            outcome.add("repaired", u64::from(whole && !report.sound));
            outcome.add("reported_loss", u64::from(!whole));
            Ok(Some(whole))
        }
        Verdict::Refused(text) | Verdict::Died(text) => {
            outcome.fail("died", format!("{what}, after a daemon: {text}"));
            Ok(None)
        }
    }
}

/// True when every record is still readable. Those that are not must stand in the report, and
/// those that are must be what they were.
fn judge_losses(
    report: &Report,
    export: &Export,
    original: &Pristine,
    what: &str,
    outcome: &mut Outcome,
) -> bool {
    let lost: Vec<u64> =
        original.records.keys().filter(|id| !export.contains_key(id)).copied().collect();
    let silent: Vec<u64> = lost.iter().filter(|id| !report.tells(**id)).copied().collect();
    let text = |ids: &[u64]| {
        let (first, last) = (ids.first().unwrap_or(&0), ids.last().unwrap_or(&0));
        format!("{what}: {} records in {first}..={last}: {}", ids.len(), report.text)
    };
    if !silent.is_empty() {
        outcome.fail("silent_loss", text(&silent));
    } else if !lost.is_empty() && report.sound {
        outcome.fail("silent_loss", format!("exit code 0: {}", text(&lost)));
    }
    let altered: Vec<u64> = export
        .iter()
        .filter(|(id, image)| original.records.get(id).is_some_and(|was| was != *image))
        .map(|(id, _)| *id)
        .collect();
    if !altered.is_empty() {
        outcome.fail("altered", text(&altered));
    }
    lost.is_empty()
}

fn inflict(damage: Damage, path: &Path, random: &mut fastrand::Rng) -> anyhow::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let len = file.metadata()?.len();
    let at = random.u64(0..len.max(1));
    match damage {
        Damage::Deleted => std::fs::remove_file(path)?,
        _ if len == 0 => file.write_all_at(&[random.u8(..)], 0)?,
        Damage::BitFlip => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at)?;
            byte[0] ^= 1 << random.u8(0..8);
            file.write_all_at(&byte, at)?;
        }
        Damage::ZeroedPage => {
            let start = at / PAGE_BYTES * PAGE_BYTES;
            let bytes = PAGE_BYTES.min(len - start) as usize;
            file.write_all_at(&vec![0; bytes], start)?;
        }
        Damage::Garbage => {
            let start = at / SECTOR_BYTES * SECTOR_BYTES;
            let bytes = SECTOR_BYTES.min(len - start);
            let garbage: Vec<u8> = (0..bytes).map(|_| random.u8(..)).collect();
            file.write_all_at(&garbage, start)?;
        }
        Damage::Truncated => file.set_len(at)?,
        Damage::TailCut => file.set_len(len.saturating_sub(random.u64(1..TAIL_BYTES_MAX)))?,
    }
    Ok(())
}

/// Directories and files: a socket that a killed daemon left holds nothing.
fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
