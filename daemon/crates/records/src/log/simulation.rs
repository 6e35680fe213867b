//! A log's whole life, drawn from a seed: commits, checkpoints, retention by count and age, clocks that jump,
//! restarts, kills, power cuts, failing disks and queries, against a model of what must hold. A seed that
//! fails fails again: `./dev simulate SEED STEPS` plays it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::item::Void;
use super::position::Stream;
use super::proof::prove;
use super::reader::Reader;
use super::sim::{Fault, Sim};
use super::sizes::{Limits, Sizes};
use super::snapshot::{Alone, Snapshot};
use super::staged::Group;
use super::store::Log;
use super::survey::Survey;
use super::trouble::Trouble;
use crate::record::Entry;
use crate::record::tests::{origin, predicted, reported};
use crate::{Page, Query};
use picket_base::clock::{Stamp, micros};

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Steps of one life; a longer simulation is one of several, whose seeds follow each other.
const LIFE_STEPS: u64 = 1_000;

const DAY_US: i64 = 24 * 3600 * 1_000_000;

/// What must hold: the records that were acknowledged, and what may be there beside them.
#[derive(Default)]
struct Model {
    records: Vec<(u64, Stream)>,
    /// When each of them was made by the true time, µs.
    made_us: BTreeMap<u64, i64>,
    next: u64,
    /// Groups, or numbers to be void, of the commit that was underway.
    underway: Vec<(Option<Stream>, u64)>,
    /// How many of each stream retention may have left, at least.
    kept: [u64; 2],
}

/// The box's clock: what time it is, and what it takes it for.
struct Clock {
    true_us: i64,
    wrong_us: i64,
    synchronised: bool,
}

impl Clock {
    fn stamp(&self) -> Stamp {
        let wall_us = self.true_us + self.wrong_us;
        let monotonic_us = u64::try_from(self.true_us).expect("the time only grows");
        Stamp { monotonic_us, wall_us, synchronised: self.synchronised }
    }
}

