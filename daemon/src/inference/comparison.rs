//! Whether a model is worse than another, from pictures that both have seen: so the light of an evening or
//! another batch of parts is never held against it. It runs nothing and decides nothing by a clock.
//!
//! The margins are those of a year of probations one after the other, at ten pictures a second, in which at
//! most one good model is blamed (`a_year_of_good_models_blames_none` draws them).

use std::collections::HashMap;
use std::time::Duration;

use picket_models::Why;

/// Nothing is said of fewer pictures, and only that a model has one answer for everything of fewer than the
/// second.
const FIRST_LOOK: u64 = 40;
const PICTURES_MIN: u64 = 100;

/// After a look at so many pictures, the next comes when there are half as many more: few looks, few
/// chances to be wrong.
const NEXT_LOOK: (u64, u64) = (3, 2);

/// A difference counts that is so many times what chance makes of it.
const SIGMAS: f64 = 6.0;

/// And whose size matters: of a label's share, of the mean confidence, of the share of failures.
const SHARE_MIN: f64 = 0.30;
const CONFIDENCE_MIN: f64 = 0.25;
const FAILURES_SHARE_MIN: f64 = 0.01;

/// So few failures may be chance.
const FAILURES_MIN: u64 = 10;

/// A model that has one answer for everything is blamed when the other has found so many pictures to be
/// something else. One that is right about half of those gets there by chance once in sixteen millions.
const OTHERS_MIN: u64 = 24;

/// How much longer than at its gate, and than the other, a picture may take.
const SLOWER_THAN_GATE: u32 = 4;
const SLOWER_THAN_OTHER: u32 = 2;

/// Labels that are counted one by one; the rest share a place.
const LABELS_MAX: usize = 1_024;

/// What a model said of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub label: String,
    pub confidence: f32,
    pub time: Duration,
}

/// What a picture led to: by the model that is judged, and by the one beside it. None is a failure.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    pub judged: Option<Answer>,
    pub other: Option<Answer>,
}

/// Why a model is worse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub why: Why,
    /// A sentence without its subject's name.
    pub reason: String,
}

/// What a model may take for a picture.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// What it took at its gate.
    pub at_gate: Duration,
    /// The limit that is configured.
    pub most: Duration,
}

/// What two models said of the same pictures.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    judged: Side,
    other: Side,
    /// Pictures of which both said something.
    both: u64,
    agreed: u64,
    /// Sums over those of the difference of their confidences, and of its square.
    difference: f64,
    square: f64,
    /// When the next look is due.
    look_at: u64,
}

#[derive(Clone, Debug, Default)]
struct Side {
    failures: u64,
    time: Duration,
    labels: HashMap<String, u64>,
    rest: u64,
}

impl Side {
    fn add(&mut self, answer: Option<&Answer>) {
        let Some(answer) = answer else {
            self.failures += 1;
            return;
        };
        self.time += answer.time;
        if let Some(count) = self.labels.get_mut(&answer.label) {
            *count += 1;
        } else if self.labels.len() < LABELS_MAX {
            self.labels.insert(answer.label.clone(), 1);
        } else {
            self.rest += 1;
        }
    }

    fn of(&self, label: &str) -> u64 {
        self.labels.get(label).copied().unwrap_or(0)
    }
}

impl Comparison {
    pub fn add(&mut self, pair: &Pair) {
        self.judged.add(pair.judged.as_ref());
        self.other.add(pair.other.as_ref());
        if let (Some(judged), Some(other)) = (&pair.judged, &pair.other) {
            self.both += 1;
            self.agreed += u64::from(judged.label == other.label);
            let difference = f64::from(other.confidence) - f64::from(judged.confidence);
            self.difference += difference;
            self.square += difference * difference;
        }
    }

    /// Returns how many pictures both have answered, and of how many they said the same.
    pub fn agreement(&self) -> (u64, u64) {
        (self.both, self.agreed)
    }

