//! Waiting for memory, on a thread that may: not longer than a limit, and seen while it does.

use std::time::{Duration, Instant};

use picket_base::budget::{Exhausted, Taken};

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(5);

/// Takes memory by `take` as soon as it is there. `beat` is called while it waits.
///
/// # Errors
/// When it is not there within `limit`, and at once when no holder ever gets so much.
pub fn take_within(
    limit: Duration,
    mut beat: impl FnMut(),
    take: impl Fn() -> Result<Taken, Exhausted>,
) -> Result<Taken, Exhausted> {
    let deadline = Instant::now() + limit;
    loop {
        match take() {
            Err(full) if full.wanted <= full.floor && Instant::now() < deadline => {
                beat();
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_base::budget::{Budget, Class};

    #[test]
    fn what_never_fits_is_refused_at_once_and_the_rest_waits_as_long_as_it_may() {
        let budget = Budget::new(64 << 10);
        let most = budget.largest(Class::Decode);
        let take = |bytes, beat: &mut dyn FnMut()| {
            take_within(Duration::from_secs(60), beat, || budget.take(Class::Decode, bytes))
        };
        assert!(take(most + (64 << 10), &mut || unreachable!("nothing to wait for")).is_err());
        let mut held = Some(take(most, &mut || {}).unwrap());
        // It is given back while the next one waits.
        assert_eq!(take(most, &mut || held = None).unwrap().bytes(), most);
        let _held = take(most, &mut || {}).unwrap();
        let soon = Duration::from_millis(1);
        assert!(take_within(soon, || {}, || budget.take(Class::Decode, most)).is_err());
    }
}
