//! The log on a disk that loses power, fails or fills up at every step: what was acknowledged is there,
//! numbers have no gap, and nothing is silent.

use std::sync::Arc;

use super::feeding::Source;
use super::medium::Medium;
use super::position::Stream;
use super::proof::{Proof, prove};
use super::reader::Reader;
use super::repair::Repaired;
use super::sim::{Fault, Sim};
use super::sizes::{Limits, Sizes};
use super::snapshot::Snapshot;
use super::staged::Group;
use super::store::{Log, Opened};
use super::survey::Survey;
use super::trouble::Trouble;
use super::view::View;
use crate::format;
use crate::record::Entry;
use crate::record::tests::{origin, predicted, reported};
use picket_base::clock::Stamp;

const STORE: u64 = 77;

/// Small enough for files to end and batches to need files of their own.
const SMALL: Sizes = Sizes { commit_bytes: 16 << 10, segment_bytes: 2_000 };

fn open(sim: &Sim) -> Result<(Log, Opened), Trouble> {
    Log::open(Arc::new(sim.clone()), (STORE, None), SMALL)
}

fn own(count: usize, class: u16) -> (Stream, Vec<Entry>) {
    let here = origin("edge-01");
    (Stream::Own, (0..count).map(|_| predicted(&here, class, class % 2 == 1)).collect())
}

fn others(count: usize, note: &str) -> (Stream, Vec<Entry>) {
    let there = origin("cam-07");
    (Stream::Reported, (0..count).map(|_| reported(&there, note)).collect())
}

fn commit(log: &mut Log, groups: &[(Stream, Vec<Entry>)]) -> Result<(), Trouble> {
    let groups = groups.iter();
    let groups: Vec<Group> =
        groups.map(|(stream, entries)| Group { stream: *stream, entries, name: None }).collect();
    log.commit(&groups).map(drop)
}

/// What a reader finds that takes no lock.
fn found(sim: &Sim) -> (Survey, Proof) {
    let survey = Survey::take(sim).unwrap();
    let log = Snapshot::of(&survey, Arc::new(sim.clone()));
    let proof = prove(&log, None, || true).unwrap().unwrap();
    (survey, proof)
}

/// The numbers of all records that can be read, and whose they are.
fn numbers(sim: &Sim) -> Vec<(u64, Stream)> {
    let survey = Survey::take(sim).unwrap();
    let log = Snapshot::of(&survey, Arc::new(sim.clone()));
    let mut reader = Reader::new(&log);
    let mut numbers = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        assert!(format::decode(record.id, &record.value).is_ok());
        numbers.push((record.id, record.stream));
    }
    numbers
}

/// Groups that are committed one after the other, with checkpoints and openings in between.
#[derive(Clone)]
enum Act {
    Commit(Vec<(Stream, Vec<Entry>)>),
    Checkpoint,
    Reopen,
    /// Retention with so many records of each stream.
    Retire(u64, u64),
}

/// How far a script got: the records that were acknowledged, those of the commit that was not, by group.
#[derive(Clone, Default)]
struct Progress {
    acknowledged: Vec<(u64, Stream)>,
    underway: Vec<Vec<Stream>>,
    next: u64,
    /// How many of each stream have gone at most.
    retired: [usize; 2],
}

impl Progress {
    fn of(&self, stream: Stream) -> Vec<u64> {
        let records = self.acknowledged.iter().filter(|(_, other)| *other == stream);
        records.map(|(id, _)| *id).collect()
    }
}

