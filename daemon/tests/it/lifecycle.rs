//! The model changes while the daemon serves: installed, refused, watched, rolled back, by hand and by itself.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{
    Daemon, Launch, cat_png, embedded_model, fixture, grey_pixels, picket, stderr, stdout,
    wait_until,
};

/// A box: its state directory, and bundles to install.
struct Home {
    state: TempDir,
    bundles: TempDir,
}

impl Home {
    fn new() -> Home {
        Home { state: tempfile::tempdir().unwrap(), bundles: tempfile::tempdir().unwrap() }
    }

    fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    fn start_with(&self, args: &[&str]) -> Daemon {
        Launch::on(self.state.path()).args(args).start()
    }

    /// A file with the embedded network, and so with its answers.
    fn good(&self, version: &str) -> PathBuf {
        self.file(version, &as_version(version))
    }

    /// A bundle with random weights, which says one thing of everything.
    fn bad(&self, version: &str) -> PathBuf {
        self.bundle(version, &std::fs::read(fixture("models/f32.onnx")).unwrap())
    }

    fn file(&self, name: &str, onnx: &[u8]) -> PathBuf {
        let path = self.bundles.path().join(format!("{name}.onnx"));
        std::fs::write(&path, onnx).unwrap();
        path
    }

    fn bundle(&self, version: &str, onnx: &[u8]) -> PathBuf {
        let sum: String = Sha256::digest(onnx).iter().map(|byte| format!("{byte:02x}")).collect();
        let toml =
            format!("[model]\nversion = \"{version}\"\n[files]\n\"model.onnx\" = \"{sum}\"\n");
        let dir = self.bundles.path().join(version);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("model.onnx"), onnx).unwrap();
        std::fs::write(dir.join("model.toml"), toml).unwrap();
        dir
    }

    /// A bundle that somebody has signed: `card` is a file of models/signed.
    fn signed(&self, card: &str) -> PathBuf {
        let (dir, from) = (self.bundles.path().join(card), fixture("models/signed"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::copy(fixture("models/f32.onnx"), dir.join("model.onnx")).unwrap();
        std::fs::copy(from.join(format!("{card}.toml")), dir.join("model.toml")).unwrap();
        let signature = from.join(format!("{card}.toml.minisig"));
        std::fs::copy(signature, dir.join("model.toml.minisig")).unwrap();
        dir
    }

    fn model(&self, args: &[&str]) -> Output {
        picket().arg("model").args(args).arg("--state-dir").arg(self.state.path()).output().unwrap()
    }

    #[track_caller]
    fn done(&self, args: &[&str]) -> String {
        let output = self.model(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        stdout(&output).to_string()
    }

    #[track_caller]
    fn install(&self, path: &Path) -> String {
        self.done(&["install", path.to_str().unwrap()])
    }

    /// The line that says why a version is refused.
    #[track_caller]
    fn refused(&self, path: &Path) -> String {
        let output = self.model(&["install", path.to_str().unwrap()]);
        let text = stderr(&output).to_string();
        assert_eq!(output.status.code(), Some(65), "{}{text}", stdout(&output));
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    }

    /// Version and state of each model.
    fn list(&self) -> Vec<(String, String)> {
        let lines: Vec<Value> = serde_json::from_str(&self.done(&["list", "--json"])).unwrap();
        let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_string();
        lines.iter().map(|line| (text(line, "version"), text(line, "state"))).collect()
    }
}

/// The version of the model that answers.
#[track_caller]
fn version(daemon: &Daemon) -> String {
    let answer = daemon.predict("image/png", &cat_png());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["model"]["version"].as_str().unwrap().to_string()
}

/// The embedded network under another version, which has as many characters.
fn as_version(version: &str) -> Vec<u8> {
    replaced(b"version\x12\x052.1.0", format!("version\x12\x05{version}").as_bytes())
}

fn replaced(from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut onnx = embedded_model();
    assert_eq!(from.len(), to.len());
    let at = onnx.windows(from.len()).position(|window| window == from).unwrap();
    onnx[at..at + to.len()].copy_from_slice(to);
    onnx
}

fn line(version: &str, state: &str) -> (String, String) {
    (version.to_string(), state.to_string())
}

#[test]
fn a_version_takes_over_between_two_requests_and_stands_after_a_restart() {
    let home = Home::new();
    let daemon = home.start();
    let base = version(&daemon);
    let told = home.install(&home.good("3.0.2"));
    assert!(
        told.contains("cifar10-plain 3.0.2 (")
            && told.contains("it serves, and is watched for 60 min"),
        "{told}"
    );
    let answer = daemon.post("/predict?durable=true", Some("image/png"), &cat_png()).json();
    assert_eq!(
        (&answer["model"]["name"], &answer["model"]["version"]),
        (&"cifar10-plain".into(), &"3.0.2".into())
    );
    assert_eq!(home.list(), [line("3.0.2", "probation"), line(&base, "previous")]);
    assert_eq!(daemon.probe("/ready").status, 200);
    assert_eq!(daemon.metric("picket_model_swaps_total"), 1.0);
    assert_eq!(daemon.metric("picket_model_probation"), 1.0);
    let recorded = daemon.get("/predictions?limit=1").json();
    assert_eq!(recorded["predictions"][0]["model_version"], "3.0.2", "{recorded}");
    assert!(daemon.stop().success());
    let daemon = home.start();
    assert_eq!(version(&daemon), "3.0.2");
    assert_eq!(home.list(), [line("3.0.2", "probation"), line(&base, "previous")]);
    // Without the daemon the list is the same, from the store.
    assert!(daemon.stop().success());
    assert_eq!(home.list(), [line("3.0.2", "probation"), line(&base, "previous")]);
}

#[test]
fn requests_go_on_while_versions_change() {
    let home = Home::new();
    let daemon = home.start_with(&["--model-probation", "0s"]);
    let bundles: Vec<PathBuf> = (1..=4).map(|number| home.good(&format!("3.0.{number}"))).collect();
    std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let asking = scope.spawn({
            let daemon = &daemon;
            move || {
                let mut seen = Vec::new();
                while stopped.try_recv().is_err() {
                    let answer = daemon.predict("application/octet-stream", &grey_pixels());
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    let json = answer.json();
                    assert_eq!(json["label"], daemon_label(&json), "one whole model");
                    let version = json["model"]["version"].as_str().unwrap().to_string();
                    if seen.last() != Some(&version) {
                        seen.push(version);
                    }
                    assert_eq!(daemon.probe("/ready").status, 200);
                }
                seen
            }
        });
        for bundle in &bundles {
            home.install(bundle);
        }
        stop.send(()).unwrap();
        let seen = asking.join().unwrap();
        assert!(seen.len() >= 3, "{seen:?}");
    });
    assert_eq!(home.list()[..2], [line("3.0.4", "serving"), line("3.0.3", "previous")]);
}

