//! Parts of the daemon: named threads that are started in order and taken down in reverse. It knows
//! nothing of what they do.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crate::health::Heartbeat;

/// A thread under the name of its heartbeat, which is watched until the work is done. A part that is
/// dropped goes on until the process ends.
pub struct Part {
    heartbeat: Arc<Heartbeat>,
    stop: Box<dyn FnOnce() + Send>,
    thread: JoinHandle<()>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot start {name}")]
pub struct NotStarted {
    name: String,
    source: io::Error,
}

impl Part {
    /// Starts `work`, which must end soon after `stop` was called.
    ///
    /// # Errors
    /// When the kernel refuses another thread; the heartbeat is watched no longer then.
    pub fn start(
        heartbeat: Arc<Heartbeat>,
        work: impl FnOnce(&Heartbeat) + Send + 'static,
        stop: impl FnOnce() + Send + 'static,
    ) -> Result<Part, NotStarted> {
        Part::start_as(Builder::new(), heartbeat, work, stop)
    }

    fn start_as(
        thread: Builder,
        heartbeat: Arc<Heartbeat>,
        work: impl FnOnce(&Heartbeat) + Send + 'static,
        stop: impl FnOnce() + Send + 'static,
    ) -> Result<Part, NotStarted> {
        let name = heartbeat.name().to_string();
        let watched = heartbeat.clone();
        let started = thread.name(name.clone()).spawn(move || {
            work(&watched);
            watched.retire();
        });
        match started {
            Ok(thread) => Ok(Part { heartbeat, stop: Box::new(stop), thread }),
            Err(source) => {
                heartbeat.retire();
                Err(NotStarted { name, source })
            }
        }
    }

    /// Stops the work and waits for its end.
    fn take_down(self) {
        (self.stop)();
        if self.thread.join().is_err() {
            tracing::error!(thread = self.heartbeat.name(), "thread panicked");
        }
    }
}

/// Parts in the order in which they were started. When the list is dropped, as by a start that fails
/// midway, they are taken down in reverse: each ends after those that may need it.
#[derive(Default)]
pub struct Parts(Vec<Part>);

impl Parts {
    /// # Errors
    /// As `Part::start`.
    pub fn start(
        &mut self,
        heartbeat: Arc<Heartbeat>,
        work: impl FnOnce(&Heartbeat) + Send + 'static,
        stop: impl FnOnce() + Send + 'static,
    ) -> Result<(), NotStarted> {
        self.0.push(Part::start(heartbeat, work, stop)?);
        Ok(())
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        while let Some(part) = self.0.pop() {
            part.take_down();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use std::sync::{Mutex, mpsc};
    use std::time::Duration;

    /// More than the kernel can map: it refuses the thread.
    const STACK_BYTES: usize = 1 << 60;

    #[test]
    fn a_part_that_cannot_start_fails_the_start_by_name_and_those_before_it_end_in_reverse() {
        let (health, ended) = (Health::new(), Arc::new(Mutex::new(Vec::new())));
        let beat = |name: &str| health.heartbeat(name, Duration::from_secs(60));
        let start = || {
            let mut parts = Parts::default();
            for name in ["probe", "log-writer"] {
                let (stop, stopped) = mpsc::channel::<()>();
                let ended = ended.clone();
                let work = move |heartbeat: &Heartbeat| {
                    let _ = stopped.recv();
                    ended.lock().unwrap().push(heartbeat.name().to_string());
                };
                parts.start(beat(name), work, move || drop(stop))?;
            }
            let thread = Builder::new().stack_size(STACK_BYTES);
            parts.0.push(Part::start_as(thread, beat("worker-0"), |_| {}, || {})?);
            Ok::<_, NotStarted>(parts)
        };
        let error = start().err().unwrap();
        assert_eq!(error.to_string(), "cannot start worker-0");
        assert_eq!(*ended.lock().unwrap(), ["log-writer", "probe"]);
        assert_eq!(health.subsystems(), [], "nobody waits for signs of life");
    }

    #[test]
    fn a_part_that_panics_stays_watched() {
        let health = Health::new();
        let heartbeat = health.heartbeat("worker-0", Duration::from_secs(60));
        drop(Parts(vec![Part::start(heartbeat, |_| panic!("as it must not"), || {}).unwrap()]));
        assert_eq!(health.subsystems().len(), 1);
    }
}
