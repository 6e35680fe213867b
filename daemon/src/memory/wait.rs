//! Waiting for memory, on a thread that may: not longer than a limit, and seen while it does.

use std::time::{Duration, Instant};

use picket_base::budget::{Budget, Class, Exhausted, Taken};

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(5);

/// Takes bytes as soon as they are there. `beat` is called while it waits.
///
/// # Errors
/// When they are not there within `limit`, and at once when no holder ever gets so many.
pub fn take_within(
    limit: Duration,
    budget: &Budget,
    class: Class,
    bytes: usize,
    mut beat: impl FnMut(),
) -> Result<Taken, Exhausted> {
    let deadline = Instant::now() + limit;
    loop {
        match budget.take(class, bytes) {
            Err(_) if bytes <= budget.largest(class) && Instant::now() < deadline => {
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

    #[test]
    fn what_never_fits_is_refused_at_once_and_the_rest_waits_as_long_as_it_may() {
        let budget = Budget::new(64 << 10);
        let most = budget.largest(Class::Decode);
        let take = |bytes, beat: &mut dyn FnMut()| {
            take_within(Duration::from_secs(60), &budget, Class::Decode, bytes, beat)
        };
        assert!(take(most + (64 << 10), &mut || unreachable!("nothing to wait for")).is_err());
        let mut held = Some(take(most, &mut || {}).unwrap());
        // It is given back while the next one waits.
        assert_eq!(take(most, &mut || held = None).unwrap().bytes(), most);
        let _held = take(most, &mut || {}).unwrap();
        let soon = Duration::from_millis(1);
        assert!(take_within(soon, &budget, Class::Decode, most, || {}).is_err());
    }
}
