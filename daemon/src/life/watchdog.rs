//! The part that looks at Health for everybody who does not ask: it pings systemd while all are alive,
//! says in the log and in the status who is not, and gives a slow start more time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::systemd::Notifier;
use crate::health::{Deadlines, Health, HealthMetrics, Heartbeat, Standing, Subsystem};
use crate::inference::InferenceMetrics;

/// The longest pause between two looks; a shorter watchdog period shortens it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The pause between two messages about the same failure where nobody wants pings.
const NAME_INTERVAL: Duration = Duration::from_secs(10);

/// The pause between naming a failure and asking for the restart. The journal finds out which unit an entry is of
/// while its process lives: without it the reason is not among the unit's own lines.
const NAMED_LEAD: Duration = Duration::from_millis(500);

/// The pause between two looks at what the status line should say.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// While the daemon starts, it asks for so much more time, this often, until the limit: a start that
/// takes longer is better tried again.
const START_EXTENSION: Duration = Duration::from_secs(10);
const START_EXTEND_INTERVAL: Duration = Duration::from_secs(2);
const START_MAX: Duration = Duration::from_secs(15 * 60);

/// A silence longer than this part of what is allowed is counted as a near miss.
const NEAR_MISS_DIVISOR: u32 = 2;

pub struct Watchdog {
    health: Arc<Health>,
    metrics: HealthMetrics,
    /// When a ping is due; none where nobody wants pings.
    ping: Option<Timer>,
    /// The pause between two looks.
    sleep: Duration,
    extend: Timer,
    status: StatusLine,
    /// When the failure is to be named again.
    named: Timer,
    failed: bool,
    starved: Starved,
    close: Close,
    /// When it looked the last time.
    looked: Instant,
    /// How long this thread may be silent: systemd's patience counts too.
    own_deadline: Duration,
    started: Instant,
}

impl Watchdog {
    pub fn new(
        health: Arc<Health>,
        metrics: HealthMetrics,
        inference: Arc<InferenceMetrics>,
        deadlines: &Deadlines,
    ) -> Watchdog {
        let ping_interval = deadlines.watchdog_period.map(|period| period / 3);
        if !health.machine().has_pressure() {
            tracing::info!(
                "the kernel tells nothing of pressure, only late timers show starvation"
            );
        }
        Watchdog {
            health,
            metrics,
            ping: ping_interval.map(Timer::new),
            sleep: ping_interval.unwrap_or(LOOK_INTERVAL).min(LOOK_INTERVAL),
            extend: Timer::new(START_EXTEND_INTERVAL),
            status: StatusLine::new(inference),
            named: Timer::new(ping_interval.unwrap_or(NAME_INTERVAL)),
            failed: false,
            starved: Starved::default(),
            close: Close::default(),
            looked: Instant::now(),
            own_deadline: deadlines.runtime,
            started: Instant::now(),
        }
    }

    /// Runs until the other end of `stopped` is gone.
    pub fn run(mut self, heartbeat: &Heartbeat, stopped: &Receiver<()>) {
        loop {
            heartbeat.beat();
            self.look();
            self.health.machine().sleeps(self.sleep);
            let waited = stopped.recv_timeout(self.sleep);
            self.health.machine().wakes();
            if waited != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
    }

    fn look(&mut self) {
        let subsystems = self.health.subsystems();
        self.count_near_misses(&subsystems);
        for word in self.starved.news(&subsystems) {
            match word {
                Word::Overdue(why) => tracing::warn!(why, "overdue"),
                Word::Back(subsystem) => tracing::info!(subsystem, "gives signs of life again"),
            }
        }
        let failure = subsystems.iter().find_map(|subsystem| subsystem.standing.failure());
        match failure {
            Some(why) => self.tell_failure(why),
            None => self.tell_life(),
        }
    }

    /// A silence that ended before its deadline leaves no other trace.
    fn count_near_misses(&mut self, subsystems: &[Subsystem]) {
        for subsystem in self.close.news(subsystems) {
            self.metrics.near_miss(subsystem);
        }
        // Its own silence is over when it can look at it.
        let silence = std::mem::replace(&mut self.looked, Instant::now()).elapsed();
        if is_near_miss(silence, self.own_deadline) {
            self.metrics.near_miss("watchdog");
        }
    }

    /// Names the failure before the service manager ends us, so that the log has the reason. The deadline was the
    /// patience: a second one, until the last ping is too old, would keep a hung daemon for longer.
    fn tell_failure(&mut self, why: &str) {
        let begins = !std::mem::replace(&mut self.failed, true);
        if begins {
            self.named.reset();
        }
        if self.named.is_due() {
            match self.ping {
                Some(_) => tracing::error!(why, "not alive, no watchdog ping"),
                None => tracing::error!(why, "not alive"),
            }
            self.status.say(&format!("not alive: {why}"));
        }
        if begins && self.ping.is_some() {
            std::thread::sleep(NAMED_LEAD);
            Notifier.trigger_watchdog();
        }
    }

    fn tell_life(&mut self) {
        if std::mem::take(&mut self.failed) {
            tracing::info!("alive again");
            self.status.timer.reset();
        }
        if self.ping.as_mut().is_some_and(Timer::is_due) {
            Notifier.alive();
        }
        if !self.health.is_serving() && !self.health.is_draining() {
            let in_time = self.started.elapsed() < START_MAX;
            if in_time && self.extend.is_due() {
                Notifier.extend_start(START_EXTENSION);
            }
        } else if !self.health.is_draining() && self.status.timer.is_due() {
            let text = self.status.of_service(&self.health);
            self.status.say(&text);
        }
    }
}

/// The subsystems that are overdue on a starving machine; each such episode is reported once.
#[derive(Default)]
struct Starved(BTreeSet<String>);

#[derive(Debug, PartialEq)]
enum Word<'a> {
    /// Somebody is overdue: what it waits for, and until when.
    Overdue(&'a str),
    /// Somebody of this name gives signs of life again.
    Back(&'a str),
}

impl Starved {
    /// The episodes that have begun or ended since the last look.
    fn news<'a>(&mut self, subsystems: &'a [Subsystem]) -> Vec<Word<'a>> {
        let word = |Subsystem { name, standing, .. }: &'a Subsystem| match standing {
            Standing::Starved(why) => self.0.insert(name.clone()).then_some(Word::Overdue(why)),
            Standing::Alive => self.0.remove(name).then_some(Word::Back(name)),
            // Reported as a failure; the episode ends when it is alive again.
            Standing::Failed(_) => None,
        };
        subsystems.iter().filter_map(word).collect()
    }
}

