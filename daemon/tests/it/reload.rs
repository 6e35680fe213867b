//! SIGHUP: what changes while the daemon runs, what is refused by name, what an invalid
//! configuration leaves alone.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Daemon, Launch, cat_png, grey_pixels, picket, request_with, stderr};
use crate::systemd::ServiceManager;

struct Setting {
    file: PathBuf,
    dir: tempfile::TempDir,
}

impl Setting {
    fn new(text: &str) -> Setting {
        let dir = tempfile::tempdir().unwrap();
        let setting = Setting { file: dir.path().join("picket.toml"), dir };
        setting.write(text);
        setting
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.file, text).unwrap();
    }

    fn launch(&self) -> Launch {
        with(Launch::on(&self.dir.path().join("state")), &self.file)
    }
}

fn with(launch: Launch, file: &Path) -> Launch {
    launch.args(["--config".as_ref(), file.as_os_str()])
}

fn cat(daemon: &Daemon) -> Value {
    daemon.predict("image/png", &cat_png()).json()
}

#[test]
fn what_can_change_changes_and_what_cannot_is_refused_by_name() {
    let setting = Setting::new("device_id = 'line-4'\n");
    let mut daemon = setting.launch().start();
    let before = cat(&daemon);
    assert_eq!((&before["defect"], &before["durable"]), (&false.into(), &false.into()));
    let fractions = format!("{{\"data\":[{}]}}", vec!["0.5"; 3072].join(","));
    assert_eq!(daemon.predict("application/json", fractions.as_bytes()).status, 422);

    setting.write(
        "device_id = 'line-5'\n\
         [api]\nqueue = 7\njson_range = '0..1'\n\
         [log]\npredict_durability = 'strict'\nreported_durability = 'relaxed'\nmax_records = 5\n\
         [verdict]\ndefect_labels = ['cat']\nuncertain_between = [0.9, 1.0]\n",
    );
    daemon.signal(Signal::SIGHUP);
    let line = daemon.wait_for_line("configuration reloaded");
    assert!(line.contains("api.json_range 0..255 -> 0..1"), "{line}");
    assert!(line.contains("log.max_records 200000 -> 5"), "{line}");
    assert!(!line.contains("device_id"), "{line}");
    daemon.wait_for_line("device_id can't change while running, still line-4, not line-5");
    daemon.wait_for_line("api.queue can't change while running, still 64, not 7");

    let after = cat(&daemon);
    assert_eq!((&after["defect"], &after["uncertain"]), (&true.into(), &true.into()));
    assert_eq!(after["durable"], true, "strict is the default now");
    assert_eq!(daemon.predict("application/json", fractions.as_bytes()).status, 200);
    let empty = b"{\"predictions\":[],\"batch_size\":0,\"timestamp\":0}";
    let batch = daemon.post("/log", Some("application/json"), empty);
    assert_eq!((batch.status, &batch.json()["durable"]), (200, &false.into()));
    for _ in 0..10 {
        assert_eq!(daemon.predict("application/octet-stream", &grey_pixels()).status, 200);
    }
    let kept = daemon.get("/predictions").json();
    assert!(kept["count"].as_u64().unwrap() <= 5, "{kept}");
    assert_eq!(kept["predictions"][0]["edge_device_id"], "line-4");
}

/// A record waits for a minute when the reload comes, and no longer after it.
#[test]
fn a_shorter_commit_interval_holds_at_once() {
    let setting = Setting::new("[log]\ncommit_interval = '1min'\n");
    let mut daemon = setting.launch().start();
    cat(&daemon);
    let commits = "picket_stage_duration_seconds_count{stage=\"commit\"}";
    assert_eq!(daemon.metric(commits), 0.0);
    setting.write("[log]\ncommit_interval = '1ms'\n");
    let asked = Instant::now();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_line("log.commit_interval 1m -> 1ms");
    daemon.wait_until("the commit", |daemon| daemon.metric(commits) > 0.0);
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
}

