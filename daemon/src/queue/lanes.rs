//! The order in which waiting work is given out: a lane for each sender, and the next turn to the one
//! that has had the least of the threads' time. It has no lock and no clock of its own.
//!
//! Time is charged by an estimate when work is given out, and by what it took when it is done. A sender
//! that comes back from a pause has not saved anything up: it starts where the others are.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::peer::Peer;

/// Nothing waits longer than this: its sender's own patience ends about then.
pub const QUEUE_WAIT_MAX: Duration = Duration::from_secs(20);

/// Work that needs more memory than there is lets others pass for so long. Then it may lay claim to what is
/// given back.
const PASSED_OVER_MAX: Duration = Duration::from_secs(1);

/// Work that is expected to take longer than this may never keep the last thread that does not work
/// for the same sender.
const LONG_WORK: Duration = Duration::from_millis(100);

/// So far into a sender's lane is looked for work that may be given out before the first.
const LOOK_AHEAD_MAX: usize = 64;

/// Work that can be given up.
pub trait Pending {
    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Work that may wait.
    pub capacity: usize,
    /// Threads that work.
    pub threads: usize,
}

/// No place is left for this sender's work.
#[derive(Debug)]
pub struct Full<T>(pub T);

pub(super) struct Lanes<T> {
    limits: Limits,
    lanes: Vec<Lane<T>>,
    waiting: usize,
    running: usize,
    /// What the lane had used that had the last turn: where a new lane starts.
    clock: Duration,
    turns: u64,
    /// Something waits for memory; others than those who work here may give it back.
    starved: bool,
    /// The work that may lay claim to memory: one at a time, so that the others go on with what is left.
    claimant: Option<u64>,
    /// The number of the next work.
    next_number: u64,
}

struct Lane<T> {
    sender: Peer,
    items: VecDeque<Item<T>>,
    running: usize,
    /// The threads' time that it was given.
    used: Duration,
    /// Which turn was its last: the longest ago goes first among equals.
    turn: u64,
}

struct Item<T> {
    number: u64,
    work: T,
    cost: Duration,
    arrived: Instant,
}

/// Work that was given out, for the account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charge {
    sender: Peer,
    cost: Duration,
}

#[derive(Debug)]
pub(super) enum Next<T, R> {
    /// Work, and what was reserved for it.
    Work(T, R, Charge),
    /// Work that has waited too long.
    Late(T),
    Nothing,
}

