//! What systemd is told and what it asks for: ready, status, alive, more time, reloading, stopping;
//! and the sockets that it hands over. Silent where nobody listens. The only file that names
//! sd-notify.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use picket_base::printable;
use sd_notify::NotifyState;

use crate::os::{self, Inherited};

/// Shorter watchdog periods than this can't be met honestly on a loaded board.
const WATCHDOG_PERIOD_MIN: Duration = Duration::from_millis(100);

/// Whoever asks for a longer period than this gets pings as often as for this one.
const WATCHDOG_PERIOD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Messages to the service manager, in the order of a service's life.
#[derive(Clone, Copy, Debug)]
pub struct Notifier;

impl Notifier {
    pub fn status(self, text: &str) {
        // A line break would start a field of its own.
        notify(&[NotifyState::Status(&printable(text))]);
    }

    /// Says that the start may take so much longer from now on, whatever its timeout says.
    pub fn extend_start(self, by: Duration) {
        let micros = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
        notify(&[NotifyState::ExtendTimeoutUsec(micros)]);
    }

    /// Returns false when the service manager's socket has no room now: it must be told later.
    pub fn ready(self) -> bool {
        notify(&[NotifyState::Ready])
    }

    pub fn alive(self) {
        notify(&[NotifyState::Watchdog]);
    }

    /// Asks for what a missing ping leads to at once. systemd before 243 does not know it and waits.
    pub fn trigger_watchdog(self) {
        notify(&[NotifyState::WatchdogTrigger]);
    }

    /// Says that a reload goes on until the next `ready`. systemd wants the moment in the same message, to tell this reload
    /// from an earlier one.
    pub fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => drop(notify(&[NotifyState::Reloading, now])),
            Err(error) => tracing::debug!(%error, "no monotonic time to tell systemd"),
        }
    }

    pub fn stopping(self) {
        notify(&[NotifyState::Stopping]);
    }
}

/// Sends one message, without waiting: nothing that the daemon does may depend on who reads there.
/// Returns false when the socket has no room for it now.
fn notify(states: &[NotifyState]) -> bool {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return true };
    let message: String = states.iter().map(|state| format!("{state}\n")).collect();
    match send(&socket, message.as_bytes()) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "the service manager was not reached");
            error.kind() != ErrorKind::WouldBlock
        }
    }
}

fn send(socket: &OsStr, message: &[u8]) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let end = UnixDatagram::unbound()?;
    end.set_nonblocking(true)?;
    end.send_to_addr(message, &address).map(drop)
}

/// The longest pause that the service manager allows between two pings; none when it wants none of
/// this process.
pub fn watchdog_period() -> Option<Duration> {
    let variable = |name| std::env::var_os(name).map(|text| text.to_string_lossy().into_owned());
    let (period, pid) = (variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"));
    match period_of(period?.trim(), pid.as_deref(), std::process::id()) {
        Wanted::Pings(period) => Some(period),
        Wanted::OfAnother => None,
        Wanted::TooSeldom(period) => {
            tracing::warn!(
                ?period,
                limit = ?WATCHDOG_PERIOD_MAX,
                "WATCHDOG_USEC is longer than makes sense, pinging more often"
            );
            Some(WATCHDOG_PERIOD_MAX)
        }
        Wanted::Absurd(why) => {
            tracing::warn!(why, "no watchdog pings");
            None
        }
    }
}

#[derive(Debug, PartialEq)]
enum Wanted {
    Pings(Duration),
    /// The variables were meant for a parent or a sibling.
    OfAnother,
    TooSeldom(Duration),
    Absurd(String),
}

fn period_of(usec: &str, pid: Option<&str>, own_pid: u32) -> Wanted {
    if let Some(pid) = pid {
        match pid.trim().parse::<u32>() {
            Ok(pid) if pid == own_pid => {}
            Ok(_) => return Wanted::OfAnother,
            Err(_) => return Wanted::Absurd(format!("WATCHDOG_PID is {pid:?}, no process id")),
        }
    }
    let Ok(micros) = usec.parse() else {
        return Wanted::Absurd(format!("WATCHDOG_USEC is {usec:?}, no number of microseconds"));
    };
    let period = Duration::from_micros(micros);
    if period < WATCHDOG_PERIOD_MIN {
        let least = WATCHDOG_PERIOD_MIN.as_micros();
        return Wanted::Absurd(format!("WATCHDOG_USEC is {micros}, at least {least} is possible"));
    }
    if period > WATCHDOG_PERIOD_MAX {
        return Wanted::TooSeldom(period);
    }
    Wanted::Pings(period)
}

/// Sockets that the service manager listens on for us (`FileDescriptorName=` of their unit).
#[derive(Debug, Default)]
pub struct Sockets {
    pub api: Option<Inherited>,
    pub probe: Option<Inherited>,
}

#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    #[error("the service manager's sockets can't be taken over")]
    Protocol(#[source] io::Error),
    #[error(
        "the service manager hands over a socket named {0:?}, FileDescriptorName=api or probe is needed"
    )]
    Name(String),
    #[error("the service manager hands over two sockets named {0:?}, one is possible")]
    Twice(String),
    #[error("the service manager's socket {name:?} can't be used: {detail}")]
    Kind { name: String, detail: String },
}

