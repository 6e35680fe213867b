//! A wall clock that jumps by years: numbers stay contiguous, and a query by time gives exactly
//! the records whose stated time matches.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use picket_testkit::{Client, Daemon, PATIENCE};
use serde_json::Value;

use crate::Rig;
use crate::batch::batch;
use crate::load::Ack;
use crate::outcome::Outcome;
use crate::store;

/// Where Debian's package libfaketime has its library, below the directory of each architecture.
const LIBRARY: &str = "faketime/libfaketime.so.1";
const LIBRARY_DIRS: &str = "/usr/lib";

/// What the clock shows in each phase; a restart comes before every other phase, a jump under the
/// running daemon before the rest.
const PHASES: [&str; 8] = ["+0", "-3y", "+4y", "-12y", "+0", "+10y", "-1y", "+0"];

const PREDICTIONS: usize = 20;
const BATCH_RECORDS: u64 = 20;
const QUERIES: usize = 40;

/// The largest page.
const PAGE_RECORDS: usize = 1_000;

const MAX_RECORDS: u64 = 100_000;

#[derive(clap::Args)]
pub struct Args {}

pub fn run(rig: &Rig, _: &Args) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::new("clock");
    for count in ["jumps", "records", "queries", "wrong_answers", "not_contiguous", "died"] {
        outcome.add(count, 0);
    }
    let dir = rig.scratch.join("clock");
    std::fs::create_dir_all(&dir)?;
    let library = library()?;
    let clock = dir.join("now");
    let mut random = fastrand::Rng::with_seed(rig.seed);
    let client = Client::new(PATIENCE);
    let mut daemon = None;
    let mut expected = 1;
    for (phase, shift) in PHASES.iter().enumerate() {
        set(&clock, shift)?;
        if phase % 2 == 0 {
            daemon.take().map(Daemon::stop).transpose()?;
            daemon = Some(start(rig, &dir, &library, &clock)?);
        }
        let running = daemon.as_mut().context("a daemon was started")?;
        write_records(&client, running.api, phase, &mut expected, &mut outcome)?;
        judge_queries(&client, running.api, &mut random, &mut outcome)?;
        if !running.is_running() {
            outcome.fail("died", running.last_lines());
        }
        outcome.add("jumps", 1);
    }
    let daemon = daemon.context("a daemon was started")?;
    expect_jumps(&client, daemon.api, &mut outcome)?;
    daemon.stop()?;
    let at = std::time::Instant::now();
    let ack = Ack { at, first: 1, last: expected - 1, tag: None };
    let store = dir.join("state/log");
    store::judge(rig, &store, &[ack], MAX_RECORDS, "at the end", &mut outcome)?;
    Ok(outcome)
}

fn library() -> anyhow::Result<PathBuf> {
    for entry in std::fs::read_dir(LIBRARY_DIRS)? {
        let path = entry?.path().join(LIBRARY);
        if path.exists() {
            return Ok(path);
        }
    }
    bail!("libfaketime is needed (Debian package faketime)")
}

/// In one step: a daemon that looks in between must not find half a file.
fn set(clock: &Path, shift: &str) -> anyhow::Result<()> {
    let next = clock.with_extension("next");
    std::fs::write(&next, format!("{shift}\n"))?;
    Ok(std::fs::rename(next, clock)?)
}

fn start(rig: &Rig, dir: &Path, library: &Path, clock: &Path) -> anyhow::Result<Daemon> {
    let launch = rig
        .launch(&dir.join("state"))
        .env("LD_PRELOAD", library)
        .env("DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_TIMESTAMP_FILE", clock)
        // The file is read at every look at the clock: a jump is there at once.
        .env("FAKETIME_NO_CACHE", "1");
    Ok(launch.ready()?.0)
}

/// Strict predictions and a batch whose records state times of the sender's own.
fn write_records(
    client: &Client,
    api: SocketAddr,
    phase: usize,
    expected: &mut u64,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    for _ in 0..PREDICTIONS {
        let id = client.strict_id(api)?;
        if id != *expected {
            outcome.fail("not_contiguous", format!("{id} instead of {expected}"));
        }
        *expected = id + 1;
    }
    let stated = |index: u64| 1e9 + 1e7 * ((index * 7 + phase as u64 * 3) % 60) as f64;
    let answer = client.log(api, "", &batch(&format!("p{phase}"), BATCH_RECORDS, stated))?;
    let first = answer.json()["first_id"].as_u64().with_context(|| answer.body.clone())?;
    if first != *expected {
        outcome.fail("not_contiguous", format!("{first} instead of {expected}"));
    }
    *expected = first + BATCH_RECORDS;
    outcome.add("records", PREDICTIONS as u64 + BATCH_RECORDS);
    Ok(())
}

fn judge_queries(
    client: &Client,
    api: SocketAddr,
    random: &mut fastrand::Rng,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let all = pages(client, api, "")?;
    let mut times: Vec<f64> = all.iter().map(|(_, time)| *time).collect();
    times.sort_by(f64::total_cmp);
    for _ in 0..QUERIES {
        // Between two records, so that it does not matter whether a border is part of the span.
        let mut border = || {
            let at = random.usize(1..times.len());
            (times[at - 1] + times[at]) / 2.0 + 0.001
        };
        let (one, other) = (border(), border());
        let (since, until) = (one.min(other), one.max(other));
        let expected: Vec<u64> = all
            .iter()
            .filter(|(_, time)| (since..until).contains(time))
            .map(|(id, _)| *id)
            .collect();
        let answer = pages(client, api, &format!("&since={since:.6}&until={until:.6}"))?;
        let ids: Vec<u64> = answer.iter().map(|(id, _)| *id).collect();
        outcome.add("queries", 1);
        if ids != expected {
            let text = format!("{since} to {until}: {} of {}", ids.len(), expected.len());
            outcome.fail("wrong_answers", text);
        }
    }
    Ok(())
}

/// Number and stated time of every record that matches, newest first.
fn pages(client: &Client, api: SocketAddr, filter: &str) -> anyhow::Result<Vec<(u64, f64)>> {
    let mut records = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/predictions?limit={PAGE_RECORDS}{filter}{after}");
        let json = client.get(api, &path)?.json();
        let page = json["predictions"].as_array().with_context(|| json.to_string())?;
        for record in page {
            let time = record["timestamp"].as_f64();
            let id = record["id"].as_u64();
            records.push(id.zip(time).with_context(|| record.to_string())?);
        }
        match &json["next"] {
            Value::Null => return Ok(records),
            next => after = format!("&after={next}"),
        }
    }
}

/// The clock did jump: else this check would prove nothing.
fn expect_jumps(client: &Client, api: SocketAddr, outcome: &mut Outcome) -> anyhow::Result<()> {
    let records = pages(client, api, "")?;
    let oldest = records.iter().map(|(_, time)| *time).fold(f64::MAX, f64::min);
    let newest = records.iter().map(|(_, time)| *time).fold(f64::MIN, f64::max);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
    let year = 365.25 * 86_400.0;
    if newest < now + 9.0 * year || oldest > now - 11.0 * year {
        outcome.fail("blind", format!("records from {oldest} to {newest}: the clock did not jump"));
    }
    Ok(())
}