fn play(sim: &Sim, script: &[Act], progress: &mut Progress) -> Result<(), Trouble> {
    let (mut log, opened) = open(sim)?;
    assert!(opened.losses.is_empty());
    progress.next = 1;
    for act in script {
        match act {
            Act::Checkpoint => log.checkpoint()?,
            Act::Retire(own, reported) => {
                let limit = |max_records| Limits { max_records, ..Limits::NONE };
                log.set_limits([limit(*own), limit(*reported)]);
                for (stream, most) in Stream::ALL.into_iter().zip([own, reported]) {
                    let retired = &mut progress.retired[stream as usize];
                    let had = progress.acknowledged.iter().filter(|(_, of)| *of == stream).count();
                    let kept = (*most - *most / 16) as usize;
                    *retired = (*retired).max(had.saturating_sub(kept));
                }
                log.retire(0, &Stamp::now())?;
            }
            Act::Reopen => {
                drop(log);
                let opened;
                (log, opened) = open(sim)?;
                assert_eq!((opened.made, &opened.losses[..]), (false, &[][..]));
                assert_eq!(log.position().next, progress.next);
            }
            Act::Commit(groups) => {
                let streams =
                    |(stream, entries): &(Stream, Vec<Entry>)| vec![*stream; entries.len()];
                progress.underway = groups.iter().map(streams).collect();
                commit(&mut log, groups)?;
                for stream in progress.underway.drain(..).flatten() {
                    progress.acknowledged.push((progress.next, stream));
                    progress.next += 1;
                }
            }
        }
    }
    Ok(())
}

/// Judges a disk after a script was cut short: the log holds what was acknowledged and perhaps groups of the
/// commit that was not, each all or none, proves sound, opens, and goes on.
fn judge(sim: &Sim, progress: &Progress, what: &str) {
    let (survey, proof) = found(sim);
    assert!(survey.losses.is_empty(), "{what}: {:?}", survey.losses);
    assert!(proof.is_sound(), "{what}: {proof:?}");
    let held = numbers(sim);
    let old = |(id, _): &&(u64, Stream)| *id < progress.next.max(1);
    for stream in Stream::ALL {
        let kept = held.iter().filter(old).filter(|(_, of)| *of == stream);
        let kept: Vec<u64> = kept.map(|(id, _)| *id).collect();
        let all = progress.of(stream);
        assert!(all.ends_with(&kept), "{what}: {kept:?}");
        let gone = all.len() - kept.len();
        assert!(gone <= progress.retired[stream as usize], "{what}: {gone} gone");
        assert_eq!(survey.position.lane(stream).kept_from, gone as u64, "{what}");
    }
    let more = held.iter().filter(|record| !old(record));
    let mut possible = vec![Vec::new()];
    for group in &progress.underway {
        possible.push([possible.last().unwrap(), &group[..]].concat());
    }
    let more: Vec<Stream> = more.map(|(_, stream)| *stream).collect();
    assert!(possible.contains(&more), "{what}: {} more", more.len());
    let (mut log, opened) = open(sim).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(opened.losses.is_empty(), "{what}");
    let next = held.last().map_or(1, |(id, _)| id + 1).max(progress.next);
    assert_eq!(log.position().next, next, "{what}");
    assert_eq!(log.tally().records, held.len() as u64, "{what}");
    commit(&mut log, &[own(1, 3), others(2, "after it")]).unwrap();
    drop(log);
    let (survey, proof) = found(&sim.after_kill());
    assert!(survey.losses.is_empty() && proof.is_sound(), "{what}: {proof:?}");
    assert_eq!((proof.last, proof.count), (next + 2, held.len() as u64 + 3), "{what}");
}

/// Cuts the power, kills the process, and lets the disk fail and fill up at every step of a script. `ways`
/// of what survives a cut are tried beside all and nothing.
fn exhaust(script: &[Act], ways: u32) {
    let whole = Sim::default();
    let mut progress = Progress::default();
    play(&whole, script, &mut progress).unwrap();
    judge(&whole.after_kill(), &progress, "to the end");
    for step in 1..=whole.steps() {
        for fault in [Fault::Cut, Fault::Broken, Fault::Full] {
            let sim = Sim::default();
            sim.fail_at(step, fault);
            let mut progress = Progress::default();
            let ended = play(&sim, script, &mut progress);
            assert!(ended.is_err(), "step {step}, {fault:?}: nobody noticed");
            let what = |way: &str| format!("step {step} of {}, {fault:?}, {way}", whole.steps());
            judge(&sim.after_kill(), &progress, &what("killed"));
            judge(&sim.after_cut(|| true), &progress, &what("all survives"));
            judge(&sim.after_cut(|| false), &progress, &what("nothing survives"));
            for seed in 0..ways {
                let mut random = u64::from(seed) << 32 | step as u64 | 1;
                let cut = sim.after_cut(|| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random % 8 < u64::from(seed % 7) + 1
                });
                judge(&cut, &progress, &what("some survives"));
            }
        }
    }
}

