//! /health, /ready and /metrics, in every state that a daemon goes through.

use std::io::Write;
use std::net::TcpStream;

use serde_json::Value;

use crate::support::{
    Launch, PATIENCE, cat_png, embedded_model, grey_pixels, picket, raw, request, start, start_with,
};

/// A model that comes through a pipe: the daemon loads for as long as the test holds it back.
#[test]
fn while_the_model_loads_the_probes_answer_and_say_starting() {
    let state = tempfile::tempdir().unwrap();
    let pipe = state.path().join("model.onnx");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut daemon =
        Launch::on(state.path()).args(["--model-path".as_ref(), pipe.as_os_str()]).spawn();

    daemon.wait_until("the log", |daemon| daemon.probe("/ready").json()["db_initialized"] == true);
    let health = daemon.probe("/health");
    assert_eq!((health.status, &health.json()["status"]), (200, &"healthy".into()));
    let ready = daemon.probe("/ready");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["status"], "not_ready");
    assert_eq!(ready.json()["reason"], "starting");
    assert_eq!(ready.json()["model_loaded"], false);
    let verbose = daemon.probe("/ready?verbose");
    assert_eq!(verbose.status, 503);
    assert!(verbose.body.contains("[-]startup failed: still starting\n"), "{}", verbose.body);
    assert!(verbose.body.contains("[-]model failed: no model loaded\n"), "{}", verbose.body);
    assert!(verbose.body.contains("[+]log ok\n"), "{}", verbose.body);
    assert_eq!(
        daemon.metric("inference_model_loaded{model=\"cifar10-model\",stage=\"Production\"}"),
        0.0
    );

    std::fs::File::options().write(true).open(&pipe).unwrap().write_all(&embedded_model()).unwrap();
    daemon.wait_for_line(": ready ");
    assert_eq!(daemon.probe("/ready").status, 200);
    assert_eq!(
        daemon.metric("inference_model_loaded{model=\"cifar10-model\",stage=\"Production\"}"),
        1.0
    );
}

#[test]
fn bodies_are_those_of_the_contract_on_both_listeners() {
    let (_state, daemon) = start_with(["--verdict-defect-labels", "cat"]);
    let before = daemon.probe("/ready").json();
    assert_eq!(before["last_prediction"], Value::Null);
    assert_eq!(daemon.post("/predict?durable=true", Some("image/png"), &cat_png()).status, 200);
    for addr in [daemon.api, daemon.probe] {
        let health = request(addr, "GET", "/health", None, b"");
        assert_eq!(health.status, 200);
        let health = health.json();
        assert_eq!(health["status"], "healthy");
        assert_eq!(health["service"], "inference-service");
        assert!(health["uptime_seconds"].as_f64().unwrap() > 0.0);
        assert_rfc3339_utc(&health["timestamp"]);

        let ready = request(addr, "GET", "/ready", None, b"");
        assert_eq!(ready.status, 200);
        let ready = ready.json();
        assert_eq!(ready["status"], "ready");
        assert_eq!(ready["model_loaded"], true);
        assert_eq!(ready["mlflow_accessible"], Value::Null, "no registry is configured");
        assert_eq!(ready["db_initialized"], true);
        for (count, expected) in [
            ("predictions_served", 1),
            ("predictions_logged", 1),
            ("defects_detected", 1),
            ("errors", 0),
        ] {
            assert_eq!(ready[count], expected, "{count}");
        }
        assert_rfc3339_utc(&ready["last_prediction"]);
        assert_rfc3339_utc(&ready["timestamp"]);

        let verbose = request(addr, "GET", "/ready?verbose", None, b"");
        assert_eq!(verbose.status, 200);
        let (last, checks) =
            verbose.body.trim_end().rsplit_once('\n').map(|(c, l)| (l, c)).unwrap();
        assert_eq!(last, "ready check passed");
        assert!(
            checks.lines().all(|line| line.starts_with("[+]") && line.ends_with(" ok")),
            "{checks}"
        );
        assert!(checks.contains("[+]log ok") && checks.contains("[+]worker-0 ok"), "{checks}");

        // The record says what the metric says: whether its timestamp can be believed.
        let records = request(daemon.api, "GET", "/predictions", None, b"").json();
        let clock = if daemon.metric("picket_clock_synchronised") == 1.0 {
            "synchronised"
        } else {
            "unsynchronised"
        };
        assert_eq!(records["predictions"][0]["clock"], clock);

        let metrics = request(addr, "GET", "/metrics", None, b"");
        assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
        assert!(metrics.body.contains("logging_defects_total{service=\"cloud-logging-api\"} 1\n"));
        let head = request(addr, "HEAD", "/health", None, b"");
        assert_eq!((head.status, head.body.as_str()), (200, ""));
    }
}

fn assert_rfc3339_utc(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no time"));
    assert!(text.ends_with('Z'), "{text}");
    humantime::parse_rfc3339(text).unwrap();
}

#[test]
fn a_registry_that_is_down_fails_readiness_only_where_it_is_required() {
    let down = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let uri = format!("http://{down}");
    let state = tempfile::tempdir().unwrap();
    let daemon = Launch::on(state.path()).env("MLFLOW_TRACKING_URI", &uri).start();
    let ready = daemon.probe("/ready");
    assert_eq!((ready.status, &ready.json()["mlflow_accessible"]), (200, &false.into()));
    assert_eq!(daemon.metric("picket_registry_configured"), 1.0);
    let not_ready = "picket_not_ready{reason=\"mlflow_not_accessible\"}";
    assert_eq!(daemon.metric(not_ready), 0.0);
    drop(daemon);
    let daemon = Launch::on(state.path())
        .args(["--model-registry", &uri, "--model-registry-required", "true"])
        .start();
    let ready = daemon.probe("/ready");
    assert_eq!((ready.status, &ready.json()["reason"]), (503, &"mlflow_not_accessible".into()));
    assert_eq!(daemon.metric(not_ready), 1.0);
    assert_eq!(daemon.probe("/health").status, 200, "a restart can't cure a registry");
}

