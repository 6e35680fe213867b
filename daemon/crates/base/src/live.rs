//! A value that its owner replaces while others read it: what a reload may change.

use std::sync::{Arc, RwLock};

/// A value that its owner replaces while others read it.
#[derive(Debug)]
pub struct Live<T>(RwLock<Arc<T>>);

impl<T> Live<T> {
    pub fn new(value: T) -> Arc<Live<T>> {
        Arc::new(Live(RwLock::new(Arc::new(value))))
    }

    /// Returns the value as it is now; whoever holds it keeps it, whatever comes after.
    pub fn get(&self) -> Arc<T> {
        self.0.read().expect("nothing that holds a live value's lock panics").clone()
    }

    /// Replaces the value for everybody who asks from now on.
    pub fn set(&self, value: T) {
        self.put(Arc::new(value));
    }

    /// As `set`, by a value that others may hold already.
    pub fn put(&self, value: Arc<T>) {
        *self.0.write().expect("nothing that holds a live value's lock panics") = value;
    }
}