#[test]
fn commits_checkpoints_and_openings_survive_every_fault_at_every_step() {
    let script = [
        Act::Commit(vec![own(1, 1)]),
        Act::Commit(vec![own(2, 2), others(3, "a batch"), own(1, 4)]),
        Act::Checkpoint,
        Act::Commit(vec![others(60, "more than a chunk")]),
        Act::Reopen,
        Act::Commit(vec![own(1, 5)]),
        Act::Checkpoint,
        Act::Reopen,
        Act::Commit(vec![own(1, 6), others(1, "last")]),
    ];
    exhaust(&script, 8);
}

#[test]
fn a_batch_with_a_file_of_its_own_is_there_as_a_whole_or_not_at_all() {
    let note = "n".repeat(700);
    let script = [
        Act::Commit(vec![own(3, 1), others(2, "small")]),
        Act::Commit(vec![own(1, 2), others(30, &note), own(1, 3)]),
        Act::Reopen,
        Act::Commit(vec![others(30, &note)]),
    ];
    exhaust(&script, 8);
}

#[test]
fn retention_takes_from_one_stream_and_survives_every_fault() {
    let script = [
        Act::Commit(vec![own(70, 1)]),
        Act::Commit(vec![others(70, "many")]),
        Act::Checkpoint,
        Act::Retire(200, 50),
        Act::Commit(vec![own(3, 1), others(60, "more")]),
        Act::Checkpoint,
        Act::Retire(60, 25),
        Act::Reopen,
        Act::Commit(vec![own(1, 1)]),
        Act::Retire(60, 20),
    ];
    exhaust(&script, 4);
    let sim = Sim::default();
    play(&sim, &script, &mut Progress::default()).unwrap();
    let (survey, proof) = found(&sim.after_kill());
    let kept = |stream| {
        let lane = survey.position.lane(stream);
        lane.next - lane.kept_from
    };
    assert_eq!((kept(Stream::Own), kept(Stream::Reported)), (58, 19));
    assert!(proof.is_sound(), "{proof:?}");
    assert_eq!(survey.retired.map(|retired| retired.by_count), [16, 111]);
    assert!(sim.names().unwrap().len() < 8, "{:?}", sim.names());
}

/// What a log of some size holds that was checkpointed, opened and left without a checkpoint.
fn grown() -> (Sim, Progress) {
    grown_with(1)
}

fn grown_with(class: u16) -> (Sim, Progress) {
    let sim = Sim::default();
    let script = [
        Act::Commit(vec![own(70, class)]),
        Act::Checkpoint,
        Act::Commit(vec![others(10, "first"), own(1, 2)]),
        Act::Reopen,
        Act::Commit(vec![own(40, 3), others(60, "second")]),
        Act::Checkpoint,
        Act::Commit(vec![others(5, "third"), own(5, 4)]),
        Act::Commit(vec![own(2, 5)]),
    ];
    let mut progress = Progress::default();
    play(&sim, &script, &mut progress).unwrap();
    (sim.after_kill(), progress)
}

