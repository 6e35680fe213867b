//! The signals that stop the daemon or make it read its configuration again.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// SIGTERM, SIGINT and SIGHUP, kept from killing the process so that a thread can wait for them.
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks them in this thread and in every thread that it starts from now on.
    ///
    /// # Errors
    /// When the kernel refuses the mask or a file descriptor.
    pub fn block() -> std::io::Result<Signals> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Signals(SignalFd::with_flags(&signals, flags)?))
    }

    /// Waits for the next signal; none when the time is over.
    pub fn wait(&self, timeout: Duration) -> Option<Request> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut wanted = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        // An error is an interruption, and the caller comes back.
        poll(&mut wanted, timeout).ok().filter(|ready| *ready > 0)?;
        let signal = self.0.read_signal().ok().flatten()?;
        match Signal::try_from(i32::try_from(signal.ssi_signo).ok()?).ok()? {
            Signal::SIGHUP => Some(Request::Reload),
            signal => Some(Request::Stop(signal.as_str())),
        }
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// It asks to end; this is the signal's name.
    Stop(&'static str),
    /// It asks to read the configuration again.
    Reload,
}
