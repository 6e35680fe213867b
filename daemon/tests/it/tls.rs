//! TLS on the API listener, with the certificates of tests/data/tls.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::support::{
    Daemon, Launch, PATIENCE, fixture, grey_pixels, raw, run, start_with, stderr,
};

/// The files are looked at every 20 seconds.
const LOOK_PATIENCE: Duration = Duration::from_secs(60);

fn file(name: &str) -> PathBuf {
    fixture("tls").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A client that trusts this certificate only, and speaks these versions.
fn tls_to(
    daemon: &Daemon,
    trusted: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file(trusted)).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(daemon.api)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(StreamOwned::new(connection, stream))
}

/// One prediction by such a client.
fn predict(daemon: &Daemon, trusted: &str) -> std::io::Result<String> {
    let mut stream = tls_to(daemon, trusted, rustls::DEFAULT_VERSIONS)?;
    let head =
        "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3072\r\nConnection: close\r\n\r\n";
    stream.write_all(&[head.as_bytes(), &grey_pixels()].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn serve_with(cert: &str, key: &str) -> (tempfile::TempDir, Daemon) {
    let (cert, key) = (file(cert), file(key));
    start_with(["--api-tls-cert", text(&cert), "--api-tls-key", text(&key)])
}

#[test]
fn the_api_speaks_tls_and_the_probes_do_not() {
    let (_state, daemon) = serve_with("cert.pem", "cert.key");
    assert!(predict(&daemon, "cert.pem").unwrap().starts_with("HTTP/1.1 200 "));
    let error = predict(&daemon, "renewed.pem").unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
    assert_eq!(daemon.probe("/ready").status, 200);
    let plain = raw(daemon.api, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(!plain.contains("HTTP/"), "nothing is said in the clear: {plain}");
    assert!(daemon.stop().success());
}

/// A client that has said all, by TLS and perhaps by TCP too, still waits for its answer.
#[test]
fn a_client_that_half_closes_is_answered_over_tls_too() {
    let (_state, daemon) = serve_with("cert.pem", "cert.key");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for ends_tcp in [false, true] {
            let mut stream = tls_to(&daemon, "cert.pem", &[version]).unwrap();
            let head =
                "POST /predict?durable=true HTTP/1.1\r\nHost: x\r\nContent-Length: 3072\r\n\r\n";
            stream.write_all(&[head.as_bytes(), &grey_pixels()].concat()).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            if ends_tcp {
                stream.sock.shutdown(Shutdown::Write).unwrap();
            }
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{version:?} {ends_tcp}: {answer}");
            assert!(answer.contains("\"durable\":true"), "{answer}");
        }
    }
}

/// One daemon stands in for MLflow, which it is not.
#[test]
fn a_registry_behind_tls_is_asked_by_https() {
    let (_registry_state, registry) = serve_with("cert.pem", "cert.key");
    let uri = format!("https://{}", registry.api);
    let state = tempfile::tempdir().unwrap();
    let launch = Launch::on(state.path()).args(["--model-registry", &uri]);
    let mut daemon = launch.env("SSL_CERT_FILE", file("cert.pem")).start();
    // What answers there is no registry, and says so.
    daemon.wait_for_line("status 404, no MLflow server");
    assert_eq!(daemon.metric("inference_mlflow_accessible"), 0.0);
}

#[test]
fn a_handshake_that_never_ends_is_given_up() {
    let (_state, daemon) = serve_with("cert.pem", "cert.key");
    let started = std::time::Instant::now();
    assert_eq!(raw(daemon.api, b"\x16\x03\x01\x02\x00"), "");
    assert!(started.elapsed() >= Duration::from_secs(9), "{:?}", started.elapsed());
    let given_up = "picket_http_dropped_connections_total{listener=\"api\",why=\"handshake\"}";
    daemon.wait_until("the count", |daemon| daemon.metric(given_up) == 1.0);
}

#[test]
fn handshakes_that_do_not_go_on_keep_nobody_out() {
    let (cert, key) = (file("cert.pem"), file("cert.key"));
    let (_state, daemon) = start_with([
        "--api-tls-cert",
        text(&cert),
        "--api-tls-key",
        text(&key),
        "--api-max-connections",
        "4",
    ]);
    let hello: &[u8] = b"\x16\x03\x01\x02\x00";
    let _stuck: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(daemon.api).unwrap();
            let _ = stream.write_all(hello);
            stream
        })
        .collect();
    assert!(predict(&daemon, "cert.pem").unwrap().starts_with("HTTP/1.1 200 "));
}

