//! The command line: what a person sees and what a script relies on.

use std::path::Path;
use std::process::{Output, Stdio};

use picket_picture::{Colour, Element, JsonRange, Layout, MediaType, Picture, Spec};
use serde_json::{Value, json};

use crate::support::{Launch, cat_png, fixture, picket, run, start, start_with, stderr, stdout};

fn json_lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn cifar(label: &str) -> String {
    fixture(&format!("cifar10/{label}.png")).to_str().unwrap().to_string()
}

#[test]
fn predict_works_with_no_daemon_and_gives_the_daemons_own_answer() {
    let output = run(["predict", "--json", &cifar("cat"), &cifar("ship")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = json_lines(&output);
    assert_eq!((&lines[0]["label"], &lines[1]["label"]), (&json!("cat"), &json!("ship")));
    assert_eq!(lines[0]["file"], cifar("cat"));

    let (_state, daemon) = start();
    let served = daemon.predict("image/png", &cat_png()).json();
    for field in served.as_object().unwrap().keys().filter(|field| *field != "timing_ms") {
        let expected = match field.as_str() {
            "id" => &Value::Null,
            "logged" => &Value::Bool(false),
            _ => &served[field],
        };
        assert_eq!(&lines[0][field], expected, "{field}");
    }
}

#[test]
fn predict_prints_a_table_for_a_person_and_goes_on_after_a_bad_file() {
    let text = fixture("cifar10/README.md");
    let output =
        run(["predict", &cifar("cat"), text.to_str().unwrap(), &cifar("dog"), "/nonexistent"]);
    assert_eq!(output.status.code(), Some(65), "the first failure is bad data");
    let table = stdout(&output);
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.starts_with("file"), "{table}");
    assert!(table.contains("  cat ") && table.contains("  dog "), "{table}");
    assert!(stderr(&output).contains("README.md"), "{}", stderr(&output));
    assert!(stderr(&output).contains("/nonexistent: No such file"), "{}", stderr(&output));
    assert_eq!(run(["predict", "/nonexistent"]).status.code(), Some(74));
}

#[test]
fn predict_reads_stdin() {
    let mut child = picket()
        .args(["predict", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &cat_png()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(json_lines(&output)[0]["label"], "cat");
}

fn log(command: &str, state: &Path, args: &[&str]) -> Output {
    let store = state.join("log");
    let mut all = vec!["log", command, "--store", store.to_str().unwrap()];
    all.extend(args);
    run(all)
}

#[test]
fn the_log_of_a_stopped_daemon_is_read_whole_or_from_its_end() {
    let (state, daemon) = start_with(["--device-id", "edge, \"7\""]);
    for label in ["cat", "dog", "ship", "truck"] {
        let body = std::fs::read(cifar(label)).unwrap();
        assert_eq!(daemon.post("/predict?durable=true", None, &body).status, 200);
    }
    // Through the running daemon first, then from the store itself: the same.
    let running = [
        log("export", state.path(), &["--format", "jsonl"]),
        log("tail", state.path(), &["-n", "2", "--format", "csv"]),
        log("verify", state.path(), &["--json"]),
    ]
    .map(|output| stdout(&output).to_string());
    assert!(daemon.stop().success());
    let stopped = [
        log("export", state.path(), &["--format", "jsonl"]),
        log("tail", state.path(), &["-n", "2", "--format", "csv"]),
        log("verify", state.path(), &["--json"]),
    ]
    .map(|output| stdout(&output).to_string());
    assert_eq!(running, stopped);

    let mut records = json_lines(&log("export", state.path(), &["--format", "jsonl"]));
    assert_eq!(records.pop().unwrap(), json!({"records": 4}), "its end mark");
    let seen: Vec<_> =
        records.iter().map(|r| (r["id"].as_u64().unwrap(), r["label"].clone())).collect();
    assert_eq!(
        seen,
        [(1, json!("cat")), (2, json!("dog")), (3, json!("ship")), (4, json!("truck"))]
    );

    let csv = log("export", state.path(), &["--format", "csv"]);
    let lines: Vec<&str> = stdout(&csv).lines().collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[5], ",,end,,,,,,,,,records=4", "as wide as the others");
    assert!(lines[0].starts_with("id,timestamp,source,edge_device_id,"), "{}", lines[0]);
    assert!(
        lines[1].starts_with("1,") && lines[1].contains(",\"edge, \"\"7\"\"\","),
        "{}",
        lines[1]
    );

    let tail = json_lines(&log("tail", state.path(), &["-n", "2", "--format", "jsonl"]));
    assert_eq!(tail, records[2..]);
    let table = log("tail", state.path(), &["-n", "1"]);
    assert!(stdout(&table).lines().nth(1).unwrap().contains("truck"), "{}", stdout(&table));

    let verify = log("verify", state.path(), &["--json"]);
    assert_eq!(verify.status.code(), Some(0));
    let report = &json_lines(&verify)[0];
    for (field, expected) in [
        ("first", json!(1)),
        ("last", json!(4)),
        ("count", json!(4)),
        ("gaps", json!([])),
        ("altered", json!([])),
        ("corrupt", json!([])),
        ("quarantined", json!([])),
    ] {
        assert_eq!(report[field], expected, "{field}");
    }
    assert!(stdout(&log("verify", state.path(), &[])).contains("nothing missing or damaged"));
}

#[test]
fn an_export_that_was_cut_ends_with_an_error_and_without_its_end_mark() {
    let (state, daemon) = start();
    let record = json!({"image_id": "i".repeat(200), "timestamp": 1_795_000_000.0,
        "model_version": "1", "model_name": "m", "inference_time_ms": 1, "detections": [],
        "defect_detected": false, "confidence_scores": []});
    let batch = json!({"predictions": vec![record; 1_000], "batch_size": 1_000,
                       "timestamp": 1_795_000_000.0});
    let stored = daemon.post("/log", Some("application/json"), batch.to_string().as_bytes());
    assert_eq!(stored.status, 200, "{}", stored.body);
    let store = state.path().join("log");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (reader, gone) = std::io::pipe().unwrap();
    drop(reader);
    for (stdout, why) in [(Stdio::from(full), "No space left"), (Stdio::from(gone), "Broken pipe")]
    {
        let mut command = picket();
        command.args(["log", "export", "--store"]).arg(&store).stdout(stdout);
        let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(74), "{why}");
        let text = stderr(&output);
        assert!(text.contains("the export was cut after ") && text.contains(why), "{text}");
    }
}

/// A store may hold what an earlier version took; the image's id is free text still.
#[test]
fn text_from_outside_is_escaped_for_terminal_and_spreadsheet() {
    let (state, daemon) = start();
    let ids =
        ["\x1b]52;c;ZXZpbA==\x07", "x\nid 999 forged", "=cmd|'/C calc'!A0", "\u{202e}gpj\u{200b}"];
    let record = |id: &str| {
        json!({"image_id": id, "timestamp": 1_795_000_000.0, "model_version": "+1",
               "model_name": "-m", "inference_time_ms": 1, "defect_detected": false,
               "detections": [{"class": format!("@{}", &id[id.len() - 2..]), "confidence": 1,
                               "bbox": []}],
               "confidence_scores": [], "edge_device_id": "\u{ff1d}1"})
    };
    for id in ids {
        let mut record = record("a-b");
        record["image_id"] = id.into();
        let batch = json!({"predictions": [record], "batch_size": 1, "timestamp": 1.0});
        let stored = daemon.post("/log", Some("application/json"), batch.to_string().as_bytes());
        assert_eq!(stored.status, 200, "{}", stored.body);
    }
    for (field, value) in [("model_name", "a\u{1b}"), ("edge_device_id", "a\nb")] {
        let mut record = record("a-b");
        record[field] = value.into();
        let batch = json!({"predictions": [record], "batch_size": 1, "timestamp": 1.0});
        let refused = daemon.post("/log", Some("application/json"), batch.to_string().as_bytes());
        assert_eq!(refused.status, 422);
        assert!(refused.error().contains(field), "{}", refused.body);
    }
    let store = state.path();
    for args in [&["--format", "csv"][..], &["--format", "jsonl"], &[]] {
        let output = log("tail", store, args);
        let hidden = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202e}' | '\u{200b}');
        assert!(!stdout(&output).contains(hidden), "{:?}", stdout(&output));
        assert!(!stdout(&output).lines().any(|line| line.starts_with("id 999")));
    }
    let shown = json_lines(&log("tail", store, &["--format", "jsonl"]));
    let read: Vec<_> = shown.iter().map(|record| record["image_id"].as_str().unwrap()).collect();
    assert_eq!(read, ids, "a parser reads what was sent");
    let csv = log("export", store, &["--format", "csv"]);
    let rows: Vec<_> = stdout(&csv).lines().map(|row| row.split(',').collect::<Vec<_>>()).collect();
    assert_eq!(rows.len(), 1 + ids.len() + 1);
    for cell in rows.iter().flatten() {
        let cell = cell.trim_start_matches('"');
        assert!(!cell.starts_with(['=', '+', '-', '@', '\u{ff1d}']), "{cell}");
    }
    // What an error repeats of a request is escaped as well.
    let refused = daemon.get("/predictions?label=a&%1b%5b31m%e2%80%ae=1");
    assert_eq!(refused.status, 400);
    assert!(!refused.body.contains(['\x1b', '\u{202e}']), "{}", refused.body);
    let named = picket().args(["config", "check", "--device-id", "a\x1bb"]).output().unwrap();
    assert_eq!(named.status.code(), Some(78));
    assert!(stderr(&named).contains("with a control character"), "{}", stderr(&named));
}