#[test]
fn names_of_model_and_stage_come_from_the_environment_too() {
    let state = tempfile::tempdir().unwrap();
    let daemon =
        Launch::on(state.path()).env("MODEL_NAME", "welds").env("MODEL_STAGE", "Staging").start();
    assert_eq!(daemon.metric("inference_model_loaded{model=\"welds\",stage=\"Staging\"}"), 1.0);
    assert_eq!(daemon.predict("image/png", &cat_png()).json()["model"]["name"], "welds");
    assert_eq!(daemon.metric("inference_predictions_total{model=\"welds\"}"), 1.0);
}

/// 600 idle clients take every connection of the API; the probes have their own.
#[test]
fn a_flood_on_the_api_leaves_the_probes_alone() {
    let (_state, daemon) = start();
    let idle: Vec<TcpStream> =
        (0..600).filter_map(|_| TcpStream::connect(daemon.api).ok()).collect();
    assert!(idle.len() > 512, "{}", idle.len());
    for _ in 0..20 {
        assert_eq!(daemon.probe("/health").status, 200);
        assert_eq!(daemon.probe("/ready").status, 200);
    }
    drop(idle);
    daemon.wait_until("free connections", |daemon| {
        let get =
            format!("GET /health HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", daemon.api);
        let mut stream = TcpStream::connect(daemon.api).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(get.as_bytes()).is_ok()
            && std::io::read_to_string(stream)
                .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    });
}

#[test]
fn a_full_queue_answers_503_with_retry_after() {
    // One worker, one place: of many at once most are turned away.
    let (_state, daemon) = start_with(["--api-workers", "1", "--api-queue", "1"]);
    let picture = std::fs::read(crate::support::fixture("cifar10/cat-large.jpg")).unwrap();
    let api = daemon.api;
    let answers: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let predict =
                        |_| request(api, "POST", "/predict", Some("image/jpeg"), &picture);
                    (0..25).map(predict).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let turned_away: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(!turned_away.is_empty(), "400 requests on a queue of one");
    for answer in &turned_away {
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.error(), "1 images are waiting already");
    }
    assert_eq!(answers.iter().filter(|a| !matches!(a.status, 200 | 503)).count(), 0);
    let served = answers.len() - turned_away.len();
    assert_eq!(
        daemon.metric("inference_predictions_total{model=\"cifar10-model\"}"),
        served as f64
    );
    let shed = daemon.metric("picket_http_rejected_requests_total{status=\"503\"}");
    assert_eq!(shed, turned_away.len() as f64);
    assert_eq!(daemon.metric("picket_predictions_turned_away_total"), shed);
    assert_eq!(daemon.metric("picket_queue_capacity"), 1.0);
    assert_eq!(daemon.probe("/health").status, 200);
}

#[test]
fn keep_alive_serves_pipelined_requests_in_order() {
    let (_state, daemon) = start();
    let mut requests =
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    requests.extend(
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3072\r\nConnection: close\r\n\r\n",
    );
    requests.extend(grey_pixels());
    let answer = raw(daemon.api, &requests);
    let statuses: Vec<&str> =
        answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "404", "200"], "{answer}");
}

#[test]
fn the_state_directory_is_systemds_then_xdgs_and_said_at_start() {
    let base = tempfile::tempdir().unwrap();
    let at = |name: &str| base.path().join(name);
    let found = |variables: &[(&str, std::path::PathBuf)]| {
        let mut command = picket();
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let output = command.args(["config", "check"]).output().unwrap();
        let config: toml::Value =
            toml::from_str(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
        config["state_dir"].as_str().unwrap().to_string()
    };
    let home = ("HOME", at("home"));
    let xdg = ("XDG_STATE_HOME", at("xdg"));
    let systemd = ("STATE_DIRECTORY", at("systemd"));
    assert_eq!(found(&[]), "picket-state");
    assert_eq!(
        found(std::slice::from_ref(&home)),
        at("home/.local/state/picket").to_str().unwrap()
    );
    assert_eq!(found(&[home.clone(), xdg.clone()]), at("xdg/picket").to_str().unwrap());
    assert_eq!(found(&[home, xdg, systemd]), at("systemd").to_str().unwrap());

    let mut daemon = Launch::on(&at("flag")).start();
    let line = daemon.wait_for_line("state_dir=");
    assert!(line.contains(at("flag").to_str().unwrap()), "{line}");
}

#[test]
fn the_limits_of_the_log_and_the_room_on_its_disk_are_metrics() {
    let limits = ["--log-max-bytes", "5MB", "--log-max-records", "700"];
    let (_state, daemon) = start_with(limits);
    assert_eq!(daemon.metric("picket_log_max_bytes"), 5e6);
    assert_eq!(daemon.metric("picket_log_max_records"), 700.0);
    assert_eq!(daemon.post("/predict?durable=true", Some("image/png"), &cat_png()).status, 200);
    assert!(daemon.metric("picket_log_disk_free_bytes") > 0.0);
}

/// What nobody has explained nobody can act on.
#[test]
fn every_metric_is_explained_in_the_documentation() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let docs = std::fs::read_to_string(root.join("docs/health-reference.md")).unwrap();
    let (_state, daemon) = start();
    let text = daemon.probe("/metrics").body;
    let families: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    assert!(families.len() > 40, "{families:?}");
    for family in families.into_iter().filter(|family| !family.starts_with("process_")) {
        assert!(docs.contains(&format!("`{family}")), "docs/health-reference.md lacks {family}");
    }
}