/// As a kubelet renews a mounted Secret: nobody sends a signal.
#[test]
fn a_renewed_certificate_is_found_and_a_broken_one_keeps_the_old() {
    let dir = tempfile::tempdir().unwrap();
    let version = |name: &str, key: &str| {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        for (from, to) in [(format!("{name}.pem"), "tls.crt"), (format!("{key}.key"), "tls.key")] {
            std::fs::copy(file(&from), dir.path().join(name).join(to)).unwrap();
        }
    };
    let swap = |name: &str| {
        std::os::unix::fs::symlink(name, dir.path().join("..tmp")).unwrap();
        std::fs::rename(dir.path().join("..tmp"), dir.path().join("..data")).unwrap();
    };
    version("cert", "cert");
    swap("cert");
    let (cert, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    for path in [&cert, &key] {
        let target = Path::new("..data").join(path.file_name().unwrap());
        std::os::unix::fs::symlink(target, path).unwrap();
    }
    let (_state, mut daemon) =
        start_with(["--api-tls-cert", text(&cert), "--api-tls-key", text(&key)]);
    let not_after = "picket_tls_not_after_timestamp_seconds";
    let unusable = "picket_tls_unusable_renewals_total";
    let look = |what: &str, done: &mut dyn FnMut() -> bool| {
        assert!(picket_testkit::wait_for(LOOK_PATIENCE, done), "never came: {what}");
    };
    // 2124-02-05T12:34:56Z and 2020-03-01T00:00:00Z, as openssl shows them.
    let (first_end, second_end) = (4_862_810_096.0, 1_583_020_800.0);
    assert_eq!(daemon.metric(not_after), first_end);
    version("expired", "cert");
    swap("expired");
    look("the refusal", &mut || daemon.metric(unusable) == 1.0);
    let line = daemon.wait_for_line("certificate not read again, the old one stays");
    assert!(line.contains("can't be used together"), "{line}");
    assert_eq!(daemon.metric(not_after), first_end);
    assert!(predict(&daemon, "cert.pem").unwrap().starts_with("HTTP/1.1 200 "));
    std::fs::copy(file("expired.key"), dir.path().join("expired/tls.key")).unwrap();
    look("the renewal", &mut || daemon.metric(not_after) == second_end);
    let error = predict(&daemon, "expired.pem").unwrap_err().to_string();
    assert!(error.contains("certificate expired"), "{error}");
    assert_eq!(daemon.metric(unusable), 1.0);
    assert!(daemon.stop().success());
}

#[test]
fn credentials_are_used_and_an_expired_certificate_is_warned_of() {
    let credentials = tempfile::tempdir().unwrap();
    for (from, to) in [("expired.pem", "picket-api-cert"), ("expired.key", "picket-api-key")] {
        std::fs::copy(file(from), credentials.path().join(to)).unwrap();
    }
    let state = tempfile::tempdir().unwrap();
    let launch = Launch::on(state.path()).env("CREDENTIALS_DIRECTORY", credentials.path());
    let mut daemon = launch.start();
    let line = daemon.wait_for_line("the certificate has expired");
    assert!(line.contains("until=2020-03-01T00:00:00Z"), "{line}");
    let error = predict(&daemon, "expired.pem").unwrap_err().to_string();
    assert!(error.contains("certificate expired"), "{error}");
}

#[test]
fn what_can_not_be_served_with_is_refused_at_start() {
    let scratch = tempfile::tempdir().unwrap();
    let empty = scratch.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let (cert, key, other) = (file("cert.pem"), file("cert.key"), file("renewed.key"));
    for (cert, key, fault) in [
        (text(&cert), text(&other), "can't be used together"),
        (text(&empty), text(&key), "empty.pem holds no certificate in PEM form"),
        (text(&cert), text(&cert), "cert.pem holds no private key in PEM form"),
        ("/nonexistent.pem", text(&key), "cannot read certificate /nonexistent.pem: No such file"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let output = run([
            "serve",
            "--api-listen",
            "127.0.0.1:0",
            "--probe-listen",
            "127.0.0.1:0",
            "--state-dir",
        ]
        .into_iter()
        .chain([text(state.path()), "--api-tls-cert", cert, "--api-tls-key", key]));
        assert_eq!(output.status.code(), Some(78));
        assert!(stderr(&output).contains(fault), "{}", stderr(&output));
    }
    let output = run(["config", "check", "--api-tls-cert", text(&cert)]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("api.tls_key is needed with it"), "{}", stderr(&output));
}