#[test]
fn a_store_that_is_not_there_is_no_sound_store() {
    let nowhere = tempfile::tempdir().unwrap();
    for command in ["verify", "tail", "export"] {
        let output = log(command, nowhere.path(), &[]);
        assert_eq!(output.status.code(), Some(74), "{command}");
        assert!(stderr(&output).contains("No such file"), "{}", stderr(&output));
    }
    assert!(!nowhere.path().join("log").exists(), "reading creates nothing");
}

#[test]
fn model_commands_describe_check_and_measure() {
    let inspect = &json_lines(&run(["model", "inspect", "--json"]))[0];
    assert_eq!(inspect["labels"][3], "cat");
    assert_eq!(inspect["golden_checked"], true);
    let nodes = inspect["nodes"].as_array().unwrap();
    let ours: Vec<_> = nodes.iter().filter(|node| node["op"] == "convolution").collect();
    assert_eq!(ours.len(), 9, "{nodes:?}");
    assert!(ours.iter().all(|node| node["kernel"] == inspect["kernel"]), "{nodes:?}");
    assert_eq!(nodes.len(), ours.len(), "all of it is computed in integers: {nodes:?}");
    let text = run(["model", "inspect"]);
    assert!(stdout(&text).contains(inspect["digest"].as_str().unwrap()), "{}", stdout(&text));

    let check = run(["model", "check"]);
    assert_eq!(check.status.code(), Some(0));
    assert!(stdout(&check).contains("golden logits match"), "{}", stdout(&check));
    let missing = run(["model", "check", "--model-path", "/nonexistent.onnx"]);
    assert_eq!(missing.status.code(), Some(74));

    let measured = ["model", "bench", "--json", "--iterations", "30", "--threads", "2", "--nodes"];
    let bench = &json_lines(&run(measured))[0];
    assert_eq!(bench["digest"], inspect["digest"]);
    assert_eq!((&bench["threads"], &bench["iterations"]), (&json!(2), &json!(30)));
    let us = |name: &str| bench["us"][name].as_f64().unwrap();
    assert!(0.0 < us("min") && us("min") <= us("median") && us("median") <= us("p99"), "{bench}");
    for positive in ["load_ms", "images_per_s", "rss_bytes"] {
        assert!(bench[positive].as_f64().unwrap() > 0.0, "{positive}: {bench}");
    }
    let timed = bench["nodes"].as_array().unwrap();
    assert_eq!(timed.len(), nodes.len());
    assert!(timed.iter().all(|node| node["us"].as_f64().unwrap() > 0.0), "{bench}");
    assert_eq!(bench["kernel"], inspect["kernel"]);
    for kernel in ["scalar", "tract"] {
        let forced = run(["model", "bench", "--json", "--iterations", "1", "--kernel", kernel]);
        assert_eq!(json_lines(&forced)[0]["kernel"], kernel);
    }
    let unknown = run(["model", "bench", "--kernel", "mmx"]);
    assert_eq!(unknown.status.code(), Some(64));
    let reason = "and not \"mmx\"";
    assert!(stderr(&unknown).contains(reason), "{}", stderr(&unknown));
}