impl<T: Pending> Lanes<T> {
    pub fn new(limits: Limits) -> Lanes<T> {
        Lanes {
            limits,
            lanes: Vec::new(),
            waiting: 0,
            running: 0,
            clock: Duration::ZERO,
            turns: 0,
            starved: false,
            claimant: None,
            next_number: 0,
        }
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether something waits for memory that may come from elsewhere.
    pub fn is_starved(&self) -> bool {
        self.starved
    }

    /// Takes work in. Where all places are taken, whoever holds the most of them loses its newest; that
    /// is returned. So nobody is refused because of another who holds more.
    pub fn push(
        &mut self,
        work: T,
        sender: Peer,
        cost: Duration,
        arrived: Instant,
    ) -> Result<Option<T>, Full<T>> {
        if self.waiting >= self.limits.capacity {
            self.drop_abandoned();
        }
        let mut evicted = None;
        if self.waiting >= self.limits.capacity {
            let held = self.lane(sender).map_or(0, |lane| self.lanes[lane].items.len());
            let longest = self.lanes.iter_mut().max_by_key(|lane| lane.items.len());
            let Some(longest) = longest.filter(|lane| lane.items.len() > held + 1) else {
                return Err(Full(work));
            };
            evicted = longest.items.pop_back().map(|item| item.work);
            self.waiting -= 1;
        }
        let lane = self.lane_of(sender);
        let number = self.next_number;
        self.next_number += 1;
        self.lanes[lane].items.push_back(Item { number, work, cost, arrived });
        self.waiting += 1;
        Ok(evicted)
    }

    /// Gives the next work that `fits` reserves for. It is told whether the work may lay claim to what it
    /// does not get.
    pub fn next<R>(
        &mut self,
        now: Instant,
        mut fits: impl FnMut(&mut T, bool) -> Option<R>,
    ) -> Next<T, R> {
        self.starved = false;
        if let Some(late) = self.take_late(now) {
            return Next::Late(late);
        }
        self.claimant = self.claimant.filter(|number| self.is_waiting(*number));
        let mut passed = None;
        while let Some(lane) = self.lane_behind(passed) {
            passed = Some(self.lanes[lane].order());
            let mut at = 0;
            while at < self.lanes[lane].items.len().min(LOOK_AHEAD_MAX) {
                let item = &self.lanes[lane].items[at];
                if item.work.is_abandoned() {
                    self.claimant = self.claimant.filter(|claimant| *claimant != item.number);
                    self.lanes[lane].items.remove(at);
                    self.waiting -= 1;
                    continue;
                }
                if self.would_keep_the_last_thread(lane, item.cost) {
                    at += 1;
                    continue;
                }
                let has_waited = now.saturating_duration_since(item.arrived) > PASSED_OVER_MAX;
                let number = item.number;
                let may_claim =
                    has_waited && self.claimant.is_none_or(|claimant| claimant == number);
                if let Some(reserved) = fits(&mut self.lanes[lane].items[at].work, may_claim) {
                    return self.give(lane, at, reserved);
                }
                self.starved = true;
                if may_claim {
                    self.claimant = Some(number);
                }
                at += 1;
            }
        }
        Next::Nothing
    }

    /// Notes that work is done, and what it took.
    pub fn done(&mut self, charge: Charge, took: Duration) {
        self.running -= 1;
        if let Some(lane) = self.lane(charge.sender) {
            let lane = &mut self.lanes[lane];
            lane.running -= 1;
            lane.used = (lane.used + took).saturating_sub(charge.cost);
        }
        if self.waiting == 0 && self.running == 0 {
            self.lanes.clear();
            self.clock = Duration::ZERO;
        } else {
            let clock = self.clock;
            self.lanes.retain(|lane| lane.is_busy() || lane.used > clock);
        }
    }

    fn give<R>(&mut self, lane: usize, at: usize, reserved: R) -> Next<T, R> {
        self.turns += 1;
        let lane = &mut self.lanes[lane];
        let item = lane.items.remove(at).expect("it was looked at just now");
        self.clock = self.clock.max(lane.used);
        lane.used += item.cost;
        lane.turn = self.turns;
        lane.running += 1;
        self.waiting -= 1;
        self.running += 1;
        Next::Work(item.work, reserved, Charge { sender: lane.sender, cost: item.cost })
    }

    fn is_waiting(&self, number: u64) -> bool {
        self.lanes.iter().any(|lane| lane.items.iter().any(|item| item.number == number))
    }

    fn would_keep_the_last_thread(&self, lane: usize, cost: Duration) -> bool {
        let threads = self.limits.threads;
        cost > LONG_WORK && threads > 1 && self.lanes[lane].running + 1 >= threads
    }

    fn take_late(&mut self, now: Instant) -> Option<T> {
        let is_late = |item: &Item<T>| now.saturating_duration_since(item.arrived) > QUEUE_WAIT_MAX;
        let late = self.lanes.iter_mut().find(|lane| lane.items.front().is_some_and(is_late))?;
        self.waiting -= 1;
        late.items.pop_front().map(|item| item.work)
    }

    fn drop_abandoned(&mut self) {
        for lane in &mut self.lanes {
            lane.items.retain(|item| !item.work.is_abandoned());
        }
        self.waiting = self.lanes.iter().map(|lane| lane.items.len()).sum();
    }

    /// Finds the lane whose turn it is among those behind `passed`.
    fn lane_behind(&self, passed: Option<(Duration, u64)>) -> Option<usize> {
        let waits = |lane: &Lane<T>| {
            !lane.items.is_empty() && passed.is_none_or(|passed| lane.order() > passed)
        };
        let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| waits(lane));
        lanes.min_by_key(|(_, lane)| lane.order()).map(|(index, _)| index)
    }

