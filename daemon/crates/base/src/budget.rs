//! The budget of memory: bytes that requests make live, taken before they exist and given back when
//! their holder goes. It counts and never waits; it must not know what is kept in the bytes.
//!
//! Each class has a floor, which no other class can use up, and the classes that may borrow share what
//! is left. So whoever stays within its floor is never refused because of another class, and the sum of
//! all never exceeds the budget.
//!
//! Who waits for much may lay claim to it: what is given back is then kept for him, and others of his class
//! share what he leaves.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

/// Floors are stated in parts of the budget; so many make up the whole.
const PARTS: usize = 64;

/// What bytes are taken for, in the order in which a request needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Open connections, a flat sum for each.
    Connection,
    /// Bodies of requests, as they arrive and as they are unpacked.
    Body,
    /// Jobs in work: what decoding, parsing and the answer of a job hold.
    Decode,
    /// Answers that their clients have not read yet, and pages while they are made.
    Answer,
    /// Records that wait for the disk.
    LogQueue,
    /// Answers to the command line, and pages for it while they are made.
    Maintenance,
}

impl Class {
    /// All classes, in order.
    pub const ALL: [Class; 6] = [
        Class::Connection,
        Class::Body,
        Class::Decode,
        Class::Answer,
        Class::LogQueue,
        Class::Maintenance,
    ];

    /// Returns the name that metrics use.
    pub fn name(self) -> &'static str {
        match self {
            Class::Connection => "connection",
            Class::Body => "body",
            Class::Decode => "decode",
            Class::Answer => "answer",
            Class::LogQueue => "log_queue",
            Class::Maintenance => "maintenance",
        }
    }

    /// Returns the parts of the budget that are this class's alone. They leave a tenth to be borrowed.
    /// `memory::shares` and docs/memory.md say what must fit.
    const fn floor_parts(self) -> usize {
        match self {
            Class::Connection => 4,
            Class::Body => 10,
            Class::Decode => 31,
            Class::Answer => 3,
            Class::LogQueue => 8,
            Class::Maintenance => 2,
        }
    }

    /// Returns the parts of these that one holder never gets: beside the largest picture there is room
    /// for small ones.
    const fn others_parts(self) -> usize {
        match self {
            Class::Decode => 1,
            _ => 0,
        }
    }

    /// Tells whether it may use what is nobody's. The log's queue may not: a slow disk must not take
    /// memory from predictions.
    const fn borrows(self) -> bool {
        !matches!(self, Class::LogQueue | Class::Maintenance)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Connection => "connections",
            Class::Body => "request bodies",
            Class::Decode => "requests in work",
            Class::Answer => "unread answers",
            Class::LogQueue => "records that wait for the disk",
            Class::Maintenance => "answers to the command line",
        })
    }
}

/// Bytes that could not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{class} hold {taken} bytes of memory, {wanted} more don't fit: {floor} are theirs of a budget of {budget}"
)]
pub struct Exhausted {
    pub class: Class,
    pub wanted: usize,
    /// What the class holds already.
    pub taken: usize,
    /// The class's own share, bytes.
    pub floor: usize,
    pub budget: usize,
}

/// The budget, shared by all who hold a copy.
#[derive(Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budget({} bytes)", self.bytes())
    }
}

struct Shared {
    counts: Mutex<Counts>,
}

struct Counts {
    bytes: usize,
    taken: [usize; Class::ALL.len()],
    refused: [u64; Class::ALL.len()],
    /// What is waited for, the oldest first. Each queue has one at most.
    claims: Vec<Claimed>,
    /// The number of the next claim.
    next_claim: u64,
}

#[derive(Clone, Copy)]
struct Claimed {
    number: u64,
    class: Class,
    bytes: usize,
}

/// Bytes that somebody waits for. The claim ends when this is dropped.
pub struct Claim {
    shared: Arc<Shared>,
    number: u64,
}

/// Bytes that are taken. They are given back when this is dropped.
#[must_use = "bytes that nobody holds are given back at once"]
pub struct Taken {
    shared: Arc<Shared>,
    class: Class,
    bytes: usize,
}