/// The ten fixtures' logits are ONNX Runtime's (daemon/tests/data/cifar10/README.md).
#[test]
fn model_logits_are_those_of_another_runtime_image_by_image() {
    let expected: Vec<(String, Vec<f32>)> = std::fs::read_to_string(fixture("cifar10/logits.txt"))
        .unwrap()
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let label = words.next().unwrap().to_string();
            (label, words.map(|number| number.parse().unwrap()).collect())
        })
        .collect();
    let pixels = |label: &str| {
        let png = std::fs::read(cifar(label)).unwrap();
        let spec = Spec::raw(Element::U8, Layout::Nchw, [32, 32], Colour::Rgb);
        let picture = Picture::decode(&png, MediaType::Png, &spec, JsonRange::default()).unwrap();
        picture.pixels().to_vec()
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ten.rgb");
    let mut raw: Vec<u8> = expected.iter().flat_map(|(label, _)| pixels(label)).collect();
    std::fs::write(&file, &raw).unwrap();
    let logits = |output: &Output| -> Vec<Vec<f32>> {
        stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let output = run(["model", "logits", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let found = logits(&output);
    assert_eq!(found.len(), 10);
    for ((label, expected), found) in expected.iter().zip(&found) {
        let apart = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart <= 1e-4, "{label}: {expected:?}, found {found:?}");
    }

    raw.truncate(raw.len() - 1);
    std::fs::write(&file, &raw).unwrap();
    let torn = run(["model", "logits", file.to_str().unwrap()]);
    assert_eq!(torn.status.code(), Some(65));
    assert_eq!(logits(&torn).len(), 9, "what is whole is answered");
    let reason = stderr(&torn);
    assert!(reason.contains("image 9") && reason.contains("3071"), "{reason}");
    std::fs::write(&file, "").unwrap();
    assert_eq!(run(["model", "logits", file.to_str().unwrap()]).status.code(), Some(65));
    assert_eq!(run(["model", "logits", "/nonexistent"]).status.code(), Some(74));
}

#[test]
fn config_check_prints_a_file_that_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("picket.toml");
    let first = run(["config", "check", "--state-dir", "/var/lib/picket", "--log-max-age", "7d"]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    std::fs::write(&file, &first.stdout).unwrap();
    let second = run(["config", "check", "--config", file.to_str().unwrap()]);
    assert_eq!(stdout(&first), stdout(&second));
    assert!(stdout(&first).contains("max_age = \"7days\""), "{}", stdout(&first));
}

#[test]
fn flags_come_before_the_environment_and_that_before_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("picket.toml");
    std::fs::write(&file, "[log]\nmax_records = 11\n[api]\nqueue = 12\nworkers = 13\n").unwrap();
    let output = picket()
        .env("PICKET_CONFIG", &file)
        .env("PICKET_LOG_MAX_RECORDS", "21")
        .env("PICKET_API_QUEUE", "22")
        .args(["config", "check", "--log-max-records", "31"])
        .output()
        .unwrap();
    let config: toml::Value = toml::from_str(stdout(&output)).unwrap();
    assert_eq!(config["log"]["max_records"].as_integer(), Some(31), "the flag");
    assert_eq!(config["api"]["queue"].as_integer(), Some(22), "the environment");
    assert_eq!(config["api"]["workers"].as_integer(), Some(13), "the file");
    let has_ipv6 = std::net::TcpListener::bind("[::]:0").is_ok();
    let listen = if has_ipv6 { "[::]:8001" } else { "0.0.0.0:8001" };
    assert_eq!(config["probe"]["listen"].as_str(), Some(listen), "the default");
}

#[test]
fn a_former_name_works_and_the_new_one_is_told() {
    let durability = |output: &Output| {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
        let config: toml::Value = toml::from_str(stdout(output)).unwrap();
        config["log"]["reported_durability"].as_str().unwrap().to_string()
    };
    let check = ["config", "check", "--log-log-durability", "relaxed"];
    let flag = run(check);
    assert_eq!(durability(&flag), "relaxed");
    let warning = "picket: --log-log-durability is now called --log-reported-durability;";
    assert!(stderr(&flag).starts_with(warning), "{}", stderr(&flag));

    let former = ("PICKET_LOG_LOG_DURABILITY", "relaxed");
    let variable = picket().env(former.0, former.1).args(["config", "check"]).output().unwrap();
    assert_eq!(durability(&variable), "relaxed");
    let warning = "picket: PICKET_LOG_LOG_DURABILITY is now called PICKET_LOG_REPORTED_DURABILITY;";
    assert!(stderr(&variable).starts_with(warning), "{}", stderr(&variable));

    // A flag comes before the environment, whichever name each of them has.
    let new = ["config", "check", "--log-reported-durability", "strict"];
    let output = picket().env(former.0, former.1).args(new).output().unwrap();
    assert_eq!(durability(&output), "strict");
    let output = picket().env("PICKET_LOG_REPORTED_DURABILITY", "strict").args(check).output();
    assert_eq!(durability(&output.unwrap()), "relaxed");

    let both = run(check.iter().copied().chain(["--log-reported-durability", "strict"]));
    assert_eq!(both.status.code(), Some(64));
    let names =
        "--log-reported-durability and --log-log-durability, its former name, are both given";
    assert!(stderr(&both).contains(names), "{}", stderr(&both));
}

#[test]
fn a_file_with_a_former_name_works_and_with_both_names_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("picket.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        run(["config", "check", "--config", file.to_str().unwrap()])
    };
    let former = check("[log]\nlog_durability = 'relaxed'\n");
    assert!(stdout(&former).contains("reported_durability = \"relaxed\""), "{}", stdout(&former));
    let warning = "picket: log.log_durability is now called log.reported_durability;";
    assert!(stderr(&former).starts_with(warning), "{}", stderr(&former));
    let both = check("[log]\nlog_durability = 'relaxed'\nreported_durability = 'relaxed'\n");
    assert_eq!(both.status.code(), Some(78));
    let names = "log.reported_durability and log.log_durability, its former name, are both given";
    assert!(stderr(&both).contains(names), "{}", stderr(&both));
}

