//! A bounded queue between the async runtime and OS threads: pushing never waits, popping may.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

pub struct Queue<T> {
    state: Mutex<Waiting<T>>,
    arrived: Condvar,
    capacity: usize,
}

struct Waiting<T> {
    items: VecDeque<T>,
    closed: bool,
}

/// What a waiting thread got.
pub enum Popped<T> {
    Item(T),
    /// Nothing arrived in time.
    Idle,
    /// The queue is closed, and everything that had been pushed is out.
    Closed,
}

impl<T> Queue<T> {
    pub fn new(capacity: usize) -> Queue<T> {
        let state = Waiting { items: VecDeque::with_capacity(capacity), closed: false };
        Queue { state: Mutex::new(state), arrived: Condvar::new(), capacity }
    }

    /// Gives the item back when the queue is full or closed.
    pub fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed || state.items.len() >= self.capacity {
            return Err(item);
        }
        state.items.push_back(item);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    pub fn pop(&self, timeout: Duration) -> Popped<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Popped::Item(item);
            }
            if state.closed {
                return Popped::Closed;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Popped::Idle;
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
        self.lock().items.len()
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.state.lock().expect("nothing that holds a queue panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_gives_the_item_back_and_a_closed_one_runs_empty() {
        let queue = Queue::new(2);
        assert_eq!((queue.push(1), queue.push(2), queue.push(3)), (Ok(()), Ok(()), Err(3)));
        queue.close();
        assert_eq!(queue.push(4), Err(4));
        assert!(matches!(queue.pop(Duration::ZERO), Popped::Item(1)));
        assert!(matches!(queue.pop(Duration::ZERO), Popped::Item(2)));
        assert!(matches!(queue.pop(Duration::ZERO), Popped::Closed));
    }

    #[test]
    fn waiting_ends_at_the_timeout() {
        let queue = Queue::<u8>::new(1);
        assert!(matches!(queue.pop(Duration::from_millis(5)), Popped::Idle));
    }
}