impl Budget {
    /// A budget of so many bytes; the floors of the classes are parts of it.
    pub fn new(bytes: usize) -> Budget {
        let counts = Counts {
            bytes,
            taken: Default::default(),
            refused: Default::default(),
            claims: Vec::new(),
            next_claim: 0,
        };
        Budget { shared: Arc::new(Shared { counts: Mutex::new(counts) }) }
    }

    /// Makes the budget smaller or larger, as more is known of what else needs memory. Who holds more than is
    /// left keeps it, and nobody gets more until it is given back.
    pub fn resize(&self, bytes: usize) {
        self.shared.lock().bytes = bytes;
    }

    /// Takes bytes now or not at all.
    ///
    /// # Errors
    /// [`Exhausted`], counted for the class; nothing is taken then.
    pub fn take(&self, class: Class, bytes: usize) -> Result<Taken, Exhausted> {
        self.try_take(class, bytes).inspect_err(|_| self.shared.count_refusal(class))
    }

    /// Takes bytes like `take`, for one who will look again: not having them yet is no refusal.
    ///
    /// # Errors
    /// [`Exhausted`]; nothing is taken then, and nothing counted.
    pub fn try_take(&self, class: Class, bytes: usize) -> Result<Taken, Exhausted> {
        self.shared.add(class, bytes, None)?;
        Ok(Taken { shared: self.shared.clone(), class, bytes })
    }

    /// Takes bytes like `try_take`, for one who may lay a claim to them where they are not there, and who
    /// has the first right to what his claim says.
    pub fn try_take_claimed(
        &self,
        class: Class,
        bytes: usize,
        claim: &mut Option<Claim>,
        may_claim: bool,
    ) -> Option<Taken> {
        let number = claim.as_ref().map(|claim| claim.number);
        if self.shared.add(class, bytes, number).is_ok() {
            *claim = None;
            return Some(Taken { shared: self.shared.clone(), class, bytes });
        }
        if may_claim && claim.is_none() {
            *claim = Some(self.claim(class, bytes));
        }
        None
    }

    fn claim(&self, class: Class, bytes: usize) -> Claim {
        let mut counts = self.shared.lock();
        let number = counts.next_claim;
        counts.next_claim += 1;
        counts.claims.push(Claimed { number, class, bytes });
        Claim { shared: self.shared.clone(), number }
    }

    /// Returns the most that one holder can ever get, bytes: of the class's floor. A holder of that much
    /// waits for its own class only, never for another, so that its turn surely comes.
    pub fn largest(&self, class: Class) -> usize {
        let counts = self.shared.lock();
        counts.bytes / PARTS * (class.floor_parts() - class.others_parts())
    }

    /// Returns the whole budget, bytes.
    pub fn bytes(&self) -> usize {
        self.shared.lock().bytes
    }

    /// Returns what is taken by a class now, bytes.
    pub fn taken(&self, class: Class) -> usize {
        self.shared.lock().taken[class as usize]
    }

    /// Counts a refusal by one who shares a class out.
    pub fn count_refusal(&self, class: Class) {
        self.shared.count_refusal(class);
    }

    /// Returns how often a class was refused.
    pub fn refused(&self, class: Class) -> u64 {
        self.shared.lock().refused[class as usize]
    }
}

impl Taken {
    /// Takes more bytes, now or not at all.
    ///
    /// # Errors
    /// [`Exhausted`]; what was taken before stays taken.
    pub fn grow(&mut self, more: usize) -> Result<(), Exhausted> {
        let added = self.shared.add(self.class, more, None);
        added.inspect_err(|_| self.shared.count_refusal(self.class))?;
        self.bytes += more;
        Ok(())
    }

    /// Gives back all but so many bytes; nothing if there are no more than these.
    pub fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.shared.give_back(self.class, less);
        self.bytes -= less;
    }

    pub fn class(&self) -> Class {
        self.class
    }

    /// Returns what this holds, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.lock().claims.retain(|claimed| claimed.number != self.number);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.shared.give_back(self.class, self.bytes);
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Taken({} bytes of {})", self.bytes, self.class.name())
    }
}

