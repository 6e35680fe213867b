//! What the service manager is told, received on a real notification socket.

use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;

use crate::support::{Launch, PATIENCE, cat_png};

struct ServiceManager {
    socket: UnixDatagram,
    dir: tempfile::TempDir,
}

impl ServiceManager {
    fn new() -> ServiceManager {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        ServiceManager { socket, dir }
    }

    fn launch(&self) -> Launch {
        let notify = self.dir.path().join("notify");
        Launch::on(&self.dir.path().join("state")).env("NOTIFY_SOCKET", notify)
    }

    fn receive(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// Everything up to the first message that holds `line`.
    fn receive_until(&self, line: &str) -> Vec<String> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.receive());
            if messages.last().is_some_and(|message| message.lines().any(|l| l == line)) {
                return messages;
            }
        }
    }
}

#[test]
fn ready_comes_after_everything_serves_and_stopping_before_the_drain() {
    let manager = ServiceManager::new();
    let daemon = manager.launch().start();
    let starting = manager.receive_until("READY=1").concat();
    let order = ["STATUS=opening the log", "STATUS=loading the model", "STATUS=serving"];
    let places: Vec<_> = order.iter().map(|status| starting.find(status)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{starting}");
    assert_eq!(daemon.predict("image/png", &cat_png()).status, 200);
    daemon.signal(Signal::SIGTERM);
    let stopping = manager.receive_until("STOPPING=1").concat();
    assert!(!stopping.contains("WATCHDOG=1"), "no pings were asked for");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn pings_come_while_everything_is_alive_and_end_when_the_process_hangs() {
    let manager = ServiceManager::new();
    let daemon = manager.launch().env("WATCHDOG_USEC", "300000").start();
    manager.receive_until("READY=1");
    for _ in 0..3 {
        manager.receive_until("WATCHDOG=1");
    }
    daemon.signal(Signal::SIGSTOP);
    // Drain what was sent before the stop; then a whole second of silence.
    manager.socket.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    let mut message = [0; 4096];
    for _ in 0..3 {
        if manager.socket.recv(&mut message).is_err() {
            return;
        }
    }
    panic!("a stopped process goes on pinging");
}

#[test]
fn pings_asked_of_another_process_or_in_absurd_periods_are_not_sent() {
    for (period, pid) in [("0", None), ("5", None), ("300000", Some("1"))] {
        let manager = ServiceManager::new();
        let mut launch = manager.launch().env("WATCHDOG_USEC", period);
        if let Some(pid) = pid {
            launch = launch.env("WATCHDOG_PID", pid);
        }
        let daemon = launch.start();
        manager.receive_until("READY=1");
        manager.socket.set_read_timeout(Some(std::time::Duration::from_millis(700))).unwrap();
        let mut message = [0; 4096];
        assert!(manager.socket.recv(&mut message).is_err(), "WATCHDOG_USEC={period} {pid:?}");
        manager.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        daemon.signal(Signal::SIGTERM);
        manager.receive_until("STOPPING=1");
        assert!(daemon.wait().success());
    }
}