    /// Says why the model is worse, if it is, and if it is time to look.
    pub fn look(&mut self, pace: Pace) -> Option<Fault> {
        let seen = self.both + self.judged.failures;
        if seen < self.look_at.max(FIRST_LOOK) {
            return None;
        }
        self.look_at = seen * NEXT_LOOK.0 / NEXT_LOOK.1;
        if seen < PICTURES_MIN {
            return self.one_answer();
        }
        let looks = [self.failures(), self.one_answer(), self.mix(), self.confidence()];
        looks.into_iter().flatten().next().or_else(|| self.slowness(pace))
    }

    fn failures(&self) -> Option<Fault> {
        let all = self.both + self.judged.failures + self.other.failures;
        let (mine, theirs) = (self.judged.failures, self.other.failures);
        let share = ratio(mine, all) - ratio(theirs, all);
        let is_worse = mine >= FAILURES_MIN + 2 * theirs && share >= FAILURES_SHARE_MIN;
        is_worse.then(|| Fault {
            why: Why::Errors,
            reason: format!("it failed on {mine} of {all} pictures, the one before on {theirs}"),
        })
    }

    fn one_answer(&self) -> Option<Fault> {
        let label = match self.judged.labels.len() {
            1 => self.judged.labels.keys().next()?,
            _ => return None,
        };
        let others = self.both.saturating_sub(self.other.of(label));
        (others >= OTHERS_MIN).then(|| Fault {
            why: Why::Classes,
            reason: format!(
                "it said {label:?} of all {} pictures, the one before said something else of {others} \
                 of them",
                self.both
            ),
        })
    }

    fn mix(&self) -> Option<Fault> {
        let labels = self.judged.labels.keys().chain(self.other.labels.keys());
        let far = |label: &String| {
            let (p, q) =
                (ratio(self.judged.of(label), self.both), ratio(self.other.of(label), self.both));
            let chance = ((p * (1.0 - p) + q * (1.0 - q)) / self.both as f64).sqrt();
            let difference = (p - q).abs();
            (difference >= SHARE_MIN && difference >= SIGMAS * chance).then_some((p, q))
        };
        let (label, (p, q)) = labels.filter_map(|label| Some((label, far(label)?))).next()?;
        Some(Fault {
            why: Why::Classes,
            reason: format!(
                "it said {label:?} of {:.0} % of {} pictures, the one before of {:.0} % of the same",
                p * 100.0,
                self.both,
                q * 100.0
            ),
        })
    }

    fn confidence(&self) -> Option<Fault> {
        let count = self.both as f64;
        let mean = self.difference / count;
        let chance = ((self.square / count - mean * mean).max(0.0) / count).sqrt();
        (mean >= CONFIDENCE_MIN && mean >= SIGMAS * chance).then(|| Fault {
            why: Why::Confidence,
            reason: format!(
                "over {} pictures its confidence is {mean:.2} below that of the one before on the mean",
                self.both
            ),
        })
    }

