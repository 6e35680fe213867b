//! A subsystem's sign of life: when it last gave one, what it is busy with, and what is to be made
//! of its silence.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::starvation::Shortage;

/// A subsystem that is overdue while the machine is short of something is waited for until its
/// silence is this many deadlines long, and no longer: a thread that is really stuck must end.
pub const STARVED_DEADLINES: u32 = 4;

/// One step of a start may take this long: opening the log may mean to read all of it and to bring
/// back what a damaged one holds.
pub const START_STEP_MAX: Duration = Duration::from_secs(5 * 60);

/// One piece of work that takes a subsystem so long that it gives no sign of life meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    OpenLog,
    LoadModel,
    Image,
    GoldenSample,
    Commit,
    Housekeeping,
    Registry,
    Reload,
    Page,
    Body,
    Certificate,
    ControlSocket,
}

impl Work {
    const ALL: [Work; 12] = [
        Work::OpenLog,
        Work::LoadModel,
        Work::Image,
        Work::GoldenSample,
        Work::Commit,
        Work::Housekeeping,
        Work::Registry,
        Work::Reload,
        Work::Page,
        Work::Body,
        Work::Certificate,
        Work::ControlSocket,
    ];

    fn text(self) -> &'static str {
        match self {
            Work::OpenLog => "opening the log",
            Work::LoadModel => "loading the model",
            Work::Image => "one image",
            Work::GoldenSample => "the golden sample",
            Work::Commit => "one commit",
            Work::Housekeeping => "the log's housekeeping",
            Work::Registry => "one question to the registry",
            Work::Reload => "reading the configuration again",
            Work::Page => "reading the log",
            Work::Body => "one request's body",
            Work::Certificate => "reading the certificate again",
            Work::ControlSocket => "the control socket's file",
        }
    }

    /// The longest time that it may take, where a healthy subsystem has `usual` between two signs of
    /// life.
    fn deadline(self, usual: Duration) -> Duration {
        match self {
            Work::OpenLog | Work::LoadModel => usual.max(START_STEP_MAX),
            _ => usual,
        }
    }

    /// Whether it waits for the disk that the log is on.
    pub(super) fn uses_disk(self) -> bool {
        matches!(
            self,
            Work::OpenLog | Work::Commit | Work::Housekeeping | Work::Page | Work::ControlSocket
        )
    }

    /// Place in `ALL`, counted from 1: 0 stands for idle.
    fn code(self) -> u64 {
        self as u64 + 1
    }

    fn from_code(code: u64) -> Option<Work> {
        Work::ALL.get(usize::try_from(code.checked_sub(1)?).ok()?).copied()
    }
}

/// A subsystem's sign of life. It beats at least once within its deadline, idle or busy. It has no
/// locks: a thread that is stopped anywhere never holds up those who ask after it.
#[derive(Debug)]
pub struct Heartbeat {
    name: String,
    deadline_ms: AtomicU64,
    origin: Instant,
    /// Milliseconds since `origin`, with the code of the work begun then in the low byte.
    last: AtomicU64,
    /// Whether it has ended on purpose, as at a drain, and is no longer watched.
    retired: AtomicBool,
    /// What it found wrong with itself; only a restart cures it.
    fault: OnceLock<String>,
}

/// The last sign of life of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The time since the last sign of life.
    pub silence: Duration,
    /// The work begun then and not finished since; none when it waits for work.
    pub work: Option<Work>,
    /// The longest silence that is in order with that work.
    pub deadline: Duration,
}

impl Beat {
    pub(super) fn is_overdue(&self) -> bool {
        self.silence > self.deadline
    }

    /// Whether it is busy with the disk for so long that it matters if a device holds it.
    pub(super) fn may_wait_for_disk(&self) -> bool {
        self.work.is_some_and(Work::uses_disk) && self.silence > self.deadline / 2
    }
}

impl Heartbeat {
    pub(super) fn new(name: &str, deadline: Duration) -> Heartbeat {
        Heartbeat {
            name: name.to_string(),
            deadline_ms: AtomicU64::new(millis(deadline)),
            origin: Instant::now(),
            last: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            fault: OnceLock::new(),
        }
    }

    /// Says that it is alive and waits for work.
    pub fn beat(&self) {
        self.mark(0);
    }

    /// Says that it is alive and about to do something that must end within the deadline.
    pub fn busy(&self, work: Work) {
        self.mark(work.code());
    }

    fn mark(&self, code: u64) {
        self.last.store(millis(self.origin.elapsed()) << 8 | code, Ordering::Relaxed);
    }

    /// Sets another deadline, which holds from here on; counts as a beat.
    pub fn set_deadline(&self, deadline: Duration) {
        self.beat();
        self.deadline_ms.store(millis(deadline), Ordering::Relaxed);
    }

    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Fails liveness for good with this reason; the first one stays.
    pub fn fail(&self, why: String) {
        let _ = self.fault.set(why);
    }

