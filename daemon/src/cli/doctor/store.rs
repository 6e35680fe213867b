//! What the daemon needs: a state directory to write to, a model that answers right, a log without damage.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::life;
use crate::os;
use picket_records::{self as prediction_log, LogError, VerifyReport};

use super::disk::existing;
use super::finding::Finding;

/// An fsync that takes longer on an idle disk comes from a worn or counterfeit card.
const FSYNC_SLOW: Duration = Duration::from_millis(500);

/// The longest wait for a running daemon to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer of /ready that is read, bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

pub fn check(config: &Config) -> Vec<Finding> {
    vec![state_dir(config), model(config), log(config)]
}

fn state_dir(config: &Config) -> Finding {
    let dir = &config.state_dir;
    let shown = dir.display();
    if !dir.is_dir() {
        let above = existing(dir);
        return match try_write(&above) {
            Ok(_) => Finding::ok("state_dir", format!("{shown} is not there yet and can be made")),
            Err(error) => Finding::fail(
                "state_dir",
                format!("{shown} is not there, {}: {error}", above.display()),
                "make it for the daemon's user, or set state_dir",
            ),
        };
    }
    match try_write(dir) {
        Ok(took) if took > FSYNC_SLOW => Finding::warn(
            "state_dir",
            format!("{shown} takes {} ms for an fsync", took.as_millis()),
            "strict answers wait for this: another card, or less that writes to it",
        ),
        Ok(took) => {
            let ms = took.as_secs_f64() * 1e3;
            Finding::ok("state_dir", format!("{shown} takes {ms:.1} ms for an fsync"))
        }
        Err(error) => Finding::fail(
            "state_dir",
            format!("{shown}: {error}"),
            "ask as the daemon's user: sudo -u picket picket doctor; then chown it",
        ),
    }
}

/// Makes a file, syncs it and removes it again; returns how long the sync took.
fn try_write(dir: &Path) -> io::Result<Duration> {
    let file = dir.join(format!(".doctor-{}", std::process::id()));
    let write = || {
        File::create_new(&file)?.write_all(&[0; 4096])?;
        let written = File::open(&file)?;
        let started = Instant::now();
        written.sync_all()?;
        Ok(started.elapsed())
    };
    let took = write();
    let _ = std::fs::remove_file(&file);
    took
}

fn model(config: &Config) -> Finding {
    match life::load_pipeline(config) {
        Ok(pipeline) => {
            let info = pipeline.model.info();
            let fact = format!("{} {}", info.version, info.digest);
            if let Some(warning) = info.stock_warning() {
                let advice = "quantise it to QLinearConv, as daemon/training does";
                return Finding::warn("model", format!("{fact}: {warning}"), advice);
            }
            if info.golden_checked {
                return Finding::ok("model", format!("{fact}, the golden sample comes out right"));
            }
            let advice = "put golden logits into the file, as daemon/training does";
            Finding::warn("model", format!("{fact}, without a golden sample to check"), advice)
        }
        Err(error) => Finding::fail(
            "model",
            picket_base::chain(&error),
            "picket model check says more; without [model] path the one in the binary is used",
        ),
    }
}

fn log(config: &Config) -> Finding {
    let dir = config.log_dir();
    let Ok(metadata) = std::fs::metadata(&dir) else {
        return Finding::ok("log", format!("{} is not there yet", dir.display()));
    };
    // Opening a store may make files in it, and they must stay the daemon's.
    if metadata.uid() != os::effective_user() {
        return match ask_ready(config.probe.listen.to_string().parse().ok()) {
            Some(finding) => finding,
            None => Finding::unknown(
                "log",
                "another user's, and no daemon answers: sudo -u picket picket doctor reads it",
            ),
        };
    }
    if UnixStream::connect(prediction_log::socket_path(&dir)).is_ok() {
        let answer = ask_ready(config.probe.listen.to_string().parse().ok());
        let unknown = || Finding::unknown("log", "in use, and no daemon answers");
        return answer.unwrap_or_else(unknown);
    }
    match prediction_log::verify_stopped(&dir, None) {
        Ok(report) => verdict(&report),
        Err(LogError::Locked { .. }) => ask_ready(config.probe.listen.to_string().parse().ok())
            .unwrap_or_else(|| Finding::unknown("log", "in use, and no daemon answers")),
        Err(error @ LogError::Newer { .. }) => Finding::fail(
            "log",
            picket_base::chain(&error),
            "install that version again: this one leaves the store as it is",
        ),
        Err(error) => Finding::fail(
            "log",
            picket_base::chain(&error),
            "the daemon repairs what can be repaired when it starts; docs/prediction-log.md",
        ),
    }
}

fn verdict(report: &VerifyReport) -> Finding {
    let VerifyReport { count, gaps, altered, corrupt, .. } = report;
    if report.is_sound() {
        return Finding::ok("log", format!("{count} records, nothing missing or damaged"));
    }
    let fact = format!(
        "{count} records, {} gaps, {} altered, {} damaged",
        gaps.len(),
        altered.len(),
        corrupt.len()
    );
    Finding::fail("log", fact, "picket log verify names each; docs/prediction-log.md")
}

/// What the running daemon reports of itself; none when no daemon answers.
fn ask_ready(probe: Option<SocketAddr>) -> Option<Finding> {
    let mut probe = probe?;
    if probe.ip().is_unspecified() {
        probe.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let answer = get_ready(probe).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    match head.split(' ').nth(1)? {
        "200" => Some(Finding::ok("log", format!("the daemon at {probe} is ready"))),
        "503" => {
            let body: serde_json::Value = serde_json::from_str(body).ok()?;
            let reason = body["reason"].as_str().unwrap_or("without a reason");
            let fact = format!("the daemon at {probe} is not ready: {reason}");
            let log = reason.starts_with("database");
            let advice = "curl its /ready?verbose for every check";
            let finding = if log { Finding::fail } else { Finding::warn };
            Some(finding("log", fact, advice))
        }
        _ => None,
    }
}

fn get_ready(probe: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&probe, ASK_TIMEOUT)?;
    stream.set_read_timeout(Some(ASK_TIMEOUT))?;
    stream.set_write_timeout(Some(ASK_TIMEOUT))?;
    let request = format!("GET /ready HTTP/1.1\r\nHost: {probe}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}