#[test]
fn an_invalid_configuration_changes_nothing() {
    let valid = "[verdict]\ndefect_labels = ['cat']\n";
    let setting = Setting::new(valid);
    let mut daemon = setting.launch().start();
    for (text, named) in [
        ("[log]\nmax_records = 0\n", "log.max_records is 0"),
        ("[log]\nmax_record = 9\n", "max_record"),
        ("[verdict]\ndefect_labels = ['zebra']\n", "\"zebra\\\" is not one of"),
        ("[verdict\n", "line 1"),
    ] {
        setting.write(text);
        daemon.signal(Signal::SIGHUP);
        let line = daemon.wait_for_new_line("configuration not reloaded, nothing changed");
        assert!(line.contains("ERROR") && line.contains(named), "{named}: {line}");
        assert_eq!(cat(&daemon)["defect"], true);
    }
    std::fs::remove_file(&setting.file).unwrap();
    daemon.signal(Signal::SIGHUP);
    let line = daemon.wait_for_new_line("configuration not reloaded, nothing changed");
    assert!(line.contains("cannot read configuration"), "{line}");
    setting.write(valid);
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_line("configuration reloaded");
    assert_eq!(daemon.probe("/health").status, 200);
}

#[test]
fn systemd_is_told_when_a_reload_begins_and_ends_whether_it_worked_or_not() {
    let setting = Setting::new("# all as it is\n");
    let manager = ServiceManager::new();
    let daemon = with(manager.launch(), &setting.file).start();
    manager.receive_until("READY=1");
    for text in ["[log]\nmax_records = 9\n", "[log]\nmax_records = 0\n"] {
        setting.write(text);
        daemon.signal(Signal::SIGHUP);
        let messages = manager.receive_until("READY=1");
        let reloading = messages.iter().find(|message| message.starts_with("RELOADING=1\n"));
        let moment = reloading.and_then(|message| message.lines().nth(1)).unwrap_or_default();
        let moment =
            moment.strip_prefix("MONOTONIC_USEC=").unwrap_or_else(|| panic!("{messages:?}"));
        assert!(moment.parse::<u64>().unwrap() > 0, "{messages:?}");
    }
}

#[test]
fn a_reload_asked_for_while_starting_waits_for_the_start() {
    let setting = Setting::new("# all as it is\n");
    let pipe = setting.dir.path().join("model.onnx");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut daemon = setting.launch().args(["--model-path".as_ref(), pipe.as_os_str()]).spawn();
    setting.write("[verdict]\ndefect_labels = ['cat']\n");
    daemon.signal(Signal::SIGHUP);
    std::fs::write(&pipe, crate::support::embedded_model()).unwrap();
    daemon.wait_for_line(": ready ");
    daemon.wait_for_line("configuration reloaded");
}

#[test]
fn a_token_in_the_same_file_is_read_again_and_one_that_cannot_be_used_is_not() {
    let (old, new) = ("0123456789abcdef01234567", "76543210fedcba9876543210");
    let setting = Setting::new("# all as it is\n");
    let file = setting.dir.path().join("token");
    std::fs::write(&file, old).unwrap();
    let mut daemon = setting.launch().args(["--api-token-file".as_ref(), file.as_os_str()]).start();
    let status = |daemon: &Daemon, token: &str| {
        let value = format!("Bearer {token}");
        request_with(daemon.api, "GET", "/stats", &[("authorization", &value)], b"").status
    };
    assert_eq!((status(&daemon, old), status(&daemon, new)), (200, 401));
    std::fs::write(&file, new).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_line("configuration reloaded");
    let deadline = Instant::now() + Duration::from_secs(10);
    while status(&daemon, new) != 200 {
        assert!(Instant::now() < deadline, "the new token is not taken");
    }
    assert_eq!(status(&daemon, old), 401);
    std::fs::write(&file, "short").unwrap();
    daemon.signal(Signal::SIGHUP);
    let line = daemon.wait_for_line("token not read again, the old one stays");
    assert!(line.contains("has 5 characters, 24 to 4096 are possible"), "{line}");
    assert_eq!(status(&daemon, new), 200);
}

