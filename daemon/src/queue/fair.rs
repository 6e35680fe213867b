//! A bounded queue between the async runtime and OS threads: pushing never waits, popping may.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::lanes::{Charge, Full, Lanes, Limits, Next, Pending};
use crate::peer::Peer;

/// While work waits for memory, threads that have nothing else to do look this often: what gives memory
/// back need not know of the queue.
const STARVED_LOOK: Duration = Duration::from_millis(20);

pub struct Queue<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

struct State<T> {
    lanes: Lanes<T>,
    closed: bool,
}

/// What a waiting thread got.
pub enum Popped<'a, T: Pending, R> {
    /// Work, what was reserved for it, and the turn that it is done in.
    Work(T, R, Turn<'a, T>),
    /// Work that has waited too long: its sender is to be told.
    Late(T),
    /// Nothing arrived in time.
    Idle,
    /// The queue is closed, and everything that had been pushed is out.
    Closed,
}

/// The time that a thread spends on one piece of work; it ends when this is dropped.
pub struct Turn<'a, T: Pending> {
    queue: &'a Queue<T>,
    charge: Charge,
    began: Instant,
}

impl<T: Pending> Queue<T> {
    pub fn new(limits: Limits) -> Queue<T> {
        let state = State { lanes: Lanes::new(limits), closed: false };
        Queue { state: Mutex::new(state), arrived: Condvar::new() }
    }

    /// Queues work that is expected to take `cost` of a thread's time. Returns what had to go for it.
    ///
    /// # Errors
    /// Gives the work back when the queue is closed, or full of work of senders that hold no more of it.
    pub fn push(&self, work: T, sender: Peer, cost: Duration) -> Result<Option<T>, Full<T>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Full(work));
        }
        let evicted = state.lanes.push(work, sender, cost, Instant::now())?;
        drop(state);
        self.arrived.notify_one();
        Ok(evicted)
    }

    /// Waits for work that `fits` reserves for. It is told whether the work may lay claim to what it does
    /// not get.
    pub fn pop<R>(
        &self,
        timeout: Duration,
        mut fits: impl FnMut(&mut T, bool) -> Option<R>,
    ) -> Popped<'_, T, R> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match state.lanes.next(now, &mut fits) {
                Next::Work(work, reserved, charge) => {
                    let turn = Turn { queue: self, charge, began: now };
                    return Popped::Work(work, reserved, turn);
                }
                Next::Late(work) => return Popped::Late(work),
                Next::Nothing if state.closed && state.lanes.waiting() == 0 => {
                    return Popped::Closed;
                }
                Next::Nothing => {}
            }
            let mut left = deadline.saturating_duration_since(now);
            if left.is_zero() {
                return Popped::Idle;
            }
            if state.lanes.is_starved() {
                left = left.min(STARVED_LOOK);
            }
            let waited = self.arrived.wait_timeout(state, left);
            state = waited.expect("nothing that holds a queue panics").0;
        }
    }

    pub fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }

    pub fn depth(&self) -> usize {
        self.lock().lanes.waiting()
    }

    pub fn capacity(&self) -> usize {
        self.lock().lanes.limits().capacity
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("nothing that holds a queue panics")
    }
}

impl<T: Pending> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.lanes.done(self.charge, self.began.elapsed());
        // What may not keep the last thread, or had no memory, may go on now.
        let waiting = state.lanes.waiting() > 0;
        drop(state);
        if waiting {
            self.queue.arrived.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Number(u8);

    impl Pending for Number {
        fn is_abandoned(&self) -> bool {
            false
        }
    }

    fn queue(capacity: usize) -> Queue<Number> {
        Queue::new(Limits { capacity, threads: 1 })
    }

    fn pop(queue: &Queue<Number>) -> Option<u8> {
        match queue.pop(Duration::ZERO, |_, _| Some(())) {
            Popped::Work(work, (), _) => Some(work.0),
            Popped::Closed => None,
            Popped::Idle | Popped::Late(_) => panic!("there is work, or the queue is closed"),
        }
    }

    #[test]
    fn a_full_queue_gives_the_work_back_and_a_closed_one_runs_empty() {
        let queue = queue(2);
        let push = |number| queue.push(Number(number), Peer::Local, Duration::ZERO);
        assert_eq!((push(1).unwrap(), push(2).unwrap()), (None, None));
        assert_eq!(push(3).unwrap_err().0, Number(3));
        queue.close();
        assert_eq!(push(4).unwrap_err().0, Number(4));
        assert_eq!([pop(&queue), pop(&queue), pop(&queue)], [Some(1), Some(2), None]);
    }

    #[test]
    fn waiting_ends_at_the_timeout_and_for_memory_too() {
        let queue = queue(1);
        let wait = Duration::from_millis(5);
        assert!(matches!(queue.pop(wait, |_, _| Some(())), Popped::Idle));
        queue.push(Number(1), Peer::Local, Duration::ZERO).unwrap();
        assert!(matches!(queue.pop(wait, |_, _| None::<()>), Popped::Idle));
        assert_eq!(queue.depth(), 1);
    }

    #[test]
    fn memory_that_comes_from_elsewhere_is_noticed() {
        let queue = queue(1);
        queue.push(Number(1), Peer::Local, Duration::ZERO).unwrap();
        let mut looks = 0;
        let popped = queue.pop(Duration::from_secs(60), |_, _| {
            looks += 1;
            (looks == 3).then_some(())
        });
        assert!(matches!(popped, Popped::Work(Number(1), (), _)));
    }

    #[test]
    fn work_that_ends_wakes_a_thread_for_what_had_to_wait_for_it() {
        let queue = Queue::new(Limits { capacity: 9, threads: 2 });
        let long = Duration::from_secs(1);
        queue.push(Number(1), Peer::Local, long).unwrap();
        queue.push(Number(2), Peer::Local, long).unwrap();
        let first = queue.pop(Duration::ZERO, |_, _| Some(()));
        std::thread::scope(|scope| {
            let second = scope.spawn(|| queue.pop(Duration::from_secs(60), |_, _| Some(())));
            assert!(matches!(first, Popped::Work(Number(1), ..)));
            drop(first);
            assert!(matches!(second.join().unwrap(), Popped::Work(Number(2), ..)));
        });
    }
}
