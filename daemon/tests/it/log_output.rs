//! What the daemon says, and in which form, by where its stderr goes.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{Launch, cat_png, picket, run, stderr};

/// Lines of a daemon that starts, serves and is told to stop; each ends when it has stopped.
fn lines_of_a_life(
    stderr: impl Into<Stdio>,
    reader: impl Read,
    env: &[(&str, &str)],
) -> Vec<String> {
    let state = tempfile::tempdir().unwrap();
    let mut command = picket();
    command.args(["serve", "--api-listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0"]);
    command.arg("--state-dir").arg(state.path()).envs(env.iter().copied());
    let mut daemon = command.stdin(Stdio::null()).stderr(stderr).spawn().unwrap();
    // Ours would keep the other end from ever closing.
    drop(command);
    let mut lines = Vec::new();
    // A terminal whose other end is closed gives an error, a pipe the end of the file.
    for line in BufReader::new(reader).lines().map_while(Result::ok) {
        if line.contains("start_ms") {
            kill(Pid::from_raw(i32::try_from(daemon.id()).unwrap()), Signal::SIGTERM).unwrap();
        }
        lines.push(line);
    }
    assert!(daemon.wait().unwrap().success());
    lines
}

fn on_a_pipe(env: &[(&str, &str)]) -> Vec<String> {
    let (reader, writer) = std::io::pipe().unwrap();
    lines_of_a_life(writer, reader, env)
}

/// As seen by whoever holds the other end of a terminal.
fn on_a_terminal(env: &[(&str, &str)]) -> Vec<String> {
    let pty = nix::pty::openpty(None, None).unwrap();
    let writer: OwnedFd = pty.slave;
    lines_of_a_life(writer, std::fs::File::from(pty.master), env)
}

#[test]
fn a_pipe_gets_one_json_object_a_line() {
    let lines = on_a_pipe(&[]);
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = |message: &str| lines.iter().find(|line| line["message"] == message).unwrap();
    let listening = said("listening");
    assert_eq!(listening["level"], "info");
    assert_eq!(listening["subsystem"], "http");
    assert_eq!(listening["fields"]["listener"], "probe");
    assert!(listening["code"].as_str().unwrap().contains("http/listener/"), "{listening}");
    let timestamp = listening["timestamp"].as_str().unwrap();
    assert!(humantime::parse_rfc3339(timestamp).is_ok() && timestamp.ends_with('Z'), "{timestamp}");
    assert!(said("ready")["fields"]["start_ms"].is_u64(), "numbers stay numbers");
    assert_eq!(said("model loaded")["fields"]["digest"].as_str().unwrap().len(), 64);
    assert_eq!(said("stopping")["fields"]["signal"], "SIGTERM");
}

#[test]
fn a_terminal_gets_lines_in_colour_unless_the_user_wants_none() {
    let coloured = on_a_terminal(&[("TERM", "xterm")]);
    let listening = coloured.iter().find(|line| line.contains("listening")).unwrap();
    assert!(listening.contains("\x1b[") && !listening.starts_with('{'), "{listening:?}");
    for env in [[("TERM", "xterm"), ("NO_COLOR", "1")], [("TERM", "dumb"), ("NO_COLOR", "")]] {
        let plain = on_a_terminal(&env);
        let said = |line: &&String| {
            line.contains(" INFO picket::http::listener") && line.contains(": listening")
        };
        assert!(plain.iter().any(|line| said(&line)), "{plain:?}");
        assert!(plain.iter().all(|line| !line.contains('\x1b')), "{plain:?}");
    }
}

#[test]
fn a_journal_that_this_build_or_machine_lacks_gets_priorities_in_front() {
    // The stream that the variable names is another one: an inherited variable changes nothing.
    let inherited = on_a_pipe(&[("JOURNAL_STREAM", "8:1")]);
    assert!(inherited.iter().all(|line| line.starts_with('{')), "{inherited:?}");
    if std::path::Path::new("/run/systemd/journal/socket").exists() {
        return;
    }
    let lines = on_a_pipe(&[("PICKET_MESSAGE_FORMAT", "journal")]);
    assert!(lines.iter().all(|line| line.starts_with("<6>")), "{lines:?}");
    let listening = "<6>http: listening listener=probe addr=127.0.0.1:";
    assert!(lines.iter().any(|line| line.starts_with(listening)), "{lines:?}");
}

#[test]
fn a_storm_is_cut_off_and_counted_before_the_daemon_ends() {
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Launch::on(state.path()).args(["--message-level", "debug"]).start();
    for _ in 0..120 {
        assert_eq!(daemon.predict("image/png", &cat_png()).status, 200);
    }
    daemon.signal(Signal::SIGTERM);
    let line = daemon.wait_for_line(" messages like this in the last ");
    let suppressed = line.split("suppressed ").nth(1).and_then(|rest| rest.split(' ').next());
    let suppressed: u32 = suppressed.unwrap().parse().unwrap();
    // 50 at once, and one more every 3 s while the test runs.
    assert!((1..=70).contains(&suppressed), "{line}");
    assert!(line.contains("predicted prediction_id="), "{line}");
    assert!(daemon.wait().success());
}

#[test]
fn the_level_decides_what_is_written() {
    assert_eq!(on_a_pipe_until_bound("error"), "");
    assert!(on_a_pipe_until_bound("info").contains("starting"));
    let refused = run(["serve", "--message-level", "loud"]);
    assert_eq!(refused.status.code(), Some(64), "{}", stderr(&refused));
}

#[test]
fn the_former_names_of_level_and_format_work_and_are_warned_of() {
    let state = tempfile::tempdir().unwrap();
    let mut daemon = Launch::on(state.path())
        .env("PICKET_LOG_LEVEL", "debug")
        .args(["--log-log-durability", "relaxed"])
        .start();
    daemon.wait_for_line("PICKET_LOG_LEVEL is now called PICKET_MESSAGE_LEVEL");
    daemon.wait_for_line("--log-log-durability is now called --log-reported-durability");
    assert_eq!(daemon.predict("image/png", &cat_png()).status, 200);
    daemon.wait_for_line("predicted prediction_id=");
    let output = run(["--log-format", "json", "config", "check"]);
    let warning = "picket: --log-format is now called --message-format;";
    assert!(stderr(&output).starts_with(warning), "{}", stderr(&output));
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    let both = run(["config", "check", "--log-level", "info", "--message-level", "info"]);
    assert_eq!(both.status.code(), Some(64));
    let names = "--message-level and --log-level, its former name, are both given";
    assert!(stderr(&both).contains(names), "{}", stderr(&both));
}

/// What a daemon says that finds its address taken.
fn on_a_pipe_until_bound(level: &str) -> String {
    let state = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let state_dir = state.path().to_str().unwrap();
    let output = run([
        "serve",
        "--message-level",
        level,
        "--state-dir",
        state_dir,
        "--api-listen",
        "127.0.0.1:0",
        "--probe-listen",
        &address,
    ]);
    assert_eq!(output.status.code(), Some(74));
    let lines = stderr(&output).lines().filter(|line| line.starts_with('{'));
    lines.collect::<Vec<_>>().join("\n")
}
