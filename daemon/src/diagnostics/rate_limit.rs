//! The rate limit: a storm of one message can't fill the card. Each place in the code that logs has a
//! bucket of its own, and messages that did not get through are counted and reported.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::message::{Message, room};

/// One place may log so many messages at once.
const BURST: u32 = 50;

/// After each of these a place may log one more: 29,000 a day and place, some 6 MB.
const REFILL_INTERVAL: Duration = Duration::from_secs(3);

/// The time from the first suppressed message to the line that counts them.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(30);

/// A summary repeats so much of a suppressed message, bytes.
const EXAMPLE_BYTES_MAX: usize = 200;

/// Errors of these rooms say why the daemon is about to be killed, or that it ends. They are never
/// suppressed: the watchdog limits their rate.
const LIVENESS: [&str; 2] = ["health", "life"];

/// One place's bucket.
#[derive(Debug)]
struct Bucket {
    left: u32,
    refilled: Instant,
    suppressed: u64,
    since: Instant,
    example: String,
}

impl Bucket {
    fn new(now: Instant) -> Bucket {
        Bucket { left: BURST, refilled: now, suppressed: 0, since: now, example: String::new() }
    }

    fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.refilled);
        let refills = u32::try_from(elapsed.as_nanos() / REFILL_INTERVAL.as_nanos());
        let refills = refills.unwrap_or(BURST).min(BURST);
        if refills == BURST {
            self.refilled = now;
        } else {
            self.refilled += REFILL_INTERVAL * refills;
        }
        self.left = (self.left + refills).min(BURST);
        let admitted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        admitted
    }
}

/// What one line says about a place.
#[derive(Debug, PartialEq)]
struct Summary {
    suppressed: u64,
    over: Duration,
    example: String,
}

/// At most one bucket for each place in the program that logs: their number is the program's own.
#[derive(Default)]
struct Buckets {
    places: HashMap<Identifier, Bucket>,
    pending: bool,
    ending: bool,
}

impl Buckets {
    fn admit(&mut self, now: Instant, place: Identifier, example: impl FnOnce() -> String) -> bool {
        let bucket = self.places.entry(place).or_insert_with(|| Bucket::new(now));
        if bucket.take(now) {
            return true;
        }
        if bucket.suppressed == 0 {
            bucket.since = now;
            bucket.example = example();
        }
        bucket.suppressed += 1;
        self.pending = true;
        false
    }

    fn summaries(&mut self, now: Instant) -> Vec<Summary> {
        self.pending = false;
        let suppressed = self.places.values_mut().filter(|bucket| bucket.suppressed > 0);
        suppressed
            .map(|bucket| Summary {
                suppressed: std::mem::take(&mut bucket.suppressed),
                over: now.saturating_duration_since(bucket.since),
                example: std::mem::take(&mut bucket.example),
            })
            .collect()
    }
}

#[derive(Default)]
struct Storms {
    buckets: Mutex<Buckets>,
    changed: Condvar,
}

impl Storms {
    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops messages before any output sees them.
pub struct RateLimit(Arc<Storms>);

impl RateLimit {
    /// # Errors
    /// When the thread that writes the summaries can't be started.
    pub fn start() -> std::io::Result<(RateLimit, Summaries)> {
        let storms = Arc::new(Storms::default());
        let thread = std::thread::Builder::new().name("log-summary".into()).spawn({
            let storms = storms.clone();
            move || sum_up(&storms)
        })?;
        Ok((RateLimit(storms.clone()), Summaries { storms, thread: Some(thread) }))
    }
}

impl<S: Subscriber> Layer<S> for RateLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let meta = event.metadata();
        if is_exempt(meta) {
            return true;
        }
        let mut buckets = self.0.lock();
        let was_pending = buckets.pending;
        let admitted = buckets.admit(Instant::now(), meta.callsite(), || example(event));
        if !admitted && !was_pending {
            self.0.changed.notify_all();
        }
        admitted
    }
}

fn is_exempt(meta: &Metadata<'_>) -> bool {
    let liveness = *meta.level() == Level::ERROR && LIVENESS.contains(&room(meta.target()));
    liveness || meta.target() == module_path!()
}