/// The label that goes with the class of an answer.
fn daemon_label(answer: &Value) -> Value {
    answer["top"][0]["label"].clone()
}

#[test]
fn what_fails_the_gate_is_told_listed_and_never_serves() {
    let home = Home::new();
    let daemon = home.start();
    let base = version(&daemon);
    let damaged = home.file("cut", &embedded_model()[..9_000]);
    let text = home.refused(&damaged);
    assert!(text.contains("is damaged or truncated"), "{text}");
    let other_sum = home.bad("9.0.0");
    let other = std::fs::read(fixture("models/qdq.onnx")).unwrap();
    std::fs::write(other_sum.join("model.onnx"), other).unwrap();
    let text = home.refused(&other_sum);
    assert!(text.contains("[files] \"model.onnx\" is"), "{text}");
    let text = home.refused(&fixture("models/detect.onnx"));
    assert!(text.contains("detect.onnx"), "{text}");
    assert_eq!(version(&daemon), base);
    assert_eq!(daemon.probe("/ready").status, 200);
    assert_eq!(daemon.metric("picket_model_refused_total{why=\"model\"}"), 3.0);
    let listed: Vec<Value> = serde_json::from_str(&home.done(&["list", "--json"])).unwrap();
    assert_eq!(listed.len(), 4, "{listed:?}");
    assert!(
        listed[1..].iter().all(|line| line["state"] == "refused" && line["reason"].is_string())
    );
    let table = home.done(&["list"]);
    assert!(table.starts_with("STATE") && table.contains("refused"), "{table}");
    // And again by the store alone.
    assert!(daemon.stop().success());
    home.refused(&fixture("models/weight-nan.onnx"));
    assert_eq!(home.list().len(), 5);
}

#[test]
fn other_logits_than_it_states_slowness_size_and_unknown_labels_fail_the_gate() {
    let home = Home::new();
    let other_logits = home.file("logits", &replaced(b"-0.92432,-0.99057", b"-0.12432,-0.99057"));
    let daemon = home.start();
    let text = home.refused(&other_logits);
    assert!(text.contains("failed its golden check"), "{text}");
    assert_eq!(daemon.metric("picket_model_refused_total{why=\"golden\"}"), 1.0);
    assert!(daemon.stop().success());
    for (args, path, expected) in [
        (["--model-max-bytes", "1MB"], home.file("large", &padded(1_100_000)), "1000000 leaves"),
        (["--model-max-time", "10us"], home.good("3.0.9"), "[model] max_time allows 0.0"),
        (["--verdict-defect-labels", "cat"], home.bad("9.1.0"), "\"cat\""),
    ] {
        let daemon = home.start_with(&args);
        let base = version(&daemon);
        let text = home.refused(&path);
        assert!(text.contains(expected), "{text}");
        assert_eq!(version(&daemon), base);
        assert!(daemon.stop().success());
    }
}