/// A daemon with 100 records in its log.
fn with_100_records(setting: &Setting) -> Daemon {
    let daemon = setting.launch().start();
    for _ in 0..100 {
        assert_eq!(daemon.predict("application/octet-stream", &grey_pixels()).status, 200);
    }
    daemon.wait_until("all records", |daemon| daemon.metric("picket_log_records") == 100.0);
    daemon
}

/// Runs `picket ARGS…` with this configuration: exit code, what it printed and what it complained of.
fn picket_with(setting: &Setting, args: &[&str]) -> (i32, String, String) {
    let mut command = picket();
    command.args(args).arg("--config").arg(&setting.file);
    command.arg("--state-dir").arg(setting.dir.path().join("state"));
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn limits_that_would_take_more_than_a_tenth_of_the_log_wait_for_a_restart() {
    let setting = Setting::new("[log]\nmax_records = 1000\n");
    let mut daemon = with_100_records(&setting);
    let reload = |daemon: &mut Daemon, text: &str| {
        setting.write(text);
        daemon.signal(Signal::SIGHUP);
        daemon.wait_for_new_line("configuration reloaded")
    };
    let told = "lowered limits of the log wait, for they remove 89 of 100 records";
    let line =
        reload(&mut daemon, "[log]\nmax_records = 11\nmax_age = '90d'\ncommit_interval = '7ms'\n");
    daemon.wait_for_line(told);
    assert!(line.contains("commit_interval") && !line.contains("max_"), "{line}");
    assert_eq!(daemon.metric("picket_log_max_records"), 1000.0);

    let (code, config, warned) = picket_with(&setting, &["config", "check"]);
    assert_eq!(code, 0, "{warned}");
    assert!(config.contains("max_records = 11"), "{config}");
    assert!(
        warned.contains("the limits of [log] and [reported] remove 89 of 100 records"),
        "{warned}"
    );
    let report = picket_with(&setting, &["doctor"]).1;
    assert!(report.contains("warn     log_limits"), "{report}");

    // A tenth is nothing to ask about.
    let line = reload(&mut daemon, "[log]\nmax_records = 90\n");
    assert!(line.contains("log.max_records 1000 -> 90"), "{line}");
    let line = reload(&mut daemon, "[log]\nmax_records = 90\nmax_age = '1ms'\n");
    assert!(!line.contains("max_age"), "{line}");
    daemon.wait_for_line("remove 90 of 100 records");
    assert_eq!(daemon.stop().code(), Some(0));

    setting.write("[log]\nmax_records = 11\n");
    let mut daemon = setting.launch().start();
    daemon.wait_for_line("the limits of [log] and [reported] remove");
    assert_eq!(daemon.predict("application/octet-stream", &grey_pixels()).status, 200);
    daemon.wait_until("fewer records", |daemon| daemon.metric("picket_log_records") <= 11.0);
}

#[test]
fn limits_that_somebody_has_agreed_to_do_not_wait() {
    let setting = Setting::new("[log]\nmax_records = 1000\n");
    let daemon = with_100_records(&setting);
    setting.write("[log]\nmax_records = 11\n[api]\nqueue = 7\n");
    let (code, told, _) = picket_with(&setting, &["config", "reload"]);
    assert_eq!(code, 0);
    assert!(
        told.contains("remove 89 of 100 records (log.max_records 1000 -> 11): restart, or picket config reload --yes"),
        "{told}"
    );
    assert!(told.contains("api.queue can't change while running"), "{told}");
    assert_eq!(daemon.metric("picket_log_max_records"), 1000.0);

    let (code, told, _) = picket_with(&setting, &["config", "reload", "--yes"]);
    assert_eq!(code, 0);
    assert!(told.contains("log.max_records 1000 -> 11"), "{told}");
    daemon.wait_until("the limit", |daemon| daemon.metric("picket_log_max_records") == 11.0);
    assert_eq!(daemon.predict("application/octet-stream", &grey_pixels()).status, 200);
    daemon.wait_until("fewer records", |daemon| daemon.metric("picket_log_records") <= 11.0);

    setting.write("[log]\nmax_record = 11\n");
    let state = setting.dir.path().join("state");
    let mut reload = picket();
    reload.args(["config", "reload", "--state-dir"]).arg(&state);
    let output = reload.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("max_record"));
}