fn example(event: &Event<'_>) -> String {
    let mut text = Message::of(event).text();
    let end = (0..=EXAMPLE_BYTES_MAX.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text.truncate(end.unwrap_or(0));
    text
}

/// Owner of the thread that writes the summaries; it writes the last ones when this is dropped.
pub struct Summaries {
    storms: Arc<Storms>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Summaries {
    fn drop(&mut self) {
        self.storms.lock().ending = true;
        self.storms.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sleeps without a timer while nothing is suppressed.
fn sum_up(storms: &Storms) {
    let mut buckets = storms.lock();
    loop {
        let waiting = |buckets: &mut Buckets| !buckets.pending && !buckets.ending;
        buckets =
            storms.changed.wait_while(buckets, waiting).unwrap_or_else(PoisonError::into_inner);
        buckets = storms
            .changed
            .wait_timeout_while(buckets, SUMMARY_INTERVAL, |buckets| !buckets.ending)
            .map_or_else(|error| error.into_inner().0, |(buckets, _)| buckets);
        let summaries = buckets.summaries(Instant::now());
        let ending = buckets.ending;
        // Writing may wait for the journal; those who log must not wait for that.
        drop(buckets);
        for Summary { suppressed, over, example } in summaries {
            let secs = over.as_secs_f64().ceil();
            tracing::warn!(
                suppressed,
                example,
                "suppressed {suppressed} messages like this in the last {secs} s"
            );
        }
        if ending {
            return;
        }
        buckets = storms.lock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn taken(bucket: &mut Bucket, tries: u32, now: Instant) -> u32 {
        (0..tries).map(|_| u32::from(bucket.take(now))).sum()
    }

    #[test]
    fn a_place_has_a_burst_and_then_a_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        assert_eq!(taken(&mut bucket, 1000, start), BURST);
        assert_eq!(taken(&mut bucket, 1000, start + 2 * SECOND), 0);
        assert_eq!(taken(&mut bucket, 1000, start + 3 * SECOND), 1);
        assert_eq!(taken(&mut bucket, 1000, start + 8 * SECOND), 1, "the rest of 5 s is kept");
        assert_eq!(taken(&mut bucket, 1000, start + 9 * SECOND), 1);
        assert_eq!(taken(&mut bucket, 1000, start + 86_400 * SECOND), BURST, "no more than that");
        let day: u32 = (0..86_400)
            .map(|second| taken(&mut bucket, 100, start + (86_400 + second) * SECOND))
            .sum();
        assert!((28_700..28_900).contains(&day), "{day} in a day of storm");
    }

    /// Collects the text of what gets through.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Written {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let line = format!("{} {}", event.metadata().level(), Message::of(event).text());
            self.0.lock().unwrap().push(line);
        }
    }

    fn storm(speak: impl Fn(u32)) -> (Vec<String>, Vec<Summary>) {
        use tracing_subscriber::layer::SubscriberExt;
        let written = Written::default();
        let storms = Arc::new(Storms::default());
        let subscriber =
            tracing_subscriber::registry().with(written.clone()).with(RateLimit(storms.clone()));
        tracing::subscriber::with_default(subscriber, || (0..200).for_each(speak));
        let lines = written.0.lock().unwrap().clone();
        (lines, storms.lock().summaries(Instant::now()))
    }

    #[test]
    fn one_place_never_silences_another() {
        let (lines, summaries) = storm(|n| {
            tracing::warn!(n, "flood");
            if n % 40 == 0 {
                tracing::info!(n, "rare");
            }
        });
        let of = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
        assert_eq!((of("flood"), of("rare")), (BURST as usize, 5));
        assert_eq!(summaries.len(), 1);
        assert_eq!(summaries[0].suppressed, 150);
        assert_eq!(summaries[0].example, "flood n=50", "the first that was suppressed");
    }

    #[test]
    fn errors_about_liveness_are_never_suppressed() {
        let (lines, summaries) = storm(|_| {
            tracing::error!(target: "picket::health::heartbeat", "no watchdog ping");
            tracing::error!(target: "picket::http::predict", "prediction failed");
            tracing::debug!(target: "picket::systemd", "not reached");
        });
        let of = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
        let burst = BURST as usize;
        let seen = (of("no watchdog ping"), of("prediction failed"), of("not reached"));
        assert_eq!(seen, (200, burst, burst));
        assert_eq!(summaries.len(), 2);
    }

    #[test]
    fn a_summary_repeats_no_novel() {
        let (_, summaries) = storm(|_| tracing::warn!("{}", "ü".repeat(1000)));
        assert_eq!(summaries[0].example, "ü".repeat(EXAMPLE_BYTES_MAX / 2));
    }

    #[test]
    fn the_rooms_whose_errors_are_never_suppressed_are_there() {
        let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for room in LIVENESS {
            assert!(src.join(room).is_dir(), "{room} moved: its errors would be suppressed");
        }
    }
}