    pub fn fault(&self) -> Option<&str> {
        self.fault.get().map(String::as_str)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_watched(&self) -> bool {
        !self.retired.load(Ordering::Relaxed)
    }

    pub(super) fn last(&self) -> Beat {
        let last = self.last.load(Ordering::Relaxed);
        let silence = self.origin.elapsed().saturating_sub(Duration::from_millis(last >> 8));
        let work = Work::from_code(last & 0xff);
        let usual = Duration::from_millis(self.deadline_ms.load(Ordering::Relaxed));
        Beat { silence, work, deadline: work.map_or(usual, |work| work.deadline(usual)) }
    }
}

/// The verdict on a subsystem's silence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judgement<'a> {
    Alive,
    /// It is overdue, and the machine is short of what it may be waiting for. It is waited for until its
    /// silence is this long, or for as long as the shortage lasts.
    Starved(&'a Shortage, Option<Duration>),
    /// It was silent for longer than this, the most that was allowed.
    Stuck(Duration),
}

/// The whole rule: a subsystem is alive within its deadline. Beyond it, it is stuck, unless the machine
/// is starving: then it is stuck beyond `STARVED_DEADLINES` of it. A thread that the kernel holds for a
/// device is waited for without limit: until the device answers, no restart can end it either.
pub fn judge<'a>(beat: &Beat, shortage: Option<&'a Shortage>) -> Judgement<'a> {
    let extended = beat.deadline * STARVED_DEADLINES;
    match shortage {
        _ if !beat.is_overdue() => Judgement::Alive,
        Some(device @ Shortage::Device(_)) => Judgement::Starved(device, None),
        Some(shortage) if beat.silence <= extended => Judgement::Starved(shortage, Some(extended)),
        Some(_) => Judgement::Stuck(extended),
        None => Judgement::Stuck(beat.deadline),
    }
}

/// Puts a silence into words; `limit` is what was allowed.
pub fn describe(name: &str, beat: Beat, limit: Duration) -> String {
    let (silence, limit) = (beat.silence.as_secs_f64(), limit.as_secs_f64());
    match beat.work {
        Some(work) => {
            let work = work.text();
            format!("{name} has been busy with {work} for {silence:.1} s, at most {limit} s")
        }
        None => format!("{name} gave no sign of life for {silence:.1} s, at most {limit} s"),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    fn silent_for(silence: Duration) -> Beat {
        Beat { silence, work: None, deadline: DEADLINE }
    }

    #[test]
    fn a_silence_within_the_deadline_is_life_whatever_the_machine_is_short_of() {
        let shortage = Shortage::Late(Duration::from_secs(5));
        for shortage in [None, Some(&shortage)] {
            assert_eq!(judge(&silent_for(Duration::ZERO), shortage), Judgement::Alive);
            assert_eq!(judge(&silent_for(DEADLINE), shortage), Judgement::Alive);
        }
    }

    #[test]
    fn beyond_the_deadline_only_starvation_excuses_and_not_for_ever() {
        let shortage = Shortage::Late(Duration::from_secs(5));
        let extended = DEADLINE * STARVED_DEADLINES;
        let starved = Judgement::Starved(&shortage, Some(extended));
        let overdue = silent_for(DEADLINE + Duration::from_millis(1));
        assert_eq!(judge(&overdue, None), Judgement::Stuck(DEADLINE));
        assert_eq!(judge(&overdue, Some(&shortage)), starved);
        assert_eq!(judge(&silent_for(extended), Some(&shortage)), starved);
        let beyond = silent_for(extended + Duration::from_millis(1));
        assert_eq!(judge(&beyond, Some(&shortage)), Judgement::Stuck(extended));
    }

    #[test]
    fn what_the_kernel_holds_for_a_device_is_waited_for_as_long_as_it_does() {
        let device = Shortage::Device("log-writer".into());
        let hours = silent_for(DEADLINE * 1000);
        assert_eq!(judge(&hours, Some(&device)), Judgement::Starved(&device, None));
        assert_eq!(judge(&silent_for(DEADLINE), Some(&device)), Judgement::Alive);
    }

    #[test]
    fn a_step_of_the_start_may_take_longer_than_a_sign_of_life() {
        let heartbeat = Heartbeat::new("log-writer", DEADLINE);
        for (work, deadline) in [
            (Work::OpenLog, START_STEP_MAX),
            (Work::LoadModel, START_STEP_MAX),
            (Work::Commit, DEADLINE),
            (Work::Image, DEADLINE),
        ] {
            heartbeat.busy(work);
            assert_eq!(heartbeat.last().deadline, deadline, "{work:?}");
        }
        heartbeat.beat();
        assert_eq!(heartbeat.last().deadline, DEADLINE);
    }

    #[test]
    fn the_words_tell_busy_from_silent() {
        let beat = |work| Beat { work, ..silent_for(Duration::from_millis(31_040)) };
        assert_eq!(
            describe("worker-1", beat(Some(Work::Image)), DEADLINE),
            "worker-1 has been busy with one image for 31.0 s, at most 30 s"
        );
        assert_eq!(
            describe("api", beat(None), Duration::from_millis(2500)),
            "api gave no sign of life for 31.0 s, at most 2.5 s"
        );
    }

    #[test]
    fn work_is_remembered_until_the_next_beat() {
        let heartbeat = Heartbeat::new("log-writer", DEADLINE);
        assert_eq!(heartbeat.last().work, None);
        for work in Work::ALL {
            heartbeat.busy(work);
            assert_eq!(heartbeat.last().work, Some(work));
        }
        heartbeat.beat();
        assert_eq!(heartbeat.last().work, None);
    }
}