    fn slowness(&self, pace: Pace) -> Option<Fault> {
        let count = u32::try_from(self.both).ok().filter(|count| *count > 0)?;
        let (mine, theirs) = (self.judged.time / count, self.other.time / count);
        let is_slower = mine > pace.at_gate * SLOWER_THAN_GATE && mine > theirs * SLOWER_THAN_OTHER;
        (mine > pace.most || is_slower).then(|| Fault {
            why: Why::Slow,
            reason: format!(
                "a picture takes it {:.1} ms on the mean, {:.1} ms at its gate and the one before \
                 {:.1} ms; the limit is {:.0} ms",
                ms(mine),
                ms(pace.at_gate),
                ms(theirs),
                ms(pace.most)
            ),
        })
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { at_gate: Duration::from_millis(1), most: Duration::from_millis(100) };

    /// A small generator, so that what it draws is the same everywhere.
    struct Draws(u64);

    impl Draws {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    fn answer(label: usize, confidence: f64) -> Option<Answer> {
        let label = ["a", "b", "c", "d"][label].to_string();
        Some(Answer { label, confidence: confidence as f32, time: Duration::from_millis(1) })
    }

    /// Feeds what `draw` makes of `pictures` of them; returns after how many a fault was found.
    fn run(pictures: u64, mut draw: impl FnMut(u64) -> Pair) -> Option<(u64, Fault)> {
        let mut comparison = Comparison::default();
        for at in 1..=pictures {
            comparison.add(&draw(at));
            if let Some(fault) = comparison.look(PACE) {
                return Some((at, fault));
            }
        }
        None
    }

    /// 8,760 probations of an hour. Of the 36,000 pictures of each some 2,400 are compared; the scene
    /// changes, the models are right nine times of ten, each on its own, and as sure as they are right.
    #[test]
    fn a_year_of_good_models_blames_none() {
        let mut draws = Draws(7);
        let blamed = (0..8_760).filter(|_| {
            let scene = [draws.next(), draws.next()];
            let found = run(2_400, |at| {
                // By day this, by night that.
                let share = scene[usize::from(at > 1_000)];
                let truth = usize::from(draws.next() > share) + 2 * usize::from(draws.next() > 0.9);
                let mut say = || {
                    let is_right = draws.next() < 0.9;
                    let label = if is_right { truth } else { (draws.next() * 4.0) as usize };
                    answer(label, 0.5 + draws.next() / 2.0)
                };
                Pair { judged: say(), other: say() }
            });
            found.is_some()
        });
        assert!(blamed.count() <= 1);
    }

    #[test]
    fn one_answer_for_everything_is_found_within_500_pictures() {
        for share in [0.5, 0.8, 0.9] {
            let mut draws = Draws(3);
            let (at, fault) = run(500, |_| {
                let other = usize::from(draws.next() > share);
                Pair { judged: answer(0, 0.9), other: answer(other, 0.9) }
            })
            .unwrap();
            assert!(at <= 500, "{share}: {at}");
            assert_eq!(fault.why, Why::Classes);
        }
        // Where the line makes nothing but good parts, it is right.
        let good = run(50_000, |_| Pair { judged: answer(0, 0.9), other: answer(0, 0.9) });
        assert_eq!(good, None);
    }

    #[test]
    fn each_way_to_be_worse_is_named() {
        let mut draws = Draws(5);
        let found = |judged: &mut dyn FnMut(u64) -> Option<Answer>| {
            let pair = |at| Pair { judged: judged(at), other: answer((at % 4) as usize, 0.9) };
            run(5_000, pair).map(|(_, fault)| (fault.why, fault.reason))
        };
        let (why, reason) =
            found(&mut |at| (at % 20 > 0).then(|| answer((at % 4) as usize, 0.9)).flatten())
                .unwrap();
        assert_eq!(
            (why, reason),
            (Why::Errors, "it failed on 10 of 202 pictures, the one before on 0".to_string())
        );
        let (why, _) =
            found(&mut |at| answer((at % 4) as usize, 0.5 + draws.next() / 5.0)).unwrap();
        assert_eq!(why, Why::Confidence);
        let skewed = |at| if at % 4 == 3 { 3 } else { 0 };
        let (why, reason) = found(&mut |at| answer(skewed(at), 0.9)).unwrap();
        assert_eq!((why, reason.contains("one before of 24 %")), (Why::Classes, true), "{reason}");
        let slow = Some(Answer { time: Duration::from_millis(5), ..answer(0, 0.9).unwrap() });
        let label = |at: u64, answer: &Option<Answer>| {
            let label = ["a", "b", "c", "d"][(at % 4) as usize].to_string();
            answer.clone().map(|answer| Answer { label, ..answer })
        };
        assert_eq!(found(&mut |at| label(at, &slow)).unwrap().0, Why::Slow);
        let like_before =
            Some(Answer { time: Duration::from_millis(2), ..answer(0, 0.9).unwrap() });
        assert_eq!(found(&mut |at| label(at, &like_before)), None);
    }
}
