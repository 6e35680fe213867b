//! What the service manager is told, received on a real notification socket.

use std::os::unix::net::UnixDatagram;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{Launch, PATIENCE, cat_png, embedded_model};

/// The receiving end of a service's messages. It reads them as they come, as systemd does: the kernel
/// holds ten, and a service that is slow to start would wait with its eleventh for the test.
pub struct ServiceManager {
    messages: mpsc::Receiver<String>,
    dir: tempfile::TempDir,
}

impl ServiceManager {
    pub fn new() -> ServiceManager {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        let (read, messages) = mpsc::channel();
        std::thread::spawn(move || {
            let mut message = [0; 4096];
            // An empty one is from the end of this manager.
            while let Ok(length @ 1..) = socket.recv(&mut message) {
                let text = String::from_utf8(message[..length].to_vec()).unwrap();
                if read.send(text).is_err() {
                    break;
                }
            }
        });
        ServiceManager { messages, dir }
    }

    pub fn launch(&self) -> Launch {
        let notify = self.dir.path().join("notify");
        Launch::on(&self.dir.path().join("state")).env("NOTIFY_SOCKET", notify)
    }

    fn receive(&self) -> String {
        self.receive_within(PATIENCE).unwrap()
    }

    /// The next message, if one comes in time.
    pub fn receive_within(&self, time: Duration) -> Option<String> {
        self.messages.recv_timeout(time).ok()
    }

    /// Everything up to the first message that holds `line`.
    pub fn receive_until(&self, line: &str) -> Vec<String> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.receive());
            if messages.last().is_some_and(|message| message.lines().any(|l| l == line)) {
                return messages;
            }
        }
    }

    /// The first message whose status begins with `text`.
    pub fn receive_until_status(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.receive();
            if message.strip_prefix("STATUS=").is_some_and(|status| status.starts_with(text)) {
                return message;
            }
            assert!(Instant::now() < deadline, "no status {text:?}");
        }
    }

    /// Every message of so much time.
    fn receive_for(&self, time: Duration) -> String {
        let end = Instant::now() + time;
        let mut messages = String::new();
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|l| !l.is_zero()) {
            messages.extend(self.receive_within(left));
        }
        messages
    }
}

impl Drop for ServiceManager {
    fn drop(&mut self) {
        let _ = UnixDatagram::unbound()
            .and_then(|end| end.send_to(&[], self.dir.path().join("notify")));
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
    // What was sent before the stop; then a whole second of silence.
    manager.receive_for(Duration::from_millis(200));
    assert_eq!(manager.receive_for(Duration::from_secs(1)), "");
    daemon.signal(Signal::SIGCONT);
    manager.receive_until("WATCHDOG=1");
}

#[test]
fn pings_asked_of_another_process_or_in_absurd_periods_are_not_sent_and_the_log_says_why() {
    for (period, pid, said) in [
        ("0", None, Some("WATCHDOG_USEC is 0, at least 100000 is possible")),
        ("5", None, Some("WATCHDOG_USEC is 5, at least 100000 is possible")),
        ("30s", None, Some("no number of microseconds")),
        ("300000", Some("1"), None),
        ("300000", Some("x"), Some("no process id")),
    ] {
        let manager = ServiceManager::new();
        let mut launch = manager.launch().env("WATCHDOG_USEC", period);
        if let Some(pid) = pid {
            launch = launch.env("WATCHDOG_PID", pid);
        }
        let mut daemon = launch.start();
        if let Some(said) = said {
            daemon.wait_for_line(said);
        }
        manager.receive_until("READY=1");
        let messages = manager.receive_for(Duration::from_millis(700));
        assert!(!messages.contains("WATCHDOG=1"), "WATCHDOG_USEC={period} {pid:?}: {messages}");
        daemon.signal(Signal::SIGTERM);
        manager.receive_until("STOPPING=1");
        assert!(daemon.wait().success());
    }
}

#[test]
fn a_period_of_more_than_a_day_is_pinged_more_often_than_asked() {
    let manager = ServiceManager::new();
    let mut daemon = manager.launch().env("WATCHDOG_USEC", "86400000001").start();
    daemon.wait_for_line("pinging more often");
    manager.receive_until("WATCHDOG=1");
}

/// The model comes through a pipe that the test holds back.
#[test]
fn a_slow_start_asks_for_more_time_until_it_is_ready() {
    let manager = ServiceManager::new();
    let pipe = manager.dir.path().join("model.onnx");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut daemon = manager.launch().args(["--model-path".as_ref(), pipe.as_os_str()]).spawn();
    for _ in 0..3 {
        manager.receive_until("EXTEND_TIMEOUT_USEC=10000000");
    }
    std::fs::write(&pipe, embedded_model()).unwrap();
    manager.receive_until("READY=1");
    daemon.wait_for_line(": ready ");
    let messages = manager.receive_for(Duration::from_secs(5));
    assert!(!messages.contains("EXTEND_TIMEOUT_USEC"), "{messages}");
}

#[test]
fn the_status_tells_what_is_served_and_is_sent_when_it_changes() {
    let manager = ServiceManager::new();
    let daemon = manager.launch().start();
    manager.receive_until("STATUS=serving 0.0 predictions/s, 0 images waiting, log ok");
    let idle = manager.receive_for(Duration::from_secs(6));
    assert_eq!(idle, "", "nothing has changed");
    for _ in 0..10 {
        assert_eq!(daemon.predict("image/png", &cat_png()).status, 200);
    }
    let status = manager.receive_until_status("serving ");
    let rate = status.strip_prefix("STATUS=serving ").unwrap();
    let rate: f64 = rate.split_once(' ').unwrap().0.parse().unwrap();
    assert!(rate > 0.0, "{status}");
}