/// The subsystems whose silence comes close to the limit; each such silence is counted once.
#[derive(Default)]
struct Close(BTreeSet<String>);

impl Close {
    /// The names of those that have come close since the last look.
    fn news<'a>(&mut self, subsystems: &'a [Subsystem]) -> Vec<&'a str> {
        let begun = |Subsystem { name, silence, deadline, .. }: &'a Subsystem| {
            if is_near_miss(*silence, *deadline) {
                return self.0.insert(name.clone()).then_some(name.as_str());
            }
            self.0.remove(name);
            None
        };
        subsystems.iter().filter_map(begun).collect()
    }
}

fn is_near_miss(silence: Duration, deadline: Duration) -> bool {
    silence > deadline / NEAR_MISS_DIVISOR
}

/// Something that is due at once and then every so often.
struct Timer {
    interval: Duration,
    next: Instant,
}

impl Timer {
    fn new(interval: Duration) -> Timer {
        Timer { interval, next: Instant::now() }
    }

    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next {
            return false;
        }
        let next = self.next + self.interval;
        // After a late look it begins anew: what was missed is not made up for.
        self.next = if next > now { next } else { now + self.interval };
        true
    }

    fn reset(&mut self) {
        self.next = Instant::now();
    }
}

/// The text that `systemctl status` shows.
struct StatusLine {
    said: String,
    timer: Timer,
    counted: Instant,
    predictions: u64,
    inference: Arc<InferenceMetrics>,
}

impl StatusLine {
    fn new(inference: Arc<InferenceMetrics>) -> StatusLine {
        let (predictions, timer) = (inference.predictions.get(), Timer::new(STATUS_INTERVAL));
        StatusLine { said: String::new(), timer, counted: Instant::now(), predictions, inference }
    }

    /// Sends the text if it is a new one.
    fn say(&mut self, text: &str) {
        if self.said != text {
            self.said = text.to_string();
            Notifier.status(text);
        }
    }

    fn of_service(&mut self, health: &Health) -> String {
        let predictions = self.inference.predictions.get();
        let rate = (predictions - self.predictions) as f64 / self.counted.elapsed().as_secs_f64();
        (self.predictions, self.counted) = (predictions, Instant::now());
        let waiting = self.inference.queue_depth.get();
        let log = health.log();
        format!("serving {rate:.1} predictions/s, {waiting} images waiting, log {}", log.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subsystem(standing: Standing) -> [Subsystem; 1] {
        silent_for(Duration::ZERO, standing)
    }

    fn silent_for(silence: Duration, standing: Standing) -> [Subsystem; 1] {
        let deadline = Duration::from_secs(30);
        [Subsystem { name: "worker-0".into(), silence, deadline, standing }]
    }

    #[test]
    fn an_episode_of_starvation_is_told_of_when_it_begins_and_when_it_ends() {
        let mut starved = Starved::default();
        let alive = subsystem(Standing::Alive);
        assert_eq!(starved.news(&alive), []);
        let first = subsystem(Standing::Starved("31 s".into()));
        assert_eq!(starved.news(&first), [Word::Overdue("31 s")]);
        assert_eq!(starved.news(&subsystem(Standing::Starved("32 s".into()))), []);
        assert_eq!(starved.news(&subsystem(Standing::Failed("121 s".into()))), []);
        assert_eq!(starved.news(&alive), [Word::Back("worker-0")]);
        assert_eq!(starved.news(&alive), []);
    }

    #[test]
    fn a_silence_that_comes_close_to_its_deadline_is_counted_once() {
        let mut close = Close::default();
        let after = |secs| silent_for(Duration::from_secs(secs), Standing::Alive);
        assert_eq!(close.news(&after(15)), [""; 0]);
        assert_eq!(close.news(&after(16)), ["worker-0"]);
        assert_eq!(close.news(&after(17)), [""; 0]);
        let failed = silent_for(Duration::from_secs(31), Standing::Failed("31 s".into()));
        assert_eq!(close.news(&failed), [""; 0]);
        assert_eq!(close.news(&after(0)), [""; 0]);
        assert_eq!(close.news(&after(16)), ["worker-0"]);
    }

    #[test]
    fn a_timer_is_due_at_once_and_never_makes_up_for_what_it_missed() {
        let mut timer = Timer::new(Duration::from_secs(3600));
        assert!(timer.is_due());
        assert!(!timer.is_due());
        timer.next -= Duration::from_secs(36_000);
        assert!(timer.is_due());
        assert!(!timer.is_due());
        timer.reset();
        assert!(timer.is_due());
    }
}
