//! Model files that can't serve, and those that can but slowly: what `picket model check` says, what
//! a start with them does, and what a reload with them leaves alone.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::{
    Launch, embedded_model, fixture, grey_pixels, picket, run, start_with, stderr, stdout,
};

/// Files, and what is said of each.
struct Bad {
    files: Vec<(PathBuf, &'static str)>,
    _dir: TempDir,
}

/// daemon/tests/data/models/make.py says what is wrong with which; the rest is cut and blown up here.
fn bad_models() -> Bad {
    let dir = tempfile::tempdir().unwrap();
    let model = embedded_model();
    let truncated = dir.path().join("truncated.onnx");
    std::fs::write(&truncated, &model[..model.len() / 2]).unwrap();
    let empty = dir.path().join("empty.onnx");
    std::fs::write(&empty, b"").unwrap();
    let large = dir.path().join("large.onnx");
    std::fs::write(&large, &model).unwrap();
    // Sparse: half a gigabyte that no disk holds.
    std::fs::File::options().write(true).open(&large).unwrap().set_len(500 << 20).unwrap();
    let stored = |name: &str| fixture("models").join(name);
    let files = vec![
        (truncated, "is not a usable ONNX file: it is damaged or truncated: "),
        (empty, "is not a usable ONNX file: it holds no graph"),
        (large, "model is 524288000 bytes, at most 67108864 are accepted"),
        (stored("opset-7.onnx"), "it is of opset 7, 9 to 24 are run"),
        (stored("opset-99.onnx"), "it is of opset 99, 9 to 24 are run"),
        (stored("side-4.onnx"), "its input is [?, 3, 4, 4], [N,C,H,W] or [N,H,W,C] of 1 or 3"),
        (stored("type-i64.onnx"), "its input is of type I64, one of u8, i8, f32 is needed"),
        (stored("scale-nan.onnx"), "\"y.scale\" of its QLinearConv \"qlinearconv0\" is NaN"),
        (stored("scale-negative.onnx"), "\"y.scale\" of its QLinearConv \"qlinearconv0\" is -1"),
        (stored("weight-nan.onnx"), "its constant \"head\" holds NaN"),
    ];
    Bad { files, _dir: dir }
}

#[test]
fn model_check_says_exactly_why_a_model_cannot_serve() {
    for (file, reason) in bad_models().files {
        let output = run(["model", "check", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(65), "{}: {}", file.display(), stdout(&output));
        let text = stderr(&output);
        assert!(text.contains(reason), "{text:?} lacks {reason:?}");
        assert_eq!(text.lines().count(), 1, "one line says why: {text}");
    }
}

#[test]
fn a_start_with_a_bad_model_ends_before_it_serves_and_says_the_same() {
    for (file, reason) in bad_models().files {
        let state = tempfile::tempdir().unwrap();
        let mut command = picket();
        command.args(["serve", "--message-level", "error", "--state-dir"]).arg(state.path());
        command.args(["--api-listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0"]);
        let output = command.arg("--model-path").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(65), "{}", file.display());
        assert!(stderr(&output).contains(reason), "{:?} lacks {reason:?}", stderr(&output));
    }
}

#[test]
fn a_reload_with_a_bad_model_leaves_the_daemon_serving_the_one_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("picket.toml");
    std::fs::write(&config, "# all as it is\n").unwrap();
    let launch = Launch::on(&dir.path().join("state"));
    let mut daemon = launch.args(["--config".as_ref(), config.as_os_str()]).start();
    let serving = daemon.predict("application/octet-stream", &grey_pixels()).json();
    for (file, _) in bad_models().files {
        std::fs::write(&config, format!("[model]\npath = '{}'\n", file.display())).unwrap();
        daemon.signal(Signal::SIGHUP);
        let line = daemon.wait_for_line(&format!("still none, not {}", file.display()));
        assert!(line.contains("model.path can't change while running"), "{line}");
        let answer = daemon.predict("application/octet-stream", &grey_pixels()).json();
        assert_eq!(answer["model"]["digest"], serving["model"]["digest"]);
    }
    assert_eq!(daemon.probe("/health").status, 200);
    assert_eq!(daemon.probe("/ready").status, 200);
    assert!(daemon.stop().success());
}

fn assert_slow_but_serving(file: &Path, form: &str) {
    let path = file.to_str().unwrap();
    let expected = format!("1 of 1 convolutions are {form}, and run on the stock engine: ");
    let check = run(["model", "check", path]);
    assert_eq!(check.status.code(), Some(0), "{}", stderr(&check));
    let warning = stdout(&check).lines().nth(1).unwrap();
    assert!(warning.starts_with(&format!("warning: {expected}")), "{warning}");
    assert!(warning.contains(" ms an image here"), "{warning}");

    let (_state, mut daemon) = start_with(["--model-path", path]);
    let line = daemon.wait_for_line(&expected);
    assert!(line.contains("WARN"), "{line}");
    assert_eq!(daemon.predict("application/octet-stream", &grey_pixels()).status, 200);
}

#[test]
fn models_of_floats_serve_with_a_warning_of_what_that_costs() {
    assert_slow_but_serving(&fixture("models/f32.onnx"), "f32");
    let check = run(["model", "check", fixture("models/qdq.onnx").to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(0), "{}", stderr(&check));
    assert!(!stdout(&check).contains("stock engine"), "{}", stdout(&check));
    let embedded = run(["model", "check"]);
    assert_eq!(stdout(&embedded).lines().count(), 1, "no warning: {}", stdout(&embedded));
}
