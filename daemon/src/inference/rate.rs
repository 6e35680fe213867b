//! How fast this box works, learnt from what pictures took: what a picture's header says of its work in
//! time. It starts with the figures of a slow board.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::pipeline::StageTimes;
use picket_picture::Cost;

/// Pictures of less work tell more of what each picture takes than of the rate: a quarter of a megapixel.
const TELLING_WORK: u64 = 1 << 18;

/// Decoding one pixel, one scan, at first, picoseconds: a Cortex-A53 at 1.2 GHz.
const PIXEL_PS: u64 = 60_000;

/// What a picture takes besides, at first, nanoseconds.
const PICTURE_NS: u64 = 5_000_000;

/// A new figure counts for one in so many: noise of one picture changes little.
const WEIGHT: u64 = 8;

/// So much work is in pictures that cameras and editors write: 24 megapixels in ten scans. They are taken
/// however long they take.
const ORDINARY_WORK: u64 = 252_000_000;

/// A picture with more work in it than an ordinary one may take so long.
pub(super) const EXCESSIVE_TIME_MAX: Duration = Duration::from_secs(1);

pub(super) struct Rate {
    pixel_ps: AtomicU64,
    picture_ns: AtomicU64,
}

impl Rate {
    pub fn new() -> Rate {
        Rate { pixel_ps: AtomicU64::new(PIXEL_PS), picture_ns: AtomicU64::new(PICTURE_NS) }
    }

    /// Tells how long a picture will take.
    pub fn estimate(&self, cost: Cost) -> Duration {
        let decode_ps = u128::from(cost.work) * u128::from(self.pixel_ps.load(Ordering::Relaxed));
        let decode_ns = u64::try_from(decode_ps / 1_000).unwrap_or(u64::MAX);
        let rest = Duration::from_nanos(self.picture_ns.load(Ordering::Relaxed));
        Duration::from_nanos(decode_ns).saturating_add(rest)
    }

    /// Gives the time that a picture would take, if that is more than this box has for one.
    pub fn excess(&self, cost: Cost) -> Option<Duration> {
        let time = self.estimate(cost);
        (cost.work > ORDINARY_WORK && time > EXCESSIVE_TIME_MAX).then_some(time)
    }

    pub fn learn(&self, cost: Cost, times: StageTimes) {
        learn(&self.picture_ns, nanos(times.inference));
        if cost.work >= TELLING_WORK {
            let ps = u128::from(nanos(times.decode)) * 1_000 / u128::from(cost.work);
            learn(&self.pixel_ps, u64::try_from(ps).unwrap_or(u64::MAX));
        }
    }
}

/// Moves a figure towards a new one. Of two threads that do so at once one may count for nothing.
fn learn(figure: &AtomicU64, new: u64) {
    let old = figure.load(Ordering::Relaxed);
    let moved = old - old / WEIGHT + new / WEIGHT;
    figure.store(moved.max(1), Ordering::Relaxed);
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEGAPIXEL: u64 = 1_000_000;

    fn cost(work: u64) -> Cost {
        Cost { bytes: 0, work }
    }

    fn times(decode: Duration) -> StageTimes {
        StageTimes { decode, inference: Duration::from_millis(1) }
    }

    #[test]
    fn the_estimate_follows_what_pictures_take() {
        let rate = Rate::new();
        for _ in 0..100 {
            rate.learn(cost(10 * MEGAPIXEL), times(Duration::from_millis(50)));
        }
        let estimate = rate.estimate(cost(20 * MEGAPIXEL));
        let expected = Duration::from_millis(95)..Duration::from_millis(107);
        assert!(expected.contains(&estimate), "{estimate:?}");
        for _ in 0..100 {
            rate.learn(cost(1_000), times(Duration::from_secs(1)));
        }
        let after = rate.estimate(cost(20 * MEGAPIXEL));
        assert!(
            after.abs_diff(estimate) < Duration::from_micros(1),
            "small ones tell nothing: {after:?}"
        );
    }

    #[test]
    fn only_a_picture_of_more_work_than_an_ordinary_one_can_be_too_much() {
        let rate = Rate::new();
        assert_eq!(rate.excess(cost(24 * 10 * MEGAPIXEL)), None, "though it takes 15 s");
        assert!(rate.excess(cost(24 * 64 * MEGAPIXEL)).unwrap() > Duration::from_secs(90));
        for _ in 0..200 {
            rate.learn(cost(MEGAPIXEL), times(Duration::from_micros(500)));
        }
        assert_eq!(rate.excess(cost(24 * 64 * MEGAPIXEL)), None, "this box does it in time");
    }
}