    fn lane(&self, sender: Peer) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.sender == sender)
    }

    fn lane_of(&mut self, sender: Peer) -> usize {
        self.turns += 1;
        if let Some(found) = self.lane(sender) {
            return found;
        }
        if self.lanes.len() >= 2 * (self.limits.capacity + self.limits.threads) {
            self.lanes.retain(Lane::is_busy);
        }
        let (items, used, turn) = (VecDeque::new(), self.clock, self.turns);
        self.lanes.push(Lane { sender, items, running: 0, used, turn });
        self.lanes.len() - 1
    }
}

impl<T> Lane<T> {
    fn order(&self) -> (Duration, u64) {
        (self.used, self.turn)
    }

    fn is_busy(&self) -> bool {
        self.running > 0 || !self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::net::Ipv4Addr;

    const SHORT: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_millis(200);

    #[derive(Clone, Debug, PartialEq)]
    struct Job {
        name: String,
        abandoned: bool,
        bytes: usize,
    }

    impl Pending for Job {
        fn is_abandoned(&self) -> bool {
            self.abandoned
        }
    }

    fn job(name: &str) -> Job {
        Job { name: name.into(), abandoned: false, bytes: 0 }
    }

    fn sender(host: u8) -> Peer {
        Peer::at(Ipv4Addr::new(192, 0, 2, host).into())
    }

    struct Bench {
        lanes: Lanes<Job>,
        start: Instant,
    }

    impl Bench {
        fn new(capacity: usize, threads: usize) -> Bench {
            Bench { lanes: Lanes::new(Limits { capacity, threads }), start: Instant::now() }
        }

        fn push(&mut self, host: u8, job: Job, cost: Duration) -> Result<Option<Job>, Full<Job>> {
            self.lanes.push(job, sender(host), cost, self.start)
        }

        fn fill(&mut self, host: u8, name: &str, count: usize, cost: Duration) {
            for _ in 0..count {
                assert!(self.push(host, job(name), cost).unwrap().is_none());
            }
        }

        /// The next work at once, and its charge.
        fn next(&mut self) -> Option<(String, Charge)> {
            match self.lanes.next(self.start, |_, _| Some(())) {
                Next::Work(job, (), charge) => Some((job.name, charge)),
                Next::Late(job) => panic!("late: {job:?}"),
                Next::Nothing => None,
            }
        }

        /// What one thread gets, in order, until nothing is left; all take what was expected.
        fn run(&mut self, count: usize) -> Vec<String> {
            let mut order = Vec::new();
            while order.len() < count
                && let Some((name, charge)) = self.next()
            {
                self.lanes.done(charge, charge.cost);
                order.push(name);
            }
            order
        }
    }

    #[test]
    fn senders_take_turns_however_much_each_of_them_brings() {
        let mut bench = Bench::new(64, 1);
        bench.fill(1, "a", 20, SHORT);
        bench.fill(2, "b", 20, SHORT);
        bench.fill(3, "c", 2, SHORT);
        let order = bench.run(64);
        assert_eq!(order[..7].concat(), "abcabca");
        assert_eq!(order.len(), 42);
        assert_eq!(order[6..40].concat(), "ab".repeat(17));
    }

    #[test]
    fn time_is_shared_and_not_the_number_of_pictures() {
        let mut bench = Bench::new(200, 1);
        bench.fill(1, "large", 20, LONG);
        bench.fill(2, "small", 100, SHORT);
        let order = bench.run(63);
        let large = order.iter().filter(|name| *name == "large").count();
        assert_eq!(large, 3, "60 small ones take as long as 3 large ones: {order:?}");
    }

    #[test]
    fn work_that_takes_longer_than_expected_is_charged_for_it() {
        let mut bench = Bench::new(200, 1);
        bench.fill(1, "liar", 50, SHORT);
        bench.fill(2, "honest", 50, SHORT);
        let mut taken = HashMap::new();
        for _ in 0..42 {
            let (name, charge) = bench.next().unwrap();
            let took = if name == "liar" { 20 * SHORT } else { SHORT };
            bench.lanes.done(charge, took);
            *taken.entry(name).or_insert(0) += 1;
        }
        assert_eq!((taken["liar"], taken["honest"]), (2, 40));
    }

    #[test]
    fn a_pause_saves_nothing_up() {
        let mut bench = Bench::new(200, 1);
        bench.fill(1, "a", 50, SHORT);
        bench.fill(2, "b", 2, SHORT);
        bench.run(24);
        bench.fill(2, "b", 20, SHORT);
        assert_eq!(bench.run(4).concat(), "baba");
    }

    #[test]
    fn who_has_had_much_is_not_forgotten_while_others_wait() {
        let mut bench = Bench::new(200, 1);
        bench.fill(1, "a", 50, SHORT);
        bench.fill(2, "b", 1, LONG);
        assert_eq!(bench.run(2), ["a", "b"]);
        bench.fill(2, "b", 1, SHORT);
        let order = bench.run(25);
        assert_eq!(order.iter().position(|name| name == "b"), Some(19), "{order:?}");
    }

    #[test]
    fn long_work_of_one_sender_leaves_a_thread_to_others() {
        for threads in [2, 4] {
            let mut bench = Bench::new(64, threads);
            bench.fill(1, "long", 9, LONG);
            let given: Vec<_> = std::iter::from_fn(|| bench.next()).collect();
            assert_eq!(given.len(), threads - 1);
            bench.fill(2, "other", 1, LONG);
            assert_eq!(bench.next().unwrap().0, "other");
            assert!(bench.next().is_none());
            bench.lanes.done(given[0].1, LONG);
            assert_eq!(bench.next().unwrap().0, "long");
        }
    }

    #[test]
    fn short_work_of_one_sender_may_have_all_threads_and_a_single_thread_serves_everything() {
        let mut bench = Bench::new(64, 4);
        bench.fill(1, "long", 9, LONG);
        bench.fill(1, "short", 9, SHORT);
        let given: Vec<_> = std::iter::from_fn(|| bench.next()).take(4).map(|w| w.0).collect();
        assert_eq!(given, ["long", "long", "long", "short"], "it need not wait for the long ones");
        let mut bench = Bench::new(64, 1);
        bench.fill(1, "long", 2, LONG);
        assert_eq!(bench.run(2).len(), 2);
    }

    #[test]
    fn who_holds_most_places_loses_its_newest_to_others_and_equals_are_refused() {
        let mut bench = Bench::new(4, 1);
        for name in ["a1", "a2", "a3", "a4"] {
            bench.fill(1, name, 1, SHORT);
        }
        bench.push(1, job("a5"), SHORT).unwrap_err();
        assert_eq!(bench.push(2, job("b1"), SHORT).unwrap().unwrap().name, "a4");
        assert_eq!(bench.push(2, job("b2"), SHORT).unwrap().unwrap().name, "a3");
        bench.push(2, job("b3"), SHORT).unwrap_err();
        assert!(bench.push(3, job("c1"), SHORT).unwrap().is_some());
        assert_eq!(bench.lanes.waiting(), 4);
        bench.run(4);
        assert_eq!((bench.lanes.waiting(), bench.lanes.lanes.len()), (0, 0));
    }

    #[test]
    fn what_nobody_waits_for_costs_neither_a_place_nor_a_turn() {
        let mut bench = Bench::new(3, 1);
        let gone = Job { abandoned: true, ..job("gone") };
        bench.push(1, gone.clone(), LONG).unwrap();
        bench.push(1, gone, LONG).unwrap();
        bench.fill(1, "a", 1, SHORT);
        bench.fill(1, "b", 1, SHORT);
        assert_eq!(bench.run(9), ["a", "b"]);
        assert_eq!(bench.lanes.waiting(), 0);
        bench.push(1, Job { abandoned: true, ..job("gone") }, LONG).unwrap();
        bench.fill(1, "c", 1, SHORT);
        assert_eq!(bench.run(9), ["c"]);
    }

    #[test]
    fn the_next_that_fits_goes_first_and_one_that_has_waited_long_enough_may_lay_a_claim() {
        let mut bench = Bench::new(9, 1);
        bench.push(1, Job { bytes: 100, ..job("large") }, SHORT).unwrap();
        bench.push(3, Job { bytes: 100, ..job("other") }, SHORT).unwrap();
        bench.fill(1, "behind", 2, SHORT);
        bench.fill(2, "small", 2, SHORT);
        let later = |secs: f64| bench.start + Duration::from_secs_f64(secs);
        let (soon, aged) = (later(0.9), later(1.1));
        let mut claims = Vec::new();
        let mut names = Vec::new();
        let mut next = |now, room: usize| {
            let fits = |job: &mut Job, may_claim| {
                if may_claim {
                    claims.push(job.name.clone());
                }
                (job.bytes <= room).then_some(())
            };
            let Next::Work(job, (), charge) = bench.lanes.next(now, fits) else { panic!() };
            bench.lanes.done(charge, SHORT);
            names.push(job.name);
            std::mem::take(&mut claims)
        };
        assert!(next(soon, 50).is_empty() && next(soon, 50).is_empty());
        let first = next(aged, 50).remove(0);
        let second = if first == "large" { "other" } else { "large" };
        assert!(!next(aged, 50).contains(&second.to_string()), "one at a time");
        next(aged, 100);
        next(aged, 100);
        assert_eq!(names[..4].concat(), "behindsmallbehindsmall", "others go on");
        let mut last = names[4..].to_vec();
        last.sort();
        assert_eq!(last, ["large", "other"]);
    }

    #[test]
    fn the_claim_goes_on_with_whoever_waits_when_its_holder_has_gone() {
        let mut bench = Bench::new(9, 1);
        let aged = bench.start + PASSED_OVER_MAX + SHORT;
        let claims = |bench: &mut Bench| {
            let mut claims = Vec::new();
            let next: Next<Job, ()> = bench.lanes.next(aged, |job, may_claim| {
                claims.extend(may_claim.then(|| job.name.clone()));
                None
            });
            assert!(matches!(next, Next::Nothing));
            claims
        };
        bench.fill(1, "a", 1, SHORT);
        bench.fill(1, "b", 1, SHORT);
        assert_eq!(claims(&mut bench), ["a"]);
        assert_eq!(claims(&mut bench), ["a"]);
        let gone = bench.lanes.lanes[0].items.front_mut().unwrap();
        gone.work.abandoned = true;
        assert_eq!(claims(&mut bench), ["b"]);
    }

    #[test]
    fn waiting_has_an_end() {
        let mut bench = Bench::new(9, 1);
        bench.fill(1, "late", 1, SHORT);
        let at = bench.start + QUEUE_WAIT_MAX + SHORT;
        let Next::<_, ()>::Late(job) = bench.lanes.next(at, |_, _| None) else { panic!() };
        assert_eq!((job.name.as_str(), bench.lanes.waiting()), ("late", 0));
    }

    #[test]
    fn who_has_gone_is_not_remembered() {
        let mut bench = Bench::new(4, 1);
        bench.fill(255, "stays", 2, SHORT);
        for host in 0..200 {
            bench.fill(host, "goes", 1, LONG);
            let (_, charge) = bench.next().unwrap();
            bench.lanes.done(charge, LONG);
            assert!(bench.lanes.lanes.len() <= 2 * (4 + 1));
        }
    }
}