/// What a power cut can leave of a file, at a start and at a reload.
#[test]
fn a_file_without_content_starts_nothing_and_changes_nothing() {
    for empty in ["", " \n\t\n", "\0\0\0\0"] {
        let setting = Setting::new(empty);
        let mut daemon = setting.launch().launch();
        daemon.wait_for_line("picket.toml is empty");
        assert_eq!(daemon.wait().code(), Some(78), "{empty:?}");
    }
    let setting = Setting::new("# all as it is\n");
    let mut daemon = setting.launch().start();
    setting.write("");
    daemon.signal(Signal::SIGHUP);
    let line = daemon.wait_for_line("configuration not reloaded, nothing changed");
    assert!(line.contains("is empty"), "{line}");
}

#[test]
fn a_token_that_was_configured_is_not_lost_by_a_start_without_it() {
    let setting = Setting::new("# no token\n");
    let state = setting.dir.path().join("state");
    assert_eq!(setting.launch().start().stop().code(), Some(0), "open from the first day");
    let token = setting.dir.path().join("token");
    std::fs::write(&token, "an-edge-boxs-own-token-of-32-bytes\n").unwrap();
    let with_token = format!("[api]\ntoken_file = {token:?}\n");
    setting.write(&with_token);
    assert_eq!(setting.launch().start().stop().code(), Some(0));

    for lost in ["# no token\n", "[api]\nopen = true\n"] {
        setting.write(lost);
        let mut daemon = setting.launch().launch();
        daemon.wait_for_line("no token is configured, and one was before");
        assert_eq!(daemon.wait().code(), Some(78), "{lost}");
        assert_eq!(picket_with(&setting, &["config", "check"]).0, 78, "{lost}");
        let report = picket_with(&setting, &["doctor"]).1;
        assert!(report.contains("FAIL     api_access"), "{report}");
    }
    setting.write(&with_token);
    assert_eq!(setting.launch().start().stop().code(), Some(0), "with it all is well");

    setting.write("# no token\n");
    let (code, told, _) = picket_with(&setting, &["config", "forget-token"]);
    assert_eq!(
        (code, told),
        (0, format!("forgotten in {}: the daemon starts without a token\n", state.display()))
    );
    let (code, told, _) = picket_with(&setting, &["config", "forget-token"]);
    assert_eq!((code, told), (0, format!("no token is remembered in {}\n", state.display())));
    assert_eq!(setting.launch().start().stop().code(), Some(0));
}

/// The file is where nothing answers any more, and somebody has asked for a reload again and again.
#[test]
fn a_stop_ends_a_daemon_whose_reload_hangs() {
    let setting = Setting::new("[api]\ndrain_timeout = '1s'\n");
    let mut daemon = setting.launch().start();
    std::fs::remove_file(&setting.file).unwrap();
    nix::unistd::mkfifo(&setting.file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for _ in 0..10 {
        daemon.signal(Signal::SIGHUP);
        // Signals that wait for a thread are one.
        std::thread::sleep(Duration::from_millis(20));
    }
    daemon.signal(Signal::SIGTERM);
    daemon.wait_for_line("not drained in time, ending");
    assert_eq!(daemon.wait().code(), Some(1));
}