/// The embedded network with so many bytes that no reader of ONNX knows.
fn padded(bytes: usize) -> Vec<u8> {
    let mut onnx = embedded_model();
    let more = bytes - onnx.len();
    // Field 1000, of any bytes; their count in seven bits a byte.
    onnx.extend([
        0xc2,
        0x3e,
        (more & 127) as u8 | 128,
        (more >> 7 & 127) as u8 | 128,
        (more >> 14) as u8,
    ]);
    onnx.extend(vec![0; more]);
    onnx
}

#[test]
fn with_keys_only_what_they_signed_is_taken_and_nothing_older_than_what_served() {
    let home = Home::new();
    let keys = fixture("models/signed/keys.pub");
    let args = ["--model-trusted-keys", keys.to_str().unwrap(), "--model-probation", "0s"];
    let daemon = home.start_with(&args);
    let text = home.refused(&home.good("3.0.1"));
    assert!(text.contains("it has no model.toml that could be signed"), "{text}");
    let text = home.refused(&home.bad("9.0.0"));
    assert!(text.contains("model.toml.minisig is missing"), "{text}");
    let forged = home.signed("counter-7");
    let toml = std::fs::read_to_string(forged.join("model.toml")).unwrap();
    std::fs::write(forged.join("model.toml"), toml.replace("counter = 7", "counter = 8")).unwrap();
    let text = home.refused(&forged);
    assert!(text.contains("is of none of the 2 trusted keys, or model.toml was changed"), "{text}");
    std::fs::write(forged.join("model.toml"), toml).unwrap();
    home.install(&forged);
    assert_eq!(version(&daemon), "1.7.0");
    let text = home.refused(&home.signed("counter-6"));
    assert!(text.contains("its counter is 6, more than 7 is needed"), "{text}");
    home.done(&["rollback"]);
    home.done(&["pin", "1.7.0"]);
    assert_eq!(version(&daemon), "1.7.0", "an operator may go back to what was installed");
    assert!(daemon.stop().success());
}

#[test]
fn planned_stops_are_no_crashes_not_even_in_the_middle_of_a_trial() {
    let home = Home::new();
    let daemon = home.start();
    home.install(&home.good("3.0.2"));
    assert!(daemon.stop().success());
    for _ in 0..3 {
        let daemon = home.start();
        assert_eq!(version(&daemon), "3.0.2");
        // Whatever this leads to, the stop comes in time.
        let mut installing = picket()
            .args(["model", "install", "--state-dir"])
            .arg(home.state.path())
            .arg(fixture("models/huge/chain.onnx"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // One that stands still would never end by itself.
        let stopped = |pid| kill(pid, Signal::SIGSTOP).is_ok();
        wait_until("the trial", || {
            trial(daemon.pid()).is_some_and(stopped) || installing.try_wait().unwrap().is_some()
        });
        assert!(daemon.stop().success());
        installing.wait().unwrap();
    }
    let daemon = home.start();
    assert_eq!(version(&daemon), "3.0.2");
}

/// The process in which a daemon tries a model.
fn trial(daemon: u32) -> Option<Pid> {
    let threads = std::fs::read_dir(format!("/proc/{daemon}/task")).unwrap().flatten();
    let children =
        |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("children")).ok();
    let mut pids = threads.filter_map(children).filter_map(|text| {
        text.split_whitespace().next().map(|pid| Pid::from_raw(pid.parse().unwrap()))
    });
    // Before that it is a thread's copy of the daemon, and holds that thread up.
    let is_trial = |pid: &Pid| {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
        command.is_ok_and(|command| command.contains("trial"))
    };
    pids.find(is_trial)
}

#[test]
fn killed_at_any_moment_of_a_change_a_daemon_comes_back_with_one_whole_model() {
    let home = Home::new();
    let args = ["--model-probation", "0s"];
    let bundles: Vec<PathBuf> = (0..8).map(|number| home.good(&format!("4.0.{number}"))).collect();
    let mut installed = 0;
    for (round, bundle) in bundles.iter().enumerate() {
        let daemon = home.start_with(&args);
        let mut installing = picket()
            .args(["model", if round % 4 == 3 { "rollback" } else { "install" }, "--state-dir"])
            .arg(home.state.path())
            .args((round % 4 != 3).then_some(bundle))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(40 + 90 * round as u64));
        daemon.kill_9();
        installed += u32::from(installing.wait().unwrap().success());
        let daemon = home.start_with(&args);
        let serving = version(&daemon);
        let list = home.list();
        assert_eq!(list[0], line(&serving, "serving"), "{list:?}");
        assert!(daemon.stop().success());
    }
    println!("{installed} of {} changes came to their end", bundles.len());
}