/// Nothing that is missing goes unnamed: what can be read is what was written, and the rest is told.
fn nothing_is_silent(sim: &Sim, progress: &Progress, what: &str) -> usize {
    let (survey, proof) = found(sim);
    let held = numbers(sim);
    let missing = progress.acknowledged.len() - held.len();
    assert!(held.iter().all(|record| progress.acknowledged.contains(record)), "{what}");
    let told: u64 = proof.gaps.iter().map(|[from, to]| to - from + 1).sum();
    let told = told as usize + proof.corrupt.len();
    assert!(proof.altered.is_empty(), "{what}");
    assert!(missing == 0 || !proof.is_sound(), "{what}: {missing} missing, {proof:?}");
    let known = |id: &u64| {
        proof.corrupt.contains(id) || proof.gaps.iter().any(|[from, to]| (from..=to).contains(&id))
    };
    let lost = progress.acknowledged.iter().filter(|record| !held.contains(record));
    assert!(lost.clone().all(|(id, _)| known(id)), "{what}: {told} told, {proof:?}");
    assert_eq!(told, missing, "{what}: {proof:?}, {:?}", survey.losses);
    // The next opening goes on behind all numbers that were given.
    let (mut log, _) = open(sim).unwrap();
    assert_eq!(log.position().next, progress.next, "{what}");
    commit(&mut log, &[own(1, 9), others(1, "after it")]).unwrap();
    drop(log);
    let (_, after) = found(sim);
    assert_eq!((after.gaps, after.corrupt.len()), (proof.gaps, proof.corrupt.len()), "{what}");
    assert_eq!((after.last, after.count), (progress.next + 1, held.len() as u64 + 2), "{what}");
    missing
}

#[test]
fn whatever_one_fault_takes_is_told_by_number() {
    let (whole, progress) = grown();
    assert_eq!(nothing_is_silent(&whole.after_kill(), &progress, "nothing"), 0);
    let names = whole.names().unwrap();
    assert!(names.iter().filter(|name| name.ends_with(".seg")).count() == 4, "{names:?}");
    let mut lost = 0;
    for name in &names {
        let content = whole.content(name);
        let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let step = (used / 60).max(1);
        for at in (0..used).step_by(step) {
            let sim = whole.after_kill();
            let mut bytes = content.clone();
            bytes[at] ^= 1 << (at % 8);
            sim.set_content(name, bytes);
            lost += nothing_is_silent(&sim, &progress, &format!("{name}, byte {at}"));
            let sim = whole.after_kill();
            sim.set_content(name, content[..at].to_vec());
            nothing_is_silent(&sim, &progress, &format!("{name}, cut at {at}"));
            let sim = whole.after_kill();
            let mut bytes = content.clone();
            bytes[at..(at + 512).min(used)].fill(0);
            sim.set_content(name, bytes);
            nothing_is_silent(&sim, &progress, &format!("{name}, a sector at {at}"));
        }
        let sim = whole.after_kill();
        sim.remove(name).unwrap();
        nothing_is_silent(&sim, &progress, &format!("{name} removed"));
    }
    assert!(lost > 0, "damage does harm");
}

/// A view of all that is sealed in a log.
fn view_of(sim: &Sim, dir: &std::path::Path) -> View {
    let survey = Survey::take(sim).unwrap();
    let mut view = View::open(dir, STORE, &survey.known).unwrap().unwrap();
    for stream in Stream::ALL {
        let files = &survey.files[stream as usize];
        let (lane, known) = (survey.position.lane(stream), &survey.known);
        let source = Source { medium: sim, known, stream, lane, files };
        assert!(source.feed(&mut view, u64::MAX).unwrap());
    }
    view.sync().unwrap();
    view
}

