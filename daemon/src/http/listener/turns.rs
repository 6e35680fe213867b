//! Shares of a listener's own thread for TLS handshakes, which are its heaviest work: whoever shakes hands
//! without a pause would keep it from all others. An address that has had more than its share waits. It must
//! not know what is asked afterwards.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::os;
use crate::peer::Peer;

/// An address gets one part in so many of the thread's time.
const PART: u32 = 5;

/// So much of the thread's time it may use at once.
const BURST: Duration = Duration::from_millis(20);

/// What a connection takes beside its handshake; 40 µs were measured.
const AROUND: Duration = Duration::from_micros(50);

/// So many addresses are told apart. The others share what one has.
const PEERS_MAX: usize = 1_024;

/// What a handshake takes of the thread, at first: a signature of RSA on a slow board.
const HANDSHAKE: Duration = Duration::from_millis(5);

/// A new figure counts for one in so many.
const WEIGHT: u64 = 8;

/// What each address has used of a thread.
pub(super) struct Turns {
    used: Mutex<Used>,
    /// What a handshake takes on this box, nanoseconds.
    handshake_ns: AtomicU64,
}

impl Default for Turns {
    fn default() -> Turns {
        let handshake_ns = AtomicU64::new(HANDSHAKE.as_nanos() as u64);
        Turns { used: Mutex::default(), handshake_ns }
    }
}

/// Until when an address has used its share up; in the past, it has saved that up.
#[derive(Default)]
struct Used {
    by_peer: HashMap<Peer, Instant>,
    others: Option<Instant>,
}

impl Turns {
    /// Does a handshake once its address may have one, and learns what it takes.
    pub async fn handshake<T>(&self, peer: Peer, shake: impl Future<Output = T>) -> T {
        let expected = Duration::from_nanos(self.handshake_ns.load(Ordering::Relaxed));
        // It is counted before, so that of many who wait each has a time of its own.
        if let Some(until) = self.note(peer, expected, Instant::now()) {
            sleep_until(until).await;
        }
        let (mut shake, mut took) = (pin!(shake), Duration::ZERO);
        let done = poll_fn(|cx| {
            let before = os::thread_time();
            let polled = shake.as_mut().poll(cx);
            took += os::thread_time().saturating_sub(before);
            polled
        })
        .await;
        self.note(peer, took.saturating_sub(expected), Instant::now());
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let old = self.handshake_ns.load(Ordering::Relaxed);
        self.handshake_ns.store(old - old / WEIGHT + took / WEIGHT, Ordering::Relaxed);
        done
    }

    fn note(&self, peer: Peer, took: Duration, now: Instant) -> Option<Instant> {
        let mut used = self.lock();
        let until = used.of(peer, now);
        *until = (*until).max(now) + (took + AROUND) * PART;
        let due = until.checked_sub(BURST * PART)?;
        (due > now).then_some(due)
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().expect("nothing panics while it counts")
    }
}

impl Used {
    fn of(&mut self, peer: Peer, now: Instant) -> &mut Instant {
        if self.by_peer.len() >= PEERS_MAX && !self.by_peer.contains_key(&peer) {
            self.by_peer.retain(|_, until| *until > now);
            if self.by_peer.len() >= PEERS_MAX {
                return self.others.get_or_insert(now);
            }
        }
        self.by_peer.entry(peer).or_insert(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn peer(number: u32) -> Peer {
        Peer::at(Ipv4Addr::from_bits(number).into())
    }

    /// The handshakes that an address which never pauses gets within a second.
    fn handshakes_in_a_second(turns: &Turns, peer: Peer, took: Duration) -> u32 {
        let start = Instant::now();
        let (mut now, mut done) = (start, 0);
        while now < start + Duration::from_secs(1) {
            now = turns.note(peer, took, now).unwrap_or(now + took);
            done += 1;
        }
        done
    }

    #[test]
    fn who_never_pauses_gets_a_fifth_of_the_thread_and_others_do_not_wait_for_it() {
        let turns = Turns::default();
        let took = Duration::from_millis(1) - AROUND;
        let done = handshakes_in_a_second(&turns, peer(1), took);
        assert!((200..=225).contains(&done), "{done}");
        assert!(turns.note(peer(2), took, Instant::now()).is_none());
    }

    #[test]
    fn a_handshake_now_and_then_never_waits() {
        let turns = Turns::default();
        let start = Instant::now();
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            assert!(turns.note(peer(1), BURST / 2, now).is_none());
        }
    }

    #[tokio::test]
    async fn handshakes_that_come_at_once_are_spread_and_cost_what_they_take() {
        let turns = Turns::default();
        let began = Instant::now();
        let shake = |number| turns.handshake(peer(number), async { Instant::now() - began });
        let mut waits = Vec::new();
        for _ in 0..40 {
            waits.push(shake(1).await);
        }
        assert!(waits[0] < waits[39] && waits[39] > HANDSHAKE * PART, "{waits:?}");
        let learnt = Duration::from_nanos(turns.handshake_ns.load(Ordering::Relaxed));
        assert!(learnt < HANDSHAKE / 2, "{learnt:?}");
        assert!(turns.note(peer(2), learnt, Instant::now()).is_none());
    }

    #[test]
    fn of_many_addresses_no_more_are_remembered_than_there_is_room_for() {
        let turns = Turns::default();
        let now = Instant::now();
        for number in 0..5_000 {
            turns.note(peer(number), Duration::from_millis(1), now);
        }
        assert_eq!(turns.lock().by_peer.len(), PEERS_MAX);
        assert!(turns.note(peer(9_999), Duration::ZERO, now).is_some(), "the others share");
        let later = now + Duration::from_secs(60);
        assert!(turns.note(peer(9_999), Duration::ZERO, later).is_none());
        assert_eq!(turns.lock().by_peer.len(), 1);
    }
}