#[test]
fn a_version_with_one_answer_for_everything_is_left_within_500_pictures() {
    let home = Home::new();
    let mut daemon = home.start();
    let base = version(&daemon);
    home.install(&home.bad("9.0.0"));
    let mut pictures = 0_u32;
    wait_until("the version before", || {
        for _ in 0..20 {
            pictures += 1;
            let shade = |at: usize| (at * pictures as usize * 37 % 251) as u8;
            let pixels: Vec<u8> = (0..3072).map(shade).collect();
            assert_eq!(daemon.predict("application/octet-stream", &pixels).status, 200);
        }
        version(&daemon) == base
    });
    let line = daemon.wait_for_line("the model failed its probation, going back");
    assert!(line.contains("why=\"classes\""), "{line}");
    assert!(pictures <= 520, "{pictures}");
    let listed: Vec<Value> = serde_json::from_str(&home.done(&["list", "--json"])).unwrap();
    assert_eq!((&listed[0]["state"], &listed[1]["state"]), (&"serving".into(), &"refused".into()));
    assert!(listed[1]["reason"].as_str().unwrap().contains("classes: it said"), "{listed:?}");
    assert_eq!(daemon.metric("picket_model_rollbacks_total"), 1.0);
}

#[test]
fn two_crashes_in_its_probation_end_a_version_before_it_is_loaded_again() {
    let home = Home::new();
    let daemon = home.start();
    let base = version(&daemon);
    home.install(&home.good("3.0.2"));
    daemon.kill_9();
    let daemon = home.start();
    assert_eq!(version(&daemon), "3.0.2", "once may be chance");
    daemon.kill_9();
    let mut daemon = home.start();
    daemon.wait_for_line("crashed 2 times");
    assert_eq!(version(&daemon), base);
    assert_eq!(home.list(), [line(&base, "serving"), line("3.0.2", "refused")]);
}

#[test]
fn an_operator_goes_back_and_pins() {
    let home = Home::new();
    let daemon = home.start_with(&["--model-probation", "0s"]);
    let base = version(&daemon);
    home.install(&home.good("3.0.2"));
    home.install(&home.good("3.0.3"));
    assert!(home.done(&["rollback"]).contains("cifar10-plain 3.0.2 serves"));
    assert_eq!(version(&daemon), "3.0.2");
    home.done(&["pin", "3.0.3"]);
    assert_eq!(version(&daemon), "3.0.3");
    home.done(&["pin", &base]);
    assert_eq!(version(&daemon), base);
    let output = home.model(&["pin", "17"]);
    assert_eq!(output.status.code(), Some(65));
    assert!(stderr(&output).contains("no version \"17\" is installed"), "{}", stderr(&output));
    home.done(&["unpin"]);
    // With the daemon gone the store is asked.
    assert!(daemon.stop().success());
    home.done(&["pin", "3.0.2"]);
    let daemon = home.start_with(&["--model-probation", "0s"]);
    assert_eq!(version(&daemon), "3.0.2");
}

#[test]
fn what_is_dropped_into_the_inbox_serves_once() {
    let home = Home::new();
    let inbox = home.bundles.path().join("inbox");
    std::fs::create_dir(&inbox).unwrap();
    let args = ["--model-inbox", inbox.to_str().unwrap(), "--model-probation", "0s"];
    let mut daemon = home.start_with(&args);
    let base = version(&daemon);
    std::fs::rename(home.good("3.0.5"), inbox.join("five.onnx")).unwrap();
    wait_until("version 5", || version(&daemon) == "3.0.5");
    std::fs::copy(fixture("models/detect.onnx"), inbox.join(".d")).unwrap();
    std::fs::rename(inbox.join(".d"), inbox.join("detect.onnx")).unwrap();
    daemon.wait_for_line("model refused");
    home.done(&["rollback"]);
    assert!(daemon.stop().success());
    // The same directory after a restart: nothing in it is new.
    let mut daemon = home.start_with(&args);
    std::fs::rename(home.bad("9.9.9"), inbox.join("new")).unwrap();
    daemon.wait_for_line("model serves");
    assert_eq!(version(&daemon), "9.9.9");
    assert_eq!(daemon.metric("picket_model_swaps_total"), 1.0, "only what is new was taken");
    home.done(&["rollback"]);
    assert_eq!(version(&daemon), base);
}
