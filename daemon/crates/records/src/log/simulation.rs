//! A log's whole life, drawn from a seed: commits, checkpoints, retention, restarts, kills, power cuts and
//! failing disks, against a model of what must hold. A seed that fails fails again.
//!
//! `PICKET_SIMULATE="SEED STEPS" cargo test -p picket-records simulation` plays one.

use std::sync::Arc;

use super::item::Void;
use super::position::Stream;
use super::proof::prove;
use super::reader::Reader;
use super::sim::{Fault, Sim};
use super::sizes::{Limits, Sizes};
use super::snapshot::Snapshot;
use super::staged::Group;
use super::store::Log;
use super::survey::Survey;
use super::trouble::Trouble;
use crate::record::Entry;
use crate::record::tests::{origin, predicted, reported};
use picket_base::clock::Stamp;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// What must hold: the records that were acknowledged, and what may be there beside them.
#[derive(Default)]
struct Model {
    records: Vec<(u64, Stream)>,
    next: u64,
    /// Groups, or numbers to be void, of the commit that was underway.
    underway: Vec<(Option<Stream>, u64)>,
    /// How many of each stream retention may have left, at least.
    kept: [u64; 2],
}

struct Life {
    random: Random,
    sim: Sim,
    log: Option<Log>,
    model: Model,
    limits: [Limits; 2],
    sizes: Sizes,
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let sizes = Sizes {
            commit_bytes: 4_000 + random.below(60_000) as usize,
            segment_bytes: 2_000 + random.below(60_000),
        };
        let model = Model { next: 1, ..Model::default() };
        let (sim, limits) = (Sim::default(), [Limits::NONE; 2]);
        Life { random, sim, log: None, model, limits, sizes }
    }

    fn step(&mut self) {
        let Some(log) = &mut self.log else { return self.start() };
        let done = match self.random.below(40) {
            0..24 => return self.commit(),
            24..28 => log.checkpoint(),
            28 => {
                let until = self.model.next + 1 + self.random.below(5);
                self.model.underway = vec![(None, until - self.model.next)];
                let done = log.leave_out(until, Void::Dropped);
                if done.is_ok() {
                    self.model.next = until;
                    self.model.underway.clear();
                }
                done
            }
            29..32 => return self.retire(),
            32 => {
                let max_records = [40, 200, 1_000, u64::MAX][self.random.below(4) as usize];
                let stream = self.random.below(2) as usize;
                self.limits[stream] = Limits { max_records, ..Limits::NONE };
                log.set_limits(self.limits);
                Ok(())
            }
            33..36 => {
                let fault = [Fault::Cut, Fault::Broken, Fault::Full][self.random.below(3) as usize];
                self.sim.fail_at(self.sim.steps() + 1 + self.random.below(12) as usize, fault);
                Ok(())
            }
            36 => {
                self.log = None;
                return self.start();
            }
            37 => return self.die(true),
            38 => return self.die(false),
            _ => {
                self.judge();
                Ok(())
            }
        };
        if done.is_err() {
            let cut = self.random.below(2) == 0 || self.sim.has_lied();
            self.die(cut);
        }
    }

    fn commit(&mut self) {
        let (here, there) = (origin("edge-01"), origin("cam-07"));
        let mut groups: Vec<(Stream, Vec<Entry>)> = Vec::new();
        for _ in 0..=self.random.below(5) {
            let count = [1, 1, 1, 2, 9, 70][self.random.below(6) as usize];
            let class = self.random.below(10) as u16;
            groups.push(match self.random.below(3) {
                0 => {
                    let note = "n".repeat(self.random.below(300) as usize);
                    (Stream::Reported, (0..count).map(|_| reported(&there, &note)).collect())
                }
                _ => (Stream::Own, (0..count).map(|_| predicted(&here, class, false)).collect()),
            });
        }
        let lengths = groups.iter().map(|(stream, entries)| (Some(*stream), entries.len() as u64));
        self.model.underway = lengths.collect();
        let asked: Vec<Group> = groups
            .iter()
            .map(|(stream, entries)| Group { stream: *stream, entries, name: None })
            .collect();
        let done = self.log.as_mut().expect("it is open").commit(&asked);
        self.ended(done);
    }

    /// The commit that was underway is acknowledged, or the process ends.
    fn ended(&mut self, done: Result<(), Trouble>) {
        if done.is_err() {
            let cut = self.random.below(2) == 0 || self.sim.has_lied();
            return self.die(cut);
        }
        for (stream, count) in std::mem::take(&mut self.model.underway) {
            self.model.add(stream, count);
        }
    }

    fn retire(&mut self) {
        for stream in Stream::ALL {
            let held = self.model.count(stream);
            let most = self.limits[stream as usize].max_records;
            let kept = &mut self.model.kept[stream as usize];
            *kept = held.min(most - most / 32);
        }
        let done = self.log.as_mut().expect("it is open").retire(0, &Stamp::now()).map(drop);
        self.ended(done);
        self.judge();
    }

    /// The process ends, and with `cut` the power: the next one finds the disk as that leaves it.
    fn die(&mut self, cut: bool) {
        self.log = None;
        let bias = 1 + self.random.below(9);
        let random = &mut self.random;
        self.sim = if cut || self.sim.is_off() || self.sim.has_lied() {
            self.sim.after_cut(|| random.below(10) < bias)
        } else {
            self.sim.after_kill()
        };
        self.judge();
        self.start();
    }

    fn start(&mut self) {
        let opened = Log::open(Arc::new(self.sim.clone()), (5, None), self.sizes);
        match opened {
            Err(_) => self.die(self.sim.has_lied()),
            Ok((mut log, opened)) => {
                assert!(opened.losses.is_empty(), "{:?}", opened.losses);
                assert_eq!(log.position().next, self.model.next);
                log.set_limits(self.limits);
                self.log = Some(log);
            }
        }
    }

    /// Reads all that is there without a lock, and holds it against the model; what survived beyond that is
    /// part of it from now on.
    fn judge(&mut self) {
        if self.sim.is_off() {
            return;
        }
        let survey = Survey::take(&self.sim).unwrap();
        assert!(survey.losses.is_empty(), "{:?}", survey.losses);
        let log = Snapshot::of(&survey, Arc::new(self.sim.clone()));
        let proof = prove(&log, (None, None), || true).unwrap().unwrap();
        assert!(proof.is_sound(), "{proof:?}");
        let mut reader = Reader::new(&log);
        let mut held = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            held.push((record.id, record.stream));
        }
        let model = &mut self.model;
        for (stream, count) in std::mem::take(&mut model.underway) {
            // A group is there as a whole or not at all, and none behind one that is not.
            if survey.position.next < model.next + count {
                break;
            }
            model.add(stream, count);
        }
        assert_eq!(survey.position.next, model.next);
        for stream in Stream::ALL {
            let of = |records: &[(u64, Stream)]| -> Vec<u64> {
                records.iter().filter(|(_, of)| *of == stream).map(|(id, _)| *id).collect()
            };
            let (all, held) = (of(&model.records), of(&held));
            assert!(all.ends_with(&held), "{stream:?}");
            assert!(held.len() as u64 >= model.kept[stream as usize], "{stream:?}");
            let gone = all.len() - held.len();
            model.records.retain(|(id, of)| *of != stream || !all[..gone].contains(id));
            model.kept[stream as usize] = held.len() as u64;
        }
    }
}

impl Model {
    fn add(&mut self, stream: Option<Stream>, count: u64) {
        if let Some(stream) = stream {
            self.records.extend((self.next..self.next + count).map(|id| (id, stream)));
            self.kept[stream as usize] += count;
        }
        self.next += count;
    }

    fn count(&self, stream: Stream) -> u64 {
        self.records.iter().filter(|(_, of)| *of == stream).count() as u64
    }
}

fn live(seed: u64, steps: u64) {
    let mut life = Life::new(seed);
    for step in 0..steps {
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life.step()));
        assert!(lived.is_ok(), "seed {seed} failed at step {step}");
    }
    life.judge();
}

#[test]
fn lives_drawn_from_seeds_keep_what_was_promised() {
    let asked = std::env::var("PICKET_SIMULATE").ok();
    let asked = asked.as_deref().and_then(|asked| asked.split_once(' '));
    match asked {
        Some((seed, steps)) => live(seed.parse().unwrap(), steps.parse().unwrap()),
        None => {
            (1..=8).for_each(|seed| live(seed, 250));
            // A batch whose first frame a cut took, and others that were there.
            live(1007, 200);
        }
    }
}
