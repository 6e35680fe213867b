//! Rebuilds the disk at random points of a recording and reads the store that is on it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use picket_testkit::{Client, PATIENCE, store_exists};

use super::{Args, Policy, Recording, Subject};
use crate::Rig;
use crate::disk::Event;
use crate::load::Ack;
use crate::mount::{Access, LoopDevice, Mount};
use crate::outcome::Outcome;
use crate::store::{self, Verdict};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Of the unflushed writes under `Policy::Random`: kept whole, and kept in part.
const KEPT_SHARE: f64 = 0.4;
const TORN_SHARE: f64 = 0.2;

/// Progress is told this often.
const TOLD_EVERY: u64 = 100;

/// The recording played up to some point.
struct Playback<'a> {
    recording: &'a Recording,
    position: usize,
    /// Everything up to the last flush.
    flushed: Vec<u8>,
    pending: Vec<(usize, &'a [u8])>,
    acks: Acks,
}

/// Acknowledged numbers as ranges, merged where they touch: last → first.
#[derive(Default)]
struct Acks(BTreeMap<u64, u64>);

struct Cut<'a> {
    rig: &'a Rig,
    args: &'a Args,
    subject: Subject,
    mounted: &'a Path,
    acks: Vec<Ack>,
    /// Names the cut in a failure.
    what: String,
    restart: bool,
}

pub fn replay(
    rig: &Rig,
    args: &Args,
    subject: Subject,
    policy: Policy,
    cuts: u64,
    recording: &Recording,
    dir: &Path,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::new(args.name());
    for count in [
        "cuts",
        "restarts",
        "lost",
        "lost_cuts",
        "torn_batches",
        "unsound",
        "unreadable",
        "failed_starts",
    ] {
        outcome.add(count, 0);
    }
    let (file, mounted) = (dir.join("image"), dir.join("mounted"));
    std::fs::create_dir_all(&mounted)?;
    let image = File::options().create(true).truncate(true).write(true).open(&file)?;
    image.set_len(recording.image.len() as u64)?;
    let device = LoopDevice::attach(&file, Access::Cached)?;
    let mut random = fastrand::Rng::with_seed(rig.seed ^ (policy as u64 + 1) << 32);
    let mut points: Vec<usize> =
        (0..cuts).map(|_| random.usize(..=recording.events.len())).collect();
    points.sort_unstable();
    let mut playback = Playback::new(recording);
    for (point, number) in points.into_iter().zip(1..) {
        playback.advance_to(point);
        playback.write_disk(&image, policy, &mut random)?;
        device.forget()?;
        outcome.add("cuts", 1);
        let cut = Cut {
            rig,
            args,
            subject,
            mounted: &mounted,
            acks: playback.acks.list(),
            what: format!("policy {policy}, event {point}"),
            restart: number % args.restart_every == 0 && subject == Subject::Daemon,
        };
        let mount = match mount_afresh(&device, &mounted, &cut) {
            Ok(mount) => mount,
            Err(error) => {
                outcome.fail("unreadable", format!("{}: {error:#}", cut.what));
                continue;
            }
        };
        cut.judge(&mut outcome)?;
        mount.unmount()?;
        if number % TOLD_EVERY == 0 {
            outcome.progress(format!("policy {policy}: {number} of {cuts} cuts"));
        }
    }
    Ok(outcome)
}

/// Mounts the disk; once more where it shows nothing of a store that had acknowledged records: what
/// the image really lacks it will lack again, what the kernel remembered of the image before it not.
fn mount_afresh(device: &LoopDevice, mounted: &Path, cut: &Cut) -> anyhow::Result<Mount> {
    let mount = Mount::ext4(device, mounted, "")?;
    if cut.acks.is_empty()
        || store_exists(&cut.state_dir().join("log"))
        || cut.subject != Subject::Daemon
    {
        return Ok(mount);
    }
    eprintln!("cuts: {}: mounted once more", cut.what);
    mount.unmount()?;
    device.forget()?;
    Mount::ext4(device, mounted, "")
}