impl Shared {
    /// Takes bytes, for one with this claim or without any.
    fn add(&self, class: Class, more: usize, claim: Option<u64>) -> Result<(), Exhausted> {
        let mut counts = self.lock();
        let taken = counts.taken[class as usize];
        if counts.fits(class, more, claim) {
            counts.taken[class as usize] = taken + more;
            return Ok(());
        }
        let (floor, budget) = (counts.floor(class), counts.bytes);
        Err(Exhausted { class, wanted: more, taken, floor, budget })
    }

    fn count_refusal(&self, class: Class) {
        self.lock().refused[class as usize] += 1;
    }

    fn give_back(&self, class: Class, bytes: usize) {
        self.lock().taken[class as usize] -= bytes;
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect("nothing panics while it counts")
    }
}

impl Counts {
    fn floor(&self, class: Class) -> usize {
        self.bytes / PARTS * class.floor_parts()
    }

    /// Tells whether a class can have more while every other keeps what it holds, and its floor, and
    /// everybody what he laid claim to before.
    fn fits(&self, class: Class, more: usize, claim: Option<u64>) -> bool {
        let before = |claimed: &&Claimed| {
            claimed.class == class && claim.is_none_or(|number| claimed.number < number)
        };
        let claimed: usize = self.claims.iter().filter(before).map(|claimed| claimed.bytes).sum();
        let held = self.taken[class as usize].checked_add(if more > 0 { claimed } else { 0 });
        let Some(wanted) = held.and_then(|held| held.checked_add(more)) else { return false };
        if wanted <= self.floor(class) {
            return true;
        }
        let others: usize = Class::ALL
            .iter()
            .filter(|other| **other != class)
            .map(|&other| self.taken[other as usize].max(self.floor(other)))
            .sum();
        class.borrows() && wanted <= self.bytes.saturating_sub(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: usize = 64_000;

    fn sum(budget: &Budget) -> usize {
        Class::ALL.iter().map(|&class| budget.taken(class)).sum()
    }

    #[test]
    fn floors_leave_a_tenth_to_borrow() {
        let parts: usize = Class::ALL.iter().map(|class| class.floor_parts()).sum();
        assert!(parts < PARTS && PARTS - parts >= PARTS / 10, "{parts}");
    }

    #[test]
    fn a_class_within_its_floor_is_never_refused() {
        let budget = Budget::new(BUDGET);
        let mut held = Vec::new();
        // Whoever borrows takes all that it can get.
        for &class in &Class::ALL {
            while let Ok(taken) = budget.take(class, 100) {
                held.push(taken);
            }
        }
        held.clear();
        let _borrowed: Vec<_> = std::iter::from_fn(|| budget.take(Class::Body, 100).ok()).collect();
        assert!(budget.taken(Class::Body) > budget.largest(Class::Body));
        for class in Class::ALL.into_iter().filter(|class| *class != Class::Body) {
            let all = budget.take(class, budget.largest(class));
            held.push(all.unwrap_or_else(|error| panic!("{error}")));
        }
        assert!(sum(&budget) <= BUDGET);
    }

    #[test]
    fn the_log_queue_and_maintenance_never_borrow() {
        let budget = Budget::new(BUDGET);
        for class in [Class::LogQueue, Class::Maintenance] {
            let floor = budget.largest(class);
            let _all = budget.take(class, floor).unwrap();
            let error = budget.take(class, 1).unwrap_err();
            assert_eq!((error.taken, error.floor, error.wanted), (floor, floor, 1));
            assert!(budget.try_take(class, 1).is_err());
            assert_eq!(budget.refused(class), 1);
        }
    }

    #[test]
    fn a_lowered_budget_gives_no_more_until_enough_is_back() {
        let budget = Budget::new(BUDGET);
        let held = budget.take(Class::Body, budget.largest(Class::Body)).unwrap();
        budget.resize(BUDGET / 10);
        assert_eq!(budget.bytes(), BUDGET / 10);
        assert!(budget.take(Class::Body, 1).is_err());
        drop(held);
        let _all = budget.take(Class::Body, budget.largest(Class::Body)).unwrap();
        budget.resize(BUDGET);
        let _more = budget.take(Class::Connection, budget.largest(Class::Connection)).unwrap();
    }

    #[test]
    fn a_refused_growth_keeps_what_was_taken() {
        let budget = Budget::new(BUDGET);
        let mut taken = budget.take(Class::Body, 1_000).unwrap();
        assert!(taken.grow(usize::MAX).is_err() && taken.grow(BUDGET).is_err());
        taken.grow(500).unwrap();
        assert_eq!((taken.bytes(), budget.taken(Class::Body)), (1_500, 1_500));
        taken.shrink_to(9_999);
        assert_eq!(budget.taken(Class::Body), 1_500);
        taken.shrink_to(200);
        assert_eq!(budget.taken(Class::Body), 200);
        drop(taken);
        assert_eq!(sum(&budget), 0);
    }

    #[test]
    fn what_is_given_back_is_kept_for_who_lays_claim_to_it_and_the_oldest_claim_goes_first() {
        let (budget, class) = (Budget::new(BUDGET), Class::Decode);
        // What nobody owns is borrowed, so that only the class's own is left.
        let _borrowed = budget.take(Class::Body, 16_000).unwrap();
        let largest = budget.largest(class);
        let held = budget.take(class, 2_000).unwrap();
        let (mut large, mut second) = (None, None);
        let claim = |bytes, claim: &mut _| budget.try_take_claimed(class, bytes, claim, true);
        assert!(budget.try_take_claimed(class, largest, &mut large, false).is_none());
        assert!(large.is_none(), "it may not yet");
        assert!(claim(largest, &mut large).is_none() && large.is_some());
        assert!(claim(5_000, &mut second).is_none(), "behind the first");
        assert!(budget.try_take(class, 100).is_err() && budget.try_take(class, 0).is_ok());
        drop(held);
        assert!(claim(5_000, &mut second).is_none(), "still behind the first");
        drop(second.take());
        let _small = budget.try_take(class, 1_000).expect("beside the largest is room for others");
        let all = claim(largest, &mut large).expect("all of it is free");
        assert!(large.is_none());
        drop(all);
        let _others = budget.try_take(class, largest).expect("nobody waits any more");
    }

    /// A small generator, so that a failure repeats; xorshift64.
    fn next(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) as usize
    }

    #[test]
    fn whatever_is_done_the_sum_stays_within_and_all_comes_back() {
        for seed in 1..=50_u64 {
            let (budget, mut state) = (Budget::new(BUDGET), seed * 0x9e37_79b9);
            let mut held: Vec<Taken> = Vec::new();
            for _ in 0..2_000 {
                let (action, amount) = (next(&mut state) % 8, next(&mut state) % 9_000);
                let class = Class::ALL[next(&mut state) % Class::ALL.len()];
                let place = next(&mut state) % held.len().max(1);
                let within = budget.taken(class) + amount <= budget.largest(class);
                match action {
                    0..=3 => match budget.take(class, amount) {
                        Ok(taken) => held.push(taken),
                        Err(error) => assert!(!within, "{error}"),
                    },
                    4 if !held.is_empty() => drop(held[place].grow(amount)),
                    5 if !held.is_empty() => held[place].shrink_to(amount),
                    _ if !held.is_empty() => drop(held.swap_remove(place)),
                    _ => {}
                }
                let in_hands: usize = held.iter().map(Taken::bytes).sum();
                assert_eq!(in_hands, sum(&budget), "seed {seed}");
                assert!(in_hands <= BUDGET, "seed {seed}: {in_hands}");
            }
            drop(held);
            assert_eq!(sum(&budget), 0, "seed {seed}");
        }
    }

    #[test]
    fn threads_never_take_more_than_there_is_together() {
        let budget = Budget::new(BUDGET);
        std::thread::scope(|scope| {
            for seed in 1..=4 {
                let budget = &budget;
                scope.spawn(move || {
                    let mut state = seed;
                    for _ in 0..5_000 {
                        let class = Class::ALL[next(&mut state) % Class::ALL.len()];
                        let _held = budget.take(class, next(&mut state) % 20_000);
                        assert!(budget.shared.lock().taken.iter().sum::<usize>() <= BUDGET);
                    }
                });
            }
        });
        assert_eq!(sum(&budget), 0);
    }
}
