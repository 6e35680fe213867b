//! Many turnovers of the retention: disk, memory and the time to open do not grow with what has
//! passed through.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use picket_testkit::{Client, PATIENCE};

use crate::Rig;
use crate::batch::batch;
use crate::load::Ack;
use crate::outcome::{Outcome, ms};
use crate::store;

const BATCH_RECORDS: u64 = 500;

/// Turnovers between two restarts.
const RESTART_EVERY: u64 = 5;

/// The daemon's default budget, bytes.
const DISK_BYTES_MAX: u64 = 100_000_000;

/// The last quarter may be this much above the second one, and a little more.
const GROWTH_MAX: f64 = 1.3;
const DISK_ALLOWANCE_BYTES: f64 = 4e6;
const RSS_ALLOWANCE_BYTES: f64 = 8e6;
const OPEN_ALLOWANCE_SECS: f64 = 0.15;

#[derive(clap::Args)]
pub struct Args {
    /// How many times the log is filled anew
    #[arg(long, default_value_t = 20)]
    pub turnovers: u64,
    #[arg(long, default_value_t = 5_000)]
    pub log_max_records: u64,
}

pub fn run(rig: &Rig, args: &Args) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::new("retention");
    let state_dir = rig.scratch.join("retention");
    let store = state_dir.join("log");
    let client = Client::new(PATIENCE);
    let launch = || rig.launch_keeping(&state_dir, args.log_max_records);
    let (mut daemon, _) = launch().ready()?;
    let (mut disk, mut rss, mut opens) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = 0;
    for turnover in 1..=args.turnovers {
        for number in 0..args.log_max_records.div_ceil(BATCH_RECORDS) {
            let tag = format!("t{turnover}.{number}");
            let answer =
                client.log(daemon.api, "", &batch(&tag, BATCH_RECORDS, |index| index as f64))?;
            anyhow::ensure!(answer.status == 200, "{}", answer.body);
            last = answer.json()["first_id"].as_u64().unwrap_or(0) + BATCH_RECORDS - 1;
        }
        disk.push(allocated_bytes(&store)? as f64);
        rss.push(daemon.memory()?.now_bytes as f64);
        outcome.progress(format!(
            "turnover {turnover}: {:.1} MB on disk, {:.1} MB of memory",
            disk[disk.len() - 1] / 1e6,
            rss[rss.len() - 1] / 1e6
        ));
        if turnover % RESTART_EVERY == 0 {
            daemon.stop()?;
            let (next, took) = launch().ready()?;
            opens.push(took.as_secs_f64());
            outcome.progress(format!("opened in {} ms", ms(took)));
            daemon = next;
        }
    }
    daemon.stop()?;
    let at = std::time::Instant::now();
    let ack = Ack { at, first: 1, last, tag: None };
    store::judge(rig, &store, &[ack], args.log_max_records, "at the end", &mut outcome)?;
    let disk_max = disk.iter().copied().fold(0.0, f64::max);
    if disk_max > DISK_BYTES_MAX as f64 {
        outcome.fail("over_budget", format!("{disk_max} bytes on disk"));
    }
    expect_flat("disk", &disk, DISK_ALLOWANCE_BYTES, &mut outcome);
    expect_flat("rss", &rss, RSS_ALLOWANCE_BYTES, &mut outcome);
    expect_flat("open", &opens, OPEN_ALLOWANCE_SECS, &mut outcome);
    outcome.add("records", last);
    outcome.note("disk_mb_max", format!("{:.1}", disk_max / 1e6));
    outcome.note("rss_mb_last", format!("{:.1}", rss.last().unwrap_or(&0.0) / 1e6));
    let open = Duration::from_secs_f64(opens.last().copied().unwrap_or(0.0));
    outcome.note("open_ms_last", ms(open));
    Ok(outcome)
}

/// The mean of the last quarter against that of the second one.
fn expect_flat(what: &str, values: &[f64], allowance: f64, outcome: &mut Outcome) {
    let quarter = (values.len() / 4).max(1);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let second = mean(values.get(quarter..2 * quarter).unwrap_or(values));
    let fourth = mean(&values[values.len().saturating_sub(quarter)..]);
    outcome.add("growing", 0);
    if fourth > second * GROWTH_MAX + allowance {
        outcome.fail("growing", format!("{what}: from {second} to {fourth}"));
    }
}

fn allocated_bytes(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            bytes += allocated_bytes(&entry.path())?;
        }
    }
    Ok(bytes)
}
