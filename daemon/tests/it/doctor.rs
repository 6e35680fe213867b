//! `picket doctor` on this machine, whatever it is: what the test arranges must be found.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::support::{cat_png, run, start, stderr, stdout};

struct Report {
    code: i32,
    checks: Vec<Value>,
}

impl Report {
    fn status(&self, check: &str) -> &str {
        self.find(check)["status"].as_str().unwrap()
    }

    fn fact(&self, check: &str) -> &str {
        self.find(check)["fact"].as_str().unwrap()
    }

    fn find(&self, check: &str) -> &Value {
        let found = self.checks.iter().find(|finding| finding["check"] == check);
        found.unwrap_or_else(|| panic!("no {check} in {:#?}", self.checks))
    }
}

/// On ports of its own, so that whatever runs on this machine does not matter.
fn doctor(state: &Path, extra: &[&str]) -> Report {
    let mut args = vec!["doctor", "--json", "--state-dir", state.to_str().unwrap()];
    for (flag, default) in [("--api-listen", "127.0.0.1:0"), ("--probe-listen", "127.0.0.1:0")] {
        if !extra.contains(&flag) {
            args.extend([flag, default]);
        }
    }
    args.extend(extra);
    let output = run(args);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    let checks = report["checks"].as_array().unwrap().clone();
    let failed = checks.iter().filter(|finding| finding["status"] == "fail").count();
    assert_eq!(report["failed"], failed);
    assert_eq!(output.status.code(), Some(i32::from(failed > 0)), "{}", stderr(&output));
    Report { code: output.status.code().unwrap(), checks }
}

#[test]
fn a_sound_installation_has_nothing_that_fails_of_its_own() {
    let (state, daemon) = start();
    assert_eq!(daemon.post("/predict?durable=true", None, &cat_png()).status, 200);
    assert!(daemon.stop().success());
    let report = doctor(state.path(), &[]);
    for check in ["state_dir", "model", "log", "api_port", "probe_port", "permissions"] {
        assert_eq!(report.status(check), "ok", "{}", report.fact(check));
    }
    assert_eq!(report.fact("log"), "1 records, nothing missing or damaged");
    assert!(report.fact("model").contains("golden sample comes out right"));
    assert!(report.checks.len() >= 18, "{:#?}", report.checks);
    for finding in &report.checks {
        assert!(!finding["fact"].as_str().unwrap().is_empty(), "{finding}");
        let advised = finding.get("advice").is_some();
        let bad = ["warn", "fail"].contains(&finding["status"].as_str().unwrap());
        assert_eq!(advised, bad, "{finding}");
    }
}

#[test]
fn what_is_wrong_is_found_and_named() {
    let state = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = state.path().join("picket.toml");
    std::fs::write(&config, "# all as it is\n").unwrap();
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o666)).unwrap();
    let model = state.path().join("model.onnx");
    std::fs::write(&model, "no model").unwrap();
    let report = doctor(
        &state.path().join("file-in-the-way/state"),
        &[
            "--api-listen",
            &address,
            "--model-path",
            model.to_str().unwrap(),
            "--config",
            config.to_str().unwrap(),
        ],
    );
    assert_eq!(report.code, 1);
    assert_eq!(report.status("api_port"), "fail");
    let holder = format!("(pid {})", std::process::id());
    assert!(report.fact("api_port").ends_with(&holder), "{}", report.fact("api_port"));
    assert_eq!(report.status("model"), "fail");
    assert_eq!(report.status("permissions"), "fail");
    assert!(report.fact("permissions").contains("picket.toml has mode 666"));
}

#[test]
fn a_damaged_log_fails_and_a_running_daemon_is_asked() {
    let (state, daemon) = start();
    assert_eq!(daemon.post("/predict?durable=true", None, &cat_png()).status, 200);
    let probe = daemon.probe.to_string();
    let beside = doctor(state.path(), &["--probe-listen", &probe]);
    assert_eq!(beside.status("log"), "ok");
    assert_eq!(beside.fact("log"), format!("the daemon at {probe} is ready"));
    assert!(beside.fact("probe_port").contains("held by picket"), "{}", beside.fact("probe_port"));
    let elsewhere = doctor(state.path(), &[]);
    assert_eq!(elsewhere.status("log"), "unknown", "{}", elsewhere.fact("log"));
    assert!(daemon.stop().success());

    let mut names =
        std::fs::read_dir(state.path().join("log")).unwrap().map(|entry| entry.unwrap().path());
    let segment = names.find(|path| path.extension().is_some_and(|end| end == "seg")).unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes.iter_mut().skip(16).for_each(|byte| *byte ^= 0x5a);
    std::fs::write(&segment, bytes).unwrap();
    let report = doctor(state.path(), &[]);
    assert_eq!((report.code, report.status("log")), (1, "fail"), "{}", report.fact("log"));
}

#[test]
fn a_person_gets_a_line_for_each_check_and_what_to_do() {
    let state = tempfile::tempdir().unwrap();
    let state_dir = state.path().to_str().unwrap();
    let output = run(["doctor", "--state-dir", state_dir, "--api-listen", "192.0.2.1:8000"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.lines().any(|line| line.starts_with("FAIL     api_port         192.0.2.1:8000")));
    assert!(text.contains("→ an address of this machine is needed"), "{text}");
    assert!(stderr(&output).contains("checks fail"), "{}", stderr(&output));
    let refused = run(["doctor", "--api-queue", "0"]);
    assert_eq!(refused.status.code(), Some(78), "{}", stderr(&refused));
}