struct Life {
    clock: Clock,
    /// Whether the log may not know yet that the clock is right.
    clock_is_news: bool,
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
        let clock = Clock { true_us: DAY_US, wrong_us: 0, synchronised: true };
        Life { clock, clock_is_news: true, random, sim, log: None, model, limits, sizes }
    }

    fn step(&mut self) {
        self.clock.true_us += 1 + self.random.below(3_000_000_000) as i64;
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
                let days = [1, 2, 7][self.random.below(3) as usize];
                let max_age = Duration::from_secs(days * 24 * 3600);
                let max_age = (self.random.below(2) == 0).then_some(max_age);
                self.limits[stream] = Limits { max_records, max_age, ..Limits::NONE };
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
            37 if self.random.below(2) == 0 => {
                // Ten years behind without a battery, until somebody tells it the time.
                self.clock.synchronised = !self.clock.synchronised;
                self.clock.wrong_us = if self.clock.synchronised { 0 } else { -3_650 * DAY_US };
                self.clock_is_news = true;
                return;
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
        let at = self.clock.stamp();
        let mut groups: Vec<(Stream, Vec<Entry>)> = Vec::new();
        for _ in 0..=self.random.below(5) {
            let count = [1, 1, 1, 2, 9, 70][self.random.below(6) as usize];
            let class = self.random.below(10) as u16;
            groups.push(match self.random.below(3) {
                0 => {
                    let note = "n".repeat(self.random.below(300) as usize);
                    (
                        Stream::Reported,
                        (0..count).map(|_| Entry { at, ..reported(&there, &note) }).collect(),
                    )
                }
                _ => {
                    let made = |_| Entry { at, ..predicted(&here, class, false) };
                    (Stream::Own, (0..count).map(made).collect())
                }
            });
        }
        let lengths = groups.iter().map(|(stream, entries)| (Some(*stream), entries.len() as u64));
        self.model.underway = lengths.collect();
        let asked: Vec<Group> = groups
            .iter()
            .map(|(stream, entries)| Group { stream: *stream, entries, name: None })
            .collect();
        let done = self.log.as_mut().expect("it is open").commit(&asked).map(drop);
        self.ended(done);
    }

    /// The commit that was underway is acknowledged, or the process ends.
    fn ended(&mut self, done: Result<(), Trouble>) {
        if done.is_err() {
            let cut = self.random.below(2) == 0 || self.sim.has_lied();
            return self.die(cut);
        }
        for (stream, count) in std::mem::take(&mut self.model.underway) {
            self.model.add(stream, count, self.clock.true_us);
        }
    }

    fn retire(&mut self) {
        for stream in Stream::ALL {
            let held = self.model.count(stream);
            let Limits { max_records, max_age, .. } = self.limits[stream as usize];
            let by_count = held.min(max_records - max_records / 16);
            let young = match max_age {
                // While nobody knows the time nothing is old.
                Some(max_age) if self.clock.synchronised => {
                    let young = self
                        .model
                        .younger_than(stream, self.clock.true_us - micros(max_age) as i64);
                    // Right after a jump a clock is believed for a tenth.
                    let tenth = held - (held / 10).max(1).min(held);
                    if self.clock_is_news { young.max(tenth) } else { young }
                }
                _ => held,
            };
            self.model.kept[stream as usize] = by_count.min(young);
        }
        self.clock_is_news &= !self.clock.synchronised;
        let now = self.clock.stamp();
        let done = self.log.as_mut().expect("it is open").retire(0, &now).map(drop);
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
                self.clock_is_news = true;
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
        let proof = prove(&log, None, || true).unwrap().unwrap();
        assert!(proof.is_sound(), "{proof:?}");
        let mut reader = Reader::new(&log);
        let mut held = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            held.push((record.id, record.stream));
        }
        ask(&log, &held, &mut self.random);
        let true_us = self.clock.true_us;
        let model = &mut self.model;
        for (stream, count) in std::mem::take(&mut model.underway) {
            // A group is there as a whole or not at all, and none behind one that is not.
            if survey.position.next < model.next + count {
                break;
            }
            model.add(stream, count, true_us);
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
    fn add(&mut self, stream: Option<Stream>, count: u64, made_us: i64) {
        if let Some(stream) = stream {
            self.made_us.extend((self.next..self.next + count).map(|id| (id, made_us)));
            self.records.extend((self.next..self.next + count).map(|id| (id, stream)));
            self.kept[stream as usize] += count;
        }
        self.next += count;
    }

    fn younger_than(&self, stream: Stream, from_us: i64) -> u64 {
        let mine = self.records.iter().filter(|(_, of)| *of == stream);
        mine.filter(|(id, _)| self.made_us[id] >= from_us).count() as u64
    }

    fn count(&self, stream: Stream) -> u64 {
        self.records.iter().filter(|(_, of)| *of == stream).count() as u64
    }
}

/// Asks for a page somewhere and holds it against what there is.
fn ask(log: &Snapshot, held: &[(u64, Stream)], random: &mut Random) {
    let source = [None, Some(Stream::Own), Some(Stream::Reported)][random.below(3) as usize];
    let after = (random.below(2) == 0).then(|| 1 + random.below(log.position.next));
    let limit = 1 + random.below(120) as usize;
    let query = Query { limit, after, source, ..Query::default() };
    let mut page = Page { records: Vec::new(), next: None, damaged: Vec::new() };
    log.page((&query, None), &Alone, &mut page).unwrap();
    let wanted = held.iter().rev().filter(|(id, stream)| {
        after.is_none_or(|after| *id < after) && source.is_none_or(|source| source == *stream)
    });
    let wanted: Vec<u64> = wanted.map(|(id, _)| *id).take(limit).collect();
    let given: Vec<u64> = page.records.iter().map(|record| record.id).collect();
    assert_eq!(given, wanted, "{query:?}");
}

fn live(seed: u64, steps: u64) {
    let mut life = Life::new(seed);
    for step in 0..steps {
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life.step()));
        assert!(
            lived.is_ok(),
            "seed {seed} fails at step {step}: ./dev simulate {seed} {}",
            step + 1
        );
    }
    life.judge();
}

#[test]
fn lives_drawn_from_seeds_keep_what_was_promised() {
    let asked = std::env::var("PICKET_SIMULATE").ok();
    let asked = asked.as_deref().and_then(|asked| asked.split_once(' '));
    let Some((seed, steps)) = asked else {
        (1..=8).for_each(|seed| live(seed, 250));
        // A batch whose first frame a cut took, and others that were there.
        return live(1007, 200);
    };
    let (seed, steps): (u64, u64) = (seed.parse().unwrap(), steps.parse().unwrap());
    for (seed, start) in (seed..).zip((0..steps).step_by(LIFE_STEPS as usize)) {
        live(seed, LIFE_STEPS.min(steps - start));
    }
    println!("{steps} steps from seed {seed} on hold what was promised");
}