#[test]
fn version_names_commit_and_target() {
    let output = run(["version"]);
    let text = stdout(&output);
    assert!(text.starts_with(&format!("picket {} (commit ", env!("CARGO_PKG_VERSION"))), "{text}");
    assert!(text.contains("target ") && text.contains("linux"), "{text}");
}

#[test]
fn help_describes_every_command_and_setting() {
    let help = run(["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for command in ["serve", "predict", "log", "model", "config", "doctor", "version"] {
        assert!(
            stdout(&help).lines().any(|line| line.trim_start().starts_with(command)),
            "{command}"
        );
    }
    let serve = run(["serve", "--help"]);
    assert!(stdout(&serve).contains("PICKET_LOG_COMMIT_INTERVAL"), "{}", stdout(&serve));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let mut child = picket().args(["serve", "--help"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_thread_that_the_kernel_refuses_ends_the_start_by_name() {
    // std asks for a stack of so many bytes, more than can be mapped.
    let stack = (1_u64 << 60).to_string();
    let output = picket().arg("serve").env("RUST_MIN_STACK", stack).output().unwrap();
    assert_eq!(output.status.code(), Some(74));
    assert!(stderr(&output).contains("cannot start the output of messages"), "{}", stderr(&output));
}

#[test]
fn tail_follows_a_running_daemon_and_nothing_else() {
    let (state, daemon) = start();
    assert_eq!(daemon.post("/predict?durable=true", None, &cat_png()).status, 200);
    let store = state.path().join("log");
    let mut tail = picket()
        .args(["log", "tail", "--follow", "--format", "jsonl", "--store"])
        .arg(&store)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(tail.stdout.take().unwrap()));
    let mut next_id = || -> Value {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        line["id"].clone()
    };
    assert_eq!(next_id(), 1);
    for id in 2..5 {
        assert_eq!(daemon.predict("image/png", &cat_png()).status, 200);
        assert_eq!(next_id(), id);
    }
    // It waits while the daemon is away, and goes on with what is new.
    assert!(daemon.stop().success());
    let daemon = Launch::on(state.path()).start();
    for id in 5..8 {
        assert_eq!(daemon.post("/predict?durable=true", None, &cat_png()).status, 200);
        assert_eq!(next_id(), id);
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
    assert!(daemon.stop().success());
    let output = log("tail", state.path(), &["-f"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no daemon runs on this store"), "{}", stderr(&output));
}

#[test]
fn tail_of_no_lines_follows_only_what_is_new() {
    let (state, daemon) = start();
    assert_eq!(daemon.post("/predict?durable=true", None, &cat_png()).status, 200);
    let mut tail = picket()
        .args(["log", "tail", "-n", "0", "--follow", "--format", "jsonl", "--store"])
        .arg(state.path().join("log"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(tail.stdout.take().unwrap()));
    // It may take a while to have asked where the log stands: until then nothing is new for it.
    let seen = std::thread::spawn(move || lines.next().unwrap().unwrap());
    let mut id = 1;
    while !seen.is_finished() {
        assert_eq!(daemon.post("/predict?durable=true", None, &cat_png()).status, 200);
        id += 1;
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let first: Value = serde_json::from_str(&seen.join().unwrap()).unwrap();
    assert!((2..=id).contains(&first["id"].as_u64().unwrap()), "{first}");
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn a_log_is_copied_beside_its_daemon_and_proven_by_a_witness() {
    let (state, daemon) = start();
    for _ in 0..3 {
        assert_eq!(daemon.post("/predict?durable=true", None, &cat_png()).status, 200);
    }
    let stats = daemon.get("/stats").json();
    let witness = format!("3:{}", stats["head"].as_str().unwrap());
    let copy = state.path().join("copy").join("log");
    std::fs::create_dir(copy.parent().unwrap()).unwrap();
    let output = log("backup", state.path(), &[copy.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("records 1 to 3 are copied"), "{}", stdout(&output));
    let again = log("backup", state.path(), &[copy.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(74));
    assert!(stderr(&again).contains("not empty"), "{}", stderr(&again));
    assert_eq!(daemon.post("/predict?durable=true", None, &cat_png()).status, 200);

    let witnessed = |dir: &Path, witness: &str| {
        let output = log("verify", dir, &["--json", "--witness", witness]);
        (output.status.code(), json_lines(&output)[0]["witness"].clone())
    };
    let copied = copy.parent().unwrap();
    let later = format!("4:{}", daemon.get("/stats").json()["head"].as_str().unwrap());
    assert_eq!(witnessed(state.path(), &witness), (Some(0), json!("holds")));
    assert_eq!(witnessed(state.path(), &later), (Some(0), json!("holds")));
    assert_eq!(witnessed(state.path(), "2:00aa"), (Some(1), json!("differs")));
    assert!(daemon.stop().success());
    assert_eq!(witnessed(state.path(), &later), (Some(0), json!("holds")));
    assert_eq!(witnessed(copied, &witness), (Some(0), json!("holds")));
    // The copy goes on from where it was made, so it differs from then on.
    let daemon = Launch::on(copied).start();
    assert_eq!(daemon.post("/predict?durable=true", None, &cat_png()).json()["id"], 4);
    assert!(daemon.stop().success());
    assert_eq!(witnessed(copied, &later), (Some(1), json!("differs")));
}
