//! How many records may go by age, which a clock that was set must not decide. It knows no record.

use std::time::Duration;

use picket_base::clock::{Stamp, micros};

/// After a clock jump, or a start, no more than this share of a stream goes by age within a day.
const DAILY_SHARE: u64 = 10;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Wall and monotonic clock drift apart by less, unless somebody sets one of them.
const JUMP: Duration = Duration::from_secs(60);

/// What retention remembers of the clock: how much has gone by age since it jumped.
#[derive(Debug, Default)]
pub(crate) struct AgeGuard {
    /// Wall minus monotonic clock when it was last looked at, µs.
    offset_us: Option<i64>,
    /// Since when, on the monotonic clock, and how many.
    day: Option<(u64, u64)>,
}

impl AgeGuard {
    /// Returns how many of a stream's records may go by age now: none while nobody knows the time.
    pub(crate) fn allowance(&mut self, now: &Stamp, kept: u64) -> u64 {
        if !now.synchronised {
            return 0;
        }
        let offset_us = now.wall_us.saturating_sub_unsigned(now.monotonic_us);
        let jumped = self.offset_us.is_none_or(|before| before.abs_diff(offset_us) > micros(JUMP));
        self.offset_us = Some(offset_us);
        if jumped {
            self.day = Some((now.monotonic_us, 0));
        }
        let Some((since_us, gone)) = &mut self.day else { return u64::MAX };
        if now.monotonic_us.saturating_sub(*since_us) >= micros(DAY) {
            (*since_us, *gone) = (now.monotonic_us, 0);
        }
        (kept / DAILY_SHARE).max(1).saturating_sub(*gone)
    }

    pub(crate) fn note(&mut self, records: u64, all: bool) {
        match &mut self.day {
            // What was overdue is gone: from now on records go as they age.
            Some(_) if all => self.day = None,
            Some((_, gone)) => *gone += records,
            None => {}
        }
    }
}