#[test]
fn whatever_one_fault_takes_of_the_sealed_files_is_healed_from_the_view() {
    let (whole, progress) = grown();
    let (mut log, _) = open(&whole).unwrap();
    assert_eq!(log.position().next, progress.next);
    log.checkpoint().unwrap();
    drop(log);
    let dir = tempfile::tempdir().unwrap();
    let view = view_of(&whole, dir.path());
    let mut healed = 0;
    let mut heal = |sim: &Sim, what: &str| {
        let (mut log, _) = open(sim).unwrap_or_else(|error| panic!("{what}: {error}"));
        view.lookup().teach(&mut log.known).unwrap();
        let repaired = log.repair(&view.lookup()).unwrap();
        assert_eq!(repaired.left, [], "{what}");
        assert_eq!(log.tally().records, progress.acknowledged.len() as u64, "{what}");
        assert_eq!(log.repair(&view.lookup()).unwrap(), Repaired::default(), "{what}");
        commit(&mut log, &[own(1, 9), others(1, "after it")]).unwrap();
        drop(log);
        let after = sim.after_kill();
        let (survey, proof) = found(&after);
        assert!(proof.is_sound() && survey.losses.is_empty(), "{what}: {proof:?}");
        let held = numbers(&after);
        assert_eq!(held[..held.len() - 2], progress.acknowledged, "{what}");
        healed += repaired.records;
    };
    for name in whole.names().unwrap().iter().filter(|name| name.ends_with(".seg")) {
        let content = whole.content(name);
        for at in (0..content.len()).step_by((content.len() / 40).max(1)) {
            let sim = whole.after_kill();
            let mut bytes = content.clone();
            bytes[at] ^= 1 << (at % 8);
            sim.set_content(name, bytes);
            heal(&sim, &format!("{name}, byte {at}"));
            let sim = whole.after_kill();
            sim.set_content(name, content[..at].to_vec());
            heal(&sim, &format!("{name}, cut at {at}"));
        }
        let sim = whole.after_kill();
        sim.remove(name).unwrap();
        heal(&sim, &format!("{name} removed"));
    }
    assert!(healed > 1_000, "{healed}");
}

#[test]
fn what_does_not_fit_into_the_chain_heals_nothing() {
    let (whole, _) = grown();
    let (other, _) = grown_with(3);
    let dir = tempfile::tempdir().unwrap();
    let view = view_of(&other, dir.path());
    let name = whole.names().unwrap().into_iter().find(|name| name.starts_with("own")).unwrap();
    whole.remove(&name).unwrap();
    let (mut log, opened) = open(&whole).unwrap();
    assert!(!opened.losses.is_empty());
    let repaired = log.repair(&view.lookup()).unwrap();
    assert_eq!((repaired.records, repaired.left.len()), (0, 1));
}

#[test]
fn a_file_that_has_lost_any_of_its_frames_keeps_the_others() {
    let whole = Sim::default();
    let roomy = Sizes { segment_bytes: 1 << 20, ..SMALL };
    let open = |sim: &Sim| Log::open(Arc::new(sim.clone()), (STORE, None), roomy).unwrap().0;
    let mut log = open(&whole);
    for class in 0..6 {
        commit(&mut log, &[own(60, class), others(10, "a note")]).unwrap();
        log.checkpoint().unwrap();
    }
    drop(log);
    let dir = tempfile::tempdir().unwrap();
    let view = view_of(&whole, dir.path());
    let all = numbers(&whole);
    for name in whole.names().unwrap().iter().filter(|name| name.ends_with(".seg")) {
        let content = whole.content(name);
        for at in (0..content.len()).step_by(content.len() / 25) {
            for length in [1, 700, 9_000] {
                let sim = whole.after_kill();
                let mut bytes = content.clone();
                let end = (at + length).min(bytes.len());
                bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0x55);
                sim.set_content(name, bytes);
                let what = format!("{name}, {length} bytes at {at}");
                let mut log = open(&sim);
                view.lookup().teach(&mut log.known).unwrap();
                commit(&mut log, &[own(1, 9)]).unwrap();
                assert_eq!(log.repair(&view.lookup()).unwrap().left, [], "{what}");
                drop(log);
                let (_, proof) = found(&sim);
                assert!(proof.is_sound(), "{what}: {proof:?}");
                assert_eq!(numbers(&sim)[..all.len()], all, "{what}");
            }
        }
    }
}
