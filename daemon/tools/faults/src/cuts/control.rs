//! The control: a writer that trusts sled's flush alone. It proves that the rig sees what it must
//! see; nothing else here may use sled.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;

use crate::store::{self, Verdict};

/// Records in one commit.
const GROUP_RECORDS: u64 = 5;

/// About as long as the daemon takes between two commits under the load of `cuts`.
const COMMIT_PAUSE: Duration = Duration::from_millis(2);

/// The size of one of the daemon's records.
const RECORD_BYTES: usize = 120;

#[derive(clap::Args)]
pub struct WriteArgs {
    #[arg(long)]
    store: PathBuf,
    #[arg(long)]
    max_records: u64,
}

#[derive(clap::Args)]
pub struct VerifyArgs {
    #[arg(long)]
    store: PathBuf,
}

/// Writes until stdin closes, and prints the highest number after each flush.
pub fn write(args: &WriteArgs) -> anyhow::Result<()> {
    let closed = Arc::new(AtomicBool::new(false));
    let watched = closed.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        watched.store(true, Ordering::SeqCst);
    });
    let db = open(&args.store)?;
    let mut next = db.last()?.map_or(1, |(key, _)| id(&key) + 1);
    let mut first = db.first()?.map_or(next, |(key, _)| id(&key));
    while !closed.load(Ordering::SeqCst) {
        for _ in 0..GROUP_RECORDS {
            db.insert(next.to_be_bytes(), vec![next as u8; RECORD_BYTES])?;
            next += 1;
        }
        while next - first > args.max_records {
            db.remove(first.to_be_bytes())?;
            first += 1;
        }
        db.flush()?;
        println!("{}", next - 1);
        std::io::stdout().flush()?;
        std::thread::sleep(COMMIT_PAUSE);
    }
    Ok(())
}

/// Prints a report in the form of `picket log verify --json`.
pub fn verify(args: &VerifyArgs) -> anyhow::Result<()> {
    let db = open(&args.store)?;
    let (mut first, mut last, mut gaps) = (0, 0, Vec::new());
    for item in db.iter() {
        let id = id(&item?.0);
        if first == 0 {
            first = id;
        } else if id != last + 1 {
            gaps.push([last + 1, id - 1]);
        }
        last = id;
    }
    println!("{}", serde_json::json!({"first": first, "last": last, "gaps": gaps}));
    Ok(())
}

/// Runs `verify` in a process of its own: sled panics on some damage, and keeps its lock then.
pub fn read(store: &Path) -> anyhow::Result<Verdict> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["control-verify", "--store"]).arg(store);
    store::verdict(command)
}

fn open(store: &Path) -> anyhow::Result<sled::Db> {
    let config = sled::Config::new().path(store).flush_every_ms(None);
    config.open().with_context(|| format!("cannot open {}", store.display()))
}

fn id(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}