impl Sockets {
    /// Takes the sockets over. Must come before any thread is started: it takes the variables that announce the sockets
    /// out of the environment.
    ///
    /// # Errors
    /// Sockets that nobody here would serve, which would only look as if they worked.
    pub fn take() -> Result<Sockets, SocketsError> {
        let given = sd_notify::listen_fds_with_names().map(Iterator::collect::<Vec<_>>);
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            os::forget_variable(variable);
        }
        let mut sockets = Sockets::default();
        for (fd, name) in given.map_err(SocketsError::Protocol)? {
            let place = match name.as_str() {
                "api" => &mut sockets.api,
                "probe" => &mut sockets.probe,
                _ => return Err(SocketsError::Name(name)),
            };
            if place.is_some() {
                return Err(SocketsError::Twice(name));
            }
            *place = Some(os::adopt(fd).map_err(|detail| SocketsError::Kind { name, detail })?);
        }
        Ok(sockets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_manager_that_reads_nothing_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let name = format!("picket-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let hidden = UnixDatagram::bind_addr(&address).unwrap();
        for (manager, socket) in
            [(manager, path.into_os_string()), (hidden, format!("@{name}").into())]
        {
            let full = (0..100_000).find_map(|_| send(&socket, b"STATUS=x\n").err());
            assert_eq!(full.unwrap().kind(), ErrorKind::WouldBlock);
            manager.recv(&mut [0; 16]).unwrap();
            send(&socket, b"READY=1\n").unwrap();
        }
    }

    #[test]
    fn pings_are_wanted_of_this_process_in_periods_that_can_be_met() {
        let wanted = |usec, pid| period_of(usec, pid, 7);
        let half_a_minute = Wanted::Pings(Duration::from_secs(30));
        assert_eq!(wanted("30000000", None), half_a_minute);
        assert_eq!(wanted("30000000", Some("7")), half_a_minute);
        assert_eq!(wanted("30000000", Some("8")), Wanted::OfAnother);
        assert_eq!(wanted("100000", None), Wanted::Pings(Duration::from_millis(100)));
        assert_eq!(wanted("86400000000", None), Wanted::Pings(WATCHDOG_PERIOD_MAX));
        let seldom = Wanted::TooSeldom(Duration::from_micros(86_400_000_001));
        assert_eq!(wanted("86400000001", None), seldom);
        for (usec, pid) in [("0", None), ("99999", None), ("", None), ("30s", None), ("-1", None)] {
            assert!(matches!(wanted(usec, pid), Wanted::Absurd(_)), "{usec}");
        }
        assert!(matches!(wanted("30000000", Some("me")), Wanted::Absurd(_)));
    }
}