impl<'a> Playback<'a> {
    fn new(recording: &'a Recording) -> Playback<'a> {
        Playback {
            recording,
            position: 0,
            flushed: recording.image.clone(),
            pending: Vec::new(),
            acks: Acks::default(),
        }
    }

    fn advance_to(&mut self, position: usize) {
        for event in &self.recording.events[self.position..position] {
            match event {
                Event::Write { offset, data } => self.pending.push((*offset, data)),
                Event::Flush => {
                    for (offset, data) in self.pending.drain(..) {
                        self.flushed[offset..offset + data.len()].copy_from_slice(data);
                    }
                }
                Event::Mark { first, last } => self.acks.add(*first, *last),
            }
        }
        self.position = position;
    }

    /// Writes the disk as the cut leaves it.
    fn write_disk(
        &self,
        image: &File,
        policy: Policy,
        random: &mut fastrand::Rng,
    ) -> anyhow::Result<()> {
        image.write_all_at(&self.flushed, 0)?;
        for (offset, data) in &self.pending {
            match policy {
                Policy::None => {}
                Policy::All => image.write_all_at(data, *offset as u64)?,
                Policy::Random => {
                    let draw = random.f64();
                    for (sector, start) in
                        data.chunks(SECTOR_BYTES).zip((*offset..).step_by(SECTOR_BYTES))
                    {
                        let torn = draw < KEPT_SHARE + TORN_SHARE && random.bool();
                        if draw < KEPT_SHARE || torn {
                            image.write_all_at(sector, start as u64)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl Acks {
    fn add(&mut self, first: u64, last: u64) {
        // Numbers come nearly in order, so nearly all of them touch the newest range.
        let before = self.0.range(first.saturating_sub(1)..).next().map(|(l, f)| (*f, *l));
        match before {
            Some((known_first, known_last)) if known_first <= last + 1 => {
                self.0.remove(&known_last);
                self.add_merged(known_first.min(first), known_last.max(last));
            }
            _ => self.add_merged(first, last),
        }
    }

    fn add_merged(&mut self, first: u64, last: u64) {
        match self.0.range(last + 1..).next().map(|(l, f)| (*f, *l)) {
            Some((next_first, next_last)) if next_first == last + 1 => {
                self.0.insert(next_last, first);
            }
            _ => {
                self.0.insert(last, first);
            }
        }
    }

    fn list(&self) -> Vec<Ack> {
        let at = Instant::now();
        let ack = |(last, first): (&u64, &u64)| Ack { at, first: *first, last: *last, tag: None };
        self.0.iter().map(ack).collect()
    }
}

impl Cut<'_> {
    fn state_dir(&self) -> PathBuf {
        self.mounted.join("state")
    }

    fn judge(&self, outcome: &mut Outcome) -> anyhow::Result<()> {
        if self.subject == Subject::Control {
            return self.judge_control(outcome);
        }
        if self.subject == Subject::Models {
            let state = self.state_dir();
            return super::models::judge(self.rig, &state, &self.acks, &self.what, outcome);
        }
        let store = self.state_dir().join("log");
        // Before the first acknowledgement there may be no store; a daemon must start all the same.
        if self.acks.is_empty() {
            return self.start_daemon(outcome);
        }
        let lost = outcome.count("lost");
        store::judge(self.rig, &store, &self.acks, self.args.log_max_records, &self.what, outcome)?;
        outcome.add("lost_cuts", u64::from(outcome.count("lost") > lost));
        if self.args.outages {
            let torn = store::torn_outages(&store::export(self.rig, &store)?);
            outcome.fail_many(
                "torn_batches",
                torn.len() as u64,
                format!("{}: {torn:?}", self.what),
            );
        }
        if self.restart { self.start_daemon(outcome) } else { Ok(()) }
    }

    fn start_daemon(&self, outcome: &mut Outcome) -> anyhow::Result<()> {
        outcome.add("restarts", 1);
        let result = self.restarted();
        match result {
            Err(error) => {
                outcome.fail("failed_starts", format!("{}: {error:#}", self.what));
                Ok(())
            }
            Ok(id) => {
                let mut acks = self.acks.clone();
                acks.push(Ack { at: Instant::now(), first: id, last: id, tag: None });
                let store = self.state_dir().join("log");
                let what = format!("{}, restarted", self.what);
                store::judge(self.rig, &store, &acks, self.args.log_max_records, &what, outcome)
                    .map(drop)
            }
        }
    }

    /// The number of a strict record that a daemon takes on this disk.
    fn restarted(&self) -> anyhow::Result<u64> {
        let launch = self.rig.launch_keeping(&self.state_dir(), self.args.log_max_records);
        let (daemon, _) = launch.ready()?;
        let id = Client::new(PATIENCE).strict_id(daemon.api)?;
        daemon.stop()?;
        Ok(id)
    }

    fn judge_control(&self, outcome: &mut Outcome) -> anyhow::Result<()> {
        let verdict = super::control::read(&self.mounted.join("store"))?;
        match verdict {
            // Each number stands for itself and all before it.
            Verdict::Report(report) => {
                let missing = report.missing(&self.acks, self.args.log_max_records);
                outcome.add("lost", missing);
                outcome.add("lost_cuts", u64::from(missing > 0));
            }
            Verdict::Refused(_) | Verdict::Died(_) if self.acks.is_empty() => {}
            Verdict::Refused(_) | Verdict::Died(_) => outcome.add("unreadable", 1),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_acknowledgements_become_one_range() {
        let mut acks = Acks::default();
        for (first, last) in [(1, 5), (7, 7), (6, 6), (12, 14), (9, 10), (11, 11), (3, 4)] {
            acks.add(first, last);
        }
        let ranges: Vec<(u64, u64)> = acks.list().iter().map(|a| (a.first, a.last)).collect();
        assert_eq!(ranges, [(1, 7), (9, 14)]);
    }
}
